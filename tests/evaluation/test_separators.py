"""What separates, and what it may give."""

import re
import sys

import numpy as np
import pytest

from hive_datasets import EvaluationError
from hive_datasets.evaluation import Target, find_separator
from hive_datasets.evaluation.batches import Batch
from hive_datasets.evaluation.separators import check_estimates


def batch_of(count=2, length=1000, rate=8000, num_sources=2):
    signals = np.random.default_rng(0).normal(size=(2, count, length)).astype(np.float32)
    targets = [Target(str(number), "test", "Dog", "a dog", ("s1",), "", num_sources) for number in range(count)]
    return Batch(tuple(targets), signals[0] + signals[1], signals[0], rate)


def test_a_callable_gets_mixtures_rate_and_queries():
    batch, seen = batch_of(), []
    separator = find_separator(lambda *given: seen.append(given) or given[0], name="mine")
    assert np.array_equal(separator.ask(batch), batch.mixtures) and separator.name == "mine"
    assert seen[0][1:] == (8000, ["a dog", "a dog"])


def test_memory_that_is_worked_in_or_filled_again():
    batch, memory = batch_of(), np.zeros((2, 1000), np.float32)
    before = batch.mixtures.copy()

    def separate(mixtures, sampling_rate, queries):
        mixtures *= 0.5
        memory[:] = mixtures
        return memory

    estimates = check_estimates(find_separator(separate).ask(batch), batch)
    memory[:] = 0.0
    assert np.array_equal(batch.mixtures, before) and np.array_equal(estimates, before / 2)


def test_tensors_on_a_device():
    torch = pytest.importorskip("torch")
    batch = batch_of()

    def separate(mixtures, sampling_rate, queries):
        assert isinstance(mixtures, torch.Tensor) and mixtures.device.type == "cpu"
        return (mixtures / 2).requires_grad_()

    given = find_separator(separate, device="cpu").ask(batch)
    assert np.array_equal(check_estimates(given, batch), batch.mixtures / 2)


def test_a_device_that_is_not_there():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is such a device")
    for device in ("cuda", "nowhere"):
        with pytest.raises(EvaluationError, match=f"device '{device}' cannot be used: "):
            find_separator(lambda *given: given[0], device)


def test_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(
        "class Model:\n"
        "    version = 'step 3'\n"
        "    def __call__(self, mixtures, sampling_rate, queries):\n"
        "        return 2 * mixtures\n"
        "number = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    separator = find_separator("my_model:Model")
    assert (separator.name, separator.version) == ("my_model:Model", "step 3")
    assert np.array_equal(separator.ask(batch_of()), 2 * batch_of().mixtures)
    for name, problem in {
        "my_model:number": "is a int, and cannot be called",
        "my_model:Gone": "cannot be imported: AttributeError",
        "gone_model:Model": "cannot be imported: ModuleNotFoundError",
        "my_model": "none of mixture, silence, mixture-divided, ideal-binary-mask, ideal-ratio-mask, nor module:",
    }.items():
        with pytest.raises(EvaluationError, match=re.escape(problem)):
            find_separator(name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda x: x[:, :500],
            "of shape (2, 500): it must give one of shape (2, 1000), as the mixtures have, 0.125 s",
        ),
        (lambda x: np.repeat(x, 2, axis=1), "As many seconds at 16,000 Hz would be as long: resample it to 8,000 Hz"),
        (lambda x: x[:, None], "Give one channel of the 1: estimates[:, 0]"),
        (lambda x: x[:1], "of shape (1, 1000)"),
        (lambda x: (x * 32767).astype(np.int16), "the separator gave int16: it must give floats"),
        (lambda x: None, "the separator gave NoneType: it must give an array of shape (2, 1000)"),
        (lambda x: [x[0], x[1][:10]], "the separator gave list"),
    ],
)
def test_what_is_no_array_of_estimates(change, problem):
    batch = batch_of()
    with pytest.raises(EvaluationError, match=re.escape(problem)):
        check_estimates(change(batch.mixtures), batch)


def test_a_row_that_is_none_takes_no_other_with_it():
    batch = batch_of()
    given = batch.mixtures.astype(np.float64)
    given[0, 3] = np.inf
    first, second = check_estimates(given, batch)
    assert first == "1 of 1,000 samples are NaN or infinite"
    assert second.dtype == np.float32 and np.array_equal(second, batch.mixtures[1])
    assert np.array_equal(
        check_estimates(list(batch.mixtures), batch), batch.mixtures
    )  # of a model that goes row by row
