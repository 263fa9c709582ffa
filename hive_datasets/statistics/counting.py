"""Counting labels, pairs of labels, corpora, SNRs and durations, without reading audio."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..dataset import Subset, as_subset
from ..mixing import Mixer
from ..recipe.tables import labels_of, prefixes_of
from ..sources.corpora import title_of
from ..utils.progress import Progress, count_items, no_progress

#: Rows counted at once.
_BATCH_ROWS = 1 << 16
#: Two labels as one number: the first times this, plus the second.
_LABELS_MAX = 1 << 20
#: Width of the bins of SNRs in dB, and of lengths of chunks in seconds.
SNR_BIN, CHUNK_BIN = 0.5, 1.0


@dataclass(frozen=True)
class Statistics:
    """What some mixtures are made of; the most frequent first, where there is no other order.

    Attributes:
        mixtures, sources: how many.
        seconds: of all mixtures together.
        groups: mixtures by split and number of sources.
        label_sources: sources by label.
        label_mixtures: mixtures by label.
        pairs: mixtures by two labels that occur in them, in alphabetical order; twice the same if two sources have it.
        corpus_sources: sources by the title of their corpus.
        corpus_mixtures: mixtures by the corpora they draw on.
        snr_db: sources but the first of each mixture, whose SNR is 0 by definition, by the lower end of bins of 0.5 dB.
        mixture_seconds: mixtures by their length.
        chunk_seconds: sources by the lower end, in whole seconds, of the length of their chunk.
    """

    mixtures: int
    sources: int
    seconds: float
    groups: dict[tuple[str, int], int]
    label_sources: dict[str, int]
    label_mixtures: dict[str, int]
    pairs: dict[tuple[str, str], int]
    corpus_sources: dict[str, int]
    corpus_mixtures: dict[str, int]
    snr_db: dict[float, int]
    mixture_seconds: dict[float, int]
    chunk_seconds: dict[float, int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is counted by two things is a list of objects."""
        return {
            **self.__dict__,
            "groups": [
                {"split": split, "num_sources": num_sources, "mixtures": count}
                for (split, num_sources), count in self.groups.items()
            ],
            "pairs": [{"labels": list(labels), "mixtures": count} for labels, count in self.pairs.items()],
            "bin_widths": {"snr_db": SNR_BIN, "chunk_seconds": CHUNK_BIN},
        }


def compute_statistics(
    mixtures: Subset | str | os.PathLike[str] | None, dataset_paths: Any = None, *, progress: Progress = no_progress
) -> Statistics:
    """Count what mixtures are made of.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        dataset_paths: where the corpora are, for a subset of what is available.
        progress: told how far it is.

    Raises:
        MetadataUnavailableError, RecipeError, UnknownLabelError: the metadata cannot be read, or has no such mixtures.

    Example:
        >>> import hive_datasets
        >>> found = compute_statistics(hive_datasets.demo_folder() / "metadata")
        >>> found.mixtures, found.sources, found.groups["test", 5], found.label_sources["Clock"]
        (40, 140, 2, 6)
    """
    counter = StatisticsCounter()
    with progress("reading metadata", "mixtures", None) as advance:
        for table in count_items(as_subset(mixtures).tables(Mixer(dataset_paths)), advance):
            counter.add(table)
    return counter.result()


