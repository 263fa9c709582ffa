import sys

import numpy as np
import pytest

from hive_datasets import BackendError
from hive_datasets.backends import Restorer
from hive_datasets.backends.apollo import ApolloRestorer
from hive_datasets.curation import SuperResolve
from tests.curation.models import tone

torch = pytest.importorskip("torch")

#: What of Apollo's code is called: a class that makes a model of a checkpoint.
CODE = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self, sr, win, feature_dim, layer):
        super().__init__()
        self.parameters_given = (sr, win, feature_dim, layer)
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, signal):
        assert signal.ndim == 3 and signal.shape[1] == 1
        return self.gain * signal

class BaseModel:
    @staticmethod
    def from_pretrain(path, *args, **kwargs):
        conf = torch.load(path, map_location="cpu", weights_only=False)
        model = {"Tiny": Tiny}[conf["model_name"]](*args, **kwargs)
        model.load_state_dict(conf["state_dict"])
        return model
"""


@pytest.fixture
def restorer(tmp_path):
    models = tmp_path / "Apollo" / "look2hear" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    (models / "__init__.py").write_text(CODE)
    checkpoint = {"model_name": "Tiny", "state_dict": {"gain": torch.tensor([0.25])}}
    torch.save(checkpoint, tmp_path / "model.bin")
    yield ApolloRestorer(str(tmp_path / "Apollo"), str(tmp_path / "model.bin"))
    for name in [name for name in sys.modules if name.startswith("look2hear")]:
        del sys.modules[name]


def test_a_checkout_and_a_checkpoint(restorer):
    assert isinstance(restorer, Restorer)
    path = list(sys.path)
    windows = np.random.default_rng(0).normal(0, 0.1, (3, 1000)).astype(np.float32)
    np.testing.assert_allclose(restorer.restore(windows), windows / 4, atol=1e-8)
    assert sys.path == path
    assert restorer.version.endswith(" bytes") and restorer.model == "Apollo model.bin"


def test_as_a_step(restorer):
    batch = SuperResolve(restorer, window_seconds=0.5)({"audio": [tone(3, channels=2), "gone.wav"]})
    assert batch["restored"] == [True, False] and batch["chunk_end_second"][0] == 3
    assert batch["super_resolve_model"] == ["Apollo model.bin"] * 2


def test_paths_that_are_wrong(restorer, tmp_path):
    window = np.zeros((1, 100), np.float32)
    for checkout, checkpoint, message in (
        (tmp_path, restorer.checkpoint, "is no checkout of Apollo: there is no look2hear/ in it"),
        (restorer.checkout, "nowhere.bin", r"there is no checkpoint at nowhere.bin"),
        (restorer.checkout, restorer.checkout + "/look2hear/models/__init__.py", "Apollo cannot be loaded from"),
    ):
        with pytest.raises(BackendError, match=message):
            ApolloRestorer(str(checkout), checkpoint).restore(window)
