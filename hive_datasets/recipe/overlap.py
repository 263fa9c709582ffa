"""Whether files of metadata hold the same mixtures, found out without reading all of them."""

from __future__ import annotations

import io
import json
import mmap
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from ..errors import RecipeError
from .parsing import parse_recipe
from .reading import PARQUET_SUFFIXES, iterate_json, open_parquet, read_ids, read_json_tables
from .uniqueness import UniqueIds

#: Opens a file, as bytes.
Open = Callable[[str], Any]
_MIX_ID = re.compile(rb'"mix_id"\s*:\s*("(?:[^"\\]|\\.)*")')


def check_files(files: Mapping[str, str], open_file: Open) -> None:
    """Make sure, before a stream begins, that no two files of a split hold the same mixtures.

    The statistics of parquet tell it for files whose mix_ids do not overlap. Else mix_ids are read, and nothing more;
    of JSON that is remote, which would have to be had whole, the first of each file.

    Args:
        files: the metadata files of a split, by name, and what to open for each.
        open_file: opens one.

    Raises:
        RecipeError: a mixture is in two files, or they cannot be read.
    """
    if len(files) < 2:
        return

    def read(name: str) -> Iterator[pa.Table]:
        return _read_ids(name, files[name], open_file)

    def read_again(name: str) -> Iterator[pa.Table]:
        """With each row's own split."""
        if name.endswith(PARQUET_SUFFIXES):
            yield from read(name)
        else:
            with open_file(files[name]) as stream, io.TextIOWrapper(stream, encoding="utf-8") as text:
                yield from read_json_tables(text, name)

    spans = sorted((span, name) for name in files if (span := _span_of(name, files[name], open_file)) is not None)
    together: list[list[str]] = []  # files whose mix_ids may overlap
    reach = ""
    for (low, high), name in spans:
        if not together or low > reach:
            together.append([])
        together[-1].append(name)
        reach = max(reach, high)
    for group in together:
        unique = UniqueIds(read_again)
        for name in group if len(group) > 1 else ():
            for table in read(name):
                unique.add(table, name)
        unique.finish()


def _span_of(name: str, file: str, open_file: Open) -> tuple[str, str] | None:
    """The least and the greatest mix_id of a file, as far as can be told without reading it; None if it is empty."""
    if not name.endswith(PARQUET_SUFFIXES):
        ids = [mix_id for table in _read_ids(name, file, open_file) for mix_id in table.column("mix_id").to_pylist()]
        return (min(ids), max(ids)) if ids else None
    with open_file(file) as stream:
        metadata = open_parquet(stream, name).metadata
        columns = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        found = [group.column(columns.index("mix_id")).statistics for group in groups]
    if all(group is not None and group.has_min_max for group in found):
        return (min(group.min for group in found), max(group.max for group in found)) if found else None
    return "", "\U0010ffff"


def _read_ids(name: str, file: str, open_file: Open) -> Iterator[pa.Table]:
    """The columns `split` and `mix_id` of a parquet file, or of JSON; of JSON that is remote, of its first row."""
    with open_file(file) as stream:
        if name.endswith(PARQUET_SUFFIXES):
            yield from read_ids(open_parquet(stream, name), name)
            return
        with io.TextIOWrapper(stream, encoding="utf-8") as text:
            first = next(iterate_json(text, name), None)
            if first is None:
                return
            recipe = parse_recipe(first, name)
            ids = [recipe.mix_id]
            if isinstance(stream, io.BufferedReader):
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    ids = [_parse_text(found[1], name) for found in _MIX_ID.finditer(data)]
            yield pa.table({"split": pa.repeat(recipe.split, len(ids)), "mix_id": pa.array(ids, pa.string())})


def _parse_text(literal: bytes, name: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError as error:
        raise RecipeError(f"{name}: not valid JSON: {error}", where=name) from None
