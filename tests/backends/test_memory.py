import pytest

from hive_datasets import BackendError
from hive_datasets.backends.memory import in_halves


def small(limit, error):
    calls = []

    def function(items):
        calls.append(len(items))
        if len(items) > limit:
            raise error
        return [10 * item for item in items]

    return function, calls


def errors():
    yield MemoryError()
    yield RuntimeError("CUDA error: out of memory")
    yield RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    torch = pytest.importorskip("torch")
    yield torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize("number", range(4))
def test_half_of_the_batch(number):
    error = list(errors())[number]
    function, calls = small(2, error)
    assert in_halves(function, list(range(9))) == [10 * item for item in range(9)]
    assert calls[:3] == [9, 4, 2] and max(calls) == 9
    with pytest.raises(BackendError, match="memory does not suffice for one clip"):
        in_halves(small(0, error)[0], [1, 2])


def test_other_errors_are_told_at_once():
    function, calls = small(0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        in_halves(function, [1, 2, 3])
    assert calls == [3]
    assert in_halves(function, []) == []