class StatisticsCounter:
    """Counts tables of `RECIPE_SCHEMA`."""

    def __init__(self) -> None:
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._names = {name: _Names() for name in ("split", "label", "corpus")}
        self._counts: dict[str, Counter[Any]] = {
            name: Counter()
            for name in ("groups", "labels", "label_mixtures", "pairs", "corpora", "corpus_mixtures", "snr", "chunk")
        }
        self._seconds: Counter[float] = Counter()
        self._mixtures = self._sources = 0

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table."""
        self._pending.append(table)
        self._rows += len(table)
        if self._rows >= _BATCH_ROWS:
            self._flush()

    def result(self) -> Statistics:
        """What was counted."""
        self._flush()
        counts, names = self._counts, {name: list(each.numbers) for name, each in self._names.items()}
        titles = [title_of(prefix) for prefix in names["corpus"]]
        return Statistics(
            mixtures=self._mixtures,
            sources=self._sources,
            seconds=sum(seconds * count for seconds, count in self._seconds.items()),
            groups={
                (names["split"][key // _LABELS_MAX], key % _LABELS_MAX): count
                for key, count in sorted(counts["groups"].items())
            },
            label_sources=_named(counts["labels"], names["label"]),
            label_mixtures=_named(counts["label_mixtures"], names["label"]),
            pairs=_by_frequency(
                {
                    _sorted_pair(names["label"][key // _LABELS_MAX], names["label"][key % _LABELS_MAX]): count
                    for key, count in counts["pairs"].items()
                }
            ),
            corpus_sources=_named(counts["corpora"], titles),
            corpus_mixtures=_named(counts["corpus_mixtures"], titles),
            snr_db={number * SNR_BIN: count for number, count in sorted(counts["snr"].items())},
            mixture_seconds=dict(sorted(self._seconds.items())),
            chunk_seconds={number * CHUNK_BIN: count for number, count in sorted(counts["chunk"].items())},
        )

    def _flush(self) -> None:
        if not self._rows:
            return
        table = pa.concat_tables(self._pending).combine_chunks()
        self._pending, self._rows = [], 0
        labels = labels_of(table)
        lengths = np.diff(labels.offsets.to_numpy())
        row_of_source = np.repeat(np.arange(len(table)), lengths)
        uses = table.column("sources").combine_chunks().flatten()
        self._mixtures += len(table)
        self._sources += len(uses)
        self._seconds.update(_count(table.column("target_duration").to_numpy()))
        split = self._names["split"].number(table.column("split").combine_chunks())
        self._counts["groups"].update(_count(split * _LABELS_MAX + lengths))

        label = self._names["label"].number(labels.flatten())
        self._counts["labels"].update(_count(label))
        self._counts["label_mixtures"].update(_count_rows(row_of_source, label))
        corpus = self._names["corpus"].number(prefixes_of(uses.field("path")))
        self._counts["corpora"].update(_count(corpus))
        self._counts["corpus_mixtures"].update(_count_rows(row_of_source, corpus))
        self._counts["pairs"].update(_count_rows(*_list_pairs(label, lengths)))

        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        snr = np.delete(uses.field("snr_db").to_numpy(), starts)
        self._counts["snr"].update(_count(_bins(snr, SNR_BIN)))
        chunk = uses.field("chunk_end_second").to_numpy() - uses.field("chunk_start_second").to_numpy()
        self._counts["chunk"].update(_count(_bins(chunk, CHUNK_BIN)))


class _Names:
    """Numbers for names, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, names: pa.Array) -> npt.NDArray[np.int64]:
        encoded = names.dictionary_encode()
        numbers = [self.numbers.setdefault(name, len(self.numbers)) for name in encoded.dictionary.to_pylist()]
        found: npt.NDArray[np.int64] = np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()]
        return found


def _list_pairs(
    label: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All pairs of labels in each mixture: its row, and both as one number, the smaller first."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows, pairs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        matrix = np.sort(label[starts[chosen][:, None] + np.arange(length)], axis=1)
        for first, second in itertools.combinations(range(length), 2):
            rows.append(chosen)
            pairs.append(matrix[:, first] * _LABELS_MAX + matrix[:, second])
    return np.concatenate(rows), np.concatenate(pairs)


def _bins(values: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.int64]:
    """The numbers of their bins; of values that are beyond all sense, of the last that there can be."""
    return np.floor(np.clip(values / width, -(2.0**62), 2.0**62)).astype(np.int64)


def _count(values: npt.NDArray[Any]) -> dict[Any, int]:
    # np.unique of integers is several times slower since numpy 2.3, which hashes them
    values = np.sort(values)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
    counts = np.diff(np.append(starts, len(values)))
    return dict(zip(values[starts].tolist(), counts.tolist(), strict=True))


def _count_rows(rows: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> dict[Any, int]:
    """In how many rows each value is, however often."""
    span = values.max(initial=0) + 1  # below 2**40, and rows are a batch's
    pairs = np.sort(rows * span + values)
    is_new = np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)]
    return _count(pairs[is_new] % span)


def _named(counts: Counter[int], names: list[str]) -> dict[str, int]:
    named: Counter[str] = Counter()
    for number, count in counts.items():
        named[names[number]] += count
    return _by_frequency(named)


def _by_frequency(counts: dict[Any, int]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _sorted_pair(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first <= second else (second, first)
