"""Audio as the bytes of a file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import OutputError
from ..utils.interrupts import interrupts_held_back

#: What may be written: names of `soundfile`, by format.
SUBTYPES = {"wav": ("PCM_16", "PCM_24", "FLOAT"), "flac": ("PCM_16", "PCM_24"), "mp3": ("MPEG_LAYER_III",)}
_BITS = {"PCM_16": 16, "PCM_24": 24}
_WAV_HEADER_BYTES = {"PCM_16": 44, "PCM_24": 44, "FLOAT": 80}
#: Seconds since 1970 in libsndfile's PEAK chunk stand so many bytes after its name: id, size, version.
_PEAK_TIME = slice(12, 16)


@dataclass(frozen=True)
class Encoding:
    """How audio is written, mono.

    Args:
        format: "wav", "flac" or "mp3".
        subtype: "PCM_16", "PCM_24" or, in WAV, "FLOAT"; of MP3, "MPEG_LAYER_III".
        is_rounded: whether PCM is the nearest step; else libsndfile's own conversion, which rounds down.

    Raises:
        ValueError: there is no such format, or it has no such subtype.

    Example:
        >>> data, clipped = Encoding("wav", "PCM_16").encode(np.array([0.5, -0.25, 1.5], np.float32), 8000)
        >>> soundfile.read(io.BytesIO(data), dtype="int16")[0].tolist(), clipped
        ([16384, -8192, 32767], 1)
    """

    format: str = "wav"
    subtype: str = "PCM_16"
    is_rounded: bool = True

    def __post_init__(self) -> None:
        if self.format not in SUBTYPES:
            raise ValueError(f"audio must be one of {', '.join(SUBTYPES)}, not {self.format!r}")
        if self.subtype not in SUBTYPES[self.format]:
            raise ValueError(f"{self.format} is written as {' or '.join(SUBTYPES[self.format])}, not {self.subtype!r}")

    def encode(self, signal: npt.NDArray[np.floating[Any]], sampling_rate: int) -> tuple[bytes, int]:
        """The bytes of a file of a signal of shape (T,), and how many samples were beyond full scale and are clipped.

        Same samples, same bytes.

        Raises:
            OutputError: the format has no such rate.
        """
        bits = _BITS.get(self.subtype)
        samples: Any = signal
        clipped = 0 if bits is None else int(np.count_nonzero((signal >= 1.0) | (signal < -1.0)))
        if bits is not None and self.is_rounded:
            samples, clipped = to_pcm(signal, bits)
        file = io.BytesIO()
        try:
            with interrupts_held_back():
                soundfile.write(file, samples, sampling_rate, format=self.format, subtype=self.subtype)
        except soundfile.LibsndfileError as error:
            raise OutputError(
                f"{self.format} of {sampling_rate:,} Hz cannot be written: {error.error_string} Choose another format "
                "or rate."
            ) from None
        if self.subtype != "FLOAT":
            return file.getvalue(), clipped
        data = bytearray(file.getbuffer())
        peak = data.index(b"PEAK")
        data[peak + _PEAK_TIME.start : peak + _PEAK_TIME.stop] = bytes(4)  # or no two runs would be alike
        return bytes(data), clipped

    @property
    def is_exact(self) -> bool:
        """Whether `num_bytes` is exact."""
        return self.format == "wav"

    def num_bytes(self, num_samples: int) -> int:
        """The bytes of a WAV file of so many samples; of other formats, about."""
        if self.format == "mp3":
            return num_samples // 4
        width = _BITS.get(self.subtype, 32) // 8
        if self.format == "flac":
            return int(0.55 * width * num_samples)
        data = width * num_samples
        return _WAV_HEADER_BYTES[self.subtype] + data + data % 2


def to_pcm(signal: npt.NDArray[np.floating[Any]], bits: int) -> tuple[npt.NDArray[np.int16 | np.int32], int]:
    """A signal at -1 to 1 as integers of 16 bits, or of 24 in the upper ones of 32; and how many were clipped.

    Example:
        >>> to_pcm(np.array([0.6 / 32768, -2.0, 1.0], np.float32), 16)
        (array([     1, -32768,  32767], dtype=int16), 2)
    """
    full = float(1 << (bits - 1))
    scaled = signal * np.float32(full)
    np.rint(scaled, out=scaled)
    clipped = 0
    if scaled.size and (scaled.max() >= full or scaled.min() < -full):
        clipped = int(np.count_nonzero((scaled >= full) | (scaled < -full)))
        np.clip(scaled, -full, full - 1, out=scaled)
    return (scaled.astype(np.int16), clipped) if bits == 16 else (scaled.astype(np.int32) << (32 - bits), clipped)
