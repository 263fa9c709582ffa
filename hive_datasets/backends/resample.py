"""Plain resampling, where a restorer is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import soxr

from .protocols import Samples


@dataclass(frozen=True)
class Resample:
    """Restores nothing: what it is given was resampled already.

    Args:
        sampling_rate: in Hz.

    Example:
        >>> Resample(48000).sampling_rate, Resample().invents
        (48000, False)
    """

    sampling_rate: int = 44100

    def __post_init__(self) -> None:
        if self.sampling_rate < 1:
            raise ValueError(f"sampling_rate must be a positive number of Hz, not {self.sampling_rate}")

    @property
    def model(self) -> str:
        """Its name."""
        return "soxr HQ"

    @property
    def version(self) -> str:
        """That of soxr."""
        return str(soxr.__version__)

    @property
    def invents(self) -> bool:
        """It does not."""
        return False

    def restore(self, windows: Samples) -> Samples:
        """Windows as they are."""
        return windows
