"""Scores of models that listen: whether an estimate sounds like its label, and how far a set of them is from another.

Any object with `columns` and a method `score` is a scorer; these two ask models of curation's backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..backends.clap import ClapJudge, compare_clips, embed_clips
from ..backends.extras import import_extra
from ..backends.protocols import AudioTagger, Clip
from ..ontology import audioset_classes


class EstimateScorer(Protocol):
    """Scores estimates by listening to them."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of its scores."""
        ...

    def score(
        self, estimates: Sequence[Clip], references: Sequence[Clip], labels: Sequence[str]
    ) -> Mapping[str, Sequence[float]]:
        """A number a clip, under the name of each column; NaN where there is none. From any thread, one at a time.

        Args:
            estimates: what the separator gave.
            references: what was right.
            labels: what was asked for.
        """
        ...


@dataclass(frozen=True)
class ClapSimilarity:
    """``clap``: the cosine of an estimate's and its label's embeddings by CLAP, -1 to 1 (CLAP-T).

    Args:
        judge: the model.
        template: of the caption.

    Example:
        >>> ClapSimilarity(ClapJudge()).columns
        ('clap',)
    """

    judge: ClapJudge
    template: str = "the sound of {label}"
    columns = ("clap",)

    def score(
        self, estimates: Sequence[Clip], references: Sequence[Clip], labels: Sequence[str]
    ) -> Mapping[str, Sequence[float]]:
        """Of each estimate."""
        captions = [self.template.replace("{label}", label) for label in labels]
        return {"clap": compare_clips(self.judge, estimates, captions)}


@dataclass(frozen=True)
class TagProbability:
    """``tag_probability``: that an AudioSet tagger hears the label in the estimate, 0 to 1; NaN of labels it has not.

    Args:
        tagger: the model.

    Example:
        >>> class Deaf:
        ...     model, version = "deaf", "1"
        ...     def tag(self, clips):
        ...         return np.zeros((len(clips), 527))
        >>> clip = Clip(np.zeros(1600, np.float32), 16000)
        >>> TagProbability(Deaf()).score([clip, clip], [clip, clip], ["Speech", "No class"])
        {'tag_probability': [0.0, nan]}
    """

    tagger: AudioTagger
    columns = ("tag_probability",)

    def score(
        self, estimates: Sequence[Clip], references: Sequence[Clip], labels: Sequence[str]
    ) -> Mapping[str, Sequence[float]]:
        """Of each estimate."""
        numbers = {name: number for number, name in enumerate(audioset_classes())}
        told = self.tagger.tag(estimates)
        return {
            "tag_probability": [
                float(row[numbers[label]]) if label in numbers else float("nan")
                for row, label in zip(told, labels, strict=True)
            ]
        }


def measure_frechet_distance(
    estimates: Iterable[Clip], references: Iterable[Clip], judge: ClapJudge, batch_size: int = 16
) -> float:
    """The Fréchet distance of two sets of clips over their embeddings by CLAP: FAD; 0 of the same set.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^0.5) of the embeddings' means and covariances, by torchmetrics. It depends on
    the model and on how many clips there are: sets should have some thousands, and as many as what they are compared
    with. Kilgour et al., "Fréchet audio distance" (2019).

    Args:
        estimates: at least two clips; gone through once, so that they need not be in memory.
        references: the other set.
        judge: the model whose embeddings count.
        batch_size: clips that are embedded at once.

    Raises:
        BackendError: the model cannot be loaded; PyTorch, transformers or torchmetrics is missing.
        ValueError: a set has less than two clips.
    """
    torch = import_extra("torch", "evaluate")
    frechet = import_extra("torchmetrics.image.fid", "evaluate").FrechetInceptionDistance
    distance: Any = None
    for clips, is_real in ((references, True), (estimates, False)):
        count = 0
        for batch in _in_batches(clips, batch_size):
            embedded: npt.NDArray[np.float32] = embed_clips(judge, batch)
            if distance is None:
                embeddings = torch.nn.Identity()
                embeddings.num_features = embedded.shape[1]
                distance = frechet(feature=embeddings)
            distance.update(torch.from_numpy(embedded).double(), real=is_real)
            count += len(batch)
        if count < 2:
            raise ValueError(f"a set of {count} clips has no spread: a distance needs two at least")
    return float(distance.compute())


def _in_batches(clips: Iterable[Clip], size: int) -> Iterable[list[Clip]]:
    batch: list[Clip] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
