"""The most mixtures for a budget, against the rule in its slowest words."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.acquisition.budget import _drop, choose_mixtures, weigh_by_labels


def fill_slowly(mixtures, sizes, chosen, budget):
    """The second step, where everything is counted anew for every clip."""
    chosen = set(chosen)
    used = [sum(list(mixture).count(clip) for mixture in mixtures) for clip in range(len(sizes))]
    shares = [sum(sizes[clip] / used[clip] for clip in mixture) for mixture in mixtures]
    passed = set()  # did not fit when their turn came
    while True:
        left = [[clip for clip in mixture if clip not in chosen] for mixture in mixtures]
        gains = {clip: sum(lacking == [clip] for lacking in left) for clip in range(len(sizes))}
        fitting = [clip for clip, gain in gains.items() if gain and clip not in passed | chosen]
        if fitting:
            clip = min(fitting, key=lambda clip: (-gains[clip] / sizes[clip], clip))
            if sum(sizes[each] for each in chosen) + sizes[clip] <= budget:
                chosen.add(clip)
            else:
                passed.add(clip)
            continue
        rows = sorted((row for row, lacking in enumerate(left) if lacking), key=lambda row: (shares[row], row))
        if not rows or sum(sizes[clip] for clip in chosen | set(left[rows[0]])) > budget:
            return [not lacking for lacking in left]
        chosen |= set(left[rows[0]])


mixture_of_ten_clips = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)


@given(
    st.lists(mixture_of_ten_clips, min_size=1, max_size=25),
    st.lists(st.integers(1, 50), min_size=10, max_size=10),
    st.integers(0, 300),
)
def test_it_is_the_rule(mixtures, sizes, budget):
    clips = np.array(list(itertools.chain.from_iterable(mixtures)), np.int32)
    lengths, sizes = np.array(list(map(len, mixtures)), np.uint8), np.array(sizes, np.int64)
    found = choose_mixtures(clips, lengths, sizes, budget)
    rows = np.repeat(np.arange(len(mixtures), dtype=np.int32), lengths)
    kept = np.flatnonzero(_drop(clips, rows, sizes, budget, None))
    assert sizes[kept].sum() <= budget
    taken = {clip for mixture, is_taken in zip(mixtures, found, strict=True) if is_taken for clip in mixture}
    assert sizes[sorted(taken)].sum() <= budget  # it fits,
    for mixture, is_taken in zip(mixtures, found, strict=True):
        assert is_taken or not set(mixture) <= taken  # and takes along what needs nothing more
    assert found.tolist() == fill_slowly(mixtures, sizes.tolist(), kept.tolist(), budget)


def test_it_takes_more_mixtures_than_their_order_does():
    """Of 20,000 mixtures of 3 of 5,000 clips, for a tenth of the bytes."""
    random = np.random.default_rng(0)
    clips = (5_000 * random.random(60_000) ** 2).astype(np.int32)
    sizes = random.integers(500, 1_000, 5_000)
    budget = int(sizes.sum() * 0.1)
    lengths = np.full(20_000, 3, np.uint8)
    in_order, taken, total = 0, set(), 0
    for mixture in clips.reshape(-1, 3).tolist():
        total += sum(sizes[clip] for clip in set(mixture) - taken)
        if total > budget:
            break
        taken |= set(mixture)
        in_order += 1
    assert choose_mixtures(clips, lengths, sizes, budget).sum() > 5 * in_order


def test_all_or_nothing():
    clips, lengths, sizes = np.array([0, 1, 1, 2], np.int32), np.array([2, 2], np.uint8), np.array([5, 5, 5])
    assert choose_mixtures(clips, lengths, sizes, 15).tolist() == [True, True]
    assert choose_mixtures(clips, lengths, sizes, 9).tolist() == [False, False]


def test_balanced_over_labels_rare_ones_are_taken_more_often():
    random = np.random.default_rng(0)
    labels = random.choice(20, 8_000, p=np.arange(1, 21) / 210).astype(np.int16)
    clips = (labels.astype(np.int32) * 100 + random.integers(0, 100, 8_000)).astype(np.int32)
    lengths, sizes = np.full(4_000, 2, np.uint8), np.full(2_000, 10)
    weights = weigh_by_labels(labels, lengths)
    assert np.isclose(weights.mean(), 1)
    rare = {}
    for name, chosen_by in (("plain", None), ("balanced", weights)):
        rows = choose_mixtures(clips, lengths, sizes, 6_000, chosen_by)
        counts = np.bincount(labels[np.repeat(rows, 2)], minlength=20)
        rare[name] = counts[:7].sum() / counts.sum()
    assert rare["balanced"] > 2 * rare["plain"]
