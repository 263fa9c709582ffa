"""Writing metadata: the Hub's parquet, the authors' JSON tree, JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .schema import HUB_SCHEMA
from .tables import hub_from_table

#: Rows of a row group: small enough that a worker reads one at a time, large enough to compress well.
ROW_GROUP_ROWS = 100_000
#: Mixtures in one of the authors' JSON files.
JSON_FILE_ROWS = 1000
_FOLDER_NAMES = {"validation": "val"}  # in the authors' JSON tree


class ParquetWriter:
    """Writes tables of `RECIPE_SCHEMA` to one file a split, ``{folder}/{split}/data.parquet``, in the Hub's schema."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._splits: dict[str, ParquetFileWriter] = {}

    def write(self, table: pa.Table) -> None:
        """Write the rows of a table, each to its split."""
        for split in table.column("split").unique().to_pylist():
            if split not in self._splits:
                self._splits[split] = ParquetFileWriter(self.folder / _safe_name(split) / "data.parquet")
            self._splits[split].write(table.filter(pc.equal(table.column("split"), split)))

    def close(self) -> None:
        """Write what is pending."""
        for writer in self._splits.values():
            writer.close()


class ParquetFileWriter:
    """Writes tables of `RECIPE_SCHEMA` to one parquet file in the Hub's schema, with row groups of equal size."""

    def __init__(self, file: Path, row_group_rows: int | None = None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._row_group_rows = row_group_rows or ROW_GROUP_ROWS
        self._writer = pq.ParquetWriter(
            file, HUB_SCHEMA, compression="zstd", write_page_index=True, write_page_checksum=True
        )
        self._pending: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        self._pending.append(hub_from_table(table))
        self._rows += len(table)
        while self._rows >= self._row_group_rows:
            self._flush(self._row_group_rows)

    def close(self) -> None:
        """Write what is pending."""
        if self._rows:
            self._flush(self._rows)
        self._writer.close()

    def _flush(self, rows: int) -> None:
        table = pa.concat_tables(self._pending)
        self._writer.write_table(table.slice(0, rows), row_group_size=rows)
        rest = table.slice(rows)
        self._pending, self._rows = ([rest] if len(rest) else []), len(rest)


class JsonTreeWriter:
    """Writes tables of `RECIPE_SCHEMA` as the authors do.

    ``{folder}/{split}/{n}mix/{split}_{n}mix_metadata_tar0001.json``: arrays of 1,000 mixtures of n sources.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self._files: dict[tuple[str, int], int] = {}

    def write(self, table: pa.Table) -> None:
        """Write the rows of a table, each to its split and number of sources."""
        for row in table.to_pylist():
            key = (_FOLDER_NAMES.get(row["split"], row["split"]), row["num_sources"])
            rows = self._pending.setdefault(key, [])
            rows.append(legacy_row(row))
            if len(rows) == JSON_FILE_ROWS:
                self._flush(key)

    def close(self) -> None:
        """Write what is pending."""
        for key, rows in self._pending.items():
            if rows:
                self._flush(key)

    def _flush(self, key: tuple[str, int]) -> None:
        split, num_sources = key
        number = self._files[key] = self._files.get(key, 0) + 1
        name = _safe_name(split)
        file = self.folder / name / f"{num_sources}mix" / f"{name}_{num_sources}mix_metadata_tar{number:04d}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self._pending[key], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._pending[key] = []


class JsonFileWriter:
    """Writes tables of `RECIPE_SCHEMA` to one file in the authors' row layout: an array, or a row a line."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lines = file.suffix != ".json"
        self._stream: IO[str] = file.open("w", encoding="utf-8")
        self._empty = True

    def write(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        for row in table.to_pylist():
            if not self._lines:
                self._stream.write("[\n" if self._empty else ",\n")
            self._stream.write(json.dumps(legacy_row(row), ensure_ascii=False))
            if self._lines:
                self._stream.write("\n")
            self._empty = False

    def close(self) -> None:
        """Finish the file."""
        if not self._lines:
            self._stream.write("[]\n" if self._empty else "\n]\n")
        self._stream.close()


def write_recipes(
    tables: Iterable[pa.Table], writer: ParquetWriter | ParquetFileWriter | JsonTreeWriter | JsonFileWriter
) -> int:
    """Write tables of `RECIPE_SCHEMA`; returns the number of rows."""
    rows = 0
    try:
        for table in tables:
            writer.write(table)
            rows += len(table)
    finally:
        writer.close()
    return rows


def legacy_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `RECIPE_SCHEMA` in the layout of the authors' JSON."""
    return {
        "mix_id": row["mix_id"],
        "num_sources": row["num_sources"],
        "dataset_info": {
            "split": _FOLDER_NAMES.get(row["split"], row["split"]),
            "sample_rate": row["sample_rate"],
            "target_duration": row["target_duration"],
        },
        "sources": row["sources"],
        "mixing_params": {
            "global_normalization_factor": row["global_normalization_factor"],
            "final_max_amplitude": row["final_max_amplitude"],
        },
    }


def _safe_name(split: str) -> str:
    """A split's name as a folder's: metadata must not be able to write elsewhere."""
    if "/" in split or "\\" in split or split in {".", ".."}:
        raise ValueError(f"{split!r} cannot be a folder: it is no name of a split")
    return split
