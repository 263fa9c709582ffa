"""Which clips are too coarse for a mixture."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.prepared.precision import STEP, Contribution, find_coarse
from hive_datasets.prepared.samples import BLOCK


@given(data=st.data())
def test_without_the_coarse_ones_no_sample_can_differ_by_more_than_a_step(data):
    """Against the sum, sample by sample, of the largest errors that there can be."""
    length = data.draw(st.integers(1, 4 * BLOCK))
    sources = []
    for _ in range(data.draw(st.integers(1, 5))):
        errors = np.array(data.draw(st.lists(st.floats(0, 0.9), min_size=1, max_size=6)), np.float32) * STEP
        sources.append(Contribution(errors, data.draw(st.integers(0, 3 * BLOCK)), data.draw(st.floats(0, 2))))

    def worst(chosen):
        total = np.zeros(length)
        for source in chosen:
            each = np.repeat(source.errors, BLOCK)[source.start : source.start + length] * source.gain
            total[: len(each)] += each
        return total.max()

    coarse = find_coarse(sources, length)
    assert len(set(coarse)) == len(coarse)
    assert worst(source for position, source in enumerate(sources) if position not in coarse) <= STEP * (1 + 1e-6)


def test_nothing_is_coarse_without_need():
    half = Contribution(np.full(30, STEP / 2, np.float32), 0, 1.0)
    assert find_coarse([half, half], 176400) == []
    assert find_coarse([half, half, half], 176400) == [0]


def test_loud_places_that_do_not_meet_add_up_to_nothing():
    early, late = np.zeros(20, np.float32), np.zeros(20, np.float32)
    early[2] = late[12] = 0.9 * STEP
    assert find_coarse([Contribution(early, 0, 1.0), Contribution(late, 100, 1.0)], 20 * BLOCK) == []
    assert find_coarse([Contribution(early, 0, 1.0), Contribution(late, 10 * BLOCK, 1.0)], 20 * BLOCK) == [0]
