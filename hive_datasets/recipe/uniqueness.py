"""That no mixture is there twice, which metadata that lies in one folder as parquet and as JSON would bring about."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RecipeError
from .parsing import normalize_split

#: Rows after which is looked first; then whenever there are 16 times as many, so that sorting stays a small part.
_FIRST_CHECK = 1 << 16

Hashes = npt.NDArray[np.int64]


class UniqueIds:
    """Notices mixtures of which a second file has one of the same split and mix_id.

    In 8 bytes a row, and some 0.2 us: a hash each, sorted now and then. What hashes alike is read again before anything
    is said of it.

    Args:
        read: reads a file as tables with the columns `split` and `mix_id`, once more.

    Example:
        >>> unique = UniqueIds(read=lambda file: [table])
        >>> table = pa.table({"split": ["train"], "mix_id": ["sample_00000000"]})
        >>> unique.add(table, "a.parquet")
        >>> unique.add(table, "b.json")
        >>> unique.finish()
        Traceback (most recent call last):
        hive_datasets.errors.RecipeError: mixture sample_00000000 of split train is in a.parquet and in b.json...
    """

    def __init__(self, read: Callable[[str], Iterable[pa.Table]]) -> None:
        self._read = read
        self._hashes = array("q")
        #: Each file, and how many rows came before it.
        self._files: list[str] = []
        self._starts: list[int] = []
        self._next_check = _FIRST_CHECK

    def add(self, table: pa.Table, file: str) -> None:
        """Note the rows of a table that was read from a file, and look at those so far if it is time to."""
        if not self._files or self._files[-1] != file:
            self._files.append(file)
            self._starts.append(len(self._hashes))
        self._hashes.frombytes(_hash_ids(table).tobytes())
        if len(self._hashes) >= self._next_check:
            self._next_check *= 16
            self.finish()

    def finish(self) -> None:
        """Look at all rows.

        Raises:
            RecipeError: a mixture is in two files.
        """
        if len(self._files) < 2:
            return
        hashes = np.frombuffer(self._hashes, np.int64)
        in_order = np.sort(hashes)
        repeated = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
        if not len(repeated):
            return
        rows = np.flatnonzero(np.isin(hashes, repeated))
        found = hashes[rows]
        files = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.lexsort((rows, found))
        found, files, rows = found[order], files[order], rows[order]
        shared = np.flatnonzero((found[1:] == found[:-1]) & (files[1:] != files[:-1]))
        for position in shared[np.argsort(rows[shared], kind="stable")].tolist():  # the first rows first
            one, other = self._files[files[position]], self._files[files[position + 1]]
            if one != other:
                self._explain(int(found[position]), one, other)

    def _explain(self, value: int, one: str, other: str) -> None:
        """Raise the error of two files, unless only the hashes are the same."""
        shared = self._named(one, value) & self._named(other, value)
        for split, mix_id in sorted(shared):
            raise RecipeError(
                f"mixture {mix_id} of split {split} is in {one} and in {other}, too. Does the metadata lie there "
                "twice, say as parquet and as JSON? Name one of the two, or move the other away.",
                where=other,
                mix_id=mix_id,
            )

    def _named(self, file: str, value: int) -> set[tuple[str, str]]:
        found = set()
        for table in self._read(file):
            for row in np.flatnonzero(_hash_ids(table) == value).tolist():
                split, mix_id = table.column("split")[row].as_py(), table.column("mix_id")[row].as_py()
                found.add((normalize_split(split), mix_id))
        return found


def _hash_ids(table: pa.Table) -> Hashes:
    """A hash of split and mix_id for each row."""
    splits = table.column("split").combine_chunks().dictionary_encode()
    names = [hash(normalize_split(name or "")) for name in splits.dictionary.to_pylist()]
    of_split: Hashes = np.array(names, np.int64)[splits.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    ids = pc.fill_null(table.column("mix_id"), "").to_pylist()
    return np.fromiter(map(hash, ids), np.int64, len(ids)) ^ of_split
