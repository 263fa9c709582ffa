"""Orders, against permutations reckoned with Python's whole numbers and against queues that are really kept."""

import itertools
import math
from collections import Counter, deque

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.training.order import BalancedOrder, ShuffledOrder, WeightedOrder, derive_key, permute

WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15


def mix(word):
    word = (word + GOLDEN) % WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
    return word ^ word >> 31


def permute_literally(place, num_rows, key):
    left = math.isqrt(num_rows - 1) + 1
    left += left % 2
    right = -(-num_rows // left)
    while True:
        high, low = divmod(place, right)
        for number in range(0, 12, 2):
            high = (high + mix(low ^ (key + GOLDEN * number) % WORD)) % left
            low = (low + mix(high ^ (key + GOLDEN * (number + 1)) % WORD)) % right
        place = high * right + low
        if place < num_rows:
            return place


@given(st.integers(1, 3000), st.integers(0, 2**80), st.integers(0, 10**6))
def test_each_row_comes_once(num_rows, seed, epoch):
    rows = ShuffledOrder(num_rows).rows(seed, epoch, np.arange(num_rows))
    assert sorted(rows.tolist()) == list(range(num_rows))


@given(st.integers(1, 2**50), st.integers(0, 2**64), st.data())
def test_as_reckoned_with_whole_numbers(num_rows, seed, data):
    places = data.draw(st.lists(st.integers(0, num_rows - 1), min_size=1, max_size=5))
    key = derive_key(seed, 3)
    expected = [permute_literally(place, num_rows, int(key[0])) for place in places]
    assert permute(np.array(places), num_rows, key).tolist() == expected


def test_many_permutations_at_once():
    sizes = np.array([1, 2, 7, 1000, 5_000_000])
    keys = derive_key(4, np.arange(5))
    together = permute(sizes - 1, sizes, keys).tolist()
    assert together == [
        permute_literally(size - 1, size, int(key)) for size, key in zip(sizes.tolist(), keys, strict=True)
    ]


@pytest.mark.parametrize("num_rows", [2, 5])
def test_every_permutation_is_as_likely(num_rows):
    """By the chi-squared of 6,000 seeds: its mean is the number of permutations less one, its deviation 1.4 roots."""
    count = math.factorial(num_rows)
    found = Counter(tuple(ShuffledOrder(num_rows).rows(seed, 0, np.arange(num_rows))) for seed in range(6_000))
    expected = 6_000 / count
    distance = sum((found[order] - expected) ** 2 / expected for order in itertools.permutations(range(num_rows)))
    assert abs(distance - (count - 1)) < 6 * math.sqrt(2 * count)


def test_neighbours_and_epochs_have_nothing_to_do_with_each_other():
    order, places = ShuffledOrder(10_000), np.arange(10_000)
    first, second, other = order.rows(0, 0, places), order.rows(0, 1, places), order.rows(1, 0, places)
    for one, two in ((first, places), (first, second), (first, other), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.05  # five deviations


def test_weights():
    order = WeightedOrder([0.0, 1.0, 0.0, 3.0, 0.0])
    rows = np.concatenate([order.rows(7, epoch, np.arange(5)) for epoch in range(4000)])
    counts = np.bincount(rows, minlength=5) / len(rows)
    assert np.abs(counts - [0.0, 0.25, 0.0, 0.75, 0.0]).max() < 0.016  # five deviations
    assert set(counts.nonzero()[0]) == {1, 3}


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [math.nan], [math.inf], [[1.0]], []])
def test_what_are_no_weights(weights):
    with pytest.raises(ValueError, match="one number a row, finite, none of them negative"):
        WeightedOrder(weights)


LABELS = [["Bell"], ["Bell", "Rain"], ["Bell"], ["Rain", "Wind"], [], ["Bell", "Wind", "Owl"], ["Bell"]]


def drawn_by_queues(labels, seed, count):
    """The queue of USS, really kept: refilled when it is empty; and a queue of the rows of each label likewise."""
    names = sorted({name for each in labels for name in each})
    rows_of = {name: [row for row, each in enumerate(labels) if name in each] for name in names}
    queue, queues, refills, rounds = deque(), {name: deque() for name in names}, Counter(), 0
    for _ in range(count):
        if not queue:
            queue.extend(permute(np.arange(len(names)), len(names), derive_key(seed, 0, rounds)).tolist())
            rounds += 1
        code = queue.popleft()
        name = names[code]
        if not queues[name]:
            rows = rows_of[name]
            key = derive_key(seed, code + 1, refills[name])
            queues[name].extend(rows[place] for place in permute(np.arange(len(rows)), len(rows), key))
            refills[name] += 1
        yield name, queues[name].popleft()


def test_balanced_as_by_queues():
    order = BalancedOrder([pa.array(LABELS)])
    found = [
        pair
        for epoch in range(20)
        for pair in zip(order.labels(5, epoch, np.arange(7)), order.rows(5, epoch, np.arange(7)).tolist(), strict=True)
    ]
    assert found == list(drawn_by_queues(LABELS, 5, 140))
    assert set(Counter(name for name, _ in found).values()) == {35}


def test_balanced_of_many_batches():
    whole = BalancedOrder([pa.array(LABELS)])
    none = pa.array([], pa.list_(pa.string()))
    parts = BalancedOrder([none, pa.array(LABELS[:3]), pa.array(LABELS[3:])])
    assert parts.kind == whole.kind and parts.num_rows == 7
    assert parts.rows(1, 2, np.arange(7)).tolist() == whole.rows(1, 2, np.arange(7)).tolist()
    other = BalancedOrder([pa.array([*LABELS[:6], ["Rain"]])])
    assert other.kind != whole.kind


def test_nothing_to_balance():
    with pytest.raises(ValueError, match="no row has a label"):
        BalancedOrder([pa.array([[]], pa.list_(pa.string()))])
