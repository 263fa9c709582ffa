"""Writing one shard, in whichever process."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import HiveError, OutputError, describe
from ..mixing import Mixer
from ..recipe import Recipe
from ..recipe.tables import recipes_from_table
from ..utils.files import written_aside
from .containers import Container
from .encoding import Encoding
from .plan import PlannedShard, Shard
from .samples import Sample, Skipped, check_mix_ids, describe_like_authors, describe_sample, render_samples
from .tables import Counts, count_text_bytes, hash_recipes
from .target import ShardRecord, Target, hash_of, size_of

#: Changes when the same recipes would be written differently.
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards.

    Attributes:
        target: where to.
        mixer: renders.
        encoding: of the audio.
        container: the kind of shard.
        skips: whether mixtures that cannot be rendered are left out.
        like_authors: whether folders and JSON are the authors', too.
    """

    target: Target
    mixer: Mixer
    encoding: Encoding
    container: Container
    skips: bool
    like_authors: bool = False

    def name_of(self, shard: Shard) -> str:
        """The path of a shard in the folder."""
        folder = shard.folder.replace("validation/", "val/") if self.like_authors else shard.folder
        return f"{folder}/{self.container.file_name(shard.number)}"

    def plan(self, shard: Shard) -> PlannedShard:
        """What a shard will be called, made of, and about its size.

        Raises:
            RecipeError: its mixtures cannot be told apart by name.
        """
        name, table = self.name_of(shard), shard.table
        check_mix_ids(table.column("mix_id"), name)
        audio = self._audio_bytes(table)
        if self.like_authors:
            texts = np.array([len(self._describe(recipe).encode()) for recipe in recipes_from_table(table)])
        else:
            twice = {"mix_id", "label"} if self.mixer.sampling_rate else {"mix_id", "label", "sample_rate"}
            texts = count_text_bytes(table, self._describe, twice)
        num_bytes = self.container.size(audio, 1 + shard.num_sources, texts)
        return PlannedShard(name, hash_recipes(table, self._way), num_bytes, len(table))

    def extends(self, shard: Shard, record: ShardRecord) -> bool:
        """Whether a shard has all mixtures of the one that is there, and more after them."""
        before = shard.table.slice(0, record.mixtures + len(record.skipped))
        return hash_recipes(before, self._way) == record.recipes

    def write(self, shard: Shard, advance: Callable[[int], Any]) -> ShardRecord:
        """Write a shard, if it is not there, and a record of it.

        Args:
            shard: its mixtures.
            advance: told of bytes as they are written; in the end, of as many as were planned.

        Raises:
            OutputError: it cannot be written.
            SourceRootError, SourceError: a mixture cannot be rendered, and is not to be skipped.
        """
        planned, recipes = self.plan(shard), recipes_from_table(shard.table)
        before = self.target.find(planned)
        if before is not None and self.skips and not self._can_add(before, recipes):
            advance(planned.num_bytes)
            return before
        if before is None:
            other = self.target.find_other(planned)
            before = other if other is not None and self.extends(shard, other) else None
        try:
            return self._write(planned, recipes, before, advance)
        except HiveError:
            raise
        except OSError as error:
            raise OutputError(
                f"{self.target.folder / planned.name} cannot be written: {describe(error)}. The shards that were "
                "finished are kept: see to it, and run it again to go on."
            ) from None

    def _write(
        self,
        planned: PlannedShard,
        recipes: list[Recipe],
        before: ShardRecord | None,
        advance: Callable[[int], Any],
    ) -> ShardRecord:
        skipped: list[Skipped] = []
        clipped: list[int] = []
        told: list[int] = []

        def count(samples: Iterator[Sample]) -> Iterator[Sample]:
            for sample in samples:
                yield sample
                clipped.append(sample.clipped)
                told.append(sample.num_bytes)
                advance(sample.num_bytes)

        def record(num_bytes: int, content: str = "") -> ShardRecord:
            return ShardRecord(
                name=planned.name,
                recipes=planned.recipes,
                num_bytes=num_bytes,
                mixtures=len(clipped),
                clipped_mixtures=sum(count > 0 for count in clipped),
                clipped_samples=sum(clipped),
                skipped=tuple((each.mix_id, each.reason) for each in skipped),
                content=content,
            )

        path = self.target.folder / planned.name
        samples = count(render_samples(recipes, self.mixer, self.encoding, skipped.append if self.skips else None))
        first = next(samples, None)
        if first is None:  # what is there, of other mixtures, stays
            advance(planned.num_bytes)
            return record(0)
        try:
            with written_aside(path, replaces=True, is_durable=True) as aside:
                every = itertools.chain([first], samples)
                self.container.write(aside, every, self.encoding, self._describe, self._rate_of(recipes))
                if before is not None and {each.mix_id for each in skipped} & _rendered_in(before, recipes):
                    raise _LossError
                written = record(size_of(aside), hash_of(aside))
                self.target.forget(planned.name)  # what it says will not be true in a moment
            self.target.record(written)
        except _LossError:
            assert before is not None
            new = recipes[before.mixtures + len(before.skipped) :]
            left_out = [(recipe.mix_id, "its shard stays, of which less can be rendered than before") for recipe in new]
            return dataclasses.replace(before, skipped=(*before.skipped, *left_out))
        finally:
            advance(planned.num_bytes - sum(told))
        return written

    @property
    def _way(self) -> str:
        """How recipes are rendered, for their hash."""
        return f"{_FORMAT_VERSION}/{self.mixer.sampling_rate}/{self.mixer.stems}"

    def _audio_bytes(self, table: pa.Table) -> Counts:
        """The bytes of one file of audio of each mixture."""
        rates = self.mixer.sampling_rate or table.column("sample_rate").to_numpy()
        num_samples = (table.column("target_duration").to_numpy() * rates).astype(np.int64)  # as in `Recipe`
        lengths, of_row = np.unique(num_samples, return_inverse=True)
        return np.array([self.encoding.num_bytes(int(length)) for length in lengths], np.int64)[of_row]

    def _describe(self, recipe: Recipe) -> str:
        if self.like_authors:
            return describe_like_authors(recipe)
        return describe_sample(recipe, self.mixer.sampling_rate, self.mixer.stems)

    def _rate_of(self, recipes: list[Recipe]) -> int | None:
        """The rate in Hz of all mixtures; None if there are several."""
        rates = {self.mixer.sampling_rate or recipe.sample_rate for recipe in recipes}
        return rates.pop() if len(rates) == 1 else None

    def _can_add(self, record: ShardRecord, recipes: list[Recipe]) -> bool:
        """Whether some of what was skipped before can be rendered now."""
        before = {mix_id for mix_id, _ in record.skipped}
        missing = (recipe for recipe in recipes if recipe.mix_id in before)
        return any(True for _ in render_samples(missing, self.mixer, self.encoding, lambda skipped: None))


def _rendered_in(record: ShardRecord, recipes: list[Recipe]) -> set[str]:
    """The mix_ids of what a shard holds that was made of the first of these recipes."""
    made = {recipe.mix_id for recipe in recipes[: record.mixtures + len(record.skipped)]}
    return made - {mix_id for mix_id, _ in record.skipped}


class _LossError(Exception):
    """Made again, a shard would lack mixtures that it has: what could be read then cannot be now."""
