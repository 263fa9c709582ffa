"""What is asked of a separator: the sources of mixtures, one after the other, and labels that are not there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from ..dataset import Subset, as_subset
from ..mixing import Mixer
from ..recipe import Recipe
from ..sources.corpora import title_of

if TYPE_CHECKING:
    from ..training import Example, RecipeTable, SelectTarget

Signal = npt.NDArray[np.float32]
#: A rate in Hz, and of each target of an item the mixture and what is asked for in it, of shape (T,).
Signals: TypeAlias = "tuple[int, list[tuple[Signal, Signal]]]"


@dataclass(frozen=True, slots=True)
class Target:
    """A question to a separator, whose right answer is known.

    Attributes:
        mix_id, split: the mixture.
        label: what is asked for.
        query: the same as text.
        source_ids: of the sources that are right, such as ("s2",); none if the label is not in the mixture.
        corpus: that the first of them is of; "" if there is none, or if it is not known.
        num_sources: of the mixture.
        start_second: where the segment of the mixture starts.
        is_segment: whether not all of the mixture is asked about at once.
    """

    mix_id: str
    split: str
    label: str
    query: str
    source_ids: tuple[str, ...]
    corpus: str
    num_sources: int
    start_second: float = 0.0
    is_segment: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A mixture, and all that is asked about it.

    Attributes:
        targets: the questions.
        identity: what tells it from others: the same wherever its files lie.
        content: what its signals are read from.
    """

    targets: tuple[Target, ...]
    identity: str
    content: Any


class Targets(Protocol):
    """What an evaluation goes through: `RecipeTargets`, or `StemTargets`."""

    def items(self) -> Iterator[Item]:
        """All of them, in the same order each time."""
        ...

    def read(self, item: Item) -> Signals:
        """The signals of its targets, in their order; from any thread."""
        ...

    def describe(self) -> dict[str, Any]:
        """What was chosen, for the record of an evaluation."""
        ...


class RecipeTargets:
    """Each source of each mixture once, and absent labels: for these, silence is right.

    Sources of one label are asked for together. The questions are the `Example` objects that training makes, so that
    what is evaluated is what was trained on.

    Args:
        dataset: a loaded dataset of mixtures, a `RecipeTable`, a list of recipes, a `Subset`, or the path or URL of
            metadata.
        mixer: renders them.
        select: makes the questions; it must have ``stems="all"``, which is the default. ``absent=0.1`` has a tenth of
            the targets ask for labels that are not there; ``templates`` make the queries.
        segment_seconds: if mixtures are asked about in pieces of that length; what is left at the end is left out, of
            mixtures that are longer.

    Raises:
        ValueError: an option is out of range.
        TypeError: it is no such dataset.

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder()
        >>> targets = RecipeTargets(demo / "metadata", hive_datasets.Mixer(demo / "sources", 16000))
        >>> first = next(targets.items())
        >>> [(target.label, target.source_ids) for target in first.targets]
        [('Engine', ('s1',)), ('Clock', ('s2',))]
        >>> sampling_rate, signals = targets.read(first)
        >>> sampling_rate, [signal.shape for signal in signals[0]]
        (16000, [(64000,), (64000,)])
    """

    def __init__(
        self,
        dataset: Dataset | RecipeTable | Sequence[Recipe] | Subset | str | os.PathLike[str] | None,
        mixer: Mixer,
        *,
        select: SelectTarget | None = None,
        segment_seconds: float | None = None,
    ) -> None:
        # its sampler is PyTorch's, which takes its time: a command line says what is wrong before that
        from ..training import RecipeTable, SelectTarget

        self.select = SelectTarget("all") if select is None else select
        if self.select.stems != "all":
            raise ValueError(f'select must have stems="all", which asks for each source, not {self.select.stems!r}')
        self.mixer, self.segment_seconds = mixer, check_segment(segment_seconds)
        if dataset is None or isinstance(dataset, (Subset, str, os.PathLike)):
            self._dataset: Subset | RecipeTable = as_subset(dataset)
        else:
            self._dataset = dataset if isinstance(dataset, RecipeTable) else RecipeTable(dataset)

    def items(self) -> Iterator[Item]:
        """A mixture each, in the order of the metadata."""
        for recipe in self._recipes():
            examples = self.select(recipe)
            rate = self.mixer.sampling_rate or recipe.sample_rate
            starts = find_segments(recipe.num_samples(rate), rate, self.segment_seconds)
            targets = tuple(
                _describe(example, start / rate, self.segment_seconds is not None)
                for start, example in itertools.product(starts, examples)
            )
            yield Item(targets, recipe.to_json(), (recipe, examples, starts))

    def read(self, item: Item) -> Signals:
        """Render a mixture.

        Raises:
            SourceError, SourceRootError, SourceUnreachableError: its audio cannot be read.
        """
        recipe, examples, starts = item.content
        rendered = {id(each): self.mixer(each) for each in {id(e.recipe): e.recipe for e in examples}.values()}
        rate = self.mixer.sampling_rate or recipe.sample_rate
        pairs = []
        for example in examples:
            mixture = rendered[id(example.recipe)]
            chosen = [mixture["sources"][number] for number in example.targets]
            pairs.append((mixture["mix"], _sum(chosen, mixture["mix"])))
        return rate, cut_segments(pairs, starts, rate, self.segment_seconds)

    def describe(self) -> dict[str, Any]:
        """The options, and how mixtures are rendered."""
        return {
            "sampling_rate": self.mixer.sampling_rate,
            "alignment": self.mixer.alignment,
            "select": {
                each.name: getattr(self.select, each.name)
                for each in fields(self.select)
                if getattr(self.select, each.name) != each.default
            },
            "segment_seconds": self.segment_seconds,
        }

    def _recipes(self) -> Iterator[Recipe]:
        if isinstance(self._dataset, Subset):
            yield from self._dataset.recipes(self.mixer)
            return
        for start in range(0, len(self._dataset), _ROWS):
            yield from self._dataset.__getitems__(range(start, min(start + _ROWS, len(self._dataset))))


