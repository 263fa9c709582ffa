"""What a model must be able to do to be plugged into a step of curation.

Each protocol has one method, which takes a batch of clips and gives an answer for each. A backend also says what it
is, which is kept beside its answers: `model`, and `version`. Write one in twenty lines: any object with these
attributes will do, and steps pickle it, config and all, if it is a dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """Mono audio.

    Attributes:
        samples: float32 of shape (T,), full scale -1 to 1.
        sampling_rate: in Hz.
    """

    samples: Samples
    sampling_rate: int

    def resampled(self, sampling_rate: int) -> Samples:
        """Its samples at another rate (soxr HQ).

        Example:
            >>> Clip(np.zeros(192000, np.float32), 192000).resampled(16000).shape
            (16000,)
        """
        if sampling_rate == self.sampling_rate:
            return self.samples
        resampled: Samples = soxr.resample(self.samples, self.sampling_rate, sampling_rate, quality="HQ")
        return resampled


@dataclass(frozen=True)
class Question:
    """What a judge is asked about a clip.

    Attributes:
        text: for a model that reads: it says what to choose from, and that the answer is one of the choices.
        choices: the answers that are allowed.
        captions: for a model that only compares sound with text: what it sounds like if a choice is right.
    """

    text: str
    choices: tuple[str, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a judge answered.

    Attributes:
        choice: one of the choices; None if there is no answer that makes sense.
        probabilities: by choice, from 0 to 1; of as many choices as the model tells, perhaps none.
        problem: why there is no answer: "no answer", and, after a colon, the detail.
    """

    choice: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""

    @property
    def probability(self) -> float | None:
        """That of the choice."""
        return None if self.choice is None else self.probabilities.get(self.choice)


class Backend(Protocol):
    """What all have."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """What tells it from others of that name."""
        ...


@runtime_checkable
class AudioJudge(Backend, Protocol):
    """Listens, and chooses."""

    def ask(self, clips: Sequence[Clip], questions: Sequence[Question]) -> list[Answer]:
        """An answer for each clip and its question.

        What is wrong with one of them is told in its answer. A `BackendError` is raised if none can be answered.
        """
        ...


@runtime_checkable
class AudioTagger(Backend, Protocol):
    """Tells which of AudioSet's classes are heard."""

    def tag(self, clips: Sequence[Clip]) -> npt.NDArray[np.floating[Any]]:
        """Probabilities of the 527 classes in the order of `audioset_classes`: of shape (clips, 527), each from 0 to 1.

        A row of NaN stands for a clip that the model cannot take.
        """
        ...


@runtime_checkable
class Restorer(Backend, Protocol):
    """Makes up for what a recording has lost."""

    @property
    def sampling_rate(self) -> int:
        """The rate of what it takes and gives, in Hz."""
        ...

    @property
    def invents(self) -> bool:
        """Whether there is more in what it gives than was recorded."""
        ...

    def restore(self, windows: Samples) -> Samples:
        """Windows of shape (N, T), at its rate, restored: of the same shape."""
        ...
