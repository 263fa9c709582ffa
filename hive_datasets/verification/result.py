"""What a verification found: counts by corpus, usable mixtures, a finding for every file not as it should be."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..sources import find_corpus
from .needs import Needs, corpus_of

#: Every status of a file, and the column of the table that it counts in.
STATUSES = {
    "found": "found",
    "variant": "variant",
    "missing": "missing",
    "too_short": "too_short",
    "unreadable": "unreadable",
    "unreachable": "unreadable",
    "empty": "unreadable",
    "truncated": "unreadable",
    "ambiguous": "wrong",
    "silent": "wrong",
    "non_finite": "wrong",
    "other_rate": "wrong",
    "other_length": "wrong",
}
#: Those of files that serve the mixtures whose crops are not concerned.
PARTLY_BAD = frozenset({"too_short", "truncated", "silent", "non_finite"})
#: Those with which a mixture can be rendered as its recipe says (or nearly so: with another bandwidth).
USABLE = frozenset({"found", "variant", "other_rate", "other_length"})


class Finding(NamedTuple):
    """A file that is missing, faulty, or found under another name.

    Attributes:
        corpus: the first component of its metadata path.
        path: the metadata path.
        location: where it is, or should be.
        status: one of `STATUSES`.
        detail: the same in words.
        rows: how many mixtures it affects.
    """

    corpus: str
    path: str
    location: str
    status: str
    detail: str
    rows: int


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """How many files of a corpus are needed, and what became of them.

    Every file counts once: found + variant + missing + too_short + unreadable + wrong is needed.

    Attributes:
        corpus: the first component of the metadata paths.
        title: the corpus' name in prose.
        needed: distinct files that the metadata names.
        found: as the metadata says.
        variant: found under another name, by a known rule.
        missing, too_short, unreadable, wrong: see `STATUSES`.
    """

    corpus: str
    title: str
    needed: int
    found: int
    variant: int
    missing: int
    too_short: int
    unreadable: int
    wrong: int


@dataclass(frozen=True, slots=True)
class LabelCoverage:
    """How many of a label's sources can be used."""

    label: str
    usable: int
    total: int


@dataclass(frozen=True, slots=True)
class MixtureCoverage:
    """How many of a split's mixtures of one number of sources can be used."""

    split: str
    num_sources: int
    usable: int
    total: int


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do about a corpus.

    Attributes:
        corpus: the first component of its metadata paths.
        problem: what is wrong, with figures.
        advice: what to do.
        configuration: the line for `dataset_paths` that would mend it, if one would.
    """

    corpus: str
    problem: str
    advice: str
    configuration: str | None = None


@dataclass
class Verification:
    """The result of `verify_sources`.

    Attributes:
        level: how closely was looked: "exists", "header" or "decode".
        needs: what the metadata needs.
        statuses: of each path, its status.
        details: of a path by its position, (location, what there is to say).
        usable: of each mixture, whether all its sources can be used.
        use_is_usable: of each use.
        affected: of each path, how many mixtures it affects.
        only: the corpora to which the check was limited; none if it was not. Of the others nothing is known, so a
            mixture counts as usable if its sources of these corpora are.
        next_steps: what to do next.
    """

    level: str
    needs: Needs
    statuses: list[str]
    details: dict[int, tuple[str, str]]
    usable: npt.NDArray[np.bool_]
    use_is_usable: npt.NDArray[np.bool_]
    affected: npt.NDArray[np.int64]
    only: tuple[str, ...] = ()
    next_steps: list[NextStep] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every needed file can be used."""
        return all(status in ("found", "variant") for status in self.statuses) and bool(self.usable.all())

    @functools.cached_property
    def corpora(self) -> list[CorpusSummary]:
        """A summary a corpus, the one with most files first."""
        counts: dict[str, dict[str, int]] = {}
        for path, status in zip(self.needs.paths, self.statuses, strict=True):
            columns = counts.setdefault(corpus_of(path), dict.fromkeys(STATUSES.values(), 0))
            columns[STATUSES[status]] += 1
        summaries = [
            CorpusSummary(
                name, corpus.title if (corpus := find_corpus(name)) else name, sum(columns.values()), **columns
            )
            for name, columns in counts.items()
        ]
        return sorted(summaries, key=lambda summary: (-summary.needed, summary.corpus))

    @functools.cached_property
    def mixtures(self) -> list[MixtureCoverage]:
        """Usable mixtures by split and number of sources, in that order."""
        rows = np.stack([self.needs.row_splits, self.needs.row_num_sources])
        groups, group_of_row = np.unique(rows, axis=1, return_inverse=True)
        totals = np.bincount(group_of_row.ravel(), minlength=groups.shape[1])
        usable = np.bincount(group_of_row.ravel(), weights=self.usable, minlength=groups.shape[1])
        return [
            MixtureCoverage(self.needs.splits[split], int(sources), int(usable[index]), int(totals[index]))
            for index, (split, sources) in enumerate(groups.T)
        ]

    @functools.cached_property
    def labels(self) -> list[LabelCoverage]:
        """Usable sources by label, the least covered first."""
        count = len(self.needs.labels)
        totals = np.bincount(self.needs.label_ids, minlength=count)
        usable = np.bincount(self.needs.label_ids, weights=self.use_is_usable, minlength=count)
        coverages = [
            LabelCoverage(label, int(usable[index]), int(totals[index]))
            for index, label in enumerate(self.needs.labels)
        ]
        return sorted(
            coverages, key=lambda coverage: (coverage.usable / coverage.total, -coverage.total, coverage.label)
        )

    def findings(self) -> Iterator[Finding]:
        """A finding for every file that is not found exactly as the metadata says, by path."""
        for index in sorted(self.details, key=self.needs.paths.__getitem__):
            path, (location, detail) = self.needs.paths[index], self.details[index]
            yield Finding(corpus_of(path), path, location, self.statuses[index], detail, int(self.affected[index]))

    def usable_mixtures(self) -> pa.Table:
        """The usable mixtures, as a table of `split` and `mix_id`."""
        splits = pa.array(self.needs.splits, pa.string()).take(pa.array(self.needs.row_splits))
        table = pa.table({"split": splits, "mix_id": self.needs.mix_ids})
        return table.filter(pa.array(self.usable))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the findings, for JSON."""
        return {
            "check": self.level,
            "clean": self.is_clean,
            "files": {"needed": len(self.statuses), "usable": sum(status in USABLE for status in self.statuses)},
            "only_corpora": list(self.only),
            "mixtures": {"total": len(self.usable), "usable": int(self.usable.sum())},
            "corpora": [asdict(summary) for summary in self.corpora],
            "mixtures_by_split_and_sources": [asdict(coverage) for coverage in self.mixtures],
            "labels": [asdict(coverage) for coverage in self.labels],
            "next_steps": [asdict(step) for step in self.next_steps],
        }
