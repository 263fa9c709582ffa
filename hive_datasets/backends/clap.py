"""Judging by CLAP (Wu et al., 2023) of `transformers`: which caption is most like the sound."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .extras import import_extra
from .memory import in_halves
from .pretrained import Pretrained, load_pretrained
from .protocols import Answer, Clip, Question

Embeddings = npt.NDArray[np.float32]

#: CLAP hears so many seconds; of more it would take some at random.
_WINDOW_SECONDS = 10


@dataclass(frozen=True)
class ClapJudge(Pretrained):
    """Chooses by similarity of sound and text, without reasoning: good at "which of these", poor at "how many".

    Probabilities are the softmax of the scaled similarities to the choices' captions; of a clip over 10 s, to the mean
    embedding of its windows.

    Args:
        name: of the model on the Hub, or the folder that it was saved to.
        device: of PyTorch: "cpu", "cuda", ...
        batch_size: windows at once; half of them, and half of that, when memory runs out.
        revision: of the model on the Hub.

    Raises:
        BackendError: it cannot be loaded, when called; PyTorch or transformers is missing.

    Example:
        >>> ClapJudge().model
        'laion/clap-htsat-unfused'
    """

    name: str = "laion/clap-htsat-unfused"
    batch_size: int = 16

    def ask(self, clips: Sequence[Clip], questions: Sequence[Question]) -> list[Answer]:
        """The choice whose caption is most alike, and the probabilities of all."""
        model, _, _ = _open(self)
        captions = tuple(dict.fromkeys(caption for question in questions for caption in question.captions))
        texts = dict(zip(captions, embed_texts(self, captions), strict=True))
        scale = float(model.logit_scale_a.exp().detach().float())
        answers = []
        for question, audio in zip(questions, embed_clips(self, clips), strict=True):
            similarities = np.stack([texts[caption] for caption in question.captions]) @ audio
            probabilities = _softmax(scale * similarities).tolist()
            best = int(np.argmax(probabilities))
            told = dict(zip(question.choices, probabilities, strict=True))
            answers.append(Answer(question.choices[best], told))
        return answers


def embed_clips(judge: ClapJudge, clips: Sequence[Clip]) -> Embeddings:
    """Embeddings of sound, float32 of shape (clips, D), each of length 1; of a clip over 10 s, its windows' mean."""
    if not clips:
        return np.zeros((0, 0), np.float32)
    _, extractor, _ = _open(judge)
    rate = extractor.sampling_rate
    windows = [_windows(clip.resampled(rate), rate * _WINDOW_SECONDS) for clip in clips]
    flat = [window for each in windows for window in each]
    embedded: list[Any] = []
    for start in range(0, len(flat), judge.batch_size):
        embedded += in_halves(functools.partial(_embed_audio, judge), flat[start : start + judge.batch_size])
    ends = np.cumsum([len(each) for each in windows])[:-1]
    means = np.stack([each.mean(axis=0) for each in np.split(np.stack(embedded), ends)])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def compare_clips(judge: ClapJudge, clips: Sequence[Clip], captions: Sequence[str]) -> list[float]:
    """The cosine of each clip's embedding and its caption's, -1 to 1."""
    distinct = tuple(dict.fromkeys(captions))
    texts = dict(zip(distinct, embed_texts(judge, distinct), strict=True))
    audio = embed_clips(judge, clips)
    return [float(texts[caption] @ each) for caption, each in zip(captions, audio, strict=True)]


def _windows(samples: Any, length: int) -> list[Any]:
    """Parts of at most so many samples, as equal as can be."""
    return np.array_split(samples, max(1, -(-len(samples) // length)))


def _embed_audio(config: ClapJudge, windows: Sequence[Any]) -> list[Any]:
    torch = import_extra("torch", "transformers")
    model, extractor, _ = _open(config)
    given = extractor(list(windows), sampling_rate=extractor.sampling_rate, return_tensors="pt").to(config.device)
    with torch.inference_mode():
        return _normalised(model.get_audio_features(**given))


@functools.lru_cache(maxsize=64)
def embed_texts(config: ClapJudge, captions: tuple[str, ...]) -> list[Any]:
    """Embeddings of captions, each float32 of shape (D,) and length 1."""
    torch = import_extra("torch", "transformers")
    model, _, tokenizer = _open(config)
    given = tokenizer(list(captions), padding=True, return_tensors="pt").to(config.device)
    with torch.inference_mode():
        return _normalised(model.get_text_features(**given))


def _normalised(features: Any) -> list[Any]:
    """Rows of length 1; transformers 5 wraps them."""
    torch = import_extra("torch", "transformers")
    return list(
        torch.nn.functional.normalize(getattr(features, "pooler_output", features).float(), dim=-1).cpu().numpy()
    )


def _softmax(values: Any) -> Any:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


@functools.lru_cache(maxsize=1)
def _open(config: ClapJudge) -> tuple[Any, Any, Any]:
    """The model, its feature extractor and its tokenizer; once a process."""
    model = load_pretrained("ClapModel", config.name, config.revision).to(config.device).eval()
    extractor = load_pretrained("ClapFeatureExtractor", config.name, config.revision)
    return model, extractor, load_pretrained("AutoTokenizer", config.name, config.revision)
