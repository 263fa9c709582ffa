"""The most mixtures whose clips fit into so many bytes. Pure arithmetic.

Which clips serve most mixtures cannot be told exactly in any time (it is the problem of the densest part of a
hypergraph). So, greedily and in two steps:

1. of all clips, those that the fewest mixtures use for their bytes are dropped, and with them the mixtures that need
   them, in rounds that each drop an eighth of what is too much, until what is left fits;
2. into what is free then, clips are added one by one: the one that completes the most mixtures for its bytes; and where
   none completes any, all that the mixture lacks whose clips are used the most for their bytes.

Balanced over labels, a mixture counts by how rare its labels are: by the mean, over its sources, of one in the number
of sources that have the label.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

#: In a round, this share of the bytes that are too many is dropped.
_ROUND = 1 / 8
#: An entry of the heap has the clip as its remainder, and above that the gain for a byte in such steps.
_CLIPS, _SCALE = 1 << 32, 2.0**60

Rows = npt.NDArray[np.int32]


def choose_mixtures(
    clips: npt.NDArray[np.int32],
    row_sources: npt.NDArray[np.uint8],
    clip_bytes: npt.NDArray[np.int64],
    budget: int,
    weights: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.bool_]:
    """Which mixtures to take for a budget, by the rule above.

    Args:
        clips: the clip of each use, the uses of a mixture one after the other.
        row_sources: how many uses each mixture has.
        clip_bytes: of each clip.
        budget: bytes that the clips of all chosen mixtures together may have, at most.
        weights: how much each mixture counts; all the same by default.

    Example:
        >>> clips, sizes = np.array([0, 1, 1, 2, 2, 0, 3, 4], np.int32), np.full(5, 10)
        >>> choose_mixtures(clips, np.full(4, 2, np.uint8), sizes, 30)
        array([ True,  True,  True, False])
    """
    rows = np.repeat(np.arange(len(row_sources), dtype=np.int32), row_sources)
    chosen = _drop(clips, rows, clip_bytes, budget, weights)
    return _Filling(clips, rows, row_sources, clip_bytes, chosen, weights).fill(budget)


def weigh_by_labels(label_ids: npt.NDArray[np.int32], row_sources: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How much each mixture counts, for a choice that is balanced over labels; 1 in the mean.

    Example:
        >>> weigh_by_labels(np.array([0, 0, 0, 1], np.int32), np.array([2, 2], np.uint8)).round(2)
        array([0.67, 1.33])
    """
    rarity = 1.0 / np.bincount(label_ids)[label_ids]
    ends = np.cumsum(row_sources.astype(np.int64))
    weights: npt.NDArray[np.float64] = np.add.reduceat(rarity, ends - row_sources) / row_sources
    normalized: npt.NDArray[np.float64] = weights / weights.mean()
    return normalized


def _drop(
    clips: npt.NDArray[np.int32],
    rows: Rows,
    clip_bytes: npt.NDArray[np.int64],
    budget: int,
    weights: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.bool_]:
    """The first step: the clips that are left."""
    alive: npt.NDArray[np.bool_] = np.bincount(clips, minlength=len(clip_bytes)) > 0
    excess = int(clip_bytes[alive].sum()) - budget
    while excess > 0:
        used = _weigh(clips, rows, weights, len(clip_bytes))
        standing = np.flatnonzero(alive)
        order = standing[np.argsort(used[standing] / clip_bytes[standing], kind="stable")]
        round_bytes = min(max(excess * _ROUND, clip_bytes[order[0]]), excess)
        dropped = order[: int(np.searchsorted(np.cumsum(clip_bytes[order]), round_bytes)) + 1]
        alive[dropped] = False
        gone = np.zeros(int(rows[-1]) + 1 if len(rows) else 0, dtype=bool)
        gone[rows[~alive[clips]]] = True
        kept = ~gone[rows]
        clips, rows = clips[kept], rows[kept]
        excess = int(clip_bytes[alive].sum()) - budget
    alive &= np.bincount(clips, minlength=len(clip_bytes)) > 0  # and not those whose mixtures have all gone
    return alive


