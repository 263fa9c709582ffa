"""From a recipe to audio: read every source, weigh, sum, normalise."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any, Literal, TypedDict, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from ..errors import (
    AmbiguousSourceError,
    ChunkOutOfRangeError,
    EmptySourceError,
    NonFiniteSourceError,
    PreparedSourcesError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
)
from ..prepared.samples import add
from ..prepared.store import PreparedExcerpt, PreparedSources, open_prepared
from ..prepared.store import find_prepared as prepared_in_force
from ..recipe import Recipe, Source, parse_recipe
from ..recipe.parsing import check_recipe
from ..sources import Roots, find_roots, parse_roots
from ..sources.catalogue import LocatedSource, open_catalogue
from .origins import find_origin, known_origins, learn_origins
from .reading import Reading, read_frames, resample

#: "scaled": the sources sum to the mixture. "unscaled": as the authors render them, without the factor.
Stems = Literal["scaled", "unscaled"]
#: At another rate than the recipe's. "authors": the mixture that the authors rendered, resampled. "own": each source is
#: resampled from its own rate, once, and cut on the grid of the new rate: faster, and up to 51 us off, each source by
#: another time.
Alignment = Literal["authors", "own"]


Result = TypeVar("Result")


class RenderedMixture(TypedDict):
    """A mixture as audio.

    Keys:
        mix: float32 of shape (T,), the mixture.
        sources: float32 of shape (N, T), its sources in the recipe's order.
        sampling_rate: rate in Hz of both.
    """

    mix: npt.NDArray[np.float32]
    sources: npt.NDArray[np.float32]
    sampling_rate: int


class Mixer:
    """Renders recipes, sample for sample as the authors of Hive do, in float32.

    For each source: the frames of its chunk, averaged to mono, resampled (soxr HQ), cropped, padded with silence,
    times `applied_weight`; their sum times `global_normalization_factor` is the mixture. Only the frames that the
    crop depends on are read. See `hive_datasets.mixing.planning`.

    Args:
        dataset_paths: where the corpora are, as `load_dataset` takes it; None for where the dataset that a row is of
            was told that they are, else ``HIVE_DATASET_PATHS`` or the config file.
        sampling_rate: rate in Hz to render at; None for the recipe's.
        stems: "scaled" (sources times the factor too, so that they sum to the mixture) or "unscaled" (as the
            authors render them).
        prepared: prepared sources, which are read instead of the originals where they hold the crop: their folder or
            URL; None for those of the dataset that a row is of, else ``HIVE_PREPARED``; False for none.
        alignment: at another rate than the recipe's, "authors" for their mixture and sources resampled (soxr HQ), or
            "own" for each source resampled from its own rate straight to this one, which is faster; see `Alignment`.

    Raises:
        ValueError: an option is out of range.
        PreparedSourcesError: there are no prepared sources where they should be.
        SourceRootError: no root is configured for a source, when called.
        SourceError: a source cannot be read, when called.
        SourceUnreachableError: a server does not answer, when called.

    Example:
        >>> import hive_datasets
        >>> mixer = hive_datasets.Mixer(hive_datasets.demo_folder() / "sources", sampling_rate=16000)
        >>> recipe = next(hive_datasets.read_recipes(hive_datasets.demo_folder() / "metadata" / "train"))
        >>> mixture = mixer(recipe)
        >>> mixture["mix"].shape, mixture["sources"].shape[0] == recipe.num_sources
        ((64000,), True)
    """

    def __init__(
        self,
        dataset_paths: Any = None,
        sampling_rate: int | None = None,
        stems: Stems = "scaled",
        prepared: Any = None,
        alignment: Alignment = "authors",
    ) -> None:
        whole = isinstance(sampling_rate, (int, np.integer)) and not isinstance(sampling_rate, bool)
        if sampling_rate is not None and not (whole and sampling_rate > 0):
            message = f"sampling_rate must be a positive number of Hz, or None for the recipe's, not {sampling_rate!r}"
            raise ValueError(message)
        for name, value, choices in (("stems", stems, Stems), ("alignment", alignment, Alignment)):
            if value not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(choices)))}, not {value!r}")
        _keep_freed_memory()
        self.roots: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
        self.sampling_rate = sampling_rate
        self.stems = stems
        self.prepared = prepared if prepared is None or prepared is False else prepared_in_force(prepared)
        self.alignment = alignment
        #: Those of the datasets that rows are of, by folder.
        self._opened: dict[str, PreparedSources] = {}

    def __getstate__(self) -> dict[str, Any]:
        # rows are read from where their datasets were told only if this was told nothing
        return {**self.__dict__, "_opened": {}, "origins": known_origins() if self.roots is None else {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        learn_origins(state.pop("origins"))
        self.__dict__.update(state)

    def __call__(self, recipe: Recipe | dict[str, Any]) -> RenderedMixture:
        """Render one recipe (or a row that `parse_recipe` reads)."""
        if not isinstance(recipe, Recipe):
            recipe = parse_recipe(recipe)
        check_recipe(recipe)
        rate = self.sampling_rate or recipe.sample_rate
        num_samples = recipe.num_samples(rate)
        sources = np.empty((recipe.num_sources, num_samples), dtype=np.float32)
        mix = np.empty(num_samples, dtype=np.float32)
        self.render(recipe, rate, mix, sources)
        return {"mix": mix, "sources": sources, "sampling_rate": rate}

    def render(self, recipe: Recipe, rate: int, mix: npt.NDArray[np.float32], sources: npt.NDArray[np.float32]) -> None:
        """Render a recipe into arrays, float32 of shape (T,) and (N, T), at `rate` in Hz."""
        own_rate = self.reading_rate(recipe, rate)
        if own_rate != rate:
            stems = np.empty((recipe.num_sources, recipe.num_samples(own_rate)), dtype=np.float32)
            self._mix(recipe, own_rate, None, stems)
            for number, (stem, out) in enumerate(zip(stems, sources, strict=True)):
                resampled = resample(stem, own_rate, rate, 0, len(out))
                out[: len(resampled)] = resampled
                out[len(resampled) :] = 0.0
                add(out, mix, number == 0)
        else:
            self._mix(recipe, rate, mix, sources)
        if self.stems == "unscaled":
            mix *= np.float32(recipe.global_normalization_factor)

    @property
    def cutting_rate(self) -> int | None:
        """The rate in Hz at which sources are cut; None for the recipes'."""
        return self.sampling_rate if self.alignment == "own" else None

    def reading_rate(self, recipe: Recipe, rate: int) -> int:
        """The rate in Hz at which a recipe's sources are cut and weighed, to be rendered at `rate`."""
        return recipe.sample_rate if self.alignment == "authors" else rate

    def _mix(
        self, recipe: Recipe, rate: int, mix: npt.NDArray[np.float32] | None, sources: npt.NDArray[np.float32]
    ) -> None:
        """Write weighted sources, cut at a rate, and their sum if it is asked for."""
        excerpts = self.find_excerpts(recipe, rate, sources.shape[1])
        for number, (stem, source, excerpt) in enumerate(zip(sources, recipe.sources, excerpts, strict=True)):
            gain, is_first = self.gain_of(source, recipe), number == 0
            if excerpt is None or not self.read_prepared(recipe, excerpt, gain, stem, mix, is_first):
                samples = self.read(recipe, source, rate, len(stem)).resample(rate)
                np.multiply(samples, np.float32(gain), out=stem[: len(samples)])
                stem[len(samples) :] = 0.0
                if mix is not None:
                    add(stem, mix, is_first)

    def gain_of(self, source: Source, recipe: Recipe) -> float:
        """The linear gain of a source in its mixture."""
        return source.applied_weight * (recipe.global_normalization_factor if self.stems == "scaled" else 1.0)

    def read(self, recipe: Recipe, source: Source, sampling_rate: int, num_samples: int) -> Reading:
        """Read a source from its original."""
        crop = source.crop_samples(sampling_rate, num_samples)

        def read(located: LocatedSource) -> Reading:
            return read_frames(located, source, sampling_rate, *crop)

        return self.use_source(recipe, source, sampling_rate, read)

    def use_source(
        self, recipe: Recipe, source: Source, sampling_rate: int, use: Callable[[LocatedSource], Result]
    ) -> Result:
        """What `use` makes of a source's original; errors say which mixture, source, path and place."""
        mix_id, located = recipe.mix_id, None
        try:
            catalogue = open_catalogue(self._roots_of(recipe))
            located = catalogue.locate(source.path)
            catalogue.warn(located)
            return use(located)
        except SourceRootError as error:
            raise SourceRootError(
                f"mixture {mix_id}, source {source.source_id}: {source.path!r}: "
                f"{error.message.rstrip('.')}.{self._lacking(recipe, sampling_rate)}",
                path=source.path,
                mix_id=mix_id,
                source_id=source.source_id,
                configured=error.configured or self._prepared_at(recipe, sampling_rate) is not None,
            ) from None
        except (SourceError, SourceUnreachableError) as error:
            location = located.location if located else catalogue.roots.locate(source.path)
            raise type(error)(
                f"mixture {mix_id}, source {source.source_id}: {source.path!r} cannot be read from {location}: "
                f"{error.message}. {_HINTS.get(type(error), 'Check the file and its folders')}."
                f"{self._lacking(recipe, sampling_rate)}",
                mix_id=mix_id,
                source_id=source.source_id,
                path=source.path,
                location=location,
            ) from None

    def find_excerpts(self, recipe: Recipe, rate: int, num_samples: int) -> list[PreparedExcerpt | None]:
        """Of each source of a recipe, where it is prepared; None where the original must be read."""
        prepared = self._prepared_at(recipe, rate)
        if prepared is None:
            return [None] * recipe.num_sources
        excerpts = [prepared.find(source, num_samples) for source in recipe.sources]
        factor = recipe.global_normalization_factor
        gains = [source.applied_weight * factor for source in recipe.sources]
        for position in prepared.find_coarse(excerpts, gains, num_samples):
            path = recipe.sources[position].path
            prepared.warn_once(
                path,
                f"{path!r} is read from the original: for mixture {recipe.mix_id}, it is stored too coarsely in "
                f"{prepared.folder}. Prepare with this metadata, too.",
            )
            excerpts[position] = None
        return excerpts

    def read_prepared(
        self,
        recipe: Recipe,
        excerpt: PreparedExcerpt,
        gain: float,
        stem: npt.NDArray[np.float32],
        mix: npt.NDArray[np.float32] | None = None,
        is_first: bool = False,
    ) -> bool:
        """Write a weighted source, and add it to the mix, if it can be read; a warning says if not."""
        prepared, path = excerpt.prepared, excerpt.source.path
        size_of = functools.partial(self._size_of, recipe)
        try:
            prepared.read(excerpt, gain, stem, mix, is_first, size_of)
        except (PreparedSourcesError, SourceError) as error:
            prepared.warn_once(path, f"{path!r} is read from the original: {error}")
            return False
        except SourceUnreachableError as error:
            raise SourceUnreachableError(
                f"mixture {recipe.mix_id}, source {excerpt.source.source_id}: {path!r} cannot be read from the "
                f"prepared sources in {prepared.folder}: {error.message}. {_HINTS[SourceUnreachableError]}.",
                mix_id=recipe.mix_id,
                source_id=excerpt.source.source_id,
                path=path,
                location=prepared.folder,
            ) from None
        return True

    def _roots_of(self, recipe: Recipe) -> Roots | None:
        """Where a recipe's originals are: what this mixer was told, else what its dataset was; None: as configured."""
        return find_origin(recipe.origin).roots if self.roots is None else self.roots

    def _size_of(self, recipe: Recipe, path: str) -> int | None:
        """The size in bytes of an original where the metadata says; None if it is not there, or remote."""
        try:
            return os.path.getsize(find_roots(self._roots_of(recipe)).locate(path))
        except (OSError, SourceRootError):
            return None

    def _lacking(self, recipe: Recipe, rate: int) -> str:
        prepared = self._prepared_at(recipe, rate)
        return "" if prepared is None else f" Nor can it be read from the prepared sources in {prepared.folder}."

    def _prepared_of(self, recipe: Recipe) -> PreparedSources | None:
        """The prepared sources of a recipe's dataset, else those that are configured."""
        given = None
        with contextlib.suppress(SourceRootError):  # of roots, which are not asked for here
            given = find_origin(recipe.origin).prepared
        if not given:
            return None if given is False else prepared_in_force()
        if given not in self._opened:
            self._opened[given] = open_prepared(given)
        return self._opened[given]

    def _prepared_at(self, recipe: Recipe, rate: int) -> PreparedSources | None:
        """The prepared sources in force, if they are of the rate that is asked for."""
        prepared = self._prepared_of(recipe) if self.prepared is None else self.prepared or None
        return prepared if prepared is not None and prepared.is_for(rate) else None


_HINTS = {
    SourceNotFoundError: "Check that the corpus is complete and that its root is right (hive-verify-sources)",
    AmbiguousSourceError: "Remove or rename all but one",
    EmptySourceError: "Fetch the file again",
    TruncatedSourceError: "The file is cut short or damaged: fetch it again",
    ChunkOutOfRangeError: "The authors had another version of this file, or it is cut short: fetch it again",
    NonFiniteSourceError: "Fetch the file again, or do without it",
    SourceUnreachableError: "Try again later; HIVE_TIMEOUT sets for how many seconds is waited",
    SourceFormatError: "Convert it to WAV or FLAC, or fetch it again if it is damaged",
}


@functools.cache
def _keep_freed_memory() -> None:
    """Keep the C library from handing the memory of every mixture back to the system and asking for it again.

    glibc gives freed blocks back above a threshold, which it raises to the size of the largest block it has seen
    freed, up to 32 MiB. Without this, each mixture costs some 500 page faults, a quarter of the time of mixing.
    """
    np.empty((32 << 20) - (1 << 16), dtype=np.uint8)
