"""Recipes as Arrow tables: conversion between the published layout and `RECIPE_SCHEMA`, and vectorised checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RecipeError
from .parsing import UNSAFE_PATH, find_slip, normalize_split, parse_recipe
from .schema import (
    HUB_SCHEMA,
    MAX_DURATION,
    MAX_GAIN,
    MAX_SAMPLE_RATE,
    MAX_SAMPLES,
    MAX_SECOND,
    MAX_SOURCES,
    MAX_TEXT_BYTES,
    RECIPE_SCHEMA,
    RECIPE_TYPE,
    SOURCE_FIELDS,
    Recipe,
    Source,
)

_LARGEST = {
    "target_duration": MAX_DURATION,
    "global_normalization_factor": MAX_GAIN,
    "final_max_amplitude": MAX_GAIN,
}
_SOURCE_NUMBERS = [name for name, type_ in SOURCE_FIELDS if pa.types.is_floating(type_)]


def table_from_recipes(recipes: Iterable[Recipe]) -> pa.Table:
    """Recipes as a table of `RECIPE_SCHEMA`."""
    return pa.Table.from_pylist([recipe.to_dict() for recipe in recipes], schema=RECIPE_SCHEMA)


def table_from_hub(table: pa.Table, where: str | None = None) -> pa.Table:
    """A table as the Hub's parquet has it, checked, in `RECIPE_SCHEMA`.

    `sources` may be a struct of lists (as published) or a list of structs. Columns and source fields that
    the schema does not know are left out.

    Raises:
        RecipeError: as `parse_recipe`, for the first row at fault, or for a column that is missing or ill-typed.
    """
    columns = {}
    for name in RECIPE_SCHEMA.names:
        if name not in table.column_names:
            raise RecipeError(_in_file(where, f"column {name!r} is missing"), where=where, field=name)
        columns[name] = _combine(table.column(name))
    sources = _sources_as_list(columns["sources"], where)
    if sources is None:  # lists of different lengths
        raise _first_fault(table, where)
    columns["sources"] = sources
    arrays = [_cast(columns[field.name], field.type, field.name, where) for field in RECIPE_SCHEMA]
    result = pa.table(arrays, schema=RECIPE_SCHEMA)
    if not _is_valid(result) or any(map(find_slip, pc.unique(result.column("split")).to_pylist())):
        raise _first_fault(table, where)
    return _normalize_splits(result)


def hub_from_table(table: pa.Table) -> pa.Table:
    """A table of `RECIPE_SCHEMA` in the layout that the Hub publishes."""
    lists = _combine(table.column("sources"))
    offsets, values = _offsets(pc.list_value_length(lists)), lists.flatten()
    sources = pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(offsets, values.field(name)) for name, _ in SOURCE_FIELDS],
        fields=list(HUB_SCHEMA.field("sources").type),
    )
    index = table.schema.get_field_index("sources")
    return table.set_column(index, HUB_SCHEMA.field("sources"), sources).cast(HUB_SCHEMA)


def recipes_from_table(table: pa.Table) -> list[Recipe]:
    """The rows of a table of `RECIPE_SCHEMA`."""
    return recipes_from_struct(struct_from_table(table))


def recipes_from_struct(column: pa.StructArray) -> list[Recipe]:
    """The values of a column of recipes, as the `Mixture` feature stores them, without checking them again.

    Column by column, which takes half as long as row by row.

    Raises:
        RecipeError: one is null.
    """
    if column.null_count:
        raise RecipeError(f"row {column.is_null().index(True).as_py()} has no recipe, but null")
    lists = column.field("sources")
    flat, ends = lists.flatten(), np.cumsum(pc.list_value_length(lists).to_numpy()).tolist()
    sources = list(map(Source, *(flat.field(name).to_pylist() for name, _ in SOURCE_FIELDS)))
    chosen = [tuple(sources[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    before = ("mix_id", "split", "sample_rate", "target_duration")
    after = ("global_normalization_factor", "final_max_amplitude", "origin")
    columns = [[column.field(name).to_pylist() for name in names] for names in (before, after)]
    return list(map(Recipe, *columns[0], chosen, *columns[1]))


def struct_from_table(table: pa.Table, origin: pa.Array | int | None = None) -> pa.StructArray:
    """A table of `RECIPE_SCHEMA`, and where its rows came from, as one column: what the `Mixture` feature stores."""
    if not isinstance(origin, pa.Array):
        number = pa.scalar(origin, pa.int32())
        origin = pa.repeat(number, len(table)) if origin is not None else pa.nulls(len(table), pa.int32())
    columns = [_combine(table.column(name)) for name in RECIPE_SCHEMA.names]
    return pa.StructArray.from_arrays([*columns, origin], fields=list(RECIPE_TYPE))


def struct_from_rows(rows: Sequence[Any], origin: int | None = None) -> pa.StructArray:
    """Rows in any shape that `parse_recipe` reads (None stays null), as what the `Mixture` feature stores.

    Args:
        rows: the rows.
        origin: where those that do not say it came from.
    """
    return pa.array([None if row is None else to_stored(parse_recipe(row), origin) for row in rows], type=RECIPE_TYPE)


def to_stored(recipe: Recipe, origin: int | None = None) -> dict[str, Any]:
    """A recipe as a value of `RECIPE_TYPE`; `origin` is where it came from, if it does not say so."""
    return {**recipe.to_dict(), "origin": origin if recipe.origin is None else recipe.origin}


def labels_of(table: pa.Table) -> pa.ListArray:
    """The labels of each row's sources, as a list of strings."""
    sources = _combine(table.column("sources"))
    return pa.ListArray.from_arrays(_offsets(pc.list_value_length(sources)), sources.flatten().field("label"))


