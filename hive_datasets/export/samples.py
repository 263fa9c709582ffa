"""A mixture as it is written: the bytes of its audio, and what is known of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RecipeError, SourceError, SourceRootError
from ..mixing import Mixer, RenderedMixture
from ..prepared.store import find_prepared
from ..recipe import Recipe
from ..sources import find_roots
from .encoding import Encoding

#: What the names of mixtures' files must not have in them.
_UNFIT = r"[./\\\x00]"


@dataclass(frozen=True)
class Sample:
    """A mixture, encoded.

    Attributes:
        recipe: its recipe.
        sampling_rate: rate in Hz of its audio.
        audio: the bytes of its files: "mix", then "s1", "s2", ... in the order of the recipe.
        clipped: how many samples were beyond full scale.
    """

    recipe: Recipe
    sampling_rate: int
    audio: dict[str, bytes]
    clipped: int

    @property
    def num_bytes(self) -> int:
        """Of its audio."""
        return sum(map(len, self.audio.values()))


@dataclass(frozen=True)
class Skipped:
    """A mixture that could not be rendered, and why."""

    split: str
    mix_id: str
    reason: str


def describe_sample(recipe: Recipe, sampling_rate: int | None, stems: str) -> str:
    """What lies beside the audio, as JSON: the authors' keys, and the whole recipe.

    Example:
        >>> import hive_datasets
        >>> recipe = next(hive_datasets.read_recipes(hive_datasets.demo_folder() / "metadata" / "train"))
        >>> facts = json.loads(describe_sample(recipe, None, "scaled"))
        >>> facts["mix_id"], facts["speaker_num"], facts["sample_rate"], facts["labels"]
        ('sample_00000000', 2, 44100, ['Engine', 'Clock'])
        >>> hive_datasets.parse_recipe(facts["recipe"]) == recipe
        True
    """
    facts: dict[str, Any] = {
        "mix_id": recipe.mix_id,
        "speaker_num": recipe.num_sources,
        "sample_rate": sampling_rate or recipe.sample_rate,
        "labels": recipe.labels,
        "stems": stems,
        "recipe": recipe.to_dict(),
    }
    return json.dumps(facts, ensure_ascii=False)


def describe_like_authors(recipe: Recipe) -> str:
    """What lies beside the audio in the authors' own tars, as JSON.

    Example:
        >>> import hive_datasets
        >>> recipe = next(hive_datasets.read_recipes(hive_datasets.demo_folder() / "metadata" / "train"))
        >>> describe_like_authors(recipe)
        '{"mix_id": 0, "speaker_num": 2, "sample_rate": 44100, "labels": ["Engine", "Clock"]}'
    """
    number = re.fullmatch(r"sample_(\d{1,18})", recipe.mix_id)
    facts = {
        "mix_id": int(number[1]) if number else recipe.mix_id,
        "speaker_num": recipe.num_sources,
        "sample_rate": recipe.sample_rate,
        "labels": recipe.labels,
    }
    return json.dumps(facts, ensure_ascii=False)


def render_samples(
    recipes: Iterable[Recipe], mixer: Mixer, encoding: Encoding, skip: Callable[[Skipped], Any] | None
) -> Iterator[Sample]:
    """Render and encode recipes.

    Args:
        recipes: what to render.
        mixer: renders.
        encoding: of the audio.
        skip: told of each mixture that cannot be rendered; None to raise the error instead.

    Raises:
        SourceRootError: no roots are configured.
        SourceError: a source cannot be read, if `skip` is None.
        SourceUnreachableError: a server does not answer.
    """
    for recipe in recipes:
        try:
            rendered = mixer(recipe)
        except (SourceError, SourceRootError) as error:
            if skip is None or (isinstance(error, SourceRootError) and not error.configured):
                raise
            skip(Skipped(recipe.split, recipe.mix_id, error.message))
            continue
        yield encode_sample(recipe, rendered, encoding)


def encode_sample(recipe: Recipe, rendered: RenderedMixture, encoding: Encoding) -> Sample:
    """A rendered mixture, encoded."""
    audio, clipped = {}, 0
    signals = [("mix", rendered["mix"]), *((f"s{n}", stem) for n, stem in enumerate(rendered["sources"], start=1))]
    for name, signal in signals:
        audio[name], beyond = encoding.encode(signal, rendered["sampling_rate"])
        clipped += beyond
    return Sample(recipe, rendered["sampling_rate"], audio, clipped)


def check_roots(mixer: Mixer) -> None:
    """Make sure that a mixer has something to read, before anything is made for what it renders.

    Raises:
        SourceRootError: no roots are configured, nor prepared sources.
    """
    if find_prepared(mixer.prepared) is None:
        find_roots(mixer.roots)


def check_mix_ids(mix_ids: pa.ChunkedArray, where: str) -> None:
    """Make sure that mixtures of one shard can be files, and be told apart by their names.

    Raises:
        RecipeError: a mix_id is there twice, or cannot be the name of a file.
    """
    unfit = pc.or_(pc.match_substring_regex(mix_ids, _UNFIT), pc.greater(pc.binary_length(mix_ids), 200))
    if pc.any(unfit).as_py():
        mix_id = mix_ids.filter(unfit)[0].as_py()
        problem = "it cannot name files, for which it must have neither '.' nor '/', and at most 200 bytes"
    elif pc.count_distinct(mix_ids).as_py() < len(mix_ids):
        counts = pc.value_counts(mix_ids)
        mix_id = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        problem = "it is there twice; do several metadata files hold the same mixtures?"
    else:
        return
    raise RecipeError(f"{where}: mix_id {mix_id!r}: {problem}", where=where, mix_id=mix_id)
