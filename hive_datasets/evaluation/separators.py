"""What separates: callables, what a name stands for, and checks of what they give."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from ..backends.extras import import_extra
from ..errors import EvaluationError, describe
from .baselines import BASELINES
from .batches import Batch
from .estimates import EstimateFolder

#: A model as anybody writes it: mixtures, float32 of shape (B, T), a rate in Hz, and B queries; estimates of what the
#: queries ask for, floats of shape (B, T), of numpy or PyTorch.
Separate: TypeAlias = Callable[[Any, int, list[str]], Any]


@dataclass(frozen=True)
class Separator:
    """What an evaluation asks.

    Attributes:
        name: what tables call it.
        ask: is called with a batch, and gives its estimates.
        version: what tells it from others of that name: a callable's attribute `version`, or its source; a folder's
            files.
        folder: the estimates that lie there, if it is a folder.
    """

    name: str
    ask: Callable[[Batch], Any]
    version: str = ""
    folder: EstimateFolder | None = None

    @property
    def may_have_changed(self) -> bool:
        """Whether it may be another one than it was by that name: of code whose weights nobody sees."""
        return isinstance(self.ask, _Asker) and not hasattr(self.ask.separate, "version")


def find_separator(
    separate: Separate | str | os.PathLike[str], device: str | None = None, name: str | None = None
) -> Separator:
    """What is meant by a callable, the name of a baseline, "module:name", or a folder of estimates.

    Args:
        separate: a name of `BASELINES`; ``module:name`` of a callable, or of a class that makes one without arguments;
            a callable; or a folder, see `EstimateFolder`.
        device: of PyTorch, on which a callable gets its mixtures as tensors; None for arrays of numpy.
        name: what tables call it, if not that.

    Raises:
        EvaluationError: nothing is meant, or there is no such device.

    Example:
        >>> find_separator("silence").name
        'silence'
        >>> find_separator(lambda mixtures, sampling_rate, queries: mixtures, name="as it was").name
        'as it was'
    """
    if callable(separate):
        own_name = getattr(separate, "__qualname__", type(separate).__qualname__)
        return Separator(name or own_name, _Asker(separate, _check_device(device)), _version_of(separate))
    text = os.fspath(separate)
    if text in BASELINES:
        return Separator(name or text, BASELINES[text])
    if Path(text).is_dir():
        folder = EstimateFolder(Path(text))
        if not len(folder):
            raise EvaluationError(f"separator {text!r}: there is no WAV or FLAC file in that folder")
        return Separator(name or text, folder.read_batch, folder.version, folder)
    module, colon, attribute = text.partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module.split("."))):
        raise EvaluationError(
            f"separator {text!r}: there is no such folder, and it is none of {', '.join(BASELINES)}, nor module:name"
        )
    found = _import(module, attribute)
    return Separator(name or text, _Asker(found, _check_device(device)), _version_of(found, module))


def check_estimates(estimates: Any, batch: Batch) -> list[npt.NDArray[np.float32] | str]:
    """The estimate of each target; of one that is no estimate, why.

    Raises:
        EvaluationError: it is no array of estimates at all.

    Example:
        >>> from hive_datasets.evaluation.targets import Target
        >>> target = Target("a", "test", "Dog", "dog", ("s1",), "", 2)
        >>> batch = Batch((target, target), np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), 8000)
        >>> check_estimates(np.array([[0, 0, np.nan], [0.5, 0, 0]]), batch)
        ['1 of 3 samples are NaN or infinite', array([0.5, 0. , 0. ], dtype=float32)]
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(estimates, torch.Tensor):
        estimates = estimates.detach()
        estimates = (estimates.float() if estimates.is_floating_point() else estimates).cpu().numpy()
    if isinstance(estimates, Sequence) and not isinstance(estimates, str) and len(estimates) == len(batch.targets):
        lengths = {np.shape(each) for each in estimates}
        estimates = np.stack([np.asarray(each) for each in estimates]) if len(lengths) == 1 else estimates
    if not isinstance(estimates, np.ndarray):
        raise EvaluationError(f"the separator gave {type(estimates).__name__}: it must give an array {_asked(batch)}")
    if estimates.shape != batch.mixtures.shape:
        raise EvaluationError(
            f"the separator gave an array of shape {estimates.shape}: it must give one {_asked(batch)}"
            + _guess(estimates.shape, batch)
        )
    if not np.issubdtype(estimates.dtype, np.floating):
        raise EvaluationError(
            f"the separator gave {estimates.dtype}: it must give floats, on the scale of the mixtures (-1 to 1)"
        )
    estimates = np.array(estimates, np.float32)  # its own: what is handed over may be filled again by the next call
    broken = np.count_nonzero(~np.isfinite(estimates), axis=1).tolist()
    return [
        f"{count:,} of {len(estimate):,} samples are NaN or infinite" if count else estimate
        for count, estimate in zip(broken, estimates, strict=True)
    ]


def _asked(batch: Batch) -> str:
    count, length = batch.mixtures.shape
    seconds, rate = length / batch.sampling_rate, batch.sampling_rate
    return f"of shape ({count}, {length}), as the mixtures have, {seconds:g} s at {rate:,} Hz"


def _guess(shape: tuple[int, ...], batch: Batch) -> str:
    """What may have gone wrong."""
    count, length = batch.mixtures.shape
    if len(shape) == 3 and shape[0] == count and shape[2] == length:
        return f". Give one channel of the {shape[1]}: estimates[:, 0]"
    if len(shape) == 2 and shape[0] == count and shape[1]:
        rate = shape[1] / length * batch.sampling_rate
        near = [known for known in _RATES if abs(rate / known - 1) < 1e-3]
        if near:
            return f". As many seconds at {near[0]:,} Hz would be as long: resample it to {batch.sampling_rate:,} Hz"
    return ""


#: Rates in Hz that models work at.
_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class _Asker:
    """Calls a model with a batch as it is to get it."""

    separate: Separate
    device: str | None

    def __call__(self, batch: Batch) -> Any:
        mixtures: Any = batch.mixtures.copy()  # which may be worked in
        if self.device is not None:
            import torch

            mixtures = torch.from_numpy(mixtures).to(self.device)
        return self.separate(mixtures, batch.sampling_rate, batch.queries)


def _check_device(device: str | None) -> str | None:
    if device is not None:
        torch = import_extra("torch", "torch")
        try:
            torch.zeros(1, device=device)  # of any kind that PyTorch has; each says in its own way what it lacks
        except Exception as error:
            raise EvaluationError(f"device {device!r} cannot be used: {describe(error)}") from None
    return device


def _version_of(separate: Separate, module: str | None = None) -> str:
    """Its `version`; else a hash of its source, or of that of the module that it was named with, if there is any."""
    if hasattr(separate, "version"):
        return str(separate.version)
    try:
        source = inspect.getsource(
            sys.modules[module] if module else separate if inspect.isroutine(separate) else type(separate)
        )
    except (OSError, TypeError):  # it was typed in, or is compiled
        return ""
    return f"source {xxhash.xxh3_64_hexdigest(source.encode('utf-8', 'surrogatepass'))}"


def _import(module: str, attribute: str) -> Separate:
    here = os.getcwd()
    if here not in sys.path:  # where modules of one's own are, and no command line looks
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        found = found() if isinstance(found, type) else found
    except Exception as error:  # whatever the code of somebody else raises
        raise EvaluationError(f"separator {module}:{attribute} cannot be imported: {describe(error)}") from error
    if not callable(found):
        raise EvaluationError(f"separator {module}:{attribute} is a {type(found).__name__}, and cannot be called")
    return found  # type: ignore[no-any-return]
