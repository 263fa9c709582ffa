"""The step that tags with AudioSet's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..backends.protocols import AudioTagger, Clip
from ..errors import BackendError
from ..ontology import audioset_classes
from .clips import clip_or_problem
from .judging import score_columns
from .labels import LABELS_TYPE
from .steps import Record, Scorer, identity_of, labels_of


@dataclass(frozen=True)
class TagAudioSet(Scorer):
    """Tags records with AudioSet's classes.

    Adds ``tag_labels`` and ``tag_scores``, the likeliest classes and their probabilities, the likeliest first;
    ``tag_score``, that of the first; ``tag_reason``, why there is none, else empty; ``tag_model`` and ``tag_version``.
    ``labels`` becomes the first. Decide with ``MinScore("tag", 0.3)``.

    Args:
        tagger: what tags.
        top_k: how many classes are kept, from 1 to 527.
        relabel: whether ``labels`` becomes the likeliest class; it stays where there is none.

    Raises:
        ValueError: `top_k` is out of range.
        BackendError: the tagger gives something else than probabilities, when called.

    Example:
        >>> class Whistler:
        ...     model, version = "whistler", "1"
        ...     def tag(self, clips):
        ...         return np.tile(np.linspace(1, 0, 527), (len(clips), 1))
        >>> clip = {"array": np.zeros(1600), "sampling_rate": 16000}
        >>> batch = TagAudioSet(Whistler(), top_k=2)({"audio": [clip], "labels": [["Noise"]]})
        >>> batch["labels"], batch["tag_labels"]
        ([['Speech']], [['Speech', 'Male speech, man speaking']])
    """

    tagger: AudioTagger
    top_k: int = 5
    relabel: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.tagger, type) or not isinstance(self.tagger, AudioTagger):
            raise TypeError(f"tagger must be an AudioTagger, with a method `tag`, a model, a version: {self.tagger!r}")
        if not isinstance(self.top_k, int) or not 1 <= self.top_k <= len(audioset_classes()):
            raise ValueError(f"top_k must be from 1 to {len(audioset_classes())}, not {self.top_k}")

    def columns(self) -> dict[str, pa.DataType]:
        """The tags, the score's columns, and perhaps the labels."""
        tags = {"tag_labels": LABELS_TYPE, "tag_scores": pa.list_(pa.float64())}
        return ({"labels": LABELS_TYPE} if self.relabel else {}) | tags | score_columns("tag")

    def provenance(self) -> dict[str, str]:
        """The tagger."""
        return identity_of(self.tagger)

    def score(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns of each record."""
        heard = [clip_or_problem(record) for record in records]
        rows = iter(self._probabilities([clip for clip, _ in heard if clip is not None]))
        return [
            self._tags(record, problem, None if clip is None else next(rows))
            for record, (clip, problem) in zip(records, heard, strict=True)
        ]

    def _probabilities(self, clips: Sequence[Clip]) -> npt.NDArray[np.floating[Any]]:
        shape = (len(clips), len(audioset_classes()))
        if not clips:
            return np.empty(shape)
        found = np.asarray(self.tagger.tag(clips))
        if found.shape != shape:
            raise BackendError(f"{self.tagger.model} gives an array of shape {found.shape}, not {shape}")
        if ((found < 0) | (found > 1)).any():
            raise BackendError(
                f"{self.tagger.model} gives values from {np.nanmin(found):.3g} to {np.nanmax(found):.3g}, which are no "
                "probabilities: it was exported without the sigmoid at its end"
            )
        return found

    def _tags(self, record: Record, problem: str, row: npt.NDArray[np.floating[Any]] | None) -> dict[str, Any]:
        if row is not None and not np.isfinite(row).all():
            problem = "no tags: the model gives what is no number"
        told = {f"tag_{name}": value for name, value in self.provenance().items()} | {"tag_reason": problem}
        if row is None or problem:
            kept = {"labels": labels_of(record)} if self.relabel else {}
            return {**kept, "tag_labels": [], "tag_scores": [], "tag_score": None, **told}
        best = np.argsort(-row, kind="stable")[: self.top_k]  # of equal ones, the first class
        names = [audioset_classes()[number] for number in best]
        relabelled = {"labels": names[:1]} if self.relabel else {}
        return {
            **relabelled,
            "tag_labels": names,
            "tag_scores": [float(row[number]) for number in best],
            "tag_score": float(row[best[0]]),
            **told,
        }
