"""Mixtures to the bit as the authors of Hive make them: whole chunks, float64, nothing left out and nothing combined.

It takes four times as long as `Mixer`, whose samples differ by less than a 16-bit step, and is for files that are to be
the same as theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import ChunkOutOfRangeError, EmptySourceError, NonFiniteSourceError, TruncatedSourceError
from ..recipe import Recipe, Source, parse_recipe
from ..recipe.parsing import check_recipe
from ..sources.catalogue import LocatedSource
from .mixer import Mixer, RenderedMixture
from .ogg import find_damage
from .planning import END_TOLERANCE
from .reading import open_source

Signal = npt.NDArray[np.float64]


class LiteralMixer(Mixer):
    """Renders recipes as float64, at their own rate and from originals, by the authors' own steps in their own order.

    Args:
        dataset_paths: as for `Mixer`.

    Example:
        >>> import hive_datasets
        >>> recipe = next(hive_datasets.read_recipes(hive_datasets.demo_folder() / "metadata" / "train"))
        >>> mixture = LiteralMixer(hive_datasets.demo_folder() / "sources")(recipe)
        >>> mixture["mix"].dtype, mixture["mix"].shape
        (dtype('float64'), (176400,))
    """

    def __init__(self, dataset_paths: Any = None) -> None:
        super().__init__(dataset_paths, None, "unscaled", prepared=False)

    def __call__(self, recipe: Recipe | dict[str, Any]) -> RenderedMixture:
        """Render one recipe, the mixture with its factor and the sources without, all float64."""
        if not isinstance(recipe, Recipe):
            recipe = parse_recipe(recipe)
        check_recipe(recipe)
        rate = recipe.sample_rate
        stems = np.stack([self._render(recipe, source) for source in recipe.sources])
        mix: Any = stems.sum(axis=0) * recipe.global_normalization_factor
        samples: Any = stems
        return {"mix": mix, "sources": samples, "sampling_rate": rate}

    def _render(self, recipe: Recipe, source: Source) -> Signal:
        rate, num_samples = recipe.sample_rate, recipe.num_samples(recipe.sample_rate)

        def read(located: LocatedSource) -> Signal:
            with open_source(located) as file:
                return _read_chunk(file, source, rate)

        chunk = self.use_source(recipe, source, rate, read)
        crop_start, crop_end = int(source.crop_start_second * rate), int(source.crop_end_second * rate)
        if crop_end > len(chunk):
            chunk = np.pad(chunk, (0, crop_end - len(chunk)))
        crop = chunk[crop_start:crop_end]
        weighted: Signal = np.pad(crop, (0, max(0, num_samples - len(crop))))[:num_samples] * source.applied_weight
        return weighted


def _read_chunk(file: soundfile.SoundFile, source: Source, sampling_rate: int) -> Signal:
    """A chunk, mono, all of it resampled."""
    own_rate, frames = file.samplerate, file.frames
    if not frames:
        raise EmptySourceError("it has a header, but no frames")
    start, stop = int(source.chunk_start_second * own_rate), int(source.chunk_end_second * own_rate)
    if stop - frames > END_TOLERANCE:
        raise ChunkOutOfRangeError(f"its chunk ends at frame {stop}, {stop - frames} past the last of {frames}")
    stop = min(stop, frames)
    if stop <= start:
        raise ChunkOutOfRangeError(f"its chunk, frames {start} to {stop} of {frames}, is empty")
    damage = find_damage(file.name, stop, own_rate) if file.format == "OGG" else None
    try:
        file.seek(start)
        audio: Signal = file.read(stop - start, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        damage = error.error_string.strip() or "the stream ends"
    if damage is None and len(audio) < stop - start:
        damage = "the stream ends"
    if damage is not None:
        raise TruncatedSourceError(f"frames {start} to {stop} cannot be decoded ({damage})")
    if not np.isfinite(audio).all():
        raise NonFiniteSourceError(f"frames {start} to {stop} have samples that are NaN or infinite")
    audio = audio.mean(axis=1)
    if own_rate == sampling_rate:
        return audio
    # what librosa.resample does by default, and its length
    resampled = soxr.resample(audio, own_rate, sampling_rate, quality="HQ")
    length = math.ceil(len(audio) * (sampling_rate / own_rate))
    return np.pad(resampled, (0, max(0, length - len(resampled))))[:length]
