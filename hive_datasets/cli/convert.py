"""``hive-datasets convert``: metadata between the Hub's parquet and the authors' JSON."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from ..recipe.reading import JSON_SUFFIXES, PARQUET_SUFFIXES, list_metadata_files, open_parquet, read_tables
from ..recipe.uniqueness import UniqueIds
from ..recipe.writing import JsonFileWriter, JsonTreeWriter, ParquetFileWriter, ParquetWriter, write_recipes
from ..utils.files import remove_leftovers, written_aside
from .parser import add_parser

_DESCRIPTION = """\
Converts metadata between the layout of the Hub (parquet) and that of the authors (JSON).

IN is a parquet, JSON or JSONL file, or a folder of such files. OUT is
  a .parquet file     one parquet file in the Hub's schema
  a .json/.jsonl file one array, or a row a line
  any other name      a folder: {split}/data.parquet, or the authors' tree
                      {split}/{n}mix/*.json; by default the one that IN is not
Every row is checked on the way. Fields that the schema does not know are left out.
OUT appears when it is whole, and must not exist."""

_EXAMPLES = ["metadata/ --out metadata.parquet", "train.parquet --to json --out tree"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "convert", "convert metadata between parquet and JSON", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("source", metavar="IN", help="metadata to read")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="what to write")
    parser.add_argument("--to", choices=["parquet", "json"], help="what to write into a folder OUT")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    target: Path = options.out
    if target.exists():
        raise argparse.ArgumentTypeError(f"{target} exists: remove it, or choose another name")
    remove_leftovers(target.parent, glob.escape(target.name))
    files = list_metadata_files(options.source)
    with written_aside(target) as aside:
        rows = write_recipes(_read_with_progress(files, options.quiet), _choose_writer(aside, files, options.to))
        if not aside.exists():  # no rows: an empty folder says so
            aside.mkdir()
    print(f"{rows} mixtures written to {target}")
    return 0


def _choose_writer(target: Path, files: list[str], to: str | None) -> Any:
    suffix = target.suffix.lower()
    if suffix in PARQUET_SUFFIXES + JSON_SUFFIXES:
        if to is not None and (to == "parquet") != (suffix in PARQUET_SUFFIXES):
            raise argparse.ArgumentTypeError(f"--to {to} contradicts the name {target.name}")
        return ParquetFileWriter(target) if suffix in PARQUET_SUFFIXES else JsonFileWriter(target)
    to = to or ("json" if files[0].endswith(PARQUET_SUFFIXES) else "parquet")
    return ParquetWriter(target) if to == "parquet" else JsonTreeWriter(target)


def _read_with_progress(files: list[str], quiet: bool) -> Iterator[pa.Table]:
    """The tables of all files; progress in rows where the files tell how many there are, else in files."""
    rows, total = 0, _count_rows(files)
    unit, end = (" mixtures", total) if total is not None else (" files", len(files))
    unique = UniqueIds(read_tables)
    with tqdm(total=end, unit=unit, disable=quiet, file=sys.stderr) as progress:
        for file in files:
            for table in read_tables(file):
                unique.add(table, file)
                yield table
                rows += len(table)
                progress.set_postfix_str(f"{rows} mixtures")
                progress.update(len(table) if total is not None else 0)
            progress.update(0 if total is not None else 1)
    unique.finish()


def _count_rows(files: list[str]) -> int | None:
    """The number of rows, which only local parquet files tell beforehand."""
    if all(file.endswith(PARQUET_SUFFIXES) and "://" not in file for file in files):
        return sum(_count_parquet_rows(file) for file in files)
    return None


def _count_parquet_rows(file: str) -> int:
    with Path(file).open("rb") as stream:
        return int(open_parquet(stream, file).metadata.num_rows)
