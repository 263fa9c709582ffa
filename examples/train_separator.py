"""Train a separator that is asked in words: a small mask U-Net with FiLM, from an elastic order, resumed exactly.

    python examples/train_separator.py FOLDER

trains on generated sounds, a minute on two cores, and tries it on mixtures of other recordings. Called again, it goes
on where it was killed. On Hive:

    python examples/train_separator.py FOLDER --data-dir METADATA --dataset-paths CORPORA --steps 200000 ...

FOLDER gets ``log.jsonl`` (a line a step), ``checkpoint.pt``, and TensorBoard's files where that is installed
(``pip install "hive-datasets[train]"``), and in ``scores/`` an evaluation with a page to listen. The last line that is
printed is JSON with what was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import nn
from torch.nn import functional

import hive_datasets
from hive_datasets import RenderExamples, SelectTarget, TrainingLoader, evaluate_separator
from hive_datasets.demo import write_demo

WINDOW, HOP = 512, 128  # samples of the spectrogram
WORDS = 4096  # buckets of the vocabulary


class Separator(nn.Module):
    """A mask over the mixture's spectrogram, from a U-Net along time whose every level the query scales and shifts.

    Frequencies are channels: what a sound is made of is seen at once, and convolutions go along time alone. FiLM
    (Perez et al., 2018) multiplies each channel by a number and adds another, both read off the query.
    """

    window: torch.Tensor

    def __init__(self, width: int = 128, levels: int = 4) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(WORDS, 128, mode="mean")  # of words that are told apart by a hash
        bins = WINDOW // 2 + 1
        self.enter = nn.Conv1d(bins, width, 1)
        self.down = nn.ModuleList(Block(width, stride=2) for _ in range(levels))
        self.up = nn.ModuleList(Block(width) for _ in range(levels))
        self.leave = nn.Conv1d(width, bins, 1)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, mixture: torch.Tensor, queries: list[str]) -> torch.Tensor:
        """The sounds that are asked for, (B, T), of mixtures, (B, T)."""
        query = self.embed(queries)
        spectrum = to_spectrum(mixture, self.window)
        x = self.enter(torch.log1p(100.0 * spectrum.abs()))
        skipped = []
        for block in self.down:
            skipped.append(x)
            x = block(x, query)
        for block in self.up:
            other = skipped.pop()
            x = block(functional.interpolate(x, size=other.shape[-1]) + other, query)
        mask = torch.sigmoid(self.leave(x)).float()
        return to_signal(mask * spectrum, self.window, mixture.shape[-1])

    def embed(self, queries: list[str]) -> torch.Tensor:
        """Texts as the means of their words' vectors, so that any text may ask."""
        words = [[zlib.crc32(word.encode()) % WORDS for word in query.lower().split()] or [0] for query in queries]
        starts = [sum(map(len, words[:number])) for number in range(len(words))]
        flat = torch.tensor([word for each in words for word in each], device=self.window.device)
        found: torch.Tensor = self.words(flat, torch.tensor(starts, device=self.window.device))
        return found


class Block(nn.Module):
    """A convolution along time, normalised, scaled and shifted by the query, with a way around it."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, stride, padding=2)
        self.norm = nn.GroupNorm(8, width, affine=False)
        self.film = nn.Linear(128, 2 * width)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Channels in time, (B, C, frames), and as many, fewer with a stride."""
        x = self.conv(x)
        scale, shift = self.film(query)[..., None].chunk(2, dim=1)
        changed: torch.Tensor = self.mix(functional.gelu(self.norm(x) * (1 + scale) + shift))
        return x + changed


