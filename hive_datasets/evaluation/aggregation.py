"""From the scores of targets to numbers of a table: means and medians with intervals, all in all and by kind.

Intervals are of a bootstrap that draws mixtures, not targets, since those of one mixture are not independent: 95 % of
the resampled values lie within (percentiles). The same seed draws the same mixtures for every metric, so that numbers
of one table, and of two runs, can be compared.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..ontology import Ontology, find_ontology

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Share of the resampled values that lie within an interval.
CONFIDENCE = 0.95
#: Resamples; of tables so large that all of them were more than the products, fewer, but never below the last.
_RESAMPLES, _RESAMPLED_TARGETS, _MIN_RESAMPLES = 1000, 2e7, 200
#: Targets times resamples that are reckoned with at once.
_RESAMPLED_AT_ONCE = 500_000
#: What is of fewer mixtures has no interval: too few to draw from.
_MIN_MIXTURES = 5
#: Width of a band of SNRs in dB.
_BAND_DB = 5


@dataclass(frozen=True)
class Interval:
    """A number, and where it lies with a confidence of 95 %.

    Attributes:
        value: the number; NaN if there is nothing to reckon it from.
        low, high: the ends; NaN of less than five mixtures, which say too little of others.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Aggregate:
    """What the scores of targets come to, by one metric.

    Attributes:
        mean: over all targets.
        median: over all targets.
        class_median: the median over the targets of a label, then the mean over labels, as USS has it.
        asked: how many targets there are.
        scored: how many of them have a score, on which the rest stands.
    """

    mean: Interval
    median: Interval
    class_median: Interval
    asked: int
    scored: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        found: dict[str, Any] = asdict(self)
        for value in found.values():
            if isinstance(value, dict):
                value.update({name: number_or_none(number) for name, number in value.items()})
        return found


def number_or_none(value: float) -> float | None:
    """A number as JSON has it: NaN and infinity are none.

    Example:
        >>> number_or_none(1.5), number_or_none(math.nan)
        (1.5, None)
    """
    return value if math.isfinite(value) else None


