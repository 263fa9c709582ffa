"""From a recipe to audio: read every source, weigh, sum, normalise."""

from __future__ import annotations

import functools
import os
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from ..errors import (
    AmbiguousSourceError,
    ChunkOutOfRangeError,
    EmptySourceError,
    PreparedSourcesError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
)
from ..prepared.samples import add
from ..prepared.store import PreparedExcerpt, PreparedSources
from ..prepared.store import find_prepared as prepared_in_force
from ..recipe import Recipe, Source, parse_recipe
from ..sources import Roots, find_roots, parse_roots
from ..sources.catalogue import open_catalogue
from .reading import Reading, read_frames

#: "scaled": the sources sum to the mixture. "unscaled": as the authors render them, without the factor.
Stems = Literal["scaled", "unscaled"]


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
        dataset_paths: where the corpora are, as `load_dataset` takes it; None for ``HIVE_DATASET_PATHS`` or the
            config file.
        sampling_rate: rate in Hz to render at, straight from each file's own; None for the recipe's.
        stems: "scaled" (sources times the factor too, so that they sum to the mixture) or "unscaled" (as the
            authors render them).
        prepared: prepared sources, which are read instead of the originals where they hold the crop: their folder or
            URL; None for ``HIVE_PREPARED``; False for none.

    Raises:
        ValueError: an option is out of range.
        PreparedSourcesError: there are no prepared sources where they should be.
        SourceRootError: no root is configured for a source, when called.
        SourceError: a source cannot be read, when called.

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
    ) -> None:
        whole = isinstance(sampling_rate, (int, np.integer)) and not isinstance(sampling_rate, bool)
        if sampling_rate is not None and not (whole and sampling_rate > 0):
            message = f"sampling_rate must be a positive number of Hz, or None for the recipe's, not {sampling_rate!r}"
            raise ValueError(message)
        if stems not in get_args(Stems):
            raise ValueError(f"stems must be one of {', '.join(map(repr, get_args(Stems)))}, not {stems!r}")
        _keep_freed_memory()
        self.roots: Roots | None = None if dataset_paths is None else parse_roots(dataset_paths)
        self.sampling_rate = sampling_rate
        self.stems = stems
        self.prepared = prepared if prepared is None or prepared is False else prepared_in_force(prepared)

    def __call__(self, recipe: Recipe | dict[str, Any]) -> RenderedMixture:
        """Render one recipe (or a row that `parse_recipe` reads)."""
        if not isinstance(recipe, Recipe):
            recipe = parse_recipe(recipe)
        rate = self.sampling_rate or recipe.sample_rate
        num_samples = recipe.num_samples(rate)
        sources = np.empty((recipe.num_sources, num_samples), dtype=np.float32)
        mix = np.empty(num_samples, dtype=np.float32)
        self.render(recipe, rate, mix, sources)
        return {"mix": mix, "sources": sources, "sampling_rate": rate}

    def render(self, recipe: Recipe, rate: int, mix: npt.NDArray[np.float32], sources: npt.NDArray[np.float32]) -> None:
        """Render a recipe into arrays, float32 of shape (T,) and (N, T), at `rate` in Hz."""
        excerpts = self.find_excerpts(recipe, rate, len(mix))
        for number, (stem, source, excerpt) in enumerate(zip(sources, recipe.sources, excerpts, strict=True)):
            gain, is_first = self.gain_of(source, recipe), number == 0
            if excerpt is None or not self.read_prepared(excerpt, gain, stem, mix, is_first):
                samples = self.read(recipe.mix_id, source, rate, len(stem)).resample(rate)
                np.multiply(samples, np.float32(gain), out=stem[: len(samples)])
                stem[len(samples) :] = 0.0
                add(stem, mix, is_first)
        if self.stems == "unscaled":
            mix *= np.float32(recipe.global_normalization_factor)

    def gain_of(self, source: Source, recipe: Recipe) -> float:
        """The linear gain of a source in its mixture."""
        return source.applied_weight * (recipe.global_normalization_factor if self.stems == "scaled" else 1.0)

    def read(self, mix_id: str, source: Source, sampling_rate: int, num_samples: int) -> Reading:
        """Read a source from its original; errors say which mixture, source, path and place."""
        located = None
        try:
            catalogue = open_catalogue(self.roots)
            located = catalogue.locate(source.path)
            catalogue.warn(located)
            crop = source.crop_samples(sampling_rate, num_samples)
            return read_frames(located, source, sampling_rate, *crop)
        except SourceRootError as error:
            raise SourceRootError(
                f"mixture {mix_id}, source {source.source_id}: {source.path!r}: "
                f"{error.message.rstrip('.')}.{self._lacking(sampling_rate)}",
                path=source.path,
                mix_id=mix_id,
                source_id=source.source_id,
                configured=error.configured or self._prepared_at(sampling_rate) is not None,
            ) from None
        except SourceError as error:
            location = located.location if located else catalogue.roots.locate(source.path)
            raise type(error)(
                f"mixture {mix_id}, source {source.source_id}: {source.path!r} cannot be read from {location}: "
                f"{error.message}. {_HINTS.get(type(error), 'Check the file and its folders')}."
                f"{self._lacking(sampling_rate)}",
                mix_id=mix_id,
                source_id=source.source_id,
                path=source.path,
                location=location,
            ) from None

    def find_excerpts(self, recipe: Recipe, rate: int, num_samples: int) -> list[PreparedExcerpt | None]:
        """Of each source of a recipe, where it is prepared; None where the original must be read."""
        prepared = self._prepared_at(rate)
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
        excerpt: PreparedExcerpt,
        gain: float,
        stem: npt.NDArray[np.float32],
        mix: npt.NDArray[np.float32] | None = None,
        is_first: bool = False,
    ) -> bool:
        """Write a weighted source, and add it to the mix, if it can be read; a warning says if not."""
        prepared, path = excerpt.prepared, excerpt.source.path
        try:
            prepared.read(excerpt, gain, stem, mix, is_first, self._size_of)
        except (PreparedSourcesError, SourceError) as error:
            prepared.warn_once(path, f"{path!r} is read from the original: {error}")
            return False
        return True

    def _size_of(self, path: str) -> int | None:
        """The size in bytes of an original where the metadata says; None if it is not there, or remote."""
        try:
            return os.path.getsize(find_roots(self.roots).locate(path))
        except (OSError, SourceRootError):
            return None

    def _lacking(self, rate: int) -> str:
        prepared = self._prepared_at(rate)
        return "" if prepared is None else f" Nor can it be read from the prepared sources in {prepared.folder}."

    def _prepared_at(self, rate: int) -> PreparedSources | None:
        """The prepared sources in force, if they are of the rate that is asked for."""
        prepared = prepared_in_force() if self.prepared is None else self.prepared or None
        return prepared if prepared is not None and prepared.is_for(rate) else None


_HINTS = {
    SourceNotFoundError: "Check that the corpus is complete and that its root is right (hive-verify-sources)",
    AmbiguousSourceError: "Remove or rename all but one",
    EmptySourceError: "Fetch the file again",
    TruncatedSourceError: "The file is cut short or damaged: fetch it again",
    ChunkOutOfRangeError: "The authors had another version of this file, or it is cut short: fetch it again",
    SourceFormatError: "Convert it to WAV or FLAC, or fetch it again if it is damaged",
}


@functools.cache
def _keep_freed_memory() -> None:
    """Keep the C library from handing the memory of every mixture back to the system and asking for it again.

    glibc gives freed blocks back above a threshold, which it raises to the size of the largest block it has seen
    freed, up to 32 MiB. Without this, each mixture costs some 500 page faults, a quarter of the time of mixing.
    """
    np.empty((32 << 20) - (1 << 16), dtype=np.uint8)
