"""Reading metadata: parquet and JSON files, one or a folder of them, local or behind any fsspec URL."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import HiveError, MetadataUnavailableError, RecipeError, describe
from .parsing import parse_recipe
from .schema import RECIPE_SCHEMA, Recipe
from .tables import recipes_from_table, table_from_hub, table_from_recipes
from .uniqueness import UniqueIds

PARQUET_SUFFIXES = (".parquet",)
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
METADATA_SUFFIXES = PARQUET_SUFFIXES + JSON_SUFFIXES
#: Rows read at once. Small, so that the first mixture comes soon and a resumed stream skips little.
BATCH_ROWS = 1000
_READ_CHARACTERS = 1 << 20
#: No row is that long: past it, text that does not parse is broken, not just incomplete.
_MAX_ROW_CHARACTERS = 1 << 24


def read_recipes(metadata: Any) -> Iterator[Recipe]:
    """Iterate over the recipes of any metadata.

    Args:
        metadata: a row (a mapping, or a `Recipe`), a list of rows, or the path or fsspec URL of a parquet,
            JSON or JSONL file or of a folder of such files (in the order of their names).

    Raises:
        RecipeError: a row is not a valid recipe, or a mixture is in two files.
        MetadataUnavailableError: there are no such files.

    Example:
        >>> row = {
        ...     "mix_id": "sample_00000000", "split": "train", "sample_rate": 44100, "target_duration": 4.0,
        ...     "num_sources": 1,
        ...     "sources": {
        ...         "source_id": ["s1"], "path": ["ESC-50-master/audio/1-59513-A-0.wav"], "label": ["Bark"],
        ...         "crop_start_second": [0.5], "crop_end_second": [4.5],
        ...         "chunk_start_second": [0.0], "chunk_end_second": [5.0],
        ...         "rms_gain": [2.0], "snr_db": [0.0], "applied_weight": [2.0],
        ...     },
        ...     "global_normalization_factor": 0.9, "final_max_amplitude": 0.95,
        ... }
        >>> [recipe.mix_id for recipe in read_recipes([row])]
        ['sample_00000000']
    """
    if isinstance(metadata, Recipe):
        yield metadata
    elif isinstance(metadata, Mapping):
        yield parse_recipe(metadata)
    elif isinstance(metadata, (str, os.PathLike)):
        for table in read_files(list_metadata_files(os.fspath(metadata))):
            yield from recipes_from_table(table)
    elif isinstance(metadata, Iterable):
        for index, row in enumerate(metadata):
            yield row if isinstance(row, Recipe) else parse_recipe(row, where=f"row {index}")
    else:
        raise TypeError(f"metadata must be rows or a path, not {type(metadata).__name__}")


def list_metadata_files(path: str) -> list[str]:
    """The metadata files at `path`: the file itself, or those in and below the folder, by name.

    Raises:
        MetadataUnavailableError: there are none.
    """
    fs, root = fsspec.core.url_to_fs(path)
    if fs.isfile(root):
        return [path]
    if "://" not in path and not fs.exists(root):
        raise MetadataUnavailableError(f"no metadata: {path} does not exist")
    found = sorted(file for file in fs.find(root) if is_metadata_file(file))
    if not found:
        suffixes = ", ".join(METADATA_SUFFIXES)
        raise MetadataUnavailableError(f"{path}: no metadata there; looked for {suffixes} in and below it.")
    return [fs.unstrip_protocol(file) if "://" in path else file for file in found]


def is_metadata_file(path: str) -> bool:
    """Whether the name is that of a parquet or JSON file that can hold recipes."""
    name = os.path.basename(path)
    return name.endswith(METADATA_SUFFIXES) and name not in {"dataset_info.json", "dataset_infos.json", "state.json"}


def read_files(files: Sequence[str]) -> Iterator[pa.Table]:
    """Iterate over metadata files as `read_tables` does, none of which may have a mixture of another."""
    unique = UniqueIds(read_tables)
    for file in files:
        for table in read_tables(file):
            unique.add(table, file)
            yield table
    unique.finish()


def read_tables(file: str) -> Iterator[pa.Table]:
    """Iterate over one metadata file as checked tables of `RECIPE_SCHEMA`, at most `BATCH_ROWS` rows each."""
    if file.endswith(PARQUET_SUFFIXES):
        with fsspec.open(file, "rb") as stream:
            parquet = open_parquet(stream, file)
            for row_group in range(parquet.num_row_groups):
                yield from read_row_group(parquet, file, row_group)
    else:
        with fsspec.open(file, "rt", encoding="utf-8") as stream:
            yield from read_json_tables(stream, file)


def open_parquet(stream: IO[bytes], file: str) -> pq.ParquetFile:
    """Open a parquet file of recipes.

    Raises:
        RecipeError: it is not parquet, or lacks a column.
    """
    try:
        with _damage_explained(file):
            # Not buffered ahead: threads of pyarrow do that, and one that still lets go of a buffer of a Python file
            # while the interpreter ends takes the process down with it.
            parquet = pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
    except RecipeError as error:
        raise RecipeError(f"{file}: not a parquet file: {error}", where=file) from None
    names = parquet.schema_arrow.names
    for name in RECIPE_SCHEMA.names:
        if name not in names:
            raise RecipeError(f"{file}: column {name!r} is missing", where=file, field=name)
    return parquet


def read_row_group(
    parquet: pq.ParquetFile, file: str, row_group: int, start: int = 0, stop: int | None = None
) -> Iterator[pa.Table]:
    """Iterate over the rows `start` to `stop` of a row group as checked tables of `RECIPE_SCHEMA`."""
    position = 0
    # One thread: a few hundred bytes a row are soon read, and there may be many workers.
    with _damage_explained(file):
        for batch in parquet.iter_batches(BATCH_ROWS, [row_group], RECIPE_SCHEMA.names, use_threads=False):
            first, last = max(start - position, 0), len(batch) if stop is None else min(stop - position, len(batch))
            position += len(batch)
            if first < last:
                yield table_from_hub(pa.Table.from_batches([batch.slice(first, last - first)]), file)
            if stop is not None and position >= stop:
                return


def read_choosable(parquet: pq.ParquetFile, file: str, row_group: int, with_labels: bool) -> Iterator[pa.Table]:
    """Iterate over a row group by what rows are chosen by: all columns but `sources`, unchecked; or their labels too.

    `sources` is then a list of structs of `label` alone.
    """
    names = [name for name in RECIPE_SCHEMA.names if name != "sources"]
    paths = (parquet.schema.column(number).path for number in range(len(parquet.schema)))
    leaves = [path for path in paths if path.startswith("sources.") and "label" in path.split(".")]
    with _damage_explained(file):
        columns = names + (leaves if with_labels else [])
        for batch in parquet.iter_batches(1 << 16, [row_group], columns, use_threads=False):
            table = pa.Table.from_batches([batch])
            if with_labels:
                lists = table.column("sources").combine_chunks()
                if pa.types.is_struct(lists.type):
                    (labels,) = lists.flatten()
                    offsets, values = labels.offsets, labels.values
                    lists = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([values], names=["label"]))
                table = table.set_column(table.schema.get_field_index("sources"), "sources", lists)
            yield table


def read_ids(parquet: pq.ParquetFile, file: str) -> Iterator[pa.Table]:
    """Iterate over the columns `split` and `mix_id` of a parquet file, unchecked."""
    with _damage_explained(file):
        for batch in parquet.iter_batches(1 << 16, columns=["split", "mix_id"], use_threads=False):
            yield pa.Table.from_batches([batch])


@contextlib.contextmanager
def _damage_explained(file: str) -> Iterator[None]:
    """What damaged parquet leads to, as a `RecipeError`; pages that bear checksums are compared with them."""
    try:
        yield
    except HiveError:
        raise
    except Exception as error:
        if isinstance(error, (pa.ArrowException, ValueError)) or type(error) is OSError:  # which Arrow raises, too
            raise RecipeError(f"{file} is damaged, or cannot be read: {error}. Fetch it again.", where=file) from None
        if isinstance(error, OSError) or "://" in file:  # every protocol has exceptions of its own
            message = f"{file} cannot be read: {describe(error)}. Try again later."
            raise MetadataUnavailableError(message) from None
        raise


def read_json_tables(stream: IO[str], file: str) -> Iterator[pa.Table]:
    """Iterate over a JSON stream of recipes as tables of `RECIPE_SCHEMA`."""
    recipes: list[Recipe] = []
    for number, row in enumerate(iterate_json(stream, file), start=1):
        has_name = isinstance(row, dict) and isinstance(row.get("mix_id"), str)
        recipes.append(parse_recipe(row, file if has_name else f"{file}, row {number}"))
        if len(recipes) == BATCH_ROWS:
            yield table_from_recipes(recipes)
            recipes = []
    if recipes:
        yield table_from_recipes(recipes)


def iterate_json(stream: IO[str], file: str) -> Iterator[Any]:
    """Iterate over the objects of a JSON array, of JSON lines, or of a single object, without loading all.

    Raises:
        RecipeError: the text is empty, is not JSON, or ends too early.
    """
    decoder = json.JSONDecoder()
    text, position = "", 0
    in_array: bool | None = None
    rows = lines = 0  # before what is held

    def fail(problem: str) -> RecipeError:
        return RecipeError(f"{file}: {problem}", where=file)

    def read() -> str:
        try:
            return stream.read(_READ_CHARACTERS)
        except UnicodeDecodeError as error:
            raise fail(f"not UTF-8, after row {rows}: {error}") from None

    while True:
        while position < len(text) and (text[position].isspace() or text[position] == ","):
            position += 1
        if position == len(text):
            lines += text.count("\n")
            text, position = read(), 0
            if text:
                continue
            if in_array:
                raise fail("the JSON array is not closed: the file is cut short")
            if in_array is None:
                raise fail("is empty")
            return
        if in_array is None:
            in_array = text[position] == "["
            if in_array:
                position += 1
                continue
        if in_array and text[position] == "]":
            if (text[position + 1 :] + stream.read()).strip():
                raise fail("there is more after the end of the JSON array")
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            if len(text) - position >= _MAX_ROW_CHARACTERS:
                raise fail(f"row {rows + 1} is broken, or longer than {_MAX_ROW_CHARACTERS:,} characters") from None
            block = read()
            if not block:
                near = text[error.pos : error.pos + 60] or text[position : position + 60]
                where = f"line {lines + error.lineno}, row {rows + 1}"
                raise fail(f"{where} is not valid JSON, or cut short: {error.msg} near {near!r}") from None
            lines += text.count("\n", 0, position)
            text, position = text[position:] + block, 0
            continue
        except (ValueError, RecursionError) as error:  # numbers of too many digits; lists in lists in lists
            raise fail(f"row {rows + 1} is not valid JSON: {error}") from None
        yield value
        rows += 1
        position = end