def to_spectrum(signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """(B, T) as complex (B, bins, frames)."""
    return torch.stft(signal, WINDOW, HOP, window=window, return_complex=True)


def to_signal(spectrum: torch.Tensor, window: torch.Tensor, length: int) -> torch.Tensor:
    """And back."""
    return torch.istft(spectrum, WINDOW, HOP, window=window, length=length)


def loss_of(estimate: torch.Tensor, target: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """The error in dB, of each example, against the target, or the mixture where silence is right.

    Below 30 dB it no longer counts (Wisdom et al., "What's all the FUSS", 2021, equations 2 and 3).
    """
    power = target.square().sum(-1)
    reference = torch.where(power > 0, power, mixture.square().sum(-1))
    error = (estimate - target).square().sum(-1)
    return (10 * torch.log10(error / reference.clamp_min(1e-8) + 1e-3)).mean()


def evaluate(model: Separator, ds: datasets.Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """Ask for every stem of every mixture; SI-SDR in dB, also of what needs no model, as the floor and the ceiling."""
    model.eval()

    @torch.no_grad()
    def separate(mixtures: torch.Tensor, sampling_rate: int, queries: list[str]) -> torch.Tensor:
        return model(mixtures, queries)  # type: ignore[no-any-return]

    separators: dict[str, Any] = {"mixture": "mixture", "separator": separate, "ideal_ratio_mask": "ideal-ratio-mask"}
    found = {}
    for name, separator in separators.items():
        found[name] = evaluate_separator(
            separator,
            ds,
            options.folder / "scores" / name,
            sampling_rate=options.sampling_rate,
            alignment="own",
            device=str(model.window.device),
            num_threads=options.num_threads,
            overwrite=True,  # the weights are others than before
            examples=12 if name == "separator" else 0,
            name=name,
        ).summary
    means = {f"si_sdr_db_of_{name}": summary["si_sdr"] for name, summary in found.items()}
    gain = found["separator"]["si_sdr_improvement"]
    return {"si_sdr_improvement_db": gain, **means, "stems": found["separator"]["scored"]}


def main(options: argparse.Namespace) -> None:
    """Train, from the last checkpoint on, and evaluate."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    train, test = load(options)
    select = SelectTarget(templates=["{label}", "the sound of {label}"], silent=0.05, snr_db=(-5, 5), swap=0.5)
    render = RenderExamples(
        options.sampling_rate, select=select, alignment="own", device=device, num_threads=options.num_threads
    )
    loader = TrainingLoader(train, options.batch_size, render, num_workers=options.num_workers)
    model = Separator().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-4, options.steps, pct_start=0.1)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "loader": loader}
    step = resume(folder, parts)
    log = Log(folder, step)
    while step < options.steps:
        for batch in loader:
            mixture, target = crop(batch["mixture"], batch["target"], options.crop_seconds * options.sampling_rate)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                estimate = model(mixture, batch["query"])
            loss = loss_of(estimate, target, mixture)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            log.write(
                step,
                loss_db=loss.item(),
                learning_rate=float(schedule.get_last_lr()[0]),
                epochs=loader.sampler.consumed / len(train),
            )
            if step % options.save_every == 0 or step == options.steps:
                save(folder, parts, step)
            if step == options.steps:
                break
    log.close()
    found = evaluate(model, test, options)
    print(
        "SI-SDR of {stems} stems: mixture {si_sdr_db_of_mixture:.1f} dB, separator {si_sdr_db_of_separator:.1f} dB, "
        "ideal ratio mask {si_sdr_db_of_ideal_ratio_mask:.1f} dB".format(**found)
    )
    print(f"to look and listen: {folder / 'scores' / 'separator' / 'index.html'}")
    print(json.dumps({"step": step, **found}))


def crop(mixture: torch.Tensor, target: torch.Tensor, length: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same random part of both, which makes more of the same recordings."""
    length = min(int(length), mixture.shape[-1])
    start = int(torch.randint(mixture.shape[-1] - length + 1, ()))
    return mixture[:, start : start + length], target[:, start : start + length]


def load(options: argparse.Namespace) -> tuple[datasets.Dataset, datasets.Dataset]:
    """The tables to train on and to evaluate with."""
    where = {"data_dir": options.data_dir, "dataset_paths": options.dataset_paths, "prepared": options.prepared}
    if options.data_dir is None:
        demo = options.folder / "demo"
        if not demo.is_dir():
            write_demo(demo, {"train": range(6), "test": range(6, 8)}, {"train": 240, "test": 40})
        where = {"data_dir": str(demo / "metadata"), "dataset_paths": str(demo / "sources"), "prepared": False}
    train = hive_datasets.load_dataset("hive", split="train", **where)
    test = hive_datasets.load_dataset("hive", split="test", **where)
    return train, test.select(range(min(len(test), options.test_mixtures)))


def save(folder: Path, parts: dict[str, Any], step: int) -> None:
    """Write a checkpoint aside, and put it in the place of the one before."""
    state = {"step": step, "random": torch.get_rng_state(), **{name: part.state_dict() for name, part in parts.items()}}
    torch.save(state, folder / "checkpoint.pt.part")
    os.replace(folder / "checkpoint.pt.part", folder / "checkpoint.pt")


def resume(folder: Path, parts: dict[str, Any]) -> int:
    """Go on from the checkpoint, if there is one; the step that it was written after."""
    if not (folder / "checkpoint.pt").exists():
        return 0
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"])
    return int(state["step"])


class Log:
    """JSON lines, and TensorBoard if it is installed; steps after the checkpoint, which come again, are cut off."""

    def __init__(self, folder: Path, step: int) -> None:
        file = folder / "log.jsonl"
        lines = file.read_text().splitlines(keepends=True)[:step] if file.exists() else []
        file.write_text("".join(lines))
        self.lines = file.open("a", buffering=1)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(folder, purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        """The numbers of a step."""
        self.lines.write(json.dumps({"step": step, **values}) + "\n")
        if step % 20 == 0:
            print(f"step {step}: {values['loss_db']:.2f} dB", flush=True)
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still to be written."""
        self.lines.close()
        if self.board is not None:
            self.board.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the log and the checkpoint, and for generated sounds")
    parser.add_argument("--data-dir", help="metadata of Hive; by default generated sounds are mixed")
    parser.add_argument("--dataset-paths", help="the folder of the corpora")
    parser.add_argument("--prepared", help="prepared sources")
    parser.add_argument("--sampling-rate", type=int, default=16000, metavar="HZ")
    parser.add_argument("--crop-seconds", type=float, default=2.0, metavar="S", help="of each mixture, in training")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--save-every", type=int, default=100, metavar="STEPS")
    parser.add_argument("--test-mixtures", type=int, default=40, help="that are evaluated, the first ones")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that make examples")
    parser.add_argument("--num-threads", type=int, default=2, help="that read audio")
    main(parser.parse_args())
