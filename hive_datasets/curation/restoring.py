"""The step that brings recordings to full bandwidth, and marks that it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..backends.memory import in_halves
from ..backends.protocols import Restorer, Samples
from ..errors import BackendError
from .bandwidth import measure_bandwidth
from .clips import REPLACED, as_file, clip_or_problem, replace_audio
from .judging import score_columns
from .steps import Record, Scorer, identity_of


@dataclass(frozen=True)
class SuperResolve(Scorer):
    """Brings records to the rate of a restorer, mono, and restores those that lack high frequencies.

    ``audio`` becomes the new audio, as the bytes of a FLAC or WAV file; where it came from is kept in
    ``original_path``, ``original_start_second`` and ``original_end_second``. Restored highs are invented: ``restored``
    says whether a model has made any, ``bandwidth_hz`` up to where the recording itself reaches. Adds too
    ``super_resolve_score`` (1 where it was done), ``super_resolve_reason``, ``super_resolve_model`` and
    ``super_resolve_version``. Decide with ``MinScore("super_resolve")``.

    Args:
        restorer: what restores; `Resample` for plain resampling.
        below_hz: only recordings that reach less far are restored, the others resampled; None for all. A file of
            44.1 kHz may well hold no more than one of 16 kHz: see `measure_bandwidth`.
        window_seconds: longer recordings are restored in windows of this length, half overlapping.

    Raises:
        ValueError: a parameter is out of range.
        BackendError: the restorer gives something else than it should, when called.

    Example:
        >>> from hive_datasets.backends import Resample
        >>> low = {"array": np.random.default_rng(0).normal(0, 0.1, 16000), "sampling_rate": 16000}
        >>> batch = SuperResolve(Resample())({"audio": [low]})
        >>> batch["chunk_end_second"], batch["restored"], int(batch["bandwidth_hz"][0])
        (array([1.]), [False], 8000)
    """

    restorer: Restorer
    below_hz: float | None = 20000.0
    window_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.restorer, Restorer):
            raise TypeError(
                "restorer must be a Restorer, with a method `restore`, a sampling_rate, a model and a version: "
                f"{self.restorer!r}"
            )
        if not 0.01 <= self.window_seconds <= 3600 or (self.below_hz is not None and self.below_hz <= 0):
            raise ValueError(f"window_seconds or below_hz is out of range: {self.window_seconds}, {self.below_hz}")

    def columns(self) -> dict[str, pa.DataType]:
        """The audio, where it came from, what was done, and the score's columns."""
        done = {"bandwidth_hz": pa.float64(), "restored": pa.bool_()}
        return REPLACED | done | score_columns("super_resolve")

    def provenance(self) -> dict[str, str]:
        """The restorer."""
        return identity_of(self.restorer)

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each record."""
        return [self._restore(record) for record in records]

    def _restore(self, record: Record) -> dict[str, Any]:
        clip, problem = clip_or_problem(record)
        if clip is None:
            return self._failed(record, problem)
        bandwidth = measure_bandwidth(clip)
        samples = clip.resampled(self.restorer.sampling_rate)
        needs_it = self.below_hz is None or bandwidth < self.below_hz
        if needs_it:
            samples = restore_in_windows(
                samples, self.restorer, round(self.window_seconds * self.restorer.sampling_rate)
            )
        if not np.isfinite(samples).all():
            return self._failed(record, "no audio: the model gives what is no number")
        return {
            **replace_audio(record, samples[:, None], self.restorer.sampling_rate),
            "bandwidth_hz": bandwidth,
            "restored": needs_it and self.restorer.invents,
            **self._told(1.0, ""),
        }

    def _failed(self, record: Record, problem: str) -> dict[str, Any]:
        kept = {name: record.get(name) for name in REPLACED} | {"audio": as_file(record.get("audio"))}
        return {**kept, "bandwidth_hz": None, "restored": False, **self._told(None, problem)}

    def _told(self, score: float | None, problem: str) -> dict[str, Any]:
        values = (score, problem, *self.provenance().values())
        return dict(zip(score_columns("super_resolve"), values, strict=True))


def restore_in_windows(samples: Samples, restorer: Restorer, window: int) -> Samples:
    """Restore a signal of shape (T,) in windows of so many samples that overlap by half.

    Each is weighed by a Hann window, which with its half-shifted self sums to one (w(n) + w(n + N/2) = 1 for
    w(n) = sin(pi n / N)**2, N even); before the first and after the last, what is missing of the sum is made up for.

    Raises:
        BackendError: the restorer gives another shape.

    Example:
        >>> from hive_datasets.backends import Resample
        >>> signal = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)
        >>> bool(np.abs(restore_in_windows(signal, Resample(), 256) - signal).max() < 1e-7)
        True
    """
    window += window % 2
    hop = window // 2
    if len(samples) <= window:
        whole: Samples = _restore_checked(samples[None], restorer)[0]
        return whole
    starts = range(0, len(samples) - hop, hop)
    padded = np.pad(samples, (0, starts[-1] + window - len(samples)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    weight = np.sin(np.pi * np.arange(window) / window).astype(np.float32) ** 2
    restored = np.zeros(len(padded), np.float32)
    for number, piece in enumerate(_restore_checked(np.ascontiguousarray(pieces), restorer)):
        weighed = piece * weight
        if number == 0:
            weighed[:hop] = piece[:hop]
        if number == len(pieces) - 1:
            weighed[hop:] = piece[hop:]
        restored[number * hop : number * hop + window] += weighed
    return restored[: len(samples)]


def _restore_checked(windows: Samples, restorer: Restorer) -> Samples:
    restored: Samples = np.concatenate(in_halves(lambda part: [restorer.restore(np.stack(part))], list(windows)))
    if restored.shape != windows.shape:
        raise BackendError(f"{restorer.model} gives shape {restored.shape} for {windows.shape}")
    return restored.astype(np.float32)
