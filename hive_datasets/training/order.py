"""Orders to train in: which row stands at which place of which epoch.

An order is a function, not a list: the row at a place is reckoned from the seed, the epoch and the place alone, in a
fraction of a microsecond. So any process can go on at any place, and there is nothing to keep or to send.

Shuffling is a permutation of the row numbers by a Feistel network (Luby and Rackoff, 1988) of twelve rounds over pairs
of digits, with cycle walking (Black and Rogaway, 2002): a pair (l, r) with l < a and r < b, where a * b is the first
rectangle that holds all rows, becomes (l + f(r) mod a, r), then (l, r + f(l) mod b), and so on. Each round can be
undone, so no two places meet; a result beyond the last row is put in again. f is the mixer of SplitMix64 (Steele, Lea
and Flood, 2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Integers = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROUND_KEYS = [np.uint64(number * int(_GOLDEN) % 2**64) for number in range(12)]


class Order(Protocol):
    """Which row stands at which place."""

    @property
    def num_rows(self) -> int:
        """Of the table, and places of an epoch."""

    @property
    def kind(self) -> str:
        """What it is, in a few words that differ between orders that differ: a state of one is no other's."""

    def rows(self, seed: int, epoch: int, places: Integers) -> Integers:
        """The rows at some places, int64 in 0 to `num_rows` - 1, of the same shape."""

    def labels(self, seed: int, epoch: int, places: Integers) -> Sequence[str | None]:
        """The label that each place was drawn for; None where rows are drawn for no label."""


@dataclass(frozen=True)
class ShuffledOrder:
    """Every row once an epoch, in another pseudo-random order each.

    Example:
        >>> order = ShuffledOrder(10)
        >>> [order.rows(0, epoch, np.arange(10)).tolist() for epoch in (0, 1)]
        [[7, 5, 9, 1, 4, 6, 0, 8, 3, 2], [8, 3, 5, 7, 9, 4, 2, 1, 0, 6]]
    """

    num_rows: int
    kind = "shuffled"

    def rows(self, seed: int, epoch: int, places: Integers) -> Integers:
        """As `Order` says."""
        return permute(places, self.num_rows, derive_key(seed, epoch))

    def labels(self, seed: int, epoch: int, places: Integers) -> Sequence[str | None]:
        """As `Order` says."""
        return [None] * len(places)


class WeightedOrder:
    """Rows drawn with replacement, each with a probability that is its share of the weights.

    Args:
        weights: of shape (num_rows,), not negative.

    Raises:
        ValueError: they are negative, not finite, or all zero.

    Example:
        >>> WeightedOrder([0.0, 1.0, 3.0]).rows(0, 0, np.arange(12)).tolist()
        [2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 2, 2]
    """

    def __init__(self, weights: npt.ArrayLike) -> None:
        values = np.asarray(weights, dtype=np.float64)
        if values.ndim != 1 or not np.all((values >= 0) & np.isfinite(values)) or not values.any():
            raise ValueError("weights must be one number a row, finite, none of them negative, and not all zero")
        self.num_rows = len(values)
        self.kind = f"weighted {xxhash.xxh3_64_hexdigest(values.tobytes())}"
        self._sums = np.cumsum(values)
        self._last = int(np.flatnonzero(values)[-1])

    def rows(self, seed: int, epoch: int, places: Integers) -> Integers:
        """As `Order` says."""
        words = _mix(places.astype(np.uint64) ^ derive_key(seed, epoch))
        uniform = (words >> np.uint64(11)) * 2.0**-53  # in [0, 1)
        found = np.searchsorted(self._sums, uniform * self._sums[-1], side="right")
        rows: Integers = np.minimum(found, self._last)
        return rows

    def labels(self, seed: int, epoch: int, places: Integers) -> Sequence[str | None]:
        """As `Order` says."""
        return [None] * len(places)


