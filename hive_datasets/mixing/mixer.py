"""From a recipe to audio: read every source, weigh, sum, normalise."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from ..errors import (
    AmbiguousSourceError,
    ChunkOutOfRangeError,
    EmptySourceError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
)
from ..recipe import Recipe, Source, parse_recipe
from ..sources import Roots, parse_roots
from ..sources.catalogue import open_catalogue
from .reading import read_excerpt

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

    Raises:
        ValueError: an option is out of range.
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

    def __init__(self, dataset_paths: Any = None, sampling_rate: int | None = None, stems: Stems = "scaled") -> None:
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

    def __call__(self, recipe: Recipe | dict[str, Any]) -> RenderedMixture:
        """Render one recipe (or a row that `parse_recipe` reads)."""
        if not isinstance(recipe, Recipe):
            recipe = parse_recipe(recipe)
        rate = self.sampling_rate or recipe.sample_rate
        num_samples = int(recipe.target_duration * rate)
        factor = recipe.global_normalization_factor
        sources = np.empty((recipe.num_sources, num_samples), dtype=np.float32)
        for stem, source in zip(sources, recipe.sources, strict=True):
            excerpt = _read(self.roots, source, rate, num_samples, recipe.mix_id)
            gain = source.applied_weight * (factor if self.stems == "scaled" else 1.0)
            np.multiply(excerpt, np.float32(gain), out=stem[: len(excerpt)])
            stem[len(excerpt) :] = 0.0
        mix = sources.sum(axis=0)
        if self.stems == "unscaled":
            mix *= np.float32(factor)
        return {"mix": mix, "sources": sources, "sampling_rate": rate}


def _read(
    roots: Roots | None, source: Source, sampling_rate: int, num_samples: int, mix_id: str
) -> npt.NDArray[np.float32]:
    """A source's excerpt; errors say which mixture, source, path and place."""
    located = None
    try:
        catalogue = open_catalogue(roots)
        located = catalogue.locate(source.path)
        catalogue.warn(located)
        return read_excerpt(located, source, sampling_rate, num_samples)
    except SourceRootError as error:
        raise SourceRootError(
            f"mixture {mix_id}, source {source.source_id}: {source.path!r}: {error}",
            path=source.path,
            mix_id=mix_id,
            source_id=source.source_id,
            configured=error.configured,
        ) from None
    except SourceError as error:
        location = located.location if located else catalogue.roots.locate(source.path)
        raise type(error)(
            f"mixture {mix_id}, source {source.source_id}: {source.path!r} cannot be read from {location}: "
            f"{error.message}. {_HINTS.get(type(error), 'Check the file and its folders')}.",
            mix_id=mix_id,
            source_id=source.source_id,
            path=source.path,
            location=location,
        ) from None


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
