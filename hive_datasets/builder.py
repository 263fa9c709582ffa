"""The builder behind ``load_dataset("hive", ...)``: from metadata files to a table of recipes.

The table holds recipes, never audio and never the user's folders, so it is cached once for all ways of rendering it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from datasets.utils.file_utils import xopen

from .availability import Availability, find_availability
from .demo import demo_folder
from .errors import UnreadableSourceWarning
from .features import Mixture, OnError, mixture_features
from .given import remember_given
from .metadata_files import find_metadata_files
from .mixing import Stems
from .prepared.store import find_prepared
from .recipe.reading import PARQUET_SUFFIXES, open_parquet, read_json_tables, read_row_group
from .recipe.tables import labels_of, struct_from_table
from .selection import Selection, explain_filters
from .skipping import skip_unreadable
from .sources import Roots, parse_roots

try:
    from datasets.builder import Key
except ImportError:  # datasets < 5, which takes any key
    Key = "{}_{}".format

#: Options that say how recipes become audio, and which can. They change no cached table, so are no part of its name.
RENDERING_OPTIONS = ("dataset_paths", "sampling_rate", "stems", "on_error", "available_only", "prepared")
#: Recipes of a loaded table that are looked up at once.
_AVAILABILITY_ROWS = 10_000
#: A parquet file is cut into at least this many shards, so that as many workers can share it.
MIN_SHARDS = 8


@dataclass
class HiveConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """Options of ``load_dataset("hive", ...)``.

    Args:
        filters: rows to keep, a pyarrow expression or a list of tuples as `pyarrow.parquet.read_table` takes it,
            over the columns of the metadata except `sources`.
        num_sources: keep mixtures of this many sources, or of one of these numbers.
        labels: keep mixtures in which at least one source has this label, or one of these.
        available_only: True to keep only mixtures whose sources are all there, by an index of each root and
            what ``hive-verify-sources`` has found; or the list that its ``--write-index`` wrote.
        dataset_paths, sampling_rate, stems, on_error, prepared: as for `Mixture`.
    """

    version: Any = "1.0.0"
    filters: Any = None
    num_sources: int | list[int] | None = None
    labels: str | list[str] | None = None
    available_only: bool | str | os.PathLike[str] = False
    dataset_paths: Any = None
    sampling_rate: int | None = None
    stems: Stems = "scaled"
    on_error: OnError = "raise"
    prepared: Any = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """The name of the cached table, which rendering options do not change."""
        kwargs = {name: value for name, value in config_kwargs.items() if name not in RENDERING_OPTIONS}
        return str(super().create_config_id(kwargs, custom_features))

    def selection(self) -> Selection:
        """The rows that `filters`, `num_sources`, `labels` and the config's name ask for.

        Raises:
            ValueError: no row could be chosen by them.
        """
        selection = Selection(self.filters, self.num_sources, self.labels)
        fixed = re.fullmatch(r"(\d)mix", self.name)
        if not fixed:
            return selection
        if selection.allowed_num_sources not in (None, {int(fixed[1])}):
            raise ValueError(f"num_sources={self.num_sources} contradicts the configuration {self.name!r}")
        return replace(selection, num_sources=int(fixed[1]))


@dataclass(frozen=True)
class Shard:
    """A part of the metadata that one worker reads: a JSON file, or rows of one row group of a parquet file.

    Attributes:
        name: the file as the user knows it.
        file: what to open: the same, or a downloaded copy.
        row_group, start, stop: which rows; None in a JSON file.
    """

    name: str
    file: str
    row_group: int | None = None
    start: int = 0
    stop: int | None = None


class Hive(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Builds tables of recipes from Hive's metadata."""

    BUILDER_CONFIG_CLASS = HiveConfig
    BUILDER_CONFIGS: ClassVar = [
        HiveConfig(name="default", description="all mixtures"),
        *(HiveConfig(name=f"{n}mix", description=f"mixtures of {n} sources") for n in range(2, 6)),
        HiveConfig(name="demo", description="a few mixtures of generated sounds; needs no download"),
    ]
    DEFAULT_CONFIG_NAME = "default"

    config: HiveConfig

    def __init__(self, *, revision: str | None = None, **kwargs: Any) -> None:
        dataset_paths = kwargs.get("dataset_paths")
        data_dir, data_files = kwargs.pop("data_dir", None), kwargs.pop("data_files", None)
        if kwargs.get("config_name") == "demo":
            if data_dir is not None or data_files is not None:
                raise ValueError("the configuration 'demo' has metadata of its own: leave data_dir and data_files out")
            data_dir = str(demo_folder() / "metadata")
            dataset_paths = demo_folder() / "sources" if dataset_paths is None else dataset_paths
            if kwargs.get("prepared") is None:  # what the environment names is of other sources
                kwargs["prepared"] = False
        self._roots: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
        remember_given(self._roots, kwargs.get("prepared"))
        download_config = _download_config(kwargs.get("token"), kwargs.get("storage_options"))
        kwargs["data_files"] = find_metadata_files(data_dir, data_files, revision, download_config)
        kwargs["dataset_name"] = "hive"
        kwargs["hash"] = hash_code()
        super().__init__(**kwargs)
        self.config.selection()
        self._availability = (
            None
            if self.config.available_only in (None, False)
            else find_availability(
                self.config.available_only, self._roots, find_prepared(self.config.prepared), self.config.sampling_rate
            )
        )
        # a cached table comes with the feature that it was first loaded with
        self.info.features = mixture_features(self._mixture())

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Hive: mixtures for query-based universal sound separation, rendered from their recipes.",
            features=mixture_features(self._mixture()),
            homepage="https://huggingface.co/datasets/ShandaAI/Hive",
            citation="arXiv:2601.22599",
        )

    def _mixture(self) -> Mixture:
        config = self.config
        return Mixture(
            config.sampling_rate,
            config.stems,
            on_error=config.on_error,
            dataset_paths=self._roots,
            prepared=config.prepared,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        names = {str(split): list(files) for split, files in self.config.data_files.items()}
        files = dl_manager.download(names)
        return [
            datasets.SplitGenerator(
                name=split,
                gen_kwargs={
                    "shards": [
                        shard
                        for name, file in zip(names[split], files[split], strict=True)
                        for shard in self._list_shards(name, str(file))
                    ]
                },
            )
            for split in names
        ]

    def _list_shards(self, name: str, file: str) -> list[Shard]:
        if not name.endswith(PARQUET_SUFFIXES):
            # the authors sort their JSON files into folders by number of sources
            folder = re.fullmatch(r"(\d+)mix", os.path.basename(os.path.dirname(name)))
            allowed = self.config.selection().allowed_num_sources
            return [] if folder and allowed is not None and int(folder[1]) not in allowed else [Shard(name, file)]
        with self._open(file) as stream:
            row_groups = _matching_row_groups(open_parquet(stream, name), stream, self.config.selection().row_filter())
        parts = -(-MIN_SHARDS // max(1, len(row_groups)))
        return [
            Shard(name, file, row_group, start, stop)
            for row_group, num_rows in row_groups
            for start, stop in _divide(num_rows, parts)
        ]

    def _get_examples_iterable_for_split(self, split_generator: Any) -> Any:
        # only of a stream: which files are there must not be cached
        split_generator.gen_kwargs["availability"] = self._availability
        return super()._get_examples_iterable_for_split(split_generator)

    def _generate_tables(
        self, shards: list[Shard], availability: Availability | None = None
    ) -> Iterator[tuple[Any, pa.Table]]:
        selection = self.config.selection()
        shard_index = 0  # counts only shards with rows: datasets before 5 takes no gaps
        for shard in shards:
            tables: Iterator[pa.Table] = map(selection.apply, self._read(shard))
            if availability is not None:
                tables = (table.filter(pa.array(availability.of(table))) for table in tables)
            batch_index = -1
            for batch_index, table in enumerate(filter(len, tables)):
                yield Key(shard_index, batch_index), _to_columns(table)
            shard_index += batch_index >= 0

    def _read(self, shard: Shard) -> Iterator[pa.Table]:
        if shard.row_group is None:
            with self._open(shard.file) as stream, io.TextIOWrapper(stream, encoding="utf-8") as text:
                yield from read_json_tables(text, shard.name)
        else:
            with self._open(shard.file) as stream:
                parquet = open_parquet(stream, shard.name)
                yield from read_row_group(parquet, shard.name, shard.row_group, shard.start, shard.stop)

    def _open(self, file: str) -> Any:
        return xopen(file, "rb", download_config=_download_config(self.token, self.storage_options))

    def _as_dataset(self, *args: Any, **kwargs: Any) -> datasets.Dataset:
        # Casting also gives the dataset a fingerprint of its own, so that what `map` caches at one sampling rate is
        # not served at another.
        dataset = super()._as_dataset(*args, **kwargs).cast_column("mixture", self._mixture())
        if self._availability is None:
            return dataset
        batches = dataset.select_columns("mixture").with_format("arrow").iter(_AVAILABILITY_ROWS)
        recipes = (pa.Table.from_struct_array(pa.table(batch).column("mixture")) for batch in batches)
        available = np.concatenate([np.zeros(0, dtype=bool), *map(self._availability.of, recipes)])
        if len(available) and not available.any():
            message = (
                f"available_only: none of {len(available)} mixtures can be rendered; hive-verify-sources tells why"
            )
            warnings.warn(message, UnreadableSourceWarning, stacklevel=2)
        return dataset.select(np.flatnonzero(available))

    def as_streaming_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """As `datasets` has it; with ``on_error="skip"``, unreadable mixtures are dropped."""
        streams = super().as_streaming_dataset(*args, **kwargs)
        if self.config.on_error != "skip":
            return streams
        if isinstance(streams, dict):
            return type(streams)({split: skip_unreadable(stream) for split, stream in streams.items()})
        return skip_unreadable(streams)


@functools.cache
def hash_code() -> str:
    """A hash of the code that makes the tables, so that no table of older code is served from the cache."""
    folder = Path(__file__).parent
    # of `datasets` too: a major release caches descriptions of features that older ones cannot read
    digest = hashlib.sha256(datasets.__version__.split(".")[0].encode())
    for file in [Path(__file__), folder / "selection.py", *sorted((folder / "recipe").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _download_config(token: Any, storage_options: dict[str, Any] | None) -> datasets.DownloadConfig:
    return datasets.DownloadConfig(token=token, storage_options=storage_options or {})


def _matching_row_groups(
    parquet: pq.ParquetFile, stream: Any, row_filter: pc.Expression | None
) -> list[tuple[int, int]]:
    """The row groups that can hold matching rows, by their statistics, with their numbers of rows."""
    metadata = parquet.metadata
    indices: Any = range(metadata.num_row_groups)
    if row_filter is not None:
        fragment = pyarrow.dataset.ParquetFileFormat().make_fragment(stream)
        try:
            indices = [group.id for group in fragment.subset(filter=row_filter).row_groups]
        except pa.ArrowException as error:
            raise explain_filters(error) from None
    return [(index, metadata.row_group(index).num_rows) for index in indices]


def _divide(num_rows: int, parts: int) -> list[tuple[int, int]]:
    """`num_rows` rows in at most `parts` ranges of nearly equal length, none empty.

    Example:
        >>> _divide(5, 2)
        [(0, 2), (2, 5)]
    """
    bounds = [num_rows * part // parts for part in range(parts + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if stop > start]


def _to_columns(table: pa.Table) -> pa.Table:
    """A table of recipes as the columns of the dataset."""
    columns = [table.column("mix_id"), table.column("num_sources"), labels_of(table), struct_from_table(table)]
    return pa.table(columns, names=["mix_id", "num_sources", "labels", "mixture"])
