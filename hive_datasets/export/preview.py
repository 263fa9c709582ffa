"""A folder of a few mixtures that the Hub's dataset viewer plays: parquet with sound and pictures, and a card."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import Audio, Features, Image

from ..dataset import Subset, as_subset
from ..errors import SourceError, SourceRootError
from ..mixing import Alignment, Mixer
from ..recipe import Recipe
from ..recipe.tables import table_from_recipes
from ..sources import Corpus
from ..statistics.counting import Statistics, StatisticsCounter
from ..utils.pictures import draw_strips
from ..utils.progress import Progress, no_progress
from ..utils.threads import map_in_threads
from .card import Card, SplitFiles, describe_choice, find_corpora, is_of_demo, write_card
from .choice import Choice
from .columns import group_rows, mixture_columns, mixture_row, write_parquet
from .encoding import Encoding
from .samples import Skipped, check_roots, encode_sample
from .target import check_empty, new_folder, parse_folder

MIXTURES_PER_GROUP = 20
#: A file of a repository is best no larger.
_FILE_ROWS, _FILE_BYTES = 10_000, 200_000_000
_ENCODINGS = {
    "flac": Encoding("flac", "PCM_16"),
    "wav": Encoding("wav", "PCM_16"),
    "mp3": Encoding("mp3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class Preview:
    """What was written.

    Attributes:
        folder: where.
        mixtures: how many.
        num_bytes: size of the parquet files.
        restricted: how many mixtures were passed over because the licence of a corpus lets nobody pass its audio on.
        restricted_corpora: the titles of those corpora.
        skipped: the mixtures that could not be rendered.
    """

    folder: Path
    mixtures: int
    num_bytes: int
    restricted: int
    restricted_corpora: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def write_preview(
    mixtures: Subset | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    *,
    per_group: int = MIXTURES_PER_GROUP,
    audio: Literal["flac", "wav", "mp3"] = "flac",
    stem_columns: bool = False,
    any_licence: bool = False,
    title: str = "Hive preview",
    name: str | None = None,
    sampling_rate: int | None = None,
    alignment: Alignment = "authors",
    dataset_paths: Any = None,
    prepared: Any = None,
    num_workers: int | None = None,
    progress: Progress = no_progress,
) -> Preview:
    """Write a folder that is ready for the Hub: ``data/*.parquet`` and ``README.md``.

    Its rows have players for the mixture and its sources, a picture, labels, SNRs, corpora, and the recipe, of which
    ``cast_column("recipe", Mixture())`` makes audio again. Neither torch nor torchcodec is needed.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        folder: where to; it must not be there, or be empty.
        per_group: how many of each split and number of sources, the first that may be shown.
        audio: "flac", "wav" or "mp3".
        stem_columns: a column for each stem (source_1, ...) instead of one of lists.
        any_licence: take mixtures of all corpora, not only of those whose licence lets others pass their audio on.
        title: heading of the card.
        name: how the card calls the dataset in its code; by default, the folder's name, beside which it is run.
        sampling_rate: rate in Hz to render at; None for the recipes'.
        alignment: at another rate than the metadata's, as for `Mixer`.
        dataset_paths: where the corpora are, as `load_dataset` takes it.
        prepared: prepared sources, as for `Mixer`.
        num_workers: mixtures rendered at once; None for as many as there are cores.
        progress: told how far it is.

    Raises:
        ValueError: an option is out of range.
        MetadataUnavailableError, RecipeError, UnknownLabelError: the metadata cannot be read, or has no such mixtures.
        SourceRootError: no roots are configured.
        SourceError: no mixture at all could be rendered.
        OutputError: the folder is not empty or cannot be written.
        HiveError: matplotlib, which draws, is not installed.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> demo, folder = hive_datasets.demo_folder(), tempfile.mkdtemp()
        >>> subset = hive_datasets.Subset(demo / "metadata", splits=["test"])
        >>> write_preview(subset, folder, dataset_paths=demo / "sources").mixtures
        8
        >>> from datasets import load_dataset
        >>> preview = load_dataset(folder, split="test", streaming=True)
        >>> preview.column_names
        ['mix_id', 'mixture', 'sources', 'spectrogram', 'labels', 'num_sources', 'snr_db', 'seconds', 'corpora',
        'paths', 'recipe']
    """
    if audio not in _ENCODINGS:
        raise ValueError(f"audio must be one of {', '.join(_ENCODINGS)}, not {audio!r}")
    if per_group < 1 or (num_workers is not None and num_workers < 1):
        raise ValueError(f"per_group and num_workers must be at least 1, not {per_group} and {num_workers}")
    target = parse_folder(folder)
    check_empty(target)
    mixer = Mixer(dataset_paths, sampling_rate, prepared=prepared, alignment=alignment)
    check_roots(mixer)
    subset = as_subset(mixtures)
    is_generated = is_of_demo(subset)
    with progress("choosing mixtures", "mixtures", None) as advance:
        chosen = Choice(per_group, only_shareable=not (any_licence or is_generated))
        for table in subset.tables(mixer):
            chosen.add(table)
            advance(len(table))
    recipes = chosen.recipes()
    columns = max(recipe.num_sources for recipe in recipes) if stem_columns else None
    rates = {sampling_rate or recipe.sample_rate for recipe in recipes}
    rate = rates.pop() if len(rates) == 1 else None
    run = _Run(mixer, rate, audio, columns, num_workers or os.cpu_count() or 1)
    with new_folder(target) as aside, progress("rendering", "mixtures", len(recipes)) as advance:
        (aside / "data").mkdir(parents=True)
        splits = {}
        for split, of_split in itertools.groupby(recipes, key=lambda recipe: recipe.split):
            files = run.write(aside / "data", split, list(of_split), advance)
            if files is not None:
                splits[split] = files
        if not splits:
            raise SourceError(
                f"not one of {len(run.skipped):,} mixtures could be rendered. The first: {run.skipped[0].reason}"
            )
        card = _make_card(run, chosen, subset, splits, title, name or f"./{target.name}")
        write_card(card, aside)
    return Preview(
        target,
        mixtures=sum(files.num_examples for files in splits.values()),
        num_bytes=sum(files.download_bytes for files in splits.values()),
        restricted=chosen.restricted,
        restricted_corpora=tuple(sorted(chosen.restricted_corpora)),
        skipped=tuple(run.skipped),
    )


@dataclass
class _Run:
    mixer: Mixer
    #: In Hz; None if not all mixtures have one.
    sampling_rate: int | None
    audio: str
    #: How many columns of stems there are; None for one column of lists.
    stem_columns: int | None
    num_workers: int
    skipped: list[Skipped] = field(default_factory=list)
    counter: StatisticsCounter = field(default_factory=StatisticsCounter)

    def write(self, folder: Path, split: str, recipes: list[Recipe], advance: Any) -> SplitFiles | None:
        """Write the files of a split; None if no mixture of it could be rendered."""
        examples = num_bytes = 0
        files: list[Path] = []
        for group in group_rows(self._rows(recipes, advance), _FILE_ROWS, _FILE_BYTES):
            files.append(folder / f"{split}-{len(files):05d}.parquet")
            num_bytes += write_parquet(files[-1], group, self.features())
            examples += len(group)
        if not files:
            return None
        size = sum(file.stat().st_size for file in files)
        return SplitFiles(f"data/{split}-*.parquet", examples, num_bytes, size)

    def features(self) -> Features:
        """The columns, players first."""
        columns = dict(mixture_columns(self.sampling_rate))
        first = {name: columns.pop(name) for name in ("mix_id", "mixture", "sources")}
        if self.stem_columns is not None:
            del first["sources"]
            first |= {f"source_{n}": Audio(sampling_rate=self.sampling_rate) for n in range(1, self.stem_columns + 1)}
        return Features({**first, "spectrogram": Image(), **columns})

    def _rows(self, recipes: list[Recipe], advance: Any) -> Iterator[dict[str, Any]]:
        for recipe, made in zip(recipes, map_in_threads(self._make_row, recipes, self.num_workers), strict=True):
            advance(1)
            if isinstance(made, Skipped):
                self.skipped.append(made)
                continue
            self.counter.add(table_from_recipes([recipe]))
            yield made

    def _make_row(self, recipe: Recipe) -> dict[str, Any] | Skipped:
        try:
            rendered = self.mixer(recipe)
        except (SourceError, SourceRootError) as error:
            if isinstance(error, SourceRootError) and not error.configured:
                raise
            return Skipped(recipe.split, recipe.mix_id, error.message)
        signals = [rendered["mix"], *rendered["sources"]]
        picture = draw_strips(signals, ["mixture", *recipe.labels], rendered["sampling_rate"])
        encoding = _ENCODINGS[self.audio]
        sample = encode_sample(recipe, rendered, encoding)
        row = {**mixture_row(sample, encoding), "spectrogram": {"bytes": picture, "path": f"{recipe.mix_id}.png"}}
        if self.stem_columns is not None:
            stems = itertools.zip_longest(range(1, self.stem_columns + 1), row.pop("sources"))
            row |= {f"source_{n}": stem for n, stem in stems}
        return row


def _make_card(run: _Run, chosen: Choice, subset: Subset, splits: dict[str, SplitFiles], title: str, name: str) -> Card:
    found = run.counter.result()
    is_generated = is_of_demo(subset)
    licences, note = _describe_licences(find_corpora(found), found, chosen, is_generated)
    rate = f"{run.sampling_rate:,} Hz" if run.sampling_rate else "at the rate of the metadata"
    return Card(
        title=title,
        introduction=(
            f"{found.mixtures:,} mixtures for query-based universal sound separation, with their sources: the first of "
            "each split and number of sources "
            f"{'of a demo of generated sounds' if is_generated else 'of the metadata'}{describe_choice(subset)}, "
            "rendered with `hive-datasets`, the library for "
            "[Hive](https://huggingface.co/datasets/ShandaAI/Hive).\n\n"
            f"`mixture` is the sum of {_describe_stems(run)}; `labels`, `paths` and `snr_db` (against the first "
            f"source, in dB) are in the same order. Mono, {rate}, {_describe_audio(run)}. `spectrogram` shows the "
            "mixture above its sources, on one scale of 80 dB, up to 16 kHz. `recipe` says which seconds of which "
            "files were mixed, and at which gain."
        ),
        usage=(
            "```python\nfrom datasets import load_dataset\n\n"
            f"ds = load_dataset({json.dumps(name)}, split={json.dumps(next(iter(splits)))})\n"
            'print(ds[0]["labels"])\n'
            'print(ds[0]["mixture"])  # decoding needs: pip install "datasets[audio]"\n```\n\n'
            "With your own copies of the corpora, all of Hive comes this way, rendered on the fly:\n\n"
            "```python\nimport hive_datasets\nfrom datasets import load_dataset\n\n"
            'ds = load_dataset("hive", split="train", streaming=True, dataset_paths="/data/hive")\n```'
        ),
        config_name="preview",
        features=run.features(),
        splits=splits,
        statistics=found,
        licences=licences,
        licence_note=note,
        tags=("preview",),
        is_generated=is_generated,
    )


def _describe_stems(run: _Run) -> str:
    stems = "`source_1`, `source_2`, ..." if run.stem_columns else "`sources`"
    return f"{stems} (but for what MP3 leaves out)" if run.audio == "mp3" else stems


def _describe_audio(run: _Run) -> str:
    return {"mp3": "MP3", "wav": "WAV of 16 bits"}.get(run.audio, "FLAC of 16 bits")


def _describe_licences(
    corpora: list[Corpus], found: Statistics, chosen: Choice, is_generated: bool
) -> tuple[tuple[str, ...], str]:
    """The Hub's identifiers, and what the card says of them."""
    if is_generated:
        return ("cc0-1.0",), ""
    if not all(corpus.may_be_shared for corpus in corpora) or len(corpora) < len(found.corpus_sources):
        return ("other",), (
            "**Not every licence here lets others pass the audio on.** Who made this preview said that they may: see "
            "the table, and the pages it leads to, before you do so yourself."
        )
    left_out = (
        f"{chosen.restricted:,} of {chosen.seen:,} mixtures were left out, because they draw on corpora whose licence "
        f"does not let others pass their audio on: {', '.join(sorted(chosen.restricted_corpora))}. "
        if chosen.restricted
        else ""
    )
    return tuple(sorted({corpus.licence_id for corpus in corpora})), (
        f"{left_out}Attribution is due as the licences say; `paths` names every file."
    )
