"""Small models for tests: they answer from the samples alone, so that what comes out can be told beforehand."""

from dataclasses import dataclass

import numpy as np

from hive_datasets.backends import Answer
from hive_datasets.ontology import audioset_classes


@dataclass(frozen=True)
class PeakJudge:
    """Answers by the peak of a clip: the first choice if it is high, the last if it is low."""

    above: float = 0.5
    told: bool = True
    model = "peak"
    version = "1"

    def ask(self, clips, questions):
        answers = []
        for clip, question in zip(clips, questions, strict=True):
            peak = float(np.abs(clip.samples).max())
            choice = question.choices[0 if peak > self.above else -1]
            answers.append(Answer(choice, {choice: peak} if self.told else {}))
        return answers


@dataclass(frozen=True)
class SayingJudge:
    """Always says the same."""

    choice: str | None
    problem: str = ""
    probability: float | None = None
    model = "saying"
    version = "2"

    def ask(self, clips, questions):
        told = {} if self.probability is None else {self.choice: self.probability}
        return [Answer(self.choice, told, self.problem) for _ in clips]


@dataclass(frozen=True)
class RateTagger:
    """Tells the class whose number is the clip's length in frames, modulo 527."""

    scale: float = 1.0
    model = "rate"
    version = "3"

    def tag(self, clips):
        found = np.full((len(clips), len(audioset_classes())), 0.001)
        for row, clip in zip(found, clips, strict=True):
            row[len(clip.samples) % len(row)] = 0.9
        return found * self.scale


@dataclass(frozen=True)
class HalvingRestorer:
    """Halves what it is given, and keeps a note of the shapes."""

    sampling_rate: int = 44100
    invents: bool = True
    model = "halving"
    version = "4"

    def restore(self, windows):
        return windows / 2


def tone(seconds, level=0.5, sampling_rate=16000, channels=1):
    """A decoded ``Audio`` value."""
    samples = level * np.sin(np.arange(round(seconds * sampling_rate)) / 5)
    return {"array": samples if channels == 1 else np.tile(samples, (channels, 1)), "sampling_rate": sampling_rate}
