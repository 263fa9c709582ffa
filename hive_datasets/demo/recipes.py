"""The demo's files: sounds under the names of all twelve corpora, and recipes that mix them by Hive's rules."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..errors import OutputError
from ..mixing import Mixer
from ..recipe import Recipe, Source
from ..recipe.tables import table_from_recipes
from ..recipe.writing import ParquetWriter, write_recipes
from ..utils.files import cache_folder, written_aside
from . import sounds

_RATE = 44100  # of the mixtures, in Hz
#: split: (mixtures of each number of sources, seconds)
_SPLITS = {"train": (6, 4.0), "validation": (2, 4.0), "test": (2, 10.0)}


@dataclass(frozen=True)
class Sound:
    """One generated file: path, label, rate in Hz, seconds, channels, and the function of `sounds` that makes it."""

    path: str
    label: str
    sampling_rate: int
    seconds: float
    channels: int
    generator: str
    options: dict[str, Any]


@functools.cache
def list_sounds() -> tuple[Sound, ...]:
    """The sounds of the demo, as `metadata/demo_sounds.json` has them."""
    text = _sounds_file().read_text(encoding="utf-8")
    return tuple(Sound(**entry) for entry in json.loads(text))


def _sounds_file() -> Any:
    return resources.files("hive_datasets.metadata") / "demo_sounds.json"


def demo_folder() -> Path:
    """The folder of the demo, generated into the user's cache at first use (a second or two, 16 MB).

    Returns:
        a folder with ``sources/`` (24 sounds in the layout of the twelve corpora) and
        ``metadata/{train,validation,test}/data.parquet`` (24, 8 and 8 mixtures of 2 to 5 of them).

    Example:
        >>> sorted(path.name for path in demo_folder().iterdir())
        ['metadata', 'sources']
    """
    code = [Path(__file__), Path(sounds.__file__), _sounds_file()]
    name = hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()[:12]
    folder = cache_folder("demo") / name
    if not folder.is_dir():
        with written_aside(folder, or_keep=True) as aside:
            write_sounds(aside / "sources")
            recipes = draw_recipes(aside / "sources")
            write_recipes([table_from_recipes(recipes)], ParquetWriter(aside / "metadata"))
    return folder


def write_demo(
    folder: Path,
    recordings: Mapping[str, Collection[int]],
    mixtures: Mapping[str, int],
    *,
    num_sources: Sequence[int] = (2, 3),
    seconds: float = 4.0,
) -> None:
    """Generate a larger demo: several recordings of each of the 24 kinds of sound, to train on some and try others.

    Recordings differ as one bell differs from another: in pitch, tempo and what else chance decides.

    Args:
        folder: is made, with ``sources/`` and ``metadata/`` as `demo_folder` has them; whole, or not at all.
        recordings: of each split, the numbers of its recordings, not negative.
        mixtures: of each split, how many.
        num_sources: of the mixtures, in turn.
        seconds: length of the mixtures; sounds are twice as long.

    Raises:
        OutputError: there is such a folder, or it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "larger"
        >>> write_demo(folder, {"train": [0]}, {"train": 2}, seconds=0.5)
        >>> len(list((folder / "sources").rglob("demo*.*"))) >= 12
        True
    """
    if folder.exists():
        raise OutputError(f"{folder} is there already: give a folder that is to be made")
    kinds: dict[int, list[Sound]] = {}
    recipes = []
    with written_aside(folder) as aside:
        for number in sorted({number for each in recordings.values() for number in each}):
            kinds[number] = [_vary(sound, number, 2 * seconds) for sound in list_sounds()]
            write_sounds(aside / "sources", kinds[number], seed=1000 * (2 + number))
        mixer = Mixer(aside / "sources")
        for seed, (split, count) in enumerate(mixtures.items()):
            draw = random.Random(1000 + seed).random
            choices = list(zip(*(kinds[number] for number in recordings[split]), strict=True))
            for index in range(count):
                drawn = sorted(choices, key=lambda choice: draw())[: num_sources[index % len(num_sources)]]
                chosen = [kind[int(draw() * len(kind))] for kind in drawn]
                recipes.append(_draw_recipe(chosen, f"sample_{index:08d}", split, seconds, mixer, draw))
        write_recipes([table_from_recipes(recipes)], ParquetWriter(aside / "metadata"))


def _vary(sound: Sound, number: int, seconds: float) -> Sound:
    """Another recording of a kind of sound: up to three semitones higher or lower, up to a quarter faster or slower."""
    draw = random.Random(f"{sound.path} {number}").random
    pitch, tempo = 2 ** ((6 * draw() - 3) / 12), 0.75 + 0.5 * draw()
    factors = {"pitch": pitch, "low": pitch, "high": pitch, "every": tempo, "pulse": 1 / tempo, "wave": tempo}
    options = {name: value * factors[name] if name in factors else value for name, value in sound.options.items()}
    path = Path(sound.path)
    name = f"{path.stem}-{number}{path.suffix}"
    return replace(sound, path=path.with_name(name).as_posix(), seconds=seconds, options=options)


def write_sounds(folder: Path, chosen: Sequence[Sound] | None = None, seed: int = 1000) -> None:
    """Generate sounds below `folder`, 16 bit, at a peak of 0.5; by default all of the demo."""
    for index, sound in enumerate(list_sounds() if chosen is None else chosen):
        state = np.random.RandomState(seed + index)
        num_samples = round(sound.seconds * sound.sampling_rate)
        signal = getattr(sounds, sound.generator)(state, sound.sampling_rate, num_samples, **sound.options)
        channels = [signal, *(0.7 * np.roll(signal, 40 * c) for c in range(1, sound.channels))]
        frames = np.stack(channels, axis=1)
        fade = int(0.02 * sound.sampling_rate)  # or the end would click
        frames[-fade:] *= np.linspace(1, 0, fade)[:, None]
        frames *= 0.5 / np.abs(frames).max()
        file = folder / sound.path
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.rint(frames * 32767).astype(np.int16), sound.sampling_rate)


def draw_recipes(folder: Path) -> list[Recipe]:
    """Draw the mixtures of all splits by Hive's rules.

    Excerpts normalised to an RMS of 0.1, SNR uniform in -5 to 5 dB against the first source, sum at a peak of 0.95.

    Args:
        folder: where `write_sounds` has written.
    """
    recipes = []
    for seed, (split, (mixtures, seconds)) in enumerate(_SPLITS.items()):
        draw = random.Random(seed).random  # whose stream Python guarantees
        for index in range(4 * mixtures):
            chosen = sorted(list_sounds(), key=lambda sound: draw())[: 2 + index % 4]
            recipes.append(_draw_recipe(chosen, f"sample_{index:08d}", split, seconds, Mixer(folder), draw))
    return recipes


def _draw_recipe(
    chosen: Sequence[Sound], mix_id: str, split: str, seconds: float, mixer: Mixer, draw: Callable[[], float]
) -> Recipe:
    """A mixture of some sounds, by Hive's rules; placed anew while one of them is silent there."""
    recipe = None
    while recipe is None:
        sources = [_place(sound, f"s{i + 1}", seconds, draw) for i, sound in enumerate(chosen)]
        recipe = _set_gains(Recipe(mix_id, split, _RATE, seconds, tuple(sources), 1.0, 0.95), mixer, draw)
    return recipe


