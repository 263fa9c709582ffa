"""Which sources of a mixture are stored too coarsely, so that it could differ by more than one 16-bit step.

A clip's error is at most half of its block's step, and a mixture's the sum of those of its sources, times their gains.
Blocks of sources do not begin together, so for every block of the mixture the larger of the two errors that it can meet
counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .samples import BLOCK, Signal

#: One step of 16-bit audio.
STEP = 2.0**-15


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a source adds to the error of its mixture.

    Attributes:
        errors: of its clip, the largest error of each block.
        start: the sample of the clip that the crop begins with.
        gain: linear.
    """

    errors: Signal
    start: int
    gain: float

    def of_blocks(self, blocks: int) -> Signal:
        """Of each of the mixture's blocks, the largest error."""
        first = self.start // BLOCK
        errors = np.zeros(blocks + 1, np.float32)
        known = self.errors[first : first + blocks + 1]
        errors[: len(known)] = known
        largest: Signal = np.maximum(errors[:-1], errors[1:]) * np.float32(self.gain)
        return largest


def find_coarse(sources: Sequence[Contribution], num_samples: int) -> list[int]:
    """Which sources of a mixture of `num_samples` samples are stored too coarsely: as few as will do.

    Example:
        >>> loud, quiet = np.full(30, 0.8 * STEP), np.full(30, 0.1 * STEP)
        >>> find_coarse([Contribution(quiet, 0, 1.0), Contribution(loud, 0, 1.0), Contribution(quiet, 0, 2.0)], 176400)
        [1]
    """
    added = np.stack([source.of_blocks(-(-num_samples // BLOCK)) for source in sources])
    coarse: list[int] = []
    total = added.sum(axis=0)
    while len(total) and total.max() > STEP:
        worst = int(added[:, total.argmax()].argmax())
        coarse.append(worst)
        added[worst] = 0.0
        total = added.sum(axis=0)
    return coarse
