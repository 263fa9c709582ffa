"""From a recipe to examples of training: which stem is the target, what is asked for, what is changed.

All of it is decided on recipes, before any audio: an example is a recipe to render, which of its sources are the
target, and the query. Each decision is drawn by itself, from the seed, the mix_id, the epoch and the decision's name,
so that it is the same in any batch, on any rank and worker, and switching one option on moves no other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import xxhash

from ..ontology import find_ontology
from ..recipe import Recipe, Source

#: Which stems of a mixture become targets: one by chance; one, another each epoch until all were; each of them.
Stems = Literal["one", "in_turn", "all"]
#: Level in dB, from and to.
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Example:
    """What a separator is to do with one mixture.

    Attributes:
        recipe: what is rendered. Where options changed it, its `final_max_amplitude` is still the original's.
        targets: which of its sources are asked for, by number; none if silence is right. Several if a mixture has one
            label several times.
        label: what is asked for.
        query: the same as text.
        options: what was done, by the name of the option, of those that are on; for `silent`, `single` and `swap` also
            that nothing was done, as False or None.
    """

    recipe: Recipe
    targets: tuple[int, ...]
    label: str
    query: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectTarget:
    """Makes examples of recipes: one stem is the target, with its label as the query; the rest is interference.

    Args:
        stems: "one" by chance; "in_turn", another each epoch until every one was; "all", one example for each.
        templates: of the query, one by chance; each has ``{label}`` in it.
        silent: share of the examples in which an absent label is asked for, and silence is right (ClearSep: 0.05).
            Absent is a label that is neither in the mixture nor, in the ontology, above or below one that is.
        absent: share of the examples, up to 0.5, that are added to a mixture's and ask for an absent label: as
            `silent`, but no stem is left out for it.
        single: share of the examples in which the target, or another stem if silence is right, is alone.
        swap: share of the examples in which an interferer gives way to one of another mixture, at its level, whose
            label is not related to any in the mixture. Which mixture, `ExampleTable` looks up.
        snr_db: from and to, if the level of the target against each interferer is drawn anew, evenly, in dB; levels are
            those that ``rms_gain`` evens out. The sum of all sources' powers stays as it was.
        gain_db: from and to, if the whole mixture is made louder or softer.
        polarity: share of the stems whose sign is turned.
        labels: among which absent labels are drawn; by default the leaves of the ontology.
        ontology: "hive", "audioset" or a file in AudioSet's format: which labels are related. Those that it does not
            have are related to none but themselves.
        seed: another one draws all anew.

    Raises:
        ValueError: an option is out of range.
        OntologyError: the ontology cannot be read.

    Example:
        >>> import hive_datasets
        >>> demo = hive_datasets.demo_folder() / "metadata" / "train"
        >>> recipe = next(hive_datasets.read_recipes(demo))
        >>> select = SelectTarget(templates=["{label}", "the sound of {label}"], silent=0.05, snr_db=(-5, 5))
        >>> (example,) = select(recipe, epoch=1)
        >>> recipe.labels, example.targets, example.query
        (['Engine', 'Clock'], (1,), 'the sound of Clock')
        >>> sorted(example.options)
        ['silent', 'snr_db']
        >>> [example.label for example in SelectTarget(stems="all")(recipe)]
        ['Engine', 'Clock']
    """

    stems: Stems = "one"
    templates: Sequence[str] = ("{label}",)
    silent: float = 0.0
    absent: float = 0.0
    single: float = 0.0
    swap: float = 0.0
    snr_db: Range | None = None
    gain_db: Range | None = None
    polarity: float = 0.0
    labels: Sequence[str] | None = None
    ontology: str | os.PathLike[str] = "hive"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stems not in get_args(Stems):
            raise ValueError(f"stems must be one of {', '.join(map(repr, get_args(Stems)))}, not {self.stems!r}")
        for name in ("silent", "single", "swap", "polarity"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a share, 0 to 1, not {getattr(self, name)!r}")
        if not 0.0 <= self.absent <= 0.5:
            raise ValueError(f"absent must be a share, 0 to 0.5, not {self.absent!r}")
        for name in ("snr_db", "gain_db"):
            span = getattr(self, name)
            if span is not None and not (len(span) == 2 and -120.0 <= span[0] <= span[1] <= 120.0):
                raise ValueError(f"{name} must be two levels in dB, from and to, within -120 to 120, not {span!r}")
        if isinstance(self.templates, str) or not self.templates:
            raise ValueError(f"templates must be a list of texts, not {self.templates!r}")
        for template in self.templates:
            if "{label}" not in template:
                raise ValueError(f'template {template!r} has no "{{label}}" in it')
        if self.labels is not None and (isinstance(self.labels, str) or not self.labels):
            raise ValueError(f"labels must be a list of labels, not {self.labels!r}")
        find_ontology(self.ontology)  # which may raise

    def __call__(
        self, recipe: Recipe, epoch: int = 0, *, label: str | None = None, partner: Recipe | None = None
    ) -> list[Example]:
        """The examples of a recipe: one, or one a label with ``stems="all"``; and those that `absent` adds.

        Args:
            recipe: of a mixture.
            epoch: which one.
            label: the label of the stems that are to be the target, if that was decided before.
            partner: the mixture that `swap` takes a stem of; without it, none is swapped.

        Raises:
            ValueError: no source has that label.
        """
        draws = _Draws(self.seed, epoch, recipe.mix_id)
        labels = list(dict.fromkeys(recipe.labels))
        if label is not None:
            if label not in labels:
                raise ValueError(f"mixture {recipe.mix_id} has no source {label!r}, but {', '.join(labels)}")
            labels = [label]
        elif self.stems == "one":
            labels = [draws.choose("target", labels)]
        elif self.stems == "in_turn":
            first = _Draws(self.seed, 0, recipe.mix_id).index("turn", len(labels))
            labels = [labels[(first + epoch) % len(labels)]]
        examples = [self._make(recipe, each, draws.of(each), partner) for each in labels]
        return examples + self._ask_absent(examples, draws) if self.absent else examples

    def find_partner(self, recipe: Recipe, epoch: int, num_rows: int) -> int | None:
        """The row of a table whose recipe is the partner of this one, if a stem of it is to be swapped; else None."""
        draws = _Draws(self.seed, epoch, recipe.mix_id)
        return draws.index("partner", num_rows) if draws.falls("swap", self.swap) else None

    def _make(self, recipe: Recipe, label: str, draws: _Draws, partner: Recipe | None) -> Example:
        options: dict[str, Any] = {}
        sources = list(recipe.sources)
        chosen = [number for number, source in enumerate(sources) if source.label == label]
        if self.single:
            options["single"] = draws.falls("single", self.single)
            if options["single"]:
                sources = [sources[number] for number in chosen]
                chosen = list(range(len(sources)))
        if self.swap:
            options["swap"] = None if partner is None else self._swap(recipe, sources, chosen, partner, draws)
        factor = recipe.global_normalization_factor
        if self.snr_db is not None:
            power = _power_of(sources)
            options["snr_db"] = _set_levels(sources, chosen, self.snr_db, draws)
            factor *= (power / _power_of(sources)) ** 0.5
        if self.polarity:
            options["polarity"] = [
                -1 if draws.falls(f"polarity {number}", self.polarity) else 1 for number in range(len(sources))
            ]
            for number, sign in enumerate(options["polarity"]):
                if sign < 0:
                    sources[number] = replace(sources[number], applied_weight=-sources[number].applied_weight)
        if self.gain_db is not None:
            options["gain_db"] = draws.between("gain", *self.gain_db)
            factor *= 10 ** (options["gain_db"] / 20)
        if self.silent:
            options["silent"] = draws.falls("silent", self.silent)
            if options["silent"]:
                label, chosen = self._find_absent([source.label for source in sources], draws), []
        changed = tuple(sources)
        if changed != recipe.sources or factor != recipe.global_normalization_factor:
            recipe = replace(recipe, sources=changed, global_normalization_factor=factor)
        query = draws.choose("template", self.templates).replace("{label}", label)
        return Example(recipe, tuple(chosen), label, query, options)

    def _ask_absent(self, examples: Sequence[Example], draws: _Draws) -> list[Example]:
        """With some of the examples, one of the same mixture whose label is not there; none is asked for twice."""
        added: dict[str, Example] = {}
        for number, example in enumerate(examples):
            own = draws.of(f"added {number}")
            if own.falls("is added", self.absent / (1 - self.absent)):
                label = self._find_absent(example.recipe.labels, own)
                query = own.choose("template", self.templates).replace("{label}", label)
                added[label] = Example(example.recipe, (), label, query, {**example.options, "absent": True})
        return list(added.values())

    def _swap(
        self, recipe: Recipe, sources: list[Source], chosen: list[int], partner: Recipe, draws: _Draws
    ) -> str | None:
        """Put a stem of `partner` into the place of an interferer; which, as "mix_id/source_id", if one fits."""
        places = [number for number in range(len(sources)) if number not in chosen]
        is_alike = (
            partner.sample_rate == recipe.sample_rate
            and partner.target_duration == recipe.target_duration
            and partner.origin == recipe.origin
        )
        if not places or not is_alike or partner == recipe:
            return None
        place = draws.choose("swapped", places)
        others = [source.label for number, source in enumerate(sources) if number != place]
        related = {name for label in others for name in find_related(os.fspath(self.ontology), label)}
        fitting = [source for source in partner.sources if source.label not in related]
        if not fitting:
            return None
        stem, level = draws.choose("swapped in", fitting), sources[place].snr_db
        sources[place] = replace(
            stem,
            source_id=sources[place].source_id,
            snr_db=level,
            applied_weight=stem.rms_gain * 10 ** (level / 20),
        )
        return f"{partner.mix_id}/{stem.source_id}"

    def _find_absent(self, present: Sequence[str], draws: _Draws) -> str:
        known = find_ontology(self.ontology).leaves() if self.labels is None else list(self.labels)
        related = {name for label in present for name in find_related(os.fspath(self.ontology), label)}
        absent = [label for label in known if label not in related]
        if not absent:
            raise ValueError(
                f"every one of {len(known)} labels is in a mixture of {', '.join(present)}, or related to it: silent= "
                "needs labels= with others"
            )
        return absent[draws.index("absent", len(absent))]


@functools.lru_cache(maxsize=4096)
def find_related(ontology: str, label: str) -> frozenset[str]:
    """A label, and all that is above or below it in an ontology.

    Example:
        >>> sorted(find_related("audioset", "Purr"))
        ['Animal', 'Cat', 'Domestic animals, pets', 'Purr']
    """
    nodes = find_ontology(ontology)
    if label not in nodes:
        return frozenset([label])
    return frozenset([label, *nodes.ancestors(label), *nodes.descendants(label)])


def _set_levels(sources: list[Source], chosen: Sequence[int], span: Range, draws: _Draws) -> list[float]:
    """Draw the level of the target against each interferer; what it is of each source, 0 of the target itself."""
    levels = []
    for number, source in enumerate(sources):
        level = 0.0 if number in chosen else draws.between(f"snr {number}", *span)
        weight = source.rms_gain * 10 ** (-level / 20)
        sources[number] = replace(source, snr_db=0.0 - level, applied_weight=weight)
        levels.append(level)
    return levels


def _power_of(sources: Sequence[Source]) -> float:
    """Of their sum, as if none had anything to do with another; 1 is that of a source at an SNR of 0 dB."""
    return sum(10 ** (source.snr_db / 10) for source in sources)


class _Draws:
    """Numbers that depend on a seed, an epoch, a mix_id and the name of what is drawn, and on nothing else."""

    __slots__ = ("_prefix",)

    def __init__(self, *parts: object) -> None:
        self._prefix = "\n".join(map(str, parts))

    def of(self, part: str) -> _Draws:
        return _Draws(self._prefix, part)

    def uniform(self, name: str) -> float:
        """From 0, included, to 1, excluded."""
        hashed = xxhash.xxh3_64_intdigest(f"{self._prefix}\n{name}".encode("utf-8", "surrogatepass"))
        return (hashed >> 11) * 2.0**-53

    def index(self, name: str, count: int) -> int:
        return int(self.uniform(name) * count)

    def choose(self, name: str, items: Sequence[Any]) -> Any:
        return items[self.index(name, len(items))]

    def falls(self, name: str, share: float) -> bool:
        return self.uniform(name) < share

    def between(self, name: str, low: float, high: float) -> float:
        return low + (high - low) * self.uniform(name)
