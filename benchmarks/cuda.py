"""Training on a CUDA device: what it is fed, and how long it waits.

``python -m benchmarks.cuda [--folder FOLDER]`` says so, and ends, where there is no such device.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hive_datasets import RenderExamples, SelectTarget, TrainingLoader, load_dataset

from .corpus import make_corpus, make_prepared

ROUNDS, STEPS, BATCH = 5, 50, 16


def measure(folder: Path) -> None:
    """Mixtures a second that are resampled and mixed there, and what of a step the model waits for them."""
    import torch

    corpus = make_corpus(folder)
    prepared = make_prepared(folder / "prepared-generated", corpus / "sources", corpus / "metadata")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for name, where in (("originals", False), ("prepared", str(prepared))):
        ds = load_dataset(
            "hive",
            data_dir=str(corpus / "metadata"),
            dataset_paths=str(corpus / "sources"),
            prepared=where,
            split="train",
            cache_dir=str(folder / "tables"),
        )
        for rate in (44100, 32000):
            for prefetch in (0, 2):
                _measure_loader(f"{name} at {rate} Hz, prefetch={prefetch}", ds, rate, prefetch)
    _measure_transfer()


def _measure_loader(name: str, ds: Any, sampling_rate: int, prefetch: int) -> None:
    import torch

    render = RenderExamples(sampling_rate, select=SelectTarget(silent=0.05), device="cuda", num_threads=4)
    loader = TrainingLoader(ds, BATCH, render, num_workers=2, prefetch=prefetch)
    batches = _forever(loader)
    step = _make_step()
    for _ in range(STEPS):
        step(next(batches))
    rates, shares = [], []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(STEPS):
            next(batches)
        torch.cuda.synchronize()
        rates.append(STEPS * BATCH / (time.perf_counter() - start))
        start, waited = time.perf_counter(), 0.0
        for _ in range(STEPS):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            step(batch)
            torch.cuda.synchronize()
        shares.append(waited / (time.perf_counter() - start))
    print(
        f"  {name:40} {statistics.median(rates):7.0f} mixtures / s ({min(rates):.0f} to {max(rates):.0f}); "
        f"the model waits {statistics.median(shares):.0%} of a step ({min(shares):.0%} to {max(shares):.0%})"
    )


def _forever(loader: TrainingLoader) -> Any:
    while True:
        yield from loader


def _make_step() -> Callable[[Any], None]:
    """A step of the separator of examples/."""
    import torch

    file = Path(__file__).parents[1] / "examples" / "train_separator.py"
    spec: Any = importlib.util.spec_from_file_location("train_separator", file)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    model = example.Separator().cuda()
    optimizer = torch.optim.AdamW(model.parameters())

    def step(batch: Any) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            estimate = model(batch["mixture"], batch["query"])
        loss = example.loss_of(estimate, batch["target"], batch["mixture"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _measure_transfer() -> None:
    """Stems of a batch brought there as floats, and as the 16 bits that they are prepared in, and scaled there."""
    import torch

    shape = (BATCH, 4, 4 * 44100)
    floats, whole = (torch.zeros(shape, dtype=kind).pin_memory() for kind in (torch.float32, torch.int16))
    steps = torch.full(shape[:2], 2.0**-15, device="cuda")
    ways: dict[str, Callable[[], Any]] = {
        "float32, scaled here": lambda: floats.cuda(non_blocking=True),
        "int16, scaled there": lambda: whole.cuda(non_blocking=True).float().mul_(steps[..., None]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, bring in ways.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(STEPS):
                bring()
            torch.cuda.synchronize()
            if round_:
                times[name].append((time.perf_counter() - start) / STEPS)
    for name, seconds in times.items():
        print(f"  stems of {BATCH} mixtures to the device as {name}: {statistics.median(seconds) * 1e3:.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / ".data", help="for generated data")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        raise SystemExit("PyTorch is not installed: nothing was measured") from None
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device: nothing was measured")
    measure(options.folder)
