"""Memory that is used again when nobody holds it, and only then."""

import numpy as np
import pytest

from hive_datasets import RenderMixtures
from hive_datasets.rendering.memory import RecycledMemory


def test_views_and_tensors_hold_what_they_are_of():
    torch, memory = pytest.importorskip("torch"), RecycledMemory()
    array = memory.take("a", (4, 8))
    array[:] = 7.0
    tensor = torch.from_numpy(array)[2:].T
    del array
    memory.take("a", (4, 8))[:] = 1.0
    assert (tensor == 7.0).all()
    del tensor
    first, second = memory.take("a", (8, 4)), memory.take("a", (4, 4))
    assert (first == 7.0).all() and (second == 1.0).all()  # both are there again, what was let go last before


def test_batches_of_the_past_stay_as_they_are(mini, corpora):
    render = RenderMixtures(8000, dataset_paths=corpora)
    batches = [render(mini[start : start + 2])["mix"] for start in range(8, 20, 2)]
    kept = [batch.copy() for batch in batches]
    parts = [batch[1, :100] for batch in batches]
    addresses = {batch.ctypes.data for batch in batches}
    assert len(addresses) == 6
    del batches
    again = render(mini[8:10])["mix"]
    assert again.ctypes.data not in addresses
    for part, batch in zip(parts, kept, strict=True):
        assert np.array_equal(part, batch[1, :100])
    del parts
    assert render(mini[10:12])["mix"].ctypes.data in addresses
