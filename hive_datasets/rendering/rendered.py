"""What batches are: of which recipes, of which shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ..recipe import Recipe


class _Described(TypedDict):
    num_sources: Any
    num_samples: Any
    positions: Any
    sampling_rate: int
    mix_id: list[str]
    labels: list[list[str]]


class RenderedBatch(_Described):
    """Mixtures as arrays: of numpy, or with ``device=`` tensors of PyTorch that lie there, all of them.

    Keys:
        mix: float32 of shape (B, T), the mixtures; zeros after the end of shorter ones.
        sources: float32 of shape (B, N, T), their sources in the recipes' order; zeros where there are fewer than N.
        num_sources: int64 of shape (B,), how many there are.
        num_samples: int64 of shape (B,), how long each mixture is.
        positions: int64 of shape (B,), which of the given recipes these are: all of them, but for ``on_error="skip"``.
        sampling_rate: int, rate in Hz.
        mix_id: list of B strings.
        labels: list of B lists of strings, the sources' labels in order.

    And a list of B values under the name of each column that was asked for.
    """

    mix: Any
    sources: Any


class RenderedTargets(_Described):
    """As `RenderedBatch`, with ``target``, the sum of some sources, float32 of shape (B, T), instead of ``sources``."""

    mix: Any
    target: Any


@dataclass(frozen=True)
class BatchPlan:
    """What is to be rendered, at which rate in Hz, and how long each mixture and how many its sources are, int64."""

    recipes: Sequence[Recipe]
    rate: int
    num_samples: npt.NDArray[np.int64]
    num_sources: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of all sources: (B, N, T)."""
        return len(self.recipes), int(self.num_sources.max(initial=0)), int(self.num_samples.max(initial=0))

    def describe(self, is_read: Sequence[bool]) -> _Described:
        """All of a batch but its audio."""
        positions = np.flatnonzero(is_read)
        kept = [self.recipes[position] for position in positions.tolist()]
        return {
            "num_sources": self.num_sources[positions],
            "num_samples": self.num_samples[positions],
            "positions": positions,
            "sampling_rate": self.rate,
            "mix_id": [recipe.mix_id for recipe in kept],
            "labels": [recipe.labels for recipe in kept],
        }