class Scores:
    """A table of targets, to be aggregated.

    Args:
        table: as `Evaluation.table` is.
        seed: of the bootstrap.
        num_resamples: of it; by default 1,000, fewer of more than 20,000 targets, 200 at least.

    Example:
        >>> rows = {"mix_id": ["a", "a", "b"], "split": ["test"] * 3, "label": ["Dog", "Cat", "Dog"]}
        >>> scores = Scores(pa.table({**rows, "sdr": [1.0, 2, 6]}))
        >>> found = scores.aggregate("sdr")
        >>> found.mean.value, found.median.value, found.class_median.value, found.scored
        (3.0, 2.0, 2.75, 3)
        >>> {name: group.mean.value for name, group in scores.aggregate_by("label", "sdr").items()}
        {'Cat': 2.0, 'Dog': 3.5}
    """

    def __init__(self, table: pa.Table, seed: int = 0, num_resamples: int | None = None) -> None:
        self.table = table
        resamples = min(_RESAMPLES, max(_MIN_RESAMPLES, _RESAMPLED_TARGETS // max(1, len(table))))
        self._seed, self._num_resamples = seed, int(resamples) if num_resamples is None else num_resamples
        self._mixtures = _encode(zip(*(table.column(name).to_pylist() for name in ("split", "mix_id")), strict=True))[0]
        self._labels, self.labels = _encode(table.column("label").to_pylist())

    def __len__(self) -> int:
        return len(self.table)

    def values(self, metric: str) -> Floats:
        """The scores by a metric; NaN where there is none.

        Raises:
            KeyError: no target was scored by that.
        """
        if metric not in self.table.column_names:
            known = [field.name for field in self.table.schema if pa.types.is_floating(field.type)]
            raise KeyError(f"there is no {metric!r}, but {', '.join(known)}")
        found: Floats = self.table.column(metric).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return found

    def aggregate(self, metric: str) -> Aggregate:
        """What all targets come to."""
        values = self.values(metric)
        rows = np.flatnonzero(~np.isnan(values))
        of_all = _Resampled(values[rows], np.zeros(len(rows), np.int64), 1, self._mixtures[rows])
        of_labels = _Resampled(values[rows], self._labels[rows], len(self.labels), self._mixtures[rows])
        reckon = {
            "mean": of_all.means,
            "median": of_all.medians,
            "class_median": lambda weights: _means_of_rows(of_labels.medians(weights)),
        }
        found = self._resample(reckon, of_all.num_mixtures)
        return Aggregate(**{name: each[0] for name, each in found.items()}, asked=len(self), scored=len(rows))

    def aggregate_by(self, kind: str, metric: str, ontology: Ontology | str = "audioset") -> dict[str, Aggregate]:
        """What the targets of each group come to, the groups in their order.

        Args:
            kind: "label", "split", "corpus", "num_sources", "snr" for bands of 5 dB, or "level 1", "level 2", ... for
                the nodes at that level of an ontology, the roots being level 1. A target of a label below several
                nodes is of several groups; one whose label is above the level, or unknown, is of that label's.
            metric: a column of the table.
            ontology: of "level ...".

        Raises:
            KeyError: no target was scored by that.
            ValueError: there is no such kind.
        """
        values = self.values(metric)
        rows, groups, names = self._group(kind, ontology)
        asked = np.bincount(groups, minlength=len(names))
        is_scored = ~np.isnan(values[rows])
        rows, groups = rows[is_scored], groups[is_scored]
        resampled = _Resampled(values[rows], groups, len(names), self._mixtures[rows])
        found = self._resample({"mean": resampled.means}, resampled.num_mixtures)["mean"]
        (medians,) = resampled.medians(np.ones((1, self.num_mixtures), np.int64))
        scored = np.bincount(groups, minlength=len(names))
        nowhere = Interval(math.nan, math.nan, math.nan)
        return {
            name: Aggregate(
                mean=found[number],
                median=Interval(float(medians[number]), math.nan, math.nan),
                class_median=nowhere,
                asked=int(asked[number]),
                scored=int(scored[number]),
            )
            for number, name in enumerate(names)
        }

    @property
    def num_mixtures(self) -> int:
        """How many there are."""
        return int(self._mixtures.max(initial=-1)) + 1

    def _group(self, kind: str, ontology: Ontology | str) -> tuple[Ints, Ints, list[str]]:
        """Rows, the group that each is of, and the names of groups; a row may come several times."""
        every = np.arange(len(self))
        if kind == "label":
            return every, self._labels, self.labels
        if kind in ("split", "corpus", "num_sources"):
            codes, names = _encode(self.table.column(kind).to_pylist())
            return every, codes, [str(name) for name in names]
        if kind == "snr":
            levels = self.values("snr_db")
            rows = np.flatnonzero(~np.isnan(levels))
            bands = np.floor(levels[rows] / _BAND_DB).astype(int)
            codes, found = _encode(bands.tolist())
            return rows, codes, [f"{band * _BAND_DB} to {(band + 1) * _BAND_DB} dB" for band in found]
        level = kind.removeprefix("level ")
        if kind == level or not level.isdecimal() or level == "0":
            raise ValueError(f"groups are by label, split, corpus, num_sources, snr or level 1, ..., not {kind!r}")
        nodes = ontology if isinstance(ontology, Ontology) else find_ontology(ontology)
        of_label = [find_nodes(nodes, label, int(level)) for label in self.labels]
        expanded = [(row, name) for row, label in enumerate(self._labels.tolist()) for name in of_label[label]]
        codes, found = _encode(name for _, name in expanded)
        return np.array([row for row, _ in expanded], np.int64), codes, found

    def _resample(self, reckon: dict[str, Callable[[Ints], Floats]], num_mixtures: Ints) -> dict[str, list[Interval]]:
        """Values of the mixtures as they are, and their intervals.

        Args:
            reckon: functions of `_weights`, some rows of which each is called with.
            num_mixtures: that each value is of.
        """
        size = max(1, _RESAMPLED_AT_ONCE // max(1, len(self)))
        edges = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
        intervals = {}
        for name, function in reckon.items():
            values = function(np.ones((1, self.num_mixtures), np.int64))[0]
            pieces = range(0, len(self._weights), size)
            drawn = [function(self._weights[start : start + size].astype(np.int64)) for start in pieces]
            low, high = _percentiles(np.concatenate(drawn), edges) if drawn else (values, values)
            low, high = (np.where(num_mixtures >= _MIN_MIXTURES, edge, np.nan) for edge in (low, high))
            intervals[name] = [Interval(*map(float, each)) for each in zip(values, low, high, strict=True)]
        return intervals

    @functools.cached_property
    def _weights(self) -> npt.NDArray[np.uint16]:
        """How often each mixture is in each resample: of shape (resamples, mixtures)."""
        random, count = np.random.default_rng(self._seed), self.num_mixtures
        drawn = [random.integers(count, size=count) for _ in range(self._num_resamples if count else 0)]
        weights = [np.bincount(each, minlength=count).astype(np.uint16) for each in drawn]
        return np.stack(weights) if weights else np.zeros((0, count), np.uint16)


@functools.lru_cache(maxsize=4096)
def find_nodes(ontology: Ontology, label: str, level: int) -> tuple[str, ...]:
    """The nodes at a level of an ontology that a label is of; the label itself, if it is above that, or unknown.

    Example:
        >>> find_nodes(Ontology.audioset(), "Purr", 1), find_nodes(Ontology.audioset(), "Purr", 2)
        (('Animal',), ('Domestic animals, pets',))
        >>> find_nodes(Ontology.audioset(), "Animal", 3), find_nodes(Ontology.audioset(), "Klaxon", 1)
        (('Animal',), ('Klaxon',))
    """
    if label not in ontology:
        return (label,)
    name = ontology.name_of(label)
    found = tuple(node for node in [name, *ontology.ancestors(name)] if _depth(ontology, node) == level)
    return found or (name,)


@functools.lru_cache(maxsize=4096)
def _depth(ontology: Ontology, node: str) -> int:
    """1 of a root; of what has several ways up, that of the shortest."""
    parents = ontology.parents(node)
    return 1 + min((_depth(ontology, parent) for parent in parents), default=0)


class _Resampled:
    """Means and medians of groups of values, of which each mixture counts as often as it was drawn, many times over."""

    def __init__(self, values: Floats, groups: Ints, num_groups: int, mixtures: Ints) -> None:
        order = np.lexsort((values, groups))
        self._values, self._mixtures = values[order], mixtures[order]
        self._ends = np.cumsum(np.bincount(groups, minlength=num_groups))
        pairs = np.unique(np.stack([groups, mixtures]), axis=1)
        #: That each group is of.
        self.num_mixtures: Ints = np.bincount(pairs[0], minlength=num_groups)

    def means(self, weights: Ints) -> Floats:
        """Of each draw and group: of shape (draws, groups); NaN if none of a group's mixtures was drawn.

        Args:
            weights: of shape (draws, mixtures), how often each was drawn.
        """
        drawn = weights[:, self._mixtures]
        with np.errstate(invalid="ignore"):
            means: Floats = self._sum(drawn * self._values) / self._sum(drawn)
        return means

    def medians(self, weights: Ints) -> Floats:
        """As `means`; of an even number, the mean of the two in the middle."""
        reached = _accumulate(weights[:, self._mixtures])
        ends = reached[:, self._ends]
        starts = np.pad(ends[:, :-1], ((0, 0), (1, 0)))
        totals = ends - starts
        # all draws in one search: each a stretch of numbers of its own
        num_draws, width = reached.shape
        apart = np.arange(num_draws)[:, None] * (int(reached.max(initial=0)) + 1)
        flat = (reached + apart).ravel()
        found = []
        for place in ((totals - 1) // 2, totals // 2):
            rows = np.searchsorted(flat, starts + place + apart, "right") - 1 - np.arange(num_draws)[:, None] * width
            found.append(np.append(self._values, np.nan)[np.clip(rows, 0, len(self._values))])
        medians: Floats = np.where(totals > 0, (found[0] + found[1]) / 2, np.nan)
        return medians

    def _sum(self, values: npt.NDArray[Any]) -> Any:
        """By groups, which may be empty."""
        return np.diff(_accumulate(values)[:, self._ends], prepend=0)


def _accumulate(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of each row up to each place, the first of which is 0."""
    return np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))


def _encode(values: Iterable[Any]) -> tuple[Ints, list[Any]]:
    """Values as numbers, and what they stand for, in order."""
    found = list(values)
    names = sorted(set(found))
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[value] for value in found], np.int64), names


def _means_of_rows(values: Floats) -> Floats:
    """Of what is no NaN in each: of shape (rows, 1)."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
    return means


def _percentiles(drawn: Floats, edges: Sequence[float]) -> Any:
    """Of each column, of what is no NaN there."""
    is_empty = np.isnan(drawn).all(axis=0)
    found = np.full((len(edges), drawn.shape[1]), np.nan)
    if not is_empty.all():
        found[:, ~is_empty] = np.nanpercentile(drawn[:, ~is_empty], edges, axis=0)
    return found
