"""Restoring by Apollo (Li and Luo, 2024), from the user's own checkout and checkpoint."""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError
from .extras import import_extra
from .protocols import Samples


@dataclass(frozen=True)
class ApolloRestorer:
    """Restores with Apollo, which is not on PyPI (CC BY-SA): clone JusperLee/Apollo, and download a checkpoint.

    Args:
        checkout: the folder of the clone, with ``look2hear/`` in it. Its code is imported.
        checkpoint: a file with ``model_name`` and ``state_dict``, as Apollo's are. It is unpickled, which runs what it
            says: take it from whom you trust.
        device: of PyTorch: "cpu", "cuda", ...
        win, feature_dim, layer: of the model; those of the published ones by default.

    Raises:
        BackendError: PyTorch is not installed, a path is wrong, or the model cannot be loaded, when called.

    Example:
        >>> ApolloRestorer("Apollo", "pytorch_model.bin").sampling_rate
        44100
    """

    checkout: str
    checkpoint: str
    device: str = "cpu"
    win: int = 20
    feature_dim: int = 256
    layer: int = 6

    @property
    def model(self) -> str:
        """Its name, and its checkpoint's."""
        return f"Apollo {Path(self.checkpoint).name}"

    @property
    def version(self) -> str:
        """The size of the checkpoint, which tells those of one name apart."""
        file = Path(self.checkpoint)
        return f"{file.stat().st_size if file.is_file() else 0} bytes"

    @property
    def sampling_rate(self) -> int:
        """In Hz."""
        return 44100

    @property
    def invents(self) -> bool:
        """It does: what it adds was not recorded."""
        return True

    def restore(self, windows: Samples) -> Samples:
        """Windows of shape (N, T), restored."""
        torch = import_extra("torch", "torch")
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(windows))[:, None].to(self.device)
            restored: Samples = _open(self)(given)[:, 0].float().cpu().numpy()
        return restored


@functools.lru_cache(maxsize=1)
def _open(config: ApolloRestorer) -> Any:
    """The model, once a process."""
    import_extra("torch", "torch")
    checkout = Path(config.checkout).expanduser().resolve()
    if not (checkout / "look2hear").is_dir():
        raise BackendError(f"{checkout} is no checkout of Apollo: there is no look2hear/ in it")
    if not Path(config.checkpoint).is_file():
        raise BackendError(f"there is no checkpoint at {config.checkpoint}")
    sys.path.insert(0, str(checkout))
    try:
        models = importlib.import_module("look2hear.models")
        model = models.BaseModel.from_pretrain(
            config.checkpoint, sr=44100, win=config.win, feature_dim=config.feature_dim, layer=config.layer
        )
        return model.to(config.device).eval()
    except Exception as error:
        raise BackendError(f"Apollo cannot be loaded from {config.checkpoint}: {error!r}") from error
    finally:
        sys.path.remove(str(checkout))
