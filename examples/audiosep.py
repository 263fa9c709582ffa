"""Hive in the shape that AudioSep's trainer takes, for `lightning.Trainer.fit`.

    python examples/audiosep.py

AudioSep (https://github.com/Audio-AGI/AudioSep) trains on batches ``{"audio_text": {"text", "waveform"}}``, of captions
and of clips of shape (B, 1, samples) at 32 kHz, which its ``waveform_mixer`` mixes with their neighbours in the batch,
whatever these are. There are two ways:

- ``AudioSepBatches(loader)``: Hive's own mixtures. Waveforms are (B, 2, samples), mixture and target, and
  ``AudioSep(..., waveform_mixer=HiveMixer())`` takes them apart, so that the model sees what the authors of Hive mixed.
- ``AudioSepBatches(loader, mixtures=False)``: Hive's stems as clips, (B, 1, samples), for the trainer's `SegmentMixer`.

In AudioSep's ``train.py``::

    model = AudioSep(ss_model=..., waveform_mixer=HiveMixer(), ...)
    trainer.fit(model, train_dataloaders=AudioSepBatches(loader), ckpt_path=...)

The loader's state is in Lightning's checkpoints: a run goes on at the batch after the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch

import hive_datasets
from hive_datasets import RenderExamples, SelectTarget, TrainingLoader

SAMPLING_RATE, SECONDS = 32000, 5  # of AudioSep's configuration


class AudioSepBatches:
    """A `TrainingLoader`'s batches under AudioSep's names, 5 s long: cut at random if longer, padded if shorter.

    Args:
        loader: whose `RenderExamples` has ``sampling_rate=32000`` and ``device=``.
        mixtures: whether waveforms are mixture and target, or the target alone.
    """

    def __init__(self, loader: TrainingLoader, mixtures: bool = True) -> None:
        self.loader, self.names = loader, ("mixture", "target") if mixtures else ("target",)

    def __len__(self) -> int:
        """How many there are in an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Those that are left of the epoch."""
        length = SECONDS * SAMPLING_RATE
        for batch in self.loader:
            if batch["sampling_rate"] != SAMPLING_RATE:
                raise ValueError(f"AudioSep takes {SAMPLING_RATE} Hz, not {batch['sampling_rate']}")
            waveform = torch.stack([cast(Any, batch)[name] for name in self.names], dim=1)
            start = int(torch.randint(max(1, waveform.shape[-1] - length + 1), ()))
            waveform = waveform[..., start : start + length]
            waveform = torch.nn.functional.pad(waveform, (0, length - waveform.shape[-1]))
            yield {"audio_text": {"text": batch["query"], "waveform": waveform}}

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there."""
        self.loader.load_state_dict(state)


class HiveMixer(torch.nn.Module):
    """For ``waveform_mixer=`` of AudioSep: mixtures and segments, (B, 1, samples) each, as Hive has them."""

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take mixture and target apart."""
        return waveforms[:, :1], waveforms[:, 1:]


def main() -> None:
    """Show the first batch of the demo."""
    ds = hive_datasets.load_dataset("hive", "demo", split="train")
    render = RenderExamples(SAMPLING_RATE, select=SelectTarget(), device="cpu")
    batch = next(iter(AudioSepBatches(TrainingLoader(ds, 4, render))))["audio_text"]
    mixtures, segments = HiveMixer()(waveforms=batch["waveform"])
    print(f"waveform: {tuple(batch['waveform'].shape)}; mixtures and segments: {tuple(mixtures.shape)} each")
    for text, mixture, segment in zip(batch["text"], mixtures, segments, strict=True):
        snr = 10 * torch.log10(segment.square().sum() / (mixture - segment).square().sum())
        print(f"{text}: {snr:.1f} dB against the rest of its mixture")


if __name__ == "__main__":
    main()
