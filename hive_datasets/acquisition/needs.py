"""What a choice of mixtures needs of the corpora: how much, from where, on which terms, and what is there already."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..dataset import Subset, as_subset
from ..errors import MetadataUnavailableError, SourceError, SourceRootError, SourceUnreachableError
from ..mixing import Mixer
from ..sources import Roots, find_corpus, find_roots, parse_roots
from ..sources.catalogue import Catalogue
from ..sources.corpora import name_of, title_of
from ..sources.published import Published, find_published
from ..utils.files import written_aside
from ..utils.progress import Progress, count_items, no_progress
from ..verification.report import write_mixture_list
from .budget import choose_mixtures, weigh_by_labels
from .demand import Demand, collect_demand


@dataclass(frozen=True, slots=True)
class CorpusNeeds:
    """What mixtures need of one corpus.

    Attributes:
        corpus: the first component of its metadata paths.
        title: its name in prose.
        files: how many distinct files.
        seconds: of their chunks that are used, each once.
        there: how many of the files are there already; None if no roots are configured.
        download_bytes: about what has to be downloaded for them; None if that is not known.
        prepared_bytes: what they take as prepared sources.
        where: where it is published.
        licence: on which terms.
        login: what one has to log in to; empty if to nothing.
        note: what else to know, or what to do by hand.
    """

    corpus: str
    title: str
    files: int
    seconds: float
    there: int | None
    download_bytes: int | None
    prepared_bytes: int
    where: str
    licence: str
    login: str
    note: str


@dataclass(frozen=True)
class Requirements:
    """What mixtures need.

    Attributes:
        mixtures: how many were chosen, and of how many.
        corpora: what they need, the corpora with most files first.
        chosen: of each mixture, whether it was.
        demand: all of them, as numbers.
        sampling_rate: rate in Hz that prepared sources would have.
    """

    mixtures: tuple[int, int]
    corpora: tuple[CorpusNeeds, ...]
    chosen: npt.NDArray[np.bool_]
    demand: Demand
    sampling_rate: int

    def chosen_mixtures(self) -> pa.Table:
        """The mixtures, as a table of split and mix_id, which ``available_only=`` takes as a list."""
        return self.demand.only(self.chosen)

    def needed_files(self) -> Iterator[tuple[str, list[str]]]:
        """Of each corpus, its first component and the metadata paths that are needed, in order."""
        needed = self._files()
        for number, prefix in enumerate(self.demand.prefixes):
            files = np.flatnonzero(needed & (self.demand.corpora == number))
            if len(files):
                yield prefix, sorted(self.demand.paths.take(pa.array(files)).to_pylist())

    def write_lists(self, folder: Path) -> None:
        """Write the needed files of each corpus to a text file of its name, a metadata path a line."""
        for prefix, paths in self.needed_files():
            with written_aside(folder / f"{prefix}.txt") as aside:
                aside.write_text("\n".join([*paths, ""]), encoding="utf-8", errors="surrogateescape")

    def write_mixtures(self, file: Path) -> int:
        """Write the list of the mixtures, as parquet; returns how many they are."""
        return write_mixture_list(self.chosen_mixtures(), file)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "mixtures": {"chosen": self.mixtures[0], "total": self.mixtures[1]},
            "sampling_rate": self.sampling_rate,
            "corpora": [{name: getattr(each, name) for name in CorpusNeeds.__slots__} for each in self.corpora],
        }

    def _files(self) -> npt.NDArray[np.bool_]:
        return _mark(self.demand.files[_clips_of(self.demand, self.chosen)], len(self.demand.paths))


def find_requirements(
    mixtures: Subset | str | Path | None = None,
    dataset_paths: Any = None,
    *,
    corpora: Collection[str] | None = None,
    budget: int | None = None,
    balanced: bool = False,
    sampling_rate: int = 44100,
    progress: Progress = no_progress,
) -> Requirements:
    """What mixtures need of the corpora.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        dataset_paths: where the corpora are, as `load_dataset` takes it, if some of them are there.
        corpora: only mixtures all of whose sources are of these.
        budget: of those, the most whose prepared sources fit into so many bytes; see `acquisition.budget`.
        balanced: whether, for a budget, mixtures count by how rare their labels are.
        sampling_rate: rate in Hz that prepared sources would have.
        progress: told how far it is.

    Raises:
        MetadataUnavailableError, RecipeError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: `dataset_paths` is no configuration of roots.

    Example:
        >>> from hive_datasets import demo_folder
        >>> needs = find_requirements(demo_folder() / "metadata", budget=2_000_000)
        >>> needs.mixtures, needs.corpora[0].title, sum(each.prepared_bytes for each in needs.corpora) <= 2_000_000
        ((2, 40), 'VoiceBank-DEMAND', True)
    """
    given: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
    subset = as_subset(mixtures)
    with progress("reading metadata", "mixtures", None) as advance:
        demand = collect_demand(count_items(subset.tables(Mixer(given, prepared=False)), advance))
    chosen = np.ones(len(demand.row_sources), dtype=bool)
    if corpora is not None:
        chosen = _rows_of_corpora(demand, corpora)
    if budget is not None:
        with progress("choosing mixtures", "mixtures", None):
            chosen = _rows_for_budget(demand, chosen, budget, balanced, sampling_rate)
    if not chosen.any():
        said = [f"of {', '.join(corpora)} alone"] if corpora is not None else []
        said += [f"whose sources fit into {budget:,} bytes"] if budget is not None else []
        raise MetadataUnavailableError(f"{subset.metadata or 'the metadata of Hive'}: no mixture {' and '.join(said)}")
    counted = _count(demand, chosen, _find_catalogue(given), sampling_rate, progress)
    return Requirements((int(chosen.sum()), len(chosen)), counted, chosen, demand, sampling_rate)


def _rows_of_corpora(demand: Demand, corpora: Collection[str]) -> npt.NDArray[np.bool_]:
    names = {name_of(name) for name in corpora}
    unknown = [name for name in corpora if name_of(name) not in {name_of(prefix) for prefix in demand.prefixes}]
    if unknown:
        known = ", ".join(sorted(map(title_of, demand.prefixes)))
        raise MetadataUnavailableError(f"no mixture has sources of {', '.join(unknown)}; there are {known}")
    allowed = np.array([name_of(prefix) in names for prefix in demand.prefixes])[demand.corpora]
    lacks = ~allowed[demand.files[demand.clips]]
    rows: npt.NDArray[np.bool_] = np.ones(len(demand.row_sources), dtype=bool)
    rows[demand.row_of_use[lacks]] = False
    return rows


def _rows_for_budget(
    demand: Demand, rows: npt.NDArray[np.bool_], budget: int, balanced: bool, sampling_rate: int
) -> npt.NDArray[np.bool_]:
    clips, labels, sources = demand.clips, demand.label_ids, demand.row_sources
    if not rows.all():
        uses = np.repeat(rows, sources)
        clips, labels, sources = clips[uses], labels[uses], sources[rows]
    weights = weigh_by_labels(labels, sources) if balanced else None
    taken = choose_mixtures(clips, sources, demand.prepared_bytes(sampling_rate), budget, weights)
    chosen: npt.NDArray[np.bool_] = rows.copy()
    chosen[rows] = taken
    return chosen


def _count(
    demand: Demand,
    chosen: npt.NDArray[np.bool_],
    catalogue: Catalogue | None,
    sampling_rate: int,
    progress: Progress,
) -> tuple[CorpusNeeds, ...]:
    clips = _clips_of(demand, chosen)
    corpus_of_clip = demand.corpora[demand.files[clips]]
    count = len(demand.prefixes)
    seconds = np.bincount(corpus_of_clip, weights=demand.seconds[clips], minlength=count)
    prepared = np.bincount(corpus_of_clip, weights=demand.prepared_bytes(sampling_rate)[clips], minlength=count)
    needed = np.flatnonzero(_mark(demand.files[clips], len(demand.paths)))
    there = _find_there(demand, needed, catalogue, progress)
    found = []
    for number, prefix in enumerate(demand.prefixes):
        files = needed[demand.corpora[needed] == number]
        if len(files):
            corpus, published = find_corpus(prefix), find_published(prefix)
            lacking = demand.paths.take(pa.array(files if there is None else files[~there[files]])).to_pylist()
            found.append(
                CorpusNeeds(
                    prefix,
                    title_of(prefix),
                    len(files),
                    float(seconds[number]),
                    None if there is None else len(files) - len(lacking),
                    estimate_download(published, lacking),
                    int(prepared[number]),
                    _describe_place(published) or (corpus.homepage if corpus else ""),
                    corpus.licence if corpus else "",
                    published.login if published else "",
                    published.note if published else "It is not one of Hive's corpora: ask whoever made the metadata.",
                )
            )
    return tuple(sorted(found, key=lambda each: -each.files))


def _find_there(
    demand: Demand, needed: npt.NDArray[np.int64], catalogue: Catalogue | None, progress: Progress
) -> npt.NDArray[np.bool_] | None:
    """Which files are there, by the indexes of the roots; None if there are none."""
    if catalogue is None:
        return None
    there = np.zeros(len(demand.paths), dtype=bool)
    with progress("looking for files", "files", len(needed)) as advance:
        paths = demand.paths.take(pa.array(needed)).to_pylist()
        for file, path in zip(needed.tolist(), count_items(paths, advance, 10_000), strict=True):
            try:
                catalogue.look_up(path, *catalogue.open_root(path))
                there[file] = True
            except (SourceError, SourceRootError, SourceUnreachableError):
                pass
    return there


def _find_catalogue(given: Roots | None) -> Catalogue | None:
    try:
        return Catalogue(find_roots(given))
    except SourceRootError:
        return None


def estimate_download(published: Published | None, paths: list[str]) -> int | None:
    """About the bytes to download for files, by their metadata paths; None if that is not known.

    Of archives that are had whole, all of each is counted.
    """
    if not paths:
        return 0
    if published is None or published.is_by_hand:
        return None
    if not published.is_whole:
        return int(len(paths) * published.bytes_per_clip)
    share = published.bytes // len(published.files)
    rests = [path.partition("/")[2] for path in paths]
    needed = [file for file in published.files if any(re.match(file.holds, rest) for rest in rests)]
    return sum(file.bytes or share for file in needed)


def _describe_place(published: Published | None) -> str:
    if published is None or published.is_by_hand:
        return ""
    return f"hf://datasets/{published.repository}" if published.host == "hub" else published.address


def _clips_of(demand: Demand, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The clips that some mixtures use."""
    return np.flatnonzero(_mark(demand.clips[np.repeat(rows, demand.row_sources)], len(demand.files)))


def _mark(positions: npt.NDArray[np.integer[Any]], count: int) -> npt.NDArray[np.bool_]:
    marked = np.zeros(count, dtype=bool)
    marked[positions] = True
    return marked