def _place(sound: Sound, source_id: str, seconds: float, draw: Callable[[], float]) -> Source:
    """A random chunk of the sound (10 s every 5 s; short files whole), and a random crop of it."""
    starts = [0.0]
    while sound.seconds - (starts[-1] + 5.0) >= 5.0 and sound.seconds > 10.1:
        starts.append(starts[-1] + 5.0)
    start = starts[int(draw() * len(starts))]
    end = sound.seconds if sound.seconds <= 10.1 else min(start + 10.0, sound.seconds)
    crop = int(draw() * max(0.0, end - start - seconds) * _RATE) / _RATE
    return Source(source_id, sound.path, sound.label, crop, crop + seconds, start, end, 1.0, 0.0, 1.0)


def _set_gains(recipe: Recipe, mixer: Mixer, draw: Callable[[], float]) -> Recipe | None:
    sources: list[Source] = []
    for source, excerpt in zip(recipe.sources, mixer(recipe)["sources"], strict=True):
        if not excerpt.any():
            return None
        snr_db = 0.0 if not sources else 10 * draw() - 5
        rms_gain = 0.1 / float(np.sqrt(np.mean(np.square(excerpt, dtype=np.float64))))
        weight = rms_gain * 10 ** (snr_db / 20)
        sources.append(replace(source, rms_gain=rms_gain, snr_db=snr_db, applied_weight=weight))
    recipe = replace(recipe, sources=tuple(sources))
    return replace(recipe, global_normalization_factor=0.95 / float(np.abs(mixer(recipe)["mix"]).max()))
