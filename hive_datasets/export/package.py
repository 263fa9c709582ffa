"""A folder of metadata that is ready for the Hub: parquet shards and a card; no audio, no code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features

from ..dataset import Subset, as_subset
from ..errors import RecipeError
from ..mixing import Mixer
from ..recipe.parsing import SPLITS
from ..recipe.schema import HUB_SCHEMA
from ..recipe.writing import ParquetFileWriter
from ..statistics.counting import Statistics, StatisticsCounter
from ..utils.progress import Progress, count_items, no_progress
from .card import OTHER, Card, SplitFiles, check_licence, describe_choice, is_of_demo, write_card
from .target import check_empty, new_folder, parse_folder

#: Rows of a file, some 60 MB of Hive's, and of a row group, which is what a worker or the viewer reads at once.
ROWS_PER_SHARD, ROW_GROUP_ROWS = 250_000, 25_000
#: Those that both loaders know by the names of folders.


@dataclass(frozen=True)
class Package:
    """What was written.

    Attributes:
        folder: where.
        mixtures, files: how many.
        num_bytes: size of the parquet files.
    """

    folder: Path
    mixtures: int
    files: int
    num_bytes: int


def write_package(
    mixtures: Subset | str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    title: str = "Mixtures",
    name: str | None = None,
    licence: str = "other",
    licence_name: str | None = None,
    licence_link: str | None = None,
    dataset_paths: Any = None,
    progress: Progress = no_progress,
) -> Package:
    """Write metadata as a dataset repository: ``{split}/data-00000-of-00020.parquet``, ..., and ``README.md``.

    Both ``load_dataset("hive", data_dir=folder)`` and plain ``load_dataset(folder)`` read it, also from the Hub.

    Args:
        mixtures: which, or the path or URL of metadata, of which all; None for what ``load_dataset("hive")`` reads.
        folder: where to; it must not be there, or be empty.
        rows_per_shard: mixtures of a file.
        title: heading of the card.
        name: how the card calls the dataset in its code; by default, the folder's name, beside which it is run.
        licence: of the metadata, by the Hub's identifier.
        licence_name: of "other", what the Hub calls it.
        licence_link: of "other", its address; by default ``LICENSE.md``, which is written, of the corpora's licences.
        dataset_paths: where the corpora are, for a subset of what is available.
        progress: told how far it is.

    Raises:
        ValueError: an option is out of range.
        MetadataUnavailableError, RecipeError, UnknownLabelError: the metadata cannot be read, or has no such mixtures.
        OutputError: the folder is not empty, or cannot be written.

    Example:
        >>> import tempfile
        >>> import hive_datasets
        >>> from datasets import load_dataset
        >>> package = write_package(hive_datasets.demo_folder() / "metadata", tempfile.mkdtemp())
        >>> package.mixtures, package.files
        (40, 3)
        >>> rows = load_dataset("hive", data_dir=str(package.folder), split="test", streaming=True)
        >>> next(iter(rows.decode(False)))["labels"]
        ['Organ', 'Harp']
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard must be at least 1, not {rows_per_shard}")
    if check_licence(licence) != OTHER and (licence_name or licence_link):
        raise ValueError(f"licence_name and licence_link are for licence={OTHER!r}, not {licence!r}")
    target = parse_folder(folder)
    check_empty(target)
    counter = StatisticsCounter()
    mixer, subset = Mixer(dataset_paths), as_subset(mixtures)
    with new_folder(target) as aside, progress("writing", "mixtures", None) as advance:
        aside.mkdir()
        writers: dict[str, _SplitWriter] = {}
        for table in count_items(subset.tables(mixer), advance):
            counter.add(table)
            for split in pc.unique(table.column("split")).to_pylist():
                if split not in SPLITS:
                    raise RecipeError(
                        f'split {split!r} cannot be packaged: load_dataset("hive") reads {", ".join(SPLITS)}. Choose '
                        "among those (splits=), or rename it.",
                        field="split",
                    )
                writer = writers.setdefault(split, _SplitWriter(aside, split, rows_per_shard))
                writer.write(table.filter(pc.equal(table.column("split"), split)))
        splits = {split: writer.close() for split, writer in writers.items()}
        card = _make_card(counter.result(), subset, splits, title, name or f"./{target.name}", licence)
        card = replace(card, licence_name=licence_name, licence_link=licence_link)
        write_card(card, aside)
        files = sum(len(list((aside / split).iterdir())) for split in splits)
    return Package(
        target,
        mixtures=sum(split.num_examples for split in splits.values()),
        files=files,
        num_bytes=sum(split.download_bytes for split in splits.values()),
    )


class _SplitWriter:
    """Writes the files of a split."""

    def __init__(self, folder: Path, split: str, rows_per_shard: int) -> None:
        self._folder, self._split, self._rows_per_shard = folder / split, split, rows_per_shard
        self._files: list[Path] = []
        self._writer: ParquetFileWriter | None = None
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        while len(table):
            room = self._rows_per_shard - self._rows % self._rows_per_shard
            if self._writer is None:
                self._files.append(self._folder / f"{len(self._files):05d}.parquet")
                self._writer = ParquetFileWriter(self._files[-1], ROW_GROUP_ROWS)
            self._writer.write(table.slice(0, room))
            self._rows += min(room, len(table))
            if len(table) >= room:
                self._writer.close()
                self._writer = None
            table = table.slice(room)

    def close(self) -> SplitFiles:
        """Name the files as `datasets` does, by how many there are."""
        if self._writer is not None:
            self._writer.close()
        uncompressed = size = 0
        for number, file in enumerate(self._files):
            metadata = pq.read_metadata(file)
            uncompressed += sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
            size += file.stat().st_size
            file.rename(file.with_name(f"data-{number:05d}-of-{len(self._files):05d}.parquet"))
        return SplitFiles(f"{self._split}/*.parquet", self._rows, uncompressed, size)


def _make_card(
    found: Statistics, subset: Subset, splits: dict[str, SplitFiles], title: str, name: str, licence: str
) -> Card:
    place = name if name.startswith("./") else f"hf://datasets/{name}"
    return Card(
        title=title,
        introduction=(
            "Mixtures for query-based universal sound separation, as metadata: which seconds of which files of which "
            f"corpora are mixed, and at which gain{describe_choice(subset)}. There is no audio here: with your own "
            "copies of the corpora, `hive-datasets`, the library for "
            "[Hive](https://huggingface.co/datasets/ShandaAI/Hive), renders the mixtures while you iterate."
        ),
        usage=(
            "As mixtures, with audio:\n\n"
            "```python\nimport hive_datasets\nfrom datasets import load_dataset\n\n"
            f'ds = load_dataset("hive", data_dir={json.dumps(place)}, streaming=True, dataset_paths="/data/hive")\n'
            "```\n\n"
            "As a table, without:\n\n"
            f"```python\nfrom datasets import load_dataset\n\nds = load_dataset({json.dumps(name)})\n```"
        ),
        config_name="default",
        features=Features.from_arrow_schema(HUB_SCHEMA),
        splits=splits,
        statistics=found,
        licences=(licence,),
        licence_note="" if is_of_demo(subset) else "The licences are those of the audio, which is not here.",
        is_generated=is_of_demo(subset),
    )