#: Rows of a table that are read at once.
_ROWS = 1024


def check_segment(seconds: float | None) -> float | None:
    """The length of segments, if it is one.

    Raises:
        ValueError: it is too short to be one.
    """
    if seconds is not None and not 0.01 <= seconds < float("inf"):
        raise ValueError(f"segment_seconds must be at least 0.01, not {seconds!r}")
    return seconds


def find_segments(num_samples: int, sampling_rate: int, seconds: float | None) -> list[int]:
    """Where the segments of a mixture start, in samples; one of all of it, if it is not longer than one.

    Example:
        >>> find_segments(70000, 16000, 2.0), find_segments(20000, 16000, 2.0), find_segments(70000, 16000, None)
        ([0, 32000], [0], [0])
    """
    length = num_samples if seconds is None else round(seconds * sampling_rate)
    return [number * length for number in range(max(1, num_samples // max(1, length)))]


def cut_segments(
    pairs: Sequence[tuple[Signal, Signal]], starts: Sequence[int], sampling_rate: int, seconds: float | None
) -> list[tuple[Signal, Signal]]:
    """The segments of signals: all of the first segment, then all of the second, ..."""
    if seconds is None:
        return list(pairs)
    length = round(seconds * sampling_rate)
    return [
        (mixture[start : start + length], target[start : start + length])
        for start, (mixture, target) in itertools.product(starts, pairs)
    ]


def _describe(example: Example, start_second: float, is_segment: bool) -> Target:
    recipe = example.recipe
    right = [recipe.sources[number] for number in example.targets]
    return Target(
        mix_id=recipe.mix_id,
        split=recipe.split,
        label=example.label,
        query=example.query,
        source_ids=tuple(source.source_id for source in right),
        corpus=title_of(right[0].path.partition("/")[0]) if right else "",
        num_sources=recipe.num_sources,
        start_second=start_second,
        is_segment=is_segment,
    )


def _sum(sources: Sequence[Signal], mixture: Signal) -> Signal:
    if len(sources) == 1:
        return sources[0]
    return np.sum(sources, axis=0, dtype=np.float32) if sources else np.zeros_like(mixture)
