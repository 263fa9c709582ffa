"""What is separated and scored at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .targets import Target


@dataclass(frozen=True)
class Batch:
    """Targets of one length.

    Attributes:
        targets: B questions.
        mixtures: float32 of shape (B, T); those of one mixture follow each other.
        references: float32 of shape (B, T), what is asked for.
        sampling_rate: rate in Hz.
    """

    targets: tuple[Target, ...]
    mixtures: npt.NDArray[np.float32]
    references: npt.NDArray[np.float32]
    sampling_rate: int

    @property
    def queries(self) -> list[str]:
        """What is asked for, as text."""
        return [target.query for target in self.targets]

    def take(self, start: int, stop: int) -> Batch:
        """Some of its targets."""
        return Batch(
            self.targets[start:stop], self.mixtures[start:stop], self.references[start:stop], self.sampling_rate
        )