class BalancedOrder:
    """Every label as often as every other: a queue of all of them, refilled by a fresh permutation when it is empty.

    For each label that is taken from the queue comes the next row that has it; when all of its rows have come, they
    come again in another order. The queue is that of USS's balanced sampling (arXiv 2305.07447); labels without rows
    are not in it. An epoch is as many places as there are rows, and may end within a round of the queue, with which the
    next one goes on.

    Args:
        batches: the labels of all rows, as list arrays of Arrow: some rows each.

    Raises:
        ValueError: no row has a label.

    Example:
        >>> rows = pa.array([["Bell"], ["Bell", "Rain"], ["Bell"], ["Rain", "Wind"]])
        >>> order = BalancedOrder([rows])
        >>> order.labels(0, 0, np.arange(4)), order.rows(0, 0, np.arange(4)).tolist()
        (['Rain', 'Wind', 'Bell', 'Rain'], [1, 3, 0, 3])
    """

    def __init__(self, batches: Iterable[pa.ListArray]) -> None:
        numbers: dict[str, int] = {}
        counts, codes = [], []
        for batch in batches:
            encoded = batch.flatten().dictionary_encode()
            found = [numbers.setdefault(label, len(numbers)) for label in encoded.dictionary.to_pylist()]
            codes.append(np.array(found, dtype=np.int32)[encoded.indices.to_numpy()])
            counts.append(pc.list_value_length(batch).to_numpy().astype(np.int32))
        if not numbers:
            raise ValueError("no row has a label: there is nothing to balance")
        self.num_rows = sum(map(len, counts))
        self._names = sorted(numbers)
        ranks = np.argsort([numbers[name] for name in self._names]).astype(np.int32)  # of codes, in alphabetical order
        self._sizes = np.zeros(len(ranks), np.int64)
        for part in codes:
            self._sizes += np.bincount(ranks[part], minlength=len(ranks))
        self._starts = np.cumsum(self._sizes) - self._sizes
        #: The rows of each label, one label after the other; batch by batch, to sort little at once.
        self._members = np.empty(self._sizes.sum(), dtype=np.int32 if self.num_rows < 2**31 else np.int64)
        ends, first = self._starts.copy(), 0
        for part, lengths in zip(codes, counts, strict=True):
            labels = ranks[part]
            by_label = np.argsort(labels, kind="stable")
            labels, rows = labels[by_label], np.repeat(np.arange(first, first + len(lengths)), lengths)[by_label]
            here = np.bincount(labels, minlength=len(ranks))
            within = np.arange(len(labels)) - np.repeat(np.cumsum(here) - here, here)
            self._members[ends[labels] + within] = rows
            ends, first = ends + here, first + len(lengths)
        hashed = xxhash.xxh3_64(self._members.data)
        hashed.update("\n".join(self._names).encode("utf-8", "surrogatepass"))
        self.kind = f"balanced {hashed.hexdigest()}"

    def rows(self, seed: int, epoch: int, places: Integers) -> Integers:
        """As `Order` says."""
        codes, rounds = self._codes(seed, epoch, places)
        sizes = self._sizes[codes]
        cycles, visits = np.divmod(rounds, sizes)
        keys = derive_key(seed, codes + 1, cycles)
        rows: Integers = self._members[self._starts[codes] + permute(visits, sizes, keys)].astype(np.int64)
        return rows

    def labels(self, seed: int, epoch: int, places: Integers) -> Sequence[str | None]:
        """As `Order` says."""
        return [self._names[code] for code in self._codes(seed, epoch, places)[0]]

    def _codes(self, seed: int, epoch: int, places: Integers) -> tuple[Integers, Integers]:
        """The label at each place, as a number, and how often the queue was refilled before."""
        rounds, positions = np.divmod(places + epoch * self.num_rows, len(self._names))
        return permute(positions, len(self._names), derive_key(seed, 0, rounds)), rounds


def derive_key(seed: int, *numbers: int | Integers) -> _Words:
    """A key of 64 bits for a seed of any size and some numbers; of arrays of numbers, an array of keys.

    Returns:
        uint64, of the shape that the numbers have together, at least (1,).
    """
    key = np.array([xxhash.xxh3_64_intdigest(str(seed).encode())], dtype=np.uint64)
    for number in numbers:
        key = _mix(np.asarray(number).astype(np.uint64) ^ key)
    return key


def permute(places: Integers, num_rows: int | Integers, key: _Words) -> Integers:
    """Where a permutation of 0 to `num_rows` - 1 sends some of them.

    Args:
        places: int64 of any shape, below `num_rows`.
        num_rows: how many there are; an array of the shape of `places` if each place is of another permutation.
        key: uint64 of shape (1,) or that of `places`: which permutation.

    Example:
        >>> permute(np.arange(6), 6, derive_key(1)).tolist()
        [0, 2, 4, 3, 5, 1]
    """
    limits = np.broadcast_to(np.asarray(num_rows, dtype=np.int64), places.shape)
    sides = np.ceil(np.sqrt(limits)).astype(np.int64)
    sides += sides % 2  # adding modulo two odd numbers would only make even permutations
    digits = _Digits(
        sides.astype(np.uint64),
        (-(-limits // sides)).astype(np.uint64),
        np.broadcast_to(np.asarray(key, dtype=np.uint64), places.shape),
    )
    found = digits.encrypt(places.astype(np.uint64)).astype(np.int64)
    while (outside := np.flatnonzero(found >= limits)).size:
        again = _Digits(digits.left[outside], digits.right[outside], digits.keys[outside])
        found[outside] = again.encrypt(found[outside].astype(np.uint64)).astype(np.int64)
    return found


@dataclass(frozen=True, slots=True)
class _Digits:
    """Feistel networks over pairs of digits below `left` and `right`, each with its key; arrays of one shape."""

    left: _Words
    right: _Words
    keys: _Words

    def encrypt(self, values: _Words) -> _Words:
        high, low = values // self.right, values % self.right
        for number in range(len(_ROUND_KEYS)):
            keys = self.keys + _ROUND_KEYS[number]
            if number % 2:
                low = (low + _mix(high ^ keys) % self.right) % self.right
            else:
                high = (high + _mix(low ^ keys) % self.left) % self.left
        return high * self.right + low


def _mix(words: _Words) -> _Words:
    """The mixer of SplitMix64, of arrays of uint64, whose arithmetic is modulo 2**64."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: _Words = words ^ (words >> np.uint64(31))
    return mixed
