import inspect
import pickle

import pytest

from hive_datasets import errors

ERRORS = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_survive_a_worker_process(error):
    names = [name for name in inspect.signature(error).parameters if name != "message"]
    original = error("what happened", **{name: f"the {name}" for name in names})
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is error
    assert str(copy) == "what happened"
    assert copy.__dict__ == original.__dict__
    assert isinstance(error("one argument"), errors.HiveError)  # as torch's DataLoader makes them again


def test_the_tree_in_the_docstring_is_the_tree():
    for error in ERRORS:
        assert error.__name__ in errors.__doc__
        assert f"({error.__bases__[-1].__name__})" in errors.__doc__ or len(error.__bases__) == 1