def prefixes_of(paths: pa.StringArray) -> pa.StringArray:
    """The first component of each metadata path, which names its corpus.

    Example:
        >>> prefixes_of(pa.array(["AudioSet/a/b.flac", "c.wav"])).to_pylist()
        ['AudioSet', 'c.wav']
    """
    return pc.list_element(pc.split_pattern(paths, "/", max_splits=1), 0)


def crop_samples(table: pa.Table, sampling_rate: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `Source.crop_samples`, for all sources of a table of `RECIPE_SCHEMA`, one after the other: starts and ends."""
    sources = _combine(table.column("sources"))
    uses = sources.flatten()
    lengths = (table.column("target_duration").to_numpy() * sampling_rate).astype(np.int64)
    start, stop = (
        (uses.field(name).to_numpy() * sampling_rate).astype(np.int64)
        for name in ("crop_start_second", "crop_end_second")
    )
    return start, np.minimum(stop, start + np.repeat(lengths, pc.list_value_length(sources).to_numpy()))


def contains_label(table: pa.Table, labels: Sequence[str]) -> pa.BooleanArray:
    """For each row, whether at least one of its sources has one of `labels`."""
    sources = _combine(table.column("sources"))
    found = pc.is_in(sources.flatten().field("label"), value_set=pa.array(labels, pa.string()))
    counts = np.zeros(len(table), dtype=np.int64)
    np.add.at(counts, pc.list_parent_indices(sources).to_numpy(), found.to_numpy(zero_copy_only=False))
    return pa.array(counts > 0)


def _is_valid(table: pa.Table) -> bool:
    """Whether `parse_recipe` would take every row; all rows at once."""
    if any(column.null_count for column in table.columns):
        return False
    sources = _combine(table.column("sources"))
    lengths = pc.list_value_length(sources).to_numpy()
    flat = sources.flatten()
    fields = {name: flat.field(name) for name, _ in SOURCE_FIELDS}
    if flat.null_count or any(field.null_count for field in fields.values()):
        return False
    texts = [table.column("mix_id"), table.column("split"), fields["source_id"], fields["path"], fields["label"]]
    positive = np.stack([table.column(name).to_numpy() for name in _LARGEST])
    largest = np.array(list(_LARGEST.values()))[:, None]
    rates, durations = table.column("sample_rate").to_numpy(), table.column("target_duration").to_numpy()
    numbers = {name: fields[name].to_numpy() for name in _SOURCE_NUMBERS}
    return bool(
        np.all((lengths > 0) & (lengths <= MAX_SOURCES))
        and np.array_equal(lengths, table.column("num_sources").to_numpy())
        and np.all((rates > 0) & (rates <= MAX_SAMPLE_RATE))
        and np.all((positive > 0) & (positive <= largest))  # which NaN is not
        and np.all(np.floor(durations * rates) * (1 + lengths) <= MAX_SAMPLES)
        and np.all(np.abs(numbers["applied_weight"]) <= MAX_GAIN)
        and all(np.all(np.isfinite(values)) for values in numbers.values())
        and all(
            np.all(numbers[f"{span}_start_second"] >= 0)
            and np.all(numbers[f"{span}_end_second"] > numbers[f"{span}_start_second"])
            and np.all(numbers[f"{span}_end_second"] <= MAX_SECOND)
            for span in ("crop", "chunk")
        )
        and not any(pc.any(pc.equal(text, "")).as_py() for text in texts[:-1])  # a label may be empty
        and all((pc.max(pc.binary_length(text)).as_py() or 0) <= MAX_TEXT_BYTES for text in texts)
        and all(map(_is_utf8, texts))
        and not pc.any(pc.match_substring_regex(fields["path"], UNSAFE_PATH)).as_py()
    )


def _is_utf8(text: pa.Array | pa.ChunkedArray) -> bool:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _first_fault(table: pa.Table, where: str | None) -> RecipeError:
    """The error of the first row that is not a valid recipe."""
    mix_id = None
    for position in range(len(table)):
        try:
            row = table.slice(position, 1).to_pylist()[0]
            mix_id = parse_recipe(row, where).mix_id
        except RecipeError as error:
            return error
        except UnicodeDecodeError as error:
            after = f"the row after mixture {mix_id}" if mix_id else "the first row"
            return RecipeError(_in_file(where, f"{after}: text that is not UTF-8: {error}"), where=where)
        if row["num_sources"] is None:  # which the authors' JSON may lack, a table may not
            message = _in_file(where, f"mixture {mix_id}: num_sources is missing")
            return RecipeError(message, where=where, mix_id=mix_id, field="num_sources")
    return RecipeError(_in_file(where, "a row is not a valid recipe"), where=where)


def _sources_as_list(sources: pa.Array, where: str | None) -> pa.Array | None:
    """`sources` as a list of structs; None if a struct of lists has lists of different lengths."""
    is_list = pa.types.is_list(sources.type) or pa.types.is_large_list(sources.type)
    struct = sources.type.value_type if is_list else sources.type
    if not pa.types.is_struct(struct):
        message = f"column 'sources' must be a struct of lists or a list of structs, not {sources.type}"
        raise RecipeError(_in_file(where, message), where=where, field="sources")
    for name, _ in SOURCE_FIELDS:
        if struct.get_field_index(name) < 0:
            raise RecipeError(_in_file(where, f"column 'sources' has no field {name!r}"), where=where, field=name)
    if is_list:
        flat = sources.flatten()
        fields = [_cast(flat.field(name), type_, name, where) for name, type_ in SOURCE_FIELDS]
        lengths = pc.list_value_length(sources)
        parents, nulls = flat.is_null(), sources.is_null()
        values = pa.StructArray.from_arrays(fields, fields=list(RECIPE_SCHEMA.field("sources").type.value_type))
        if pc.any(parents).as_py() or pc.any(nulls).as_py():
            return None
        return pa.ListArray.from_arrays(_offsets(lengths), values)
    lists = dict(zip((field.name for field in struct), sources.flatten(), strict=True))
    fields, all_lengths = [], []
    for name, type_ in SOURCE_FIELDS:
        column = lists[name]
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            message = f"field {name!r} of column 'sources' must be a list, not {column.type}"
            raise RecipeError(_in_file(where, message), where=where, field=name)
        all_lengths.append(pc.list_value_length(column))
        fields.append(_cast(column.flatten(), type_, name, where))
    if any(lengths.null_count or not lengths.equals(all_lengths[0]) for lengths in all_lengths):
        return None
    values = pa.StructArray.from_arrays(fields, fields=list(RECIPE_SCHEMA.field("sources").type.value_type))
    return pa.ListArray.from_arrays(_offsets(all_lengths[0]), values)


def _cast(array: pa.Array, type_: pa.DataType, name: str, where: str | None) -> pa.Array:
    if array.type == type_:
        return array
    try:
        # Arrow would also parse numbers out of text, print numbers as text and count booleans
        if pa.types.is_nested(type_) or _kind(array.type) in _FITTING_KINDS[_kind(type_)]:
            return array.cast(type_)
    except pa.ArrowInvalid:  # out of range
        pass
    message = f"field {name!r} has type {array.type}, which does not fit {type_}"
    raise RecipeError(_in_file(where, message), where=where, field=name)


_FITTING_KINDS = {"text": {"text", "null"}, "whole": {"whole", "null"}, "real": {"real", "whole", "null"}}


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_null(type_):
        return "null"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    if pa.types.is_integer(type_):
        return "whole"
    return "real" if pa.types.is_floating(type_) else "other"


def _normalize_splits(table: pa.Table) -> pa.Table:
    names = pc.unique(table.column("split")).to_pylist()
    if all(normalize_split(name) == name for name in names):
        return table
    splits = pa.array([normalize_split(name) for name in table.column("split").to_pylist()], pa.string())
    return table.set_column(table.schema.get_field_index("split"), "split", splits)


def _offsets(lengths: pa.Array) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths.to_numpy())]), pa.int32())


def _combine(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _in_file(where: str | None, message: str) -> str:
    return f"{where}: {message}" if where else message