def _weigh(
    clips: npt.NDArray[np.int32], rows: Rows, weights: npt.NDArray[np.float64] | None, count: int
) -> npt.NDArray[Any]:
    """How much the uses of each clip count."""
    return np.bincount(clips, weights=None if weights is None else weights[rows], minlength=count)


class _Filling:
    """The second step."""

    def __init__(
        self,
        clips: npt.NDArray[np.int32],
        rows: Rows,
        row_sources: npt.NDArray[np.uint8],
        clip_bytes: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.bool_],
        weights: npt.NDArray[np.float64] | None,
    ) -> None:
        self._rows = memoryview(rows[np.argsort(clips, kind="stable")])  # type: ignore[arg-type]
        self._bytes = clip_bytes.tolist()
        self._weights = None if weights is None else memoryview(weights)  # type: ignore[arg-type]
        self._chosen = bytearray(chosen.astype(np.uint8).tobytes())
        self._total = int(clip_bytes[chosen].sum())
        is_lacking = ~chosen[clips]
        missing = np.bincount(rows[is_lacking], minlength=len(row_sources)).astype(np.uint8)
        last = is_lacking & (missing == 1)[rows]
        self._gain = _weigh(clips[last], rows[last], weights, len(clip_bytes)).astype(float).tolist()
        self._missing = bytearray(missing.tobytes())
        self._clips = memoryview(clips)  # type: ignore[arg-type]
        self._ends = np.concatenate([[0], np.cumsum(row_sources, dtype=np.int32)])
        used = np.bincount(clips, minlength=len(clip_bytes))
        shares = np.add.reduceat((clip_bytes / np.maximum(used, 1)).astype(np.float32)[clips], self._ends[:-1])
        self._seeds = np.argsort(shares if weights is None else shares / weights, kind="stable").astype(np.int32)
        self._offsets = np.concatenate([[0], np.cumsum(used)]).tolist()
        self._heap = [self._entry(clip) for clip in np.unique(clips[last]).tolist()]
        heapq.heapify(self._heap)

    def fill(self, budget: int) -> npt.NDArray[np.bool_]:
        """Add clips as long as they fit; which mixtures are complete then."""
        seeds = iter(self._seeds)
        while True:
            while self._heap:
                entry = heapq.heappop(self._heap)
                clip = entry % _CLIPS
                is_current = not self._chosen[clip] and entry == self._entry(clip)
                if is_current and self._total + self._bytes[clip] <= budget:
                    self._add(clip)
            row = next((int(row) for row in seeds if self._missing[row]), None)
            if row is None:
                break
            lacking = {clip for clip in self._clips_of(row) if not self._chosen[clip]}
            if self._total + sum(map(self._bytes.__getitem__, lacking)) > budget:
                break
            for clip in lacking:
                self._add(clip)
        complete: npt.NDArray[np.bool_] = np.frombuffer(self._missing, np.uint8) == 0
        return complete

    def _entry(self, clip: int) -> int:
        """A clip in the heap: as one number, of which there may be millions; the lowest is taken first."""
        return -int(self._gain[clip] / self._bytes[clip] * _SCALE) * _CLIPS + clip

    def _clips_of(self, row: int) -> list[int]:
        return self._clips[int(self._ends[row]) : int(self._ends[row + 1])].tolist()

    def _add(self, clip: int) -> None:
        self._chosen[clip] = 1
        self._total += self._bytes[clip]
        missing = self._missing
        for row in self._rows[self._offsets[clip] : self._offsets[clip + 1]]:
            missing[row] -= 1
            if missing[row] == 1:
                for other in self._clips_of(row):
                    if not self._chosen[other]:
                        self._gain[other] += 1.0 if self._weights is None else self._weights[row]
                        heapq.heappush(self._heap, self._entry(other))
