"""Tagging by sherpa-onnx: zipformer and CED models as ONNX files, without PyTorch."""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, describe
from ..ontology import audioset_classes
from .extras import import_extra
from .protocols import Clip

#: What both kinds of models hear at.
_SAMPLING_RATE = 16000


@dataclass(frozen=True)
class SherpaTagger:
    """Tags with a model that was exported for sherpa-onnx.

    Args:
        onnx: the model's file.
        labels: its list of classes, ``class_labels_indices.csv``: columns index, mid and display_name, of which the
            last is in double quotes.
        kind: "zipformer" or "ced".
        num_threads: of ONNX Runtime.
        provider: "cpu" or "cuda", which needs sherpa-onnx built for it.

    Raises:
        ValueError: `kind` is neither.
        BackendError: a file is not there, or is not what it should be, when called; sherpa-onnx is not installed.

    Example:
        >>> tagger = SherpaTagger("model.int8.onnx", "class_labels_indices.csv")
        >>> tagger.model
        'sherpa-onnx zipformer model.int8.onnx'
    """

    onnx: str
    labels: str
    kind: Literal["zipformer", "ced"] = "zipformer"
    num_threads: int = 1
    provider: str = "cpu"

    def __post_init__(self) -> None:
        if self.kind not in ("zipformer", "ced"):
            raise ValueError(f"kind must be 'zipformer' or 'ced', not {self.kind!r}")

    @property
    def model(self) -> str:
        """Its kind and file."""
        return f"sherpa-onnx {self.kind} {os.path.basename(self.onnx)}"

    @property
    def version(self) -> str:
        """That of sherpa-onnx, and the size of the file, which tells models of one name apart."""
        package = import_extra("sherpa_onnx", "sherpa")
        return f"{package.__version__}, {os.path.getsize(self.onnx) if os.path.exists(self.onnx) else 0} bytes"

    def tag(self, clips: Sequence[Clip]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities of shape (clips, 527)."""
        tagger = _open(self)
        probabilities = np.zeros((len(clips), len(audioset_classes())), np.float32)
        for number, clip in enumerate(clips):
            stream = tagger.create_stream()
            stream.accept_waveform(_SAMPLING_RATE, clip.resampled(_SAMPLING_RATE))  # or it prints that it resamples
            for event in tagger.compute(stream, len(audioset_classes())):
                probabilities[number, event.index] = event.prob
        return probabilities


@functools.lru_cache(maxsize=1)
def _open(config: SherpaTagger) -> Any:
    """The tagger, once a process."""
    sherpa = import_extra("sherpa_onnx", "sherpa")
    if not Path(config.onnx).is_file():
        raise BackendError(f"there is no model at {config.onnx}")
    check_labels(config.labels)
    models = {
        "zipformer": {"zipformer": sherpa.OfflineZipformerAudioTaggingModelConfig(model=config.onnx)},
        "ced": {"ced": config.onnx},
    }
    model = sherpa.AudioTaggingModelConfig(
        **models[config.kind], num_threads=config.num_threads, provider=config.provider
    )
    try:
        tagger_config = sherpa.AudioTaggingConfig(model=model, labels=config.labels, top_k=len(audioset_classes()))
        if not tagger_config.validate():
            raise BackendError(f"sherpa-onnx takes neither {config.onnx} nor {config.labels}: see what it printed")
        return sherpa.AudioTagging(tagger_config)
    except RuntimeError as error:
        raise BackendError(f"{config.onnx} cannot be loaded: {error}") from None


def check_labels(file: str | os.PathLike[str]) -> None:
    r"""Make sure that a list of classes is one that sherpa-onnx reads: of a wrong one, it ends the process.

    Raises:
        BackendError: it is not there, has no 527 rows with indices from 0 and names in double quotes, or has other
            classes than AudioSet's.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text('index,mid,display_name\n0,/m/09x0r,Speech\n')
        >>> check_labels(file)
        Traceback (most recent call last):
        hive_datasets.errors.BackendError: .../labels.csv, line 2: display_name must be in double quotes
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(f"{file} cannot be read: {describe(error)}") from None
    expected = audioset_classes()
    if not lines or lines[0].strip() != "index,mid,display_name":
        raise BackendError(f"{file}, line 1: it must be index,mid,display_name")
    for number, line in enumerate(lines[1:], start=2):
        where = f"{file}, line {number}"
        if not line.rstrip().endswith('"') or line.count('"') != 2:
            raise BackendError(f"{where}: display_name must be in double quotes")
        try:
            index, _, name = next(csv.reader([line]))
            wanted = expected[number - 2]
        except (ValueError, IndexError):
            raise BackendError(f"{where}: there must be {len(expected)} rows of three columns") from None
        if index != str(number - 2):
            raise BackendError(f"{where}: index must be {number - 2}, not {index}")
        if name != wanted:
            raise BackendError(f"{where}: class {index} of AudioSet is {wanted!r}, not {name!r}")
    if len(lines) != len(expected) + 1:
        raise BackendError(f"{file}: there must be {len(expected)} rows, not {len(lines) - 1}")
