"""The authors' algorithm, slow and literal: the oracle of the tests and the base line of the benchmarks.

Whole chunk, float64, librosa; nothing is skipped, nothing is shared. What it may use of the library is the row.
"""

from os import PathLike
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import soundfile

Signal = npt.NDArray[np.float64]


def render_source(file: str, source: dict[str, Any], sample_rate: int, target_duration: float) -> Signal:
    """One weighted source, float64 of shape (T,)."""
    with soundfile.SoundFile(file) as stream:
        sr = stream.samplerate
        start, end = int(source["chunk_start_second"] * sr), int(source["chunk_end_second"] * sr)
        if end > stream.frames:
            if end - stream.frames > 10:
                raise ValueError(f"{file}: chunk past the end")
            end = stream.frames
        stream.seek(start)
        audio = stream.read(end - start, dtype="float64", always_2d=True)
    audio = audio.mean(axis=1)
    if sr != sample_rate:
        audio = librosa.resample(audio, orig_sr=sr, target_sr=sample_rate)
    crop_start = int(source["crop_start_second"] * sample_rate)
    crop_end = int(source["crop_end_second"] * sample_rate)
    if crop_end > len(audio):
        audio = np.pad(audio, (0, crop_end - len(audio)))
    audio = audio[crop_start:crop_end]
    samples = int(target_duration * sample_rate)
    audio = np.pad(audio, (0, max(0, samples - len(audio))))[:samples]
    weighted: Signal = audio * source["applied_weight"]
    return weighted


def render_mixture(
    folder: str | PathLike[str], row: dict[str, Any], sampling_rate: int | None = None
) -> tuple[Signal, Signal]:
    """The mixture (T,) and the authors' stems (N, T), float64, of a row with `sources` as a list of dicts."""
    rate = sampling_rate or row["sample_rate"]
    stems = np.stack([render_source(f"{folder}/{s['path']}", s, rate, row["target_duration"]) for s in row["sources"]])
    return stems.sum(axis=0) * row["global_normalization_factor"], stems
