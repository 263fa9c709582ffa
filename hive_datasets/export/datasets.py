"""A dataset with a column of mixtures as one that `datasets` reads without this library."""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from datasets import Audio, Dataset, Features, IterableDataset, Sequence

from ..dataset import Mixture
from ..recipe import RECIPE_SCHEMA, parse_recipe
from .encoding import Encoding

AnyDataset = TypeVar("AnyDataset", Dataset, IterableDataset)
#: As `Audio` stores it.
_FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
#: Mixtures that are rendered at once.
_BATCH_ROWS = 8


def recipes_as_structs(dataset: AnyDataset, column: str = "mixture") -> AnyDataset:
    """The same dataset, with recipes as plain structs, to be pushed or written for everybody.

    ``cast_column("mixture", Mixture())`` makes mixtures of them again.

    Args:
        dataset: with a column of mixtures.
        column: its name.

    Raises:
        ValueError: there is no such column, or it holds no mixtures.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="test", streaming=True)
        >>> next(iter(recipes_as_structs(ds)))["mixture"]["target_duration"]
        10.0
    """
    _find_mixture(dataset, column)
    features = Features({**dataset.features, column: dict(Features.from_arrow_schema(RECIPE_SCHEMA))})

    def convert(table: pa.Table) -> pa.Table:
        recipes = pa.Table.from_struct_array(table.column(column)).select(RECIPE_SCHEMA.names)
        return table.set_column(table.schema.get_field_index(column), column, recipes.to_struct_array())

    return dataset.with_format("arrow").map(convert, batched=True, features=features).with_format(None)


def mixtures_as_audio(
    dataset: AnyDataset,
    column: str = "mixture",
    *,
    stems: Literal["list", "none"] | int = "list",
    audio: Literal["flac", "wav"] = "flac",
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = "PCM_16",
) -> AnyDataset:
    """The same dataset, with its mixtures rendered to columns of `Audio`, as every other dataset of sound has them.

    `column` holds the mixture; its sources are in ``sources``, a list, or in ``source_1``, ``source_2``, ... A
    `Dataset` is rendered at once, into its cache; a stream as it goes.

    Args:
        dataset: with a column of mixtures; rendered as its `Mixture` says.
        column: its name.
        stems: "list", "none", or a number of columns: of mixtures with fewer sources, the last are None.
        audio: "flac" or "wav".
        subtype: "PCM_16", "PCM_24" or, of WAV, "FLOAT"; what is beyond full scale is clipped, unless they are floats.

    Raises:
        ValueError: there is no such column, or it holds no mixtures; an option is out of range; or, when a row is
            rendered, it has more sources than there are columns.
        SourceRootError, SourceError, SourceUnreachableError: audio cannot be read, when a row is rendered.

    Example:
        >>> import hive_datasets
        >>> ds = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True)
        >>> ds = mixtures_as_audio(ds, stems=2)
        >>> ds.column_names
        ['mix_id', 'num_sources', 'labels', 'mixture', 'source_1', 'source_2']
    """
    mixture = _find_mixture(dataset, column)
    encoding = Encoding(audio, subtype)
    if stems not in ("list", "none") and (isinstance(stems, bool) or not isinstance(stems, int) or stems < 1):
        raise ValueError(f"stems must be 'list', 'none' or a number of columns, not {stems!r}")
    sound = Audio(sampling_rate=mixture.sampling_rate)
    names = [f"source_{number + 1}" for number in range(stems)] if isinstance(stems, int) else []
    columns: dict[str, Any] = {column: sound, **dict.fromkeys(names, sound)}
    if stems == "list":
        columns["sources"] = Sequence(sound)
    files = pa.schema([(name, pa.list_(_FILE) if name == "sources" else _FILE) for name in columns])

    taken = sorted(set(columns) & set(dataset.column_names or ()) - {column})
    if taken:
        raise ValueError(f"there is a column {taken[0]!r} already: rename it, or choose other stems")
    decoding = copy.copy(mixture)  # with its sources, whatever decode(False) says
    decoding.decode = True

    def render(stored: dict[str, Any] | None) -> dict[str, Any]:
        heard = None if stored is None else decoding.decode_example(stored)
        if stored is None or heard is None:  # it could not be read, and is to be passed over
            return {}
        recipe, rate = parse_recipe(stored), heard["sampling_rate"]
        stems_heard: Any = heard["sources"]
        signals = [("mix", heard["mix"]), *((f"s{n}", stem) for n, stem in enumerate(stems_heard, start=1))]
        encoded = [(name, encoding.encode(np.asarray(signal, np.float32), rate)[0]) for name, signal in signals]
        made = [{"bytes": data, "path": f"{recipe.mix_id}.{name}.{audio}"} for name, data in encoded]
        if names and len(made) - 1 > len(names):
            raise ValueError(f"mixture {recipe.mix_id} has {len(made) - 1} sources, and there are {len(names)} columns")
        return {column: made[0], "sources": made[1:], **dict(zip(names, made[1:], strict=False))}

    def convert(table: pa.Table) -> pa.Table:
        rows = pa.Table.from_pylist(list(map(render, table.column(column).to_pylist())), schema=files)
        for name in table.column_names:
            if name not in columns:
                rows = rows.append_column(name, table.column(name))
        return rows.select([*table.column_names, *(name for name in columns if name not in table.column_names)])

    features = Features({**dataset.features, **columns})
    # in Arrow, since whatever else becomes `Audio` goes through an encoder
    converted = dataset.with_format("arrow").map(convert, batched=True, batch_size=_BATCH_ROWS, features=features)
    return converted.with_format(None)


def _find_mixture(dataset: Any, column: str) -> Mixture:
    features = dataset.features or {}
    mixture = features.get(column)
    if not isinstance(mixture, Mixture):
        raise ValueError(f"there is no column {column!r} of mixtures, but {features or dataset.column_names}")
    return mixture
