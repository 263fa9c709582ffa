"""The builder behind ``load_dataset("hive", ...)``: from metadata files to a table of recipes.

The table holds recipes, never audio and never the user's folders, so it is cached once for all ways of rendering it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.fingerprint import Hasher
from datasets.utils.file_utils import xopen

from ..demo import demo_folder
from ..errors import HiveError, MetadataUnavailableError, RecipeError
from ..mixing import Alignment, Stems
from ..mixing.origins import find_origin, remember_origin
from ..prepared.store import find_prepared
from ..recipe.metadata_files import HUB_REPOSITORY, find_metadata_files
from ..recipe.overlap import check_files
from ..recipe.parsing import SPLITS, normalize_split
from ..recipe.selection import Seen, Selection
from ..recipe.tables import labels_of, struct_from_table
from ..recipe.uniqueness import UniqueIds
from .availability import Availability, find_availability
from .features import Mixture, OnError, mixture_features
from .shards import Shard, ShardReader
from .skipping import skip_unreadable

try:
    from datasets.builder import Key
except ImportError:  # datasets < 5, which takes any key
    Key = "{}_{}".format

#: Options that say how recipes become audio, and which can. They change no cached table, so are no part of its name.
RENDERING_OPTIONS = ("dataset_paths", "sampling_rate", "stems", "on_error", "alignment", "available_only", "prepared")
#: Recipes of a loaded table that are looked up at once.
_AVAILABILITY_ROWS = 10_000


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
        dataset_paths, sampling_rate, stems, on_error, alignment, prepared: as for `Mixture`.
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
    alignment: Alignment = "authors"
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
        self._origin = remember_origin(dataset_paths, kwargs.get("prepared"))
        self._where = data_dir or data_files or f"the metadata of {HUB_REPOSITORY}"
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
                self.config.available_only,
                find_origin(self._origin).roots,
                find_prepared(self.config.prepared),
                self.config.sampling_rate if self.config.alignment == "own" else None,
            )
        )
        #: The shards of each split that is streamed.
        self._streamed: dict[str, list[Shard]] = {}
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
            alignment=config.alignment,
        )

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        # What is cached are recipes as plain structs: nothing in it is of one way of rendering them.
        self.info.features = mixture_features(None)
        try:
            super()._download_and_prepare(*args, **kwargs)
        except datasets.exceptions.DatasetGenerationError as error:  # which says nothing
            if isinstance(error.__cause__, HiveError):
                raise error.__cause__ from None
            raise
        finally:
            self.info.features = mixture_features(self._mixture())

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        # each once, by whatever patterns it was found
        names = {str(split): list(dict.fromkeys(files)) for split, files in self.config.data_files.items()}
        files = dl_manager.download(names)
        generators, reader = [], self._reader()
        for split in names:
            shards = [
                shard
                for name, file in zip(names[split], files[split], strict=True)
                for shard in reader.list_shards(name, str(file))
            ]
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"shards": shards, "split": split}))
        self._check([generator.gen_kwargs["shards"] for generator in generators])
        return generators

    def _check(self, splits: list[list[Shard]]) -> None:
        """Before anything is read: is any mixture there twice, and is there one at all of those that are asked for?"""
        reader = self._reader()
        for shards in splits:
            check_files({shard.name: shard.file for shard in shards}, reader.open_file)
        seen = Seen(reader.selection, self._where)
        if not reader.selection.is_all and not reader.find_chosen(itertools.chain(*splits), seen):
            seen.given = seen.chosen  # whether they can be rendered is not asked here
            seen.check()

    def _get_examples_iterable_for_split(self, split_generator: Any) -> Any:
        # only of a stream: which files are there, and where, must not be cached
        self._streamed[str(split_generator.name)] = split_generator.gen_kwargs["shards"]
        split_generator.gen_kwargs.update(availability=self._availability, origin=self._origin)
        return super()._get_examples_iterable_for_split(split_generator)

    def _generate_tables(
        self,
        shards: list[Shard],
        split: str,
        availability: Availability | None = None,
        origin: int | None = None,
    ) -> Iterator[tuple[Any, pa.Table]]:
        """Tables of the dataset's columns.

        Args:
            shards: what to read.
            split: as what it is loaded.
            availability: of a stream, tells what to leave out.
            origin: of a stream, where its sources are.
        """
        unique = UniqueIds(self._reader().read_json)
        # by which `to_parquet` of a stream knows the types
        described = None if origin is None else self.info.features.arrow_schema.metadata
        shard_index = 0  # counts only shards with rows: datasets before 5 takes no gaps
        for shard in shards:
            batch_index = -1
            for batch_index, table in enumerate(self._choose(shard, split, availability, unique)):
                columns = _to_columns(table, origin).replace_schema_metadata(described)
                yield Key(shard_index, batch_index), columns
            shard_index += batch_index >= 0
        unique.finish()

    def _choose(
        self,
        shard: Shard,
        split: str,
        availability: Availability | None,
        unique: UniqueIds | None = None,
        seen: Seen | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of a shard that are asked for."""
        reader = self._reader()
        for table in reader.read(shard):
            _check_split(table, split, shard.name)
            if unique is not None and shard.row_group is None:  # of parquet, `check_files` has seen all
                unique.add(table, shard.name)
            chosen = reader.selection.apply(table)
            available = chosen
            if availability is not None and len(chosen):
                available = chosen.filter(pa.array(availability.of(chosen)))
            if seen is not None:
                seen.note(table)
                seen.chosen += len(chosen)
                seen.given += len(available)
            if len(available):
                yield available

    def _reader(self) -> ShardReader:
        download_config = _download_config(self.token, self.storage_options)
        open_file = functools.partial(xopen, mode="rb", download_config=download_config)
        return ShardReader(self.config.selection(), open_file)

    def _as_dataset(self, *args: Any, **kwargs: Any) -> datasets.Dataset:
        mixture = self._mixture()
        self.info.features = mixture_features(None)
        try:
            plain = super()._as_dataset(*args, **kwargs)
        finally:
            self.info.features = mixture_features(mixture)
        # Rows are marked with where they came from, and then rendered as they are marked. The fingerprint tells these
        # and the ways of rendering apart, so that what `map` caches of one is not served of another.
        way = f"{plain._fingerprint}/{self._origin}/{mixture}"
        marking = Mixture(origin=self._origin)
        marked = plain.cast_column("mixture", marking, new_fingerprint=Hasher.hash(f"marked {way}"))
        dataset = marked.cast_column("mixture", mixture, new_fingerprint=Hasher.hash(way))
        if self._availability is None:
            return dataset
        batches = dataset.select_columns("mixture").with_format("arrow").iter(_AVAILABILITY_ROWS)
        recipes = (pa.Table.from_struct_array(pa.table(batch).column("mixture")) for batch in batches)
        available = np.concatenate([np.zeros(0, dtype=bool), *map(self._availability.of, recipes)])
        return dataset.select(np.flatnonzero(available))

    def as_dataset(self, split: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `datasets` has it; splits of which nothing was chosen are left out, and if all are, that is an error."""
        empty = {str(name) for name, info in self.info.splits.items() if not info.num_examples}
        if empty and not self.config.selection().is_all:  # which `datasets` has no word for
            left = {str(name): name for name in self.info.splits if str(name) not in empty}
            if not left or str(split) in empty:
                raise self._nothing_chosen(split)
            split = left if split is None else split
        try:
            dataset = super().as_dataset(split, *args, **kwargs)
        except ValueError as error:
            if empty and "corresponds to no data" in str(error):
                raise self._nothing_chosen(split) from None
            raise
        found = list(dataset.values()) if isinstance(dataset, dict) else [dataset]
        if self._availability is not None and not any(map(len, found)):
            raise self._nothing_chosen(split if isinstance(split, str) else None)
        return dataset

    def _nothing_chosen(self, split: Any) -> MetadataUnavailableError:
        of_split = "" if split is None else f" of split {str(split)!r}"
        which = "can be rendered here. hive-verify-sources tells why" if self._availability else "was asked for"
        return MetadataUnavailableError(f"{self._where}: no mixture{of_split} {which}")

    def as_streaming_dataset(self, split: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `datasets` has it; if there would be nothing in it of what was chosen, that is an error, now.

        With ``on_error="skip"``, unreadable mixtures are dropped.
        """
        self._streamed = {}
        streams = super().as_streaming_dataset(split, *args, **kwargs)
        self._require_rows(split)
        if self.config.on_error != "skip":
            return streams
        if isinstance(streams, dict):
            return type(streams)({split: skip_unreadable(stream) for split, stream in streams.items()})
        return skip_unreadable(streams)

    def _require_rows(self, split: Any) -> None:
        """Look for the first mixture that a stream would have."""
        reader = self._reader()
        seen = Seen(reader.selection, self._where, {"split": split})
        for name, shards in self._streamed.items():
            if self._availability is not None:
                if any(True for shard in shards for _ in self._choose(shard, name, self._availability, seen=seen)):
                    return
            elif reader.selection.is_all or reader.find_chosen(shards, seen, any_row=True):
                return
        if self._streamed and self._availability is None:
            raise self._nothing_chosen(split)
        if self._streamed:
            seen.check()


@functools.cache
def hash_code() -> str:
    """A hash of the code that makes the tables, so that no table of older code is served from the cache."""
    here = Path(__file__)
    # of `datasets` too: a major release caches descriptions of features that older ones cannot read
    digest = hashlib.sha256(datasets.__version__.split(".")[0].encode())
    for file in [here, here.with_name("shards.py"), *sorted((here.parents[1] / "recipe").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _download_config(token: Any, storage_options: dict[str, Any] | None) -> datasets.DownloadConfig:
    return datasets.DownloadConfig(token=token, storage_options=storage_options or {})


def _check_split(table: pa.Table, split: str, name: str) -> None:
    """Refuse rows of one split that would be handed out as another's.

    Raises:
        RecipeError: there are such rows.
    """
    expected = normalize_split(split)
    if expected not in SPLITS:  # whoever loads files under other names has a reason
        return
    others = [other for other in pc.unique(table.column("split")).to_pylist() if other != expected]
    if others:
        row = pc.index(table.column("split"), others[0]).as_py()
        mix_id = table.column("mix_id")[row].as_py()
        raise RecipeError(
            f"{name}: mixture {mix_id} is of split {others[0]!r}, and would be loaded as {split!r}. Say which files "
            f'are of which split, data_files={{"{others[0]}": ...}}, or give the folder that holds all, data_dir=...: '
            "splits are then told by the names of files and folders. Under a name of your own, as in "
            'data_files={"all": ...}, rows of every split are taken.',
            where=name,
            mix_id=mix_id,
            field="split",
        )


def _to_columns(table: pa.Table, origin: int | None) -> pa.Table:
    """A table of recipes as the columns of the dataset; of a cache, without an origin."""
    mixtures = table.to_struct_array() if origin is None else struct_from_table(table, origin)
    columns = [table.column("mix_id"), table.column("num_sources"), labels_of(table), mixtures]
    return pa.table(columns, names=["mix_id", "num_sources", "labels", "mixture"])
