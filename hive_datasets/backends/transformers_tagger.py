"""Tagging by the Audio Spectrogram Transformer (Gong, Chung and Glass, 2021) of `transformers`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from ..ontology import audioset_classes
from .extras import import_extra
from .memory import in_halves
from .pretrained import Pretrained, load_pretrained
from .protocols import Clip


@dataclass(frozen=True)
class TransformersTagger(Pretrained):
    """Tags with an AST model that was trained on AudioSet, which hears as much as it was made for: about 10 s.

    Args:
        name: of the model on the Hub, or the folder that it was saved to.
        device: of PyTorch: "cpu", "cuda", ...
        batch_size: clips at once; half of them, and half of that, when memory runs out.
        revision: of the model on the Hub.

    Raises:
        BackendError: it cannot be loaded, or tells other classes, when called; PyTorch or transformers is missing.

    Example:
        >>> TransformersTagger(device="cuda").model
        'MIT/ast-finetuned-audioset-10-10-0.4593'
    """

    name: str = "MIT/ast-finetuned-audioset-10-10-0.4593"

    def tag(self, clips: Sequence[Clip]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities of shape (clips, 527): of each class by itself, so a sigmoid, no softmax."""
        rows: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(clips), self.batch_size):
            rows += in_halves(functools.partial(_tag, self), clips[start : start + self.batch_size])
        return np.stack(rows)


def _tag(config: TransformersTagger, clips: Sequence[Clip]) -> list[npt.NDArray[np.float32]]:
    torch = import_extra("torch", "transformers")
    model, extractor, order = _open(config)
    rate = extractor.sampling_rate
    given = extractor([clip.resampled(rate) for clip in clips], sampling_rate=rate, return_tensors="pt")
    with torch.inference_mode():
        logits = model(given["input_values"].to(config.device, model.dtype)).logits
        return list(torch.sigmoid(logits.float()).cpu().numpy()[:, order])


@functools.lru_cache(maxsize=1)
def _open(config: TransformersTagger) -> tuple[Any, Any, list[int]]:
    """The model, its feature extractor, and which of its outputs is which class; once a process."""
    model = load_pretrained("ASTForAudioClassification", config.name, config.revision).to(config.device).eval()
    extractor = load_pretrained("ASTFeatureExtractor", config.name, config.revision)
    outputs = {name: number for number, name in model.config.id2label.items()}
    missing = [name for name in audioset_classes() if name not in outputs]
    if missing:
        raise BackendError(f"{config.name} does not tell {len(missing)} of AudioSet's 527 classes: {missing[0]!r}, ...")
    return model, extractor, [outputs[name] for name in audioset_classes()]
