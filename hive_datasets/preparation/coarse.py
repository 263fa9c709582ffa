"""Finding the clips that must be stored more finely for some mixture."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..prepared import PreparedSources
from ..prepared.index import KEY
from ..prepared.precision import STEP, Contribution, find_coarse
from ..recipe.tables import crop_samples
from .clips import Clip


class CoarseClips:
    """Collects the clips of prepared sources that are too coarse for some mixture.

    Args:
        prepared: the prepared sources.
    """

    def __init__(self, prepared: PreparedSources) -> None:
        self._prepared = prepared
        self._found: dict[int, Clip] = {}

    def add(self, table: pa.Table) -> None:
        """Look at the mixtures of a table of `RECIPE_SCHEMA`."""
        if not len(table):
            return
        sources = table.column("sources").combine_chunks()
        uses = sources.flatten()
        lengths = pc.list_value_length(sources).to_numpy()
        ends = np.cumsum(lengths)
        keys: list[tuple[str, float, float]] = list(zip(*(uses.field(name).to_pylist() for name in KEY), strict=True))
        starts, stops = (samples.tolist() for samples in crop_samples(table, self._prepared.sampling_rate))
        find = self._prepared.index.find
        rows = [find(*key, start, stop) for key, start, stop in zip(keys, starts, stops, strict=True)]
        factors = np.repeat(table.column("global_normalization_factor").to_numpy(), lengths)
        gains = np.abs(uses.field("applied_weight").to_numpy() * factors)
        # first roughly, all at once: as if the largest errors of all sources met
        added = np.array(list(map(self._largest_error, rows))) * gains
        suspects = np.flatnonzero(np.add.reduceat(added, ends - lengths) > STEP)
        durations = table.column("target_duration").to_numpy()
        for mixture in suspects.tolist():
            stop = int(ends[mixture])
            chosen = [use for use in range(stop - int(lengths[mixture]), stop) if self._largest_error(rows[use])]
            entries = [self._prepared.index.entry(rows[use]) for use in chosen]
            contributions = [
                Contribution(self._prepared.errors_of(entry), starts[use] - entry.start, float(gains[use]))
                for use, entry in zip(chosen, entries, strict=True)
            ]
            num_samples = int(durations[mixture] * self._prepared.sampling_rate)
            for worst in find_coarse(contributions, num_samples) if contributions else ():
                entry = entries[worst]
                clip = Clip(*keys[chosen[worst]], entry.start, entry.start + entry.num_samples)
                self._found[rows[chosen[worst]]] = clip

    def clips(self) -> list[Clip]:
        """Those that were found."""
        return sorted(self._found.values(), key=lambda clip: (clip.path, clip.chunk_start_second, clip.start))

    def _largest_error(self, row: int) -> float:
        """Of a row of the index; none of what is not there, or will be stored more finely."""
        return 0.0 if row < 0 or row in self._found else self._prepared.index.entry(row).largest_error
