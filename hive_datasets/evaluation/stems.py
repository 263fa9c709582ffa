"""Folders of songs or scenes as they are published: ``mixture.wav`` with its stems beside it, as in MUSDB18-HQ."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import soxr
import xxhash

from ..dataset import Subset
from ..errors import EvaluationError
from .targets import Item, Signal, Signals, Target, check_segment, cut_segments, find_segments

#: Of a file, so much is hashed at each of three places.
_HASHED_BYTES = 1 << 16
#: The name of a mixture, and what its and its stems' names end with.
_MIXTURE, _SUFFIXES = "mixture", (".wav", ".flac")


class StemTargets:
    """Each stem of each folder that has a ``mixture.wav``, at any depth below a folder; or ``.flac``.

    The name of a stem is its label: ``lead_vocals.wav`` is asked for as "lead vocals". Several channels are averaged.
    Of ``test/Song/mixture.wav``, "test" is the split.

    Args:
        folder: above them.
        sampling_rate: rate in Hz to evaluate at, by soxr HQ; None for that of the files.
        templates: of the queries; the first is taken.
        segment_seconds: as for `RecipeTargets`.
        splits: only these.
        limit: only the first so many mixtures.

    Raises:
        EvaluationError: there is no mixture, one has no stems, or a file is not as long as its mixture; or cannot be
            read, when it is.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> song = Path(tempfile.mkdtemp()) / "Song"
        >>> song.mkdir()
        >>> for name in ("vocals", "drums", "mixture"):
        ...     soundfile.write(song / f"{name}.wav", np.zeros(8000, np.float32), 8000)
        >>> targets = StemTargets(song.parent)
        >>> [target.query for item in targets.items() for target in item.targets]
        ['drums', 'vocals']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sampling_rate: int | None = None,
        *,
        templates: Sequence[str] = ("{label}",),
        segment_seconds: float | None = None,
        splits: Collection[str] | None = None,
        limit: int | None = None,
    ) -> None:
        self.folder, self.sampling_rate = Path(folder), sampling_rate
        self.templates, self.segment_seconds = list(templates), check_segment(segment_seconds)
        found = sorted(_find_mixtures(self.folder))
        self._mixtures = [file for file in found if splits is None or self._split_of(file) in splits][:limit]
        if not self._mixtures:
            raise EvaluationError(f"{folder}: there is no mixture.wav below it" + (" in these splits" if found else ""))

    @classmethod
    def choose(cls, subset: Subset, sampling_rate: int | None = None, **options: Any) -> StemTargets:
        """Those of a subset whose metadata is a folder of stems.

        Raises:
            EvaluationError: it chooses by what folders of stems have not.
        """
        others = [subset.num_sources, subset.labels, subset.filters, subset.mix_ids, subset.available_only or None]
        if any(other is not None for other in others):
            raise EvaluationError(f"{subset.metadata} has folders of stems, among which only splits and limit choose")
        splits = [subset.splits] if isinstance(subset.splits, str) else subset.splits
        return cls(subset.metadata or "", sampling_rate, splits=splits, limit=subset.limit, **options)

    @staticmethod
    def is_of(folder: Any) -> bool:
        """Whether a path is a folder of stems, and none of metadata."""
        return isinstance(folder, (str, os.PathLike)) and any(True for _ in _find_mixtures(Path(folder)))

    def items(self) -> Iterator[Item]:
        """A folder each, by name."""
        for mixture in self._mixtures:
            beside = {file.stem: file for file in _audio_in(mixture.parent)}
            stems = [beside[name] for name in sorted(beside) if name != _MIXTURE]
            if not stems:
                raise EvaluationError(f"{mixture.parent}: there are no stems beside {mixture.name}")
            own_rate, length = _look_at(mixture)
            for stem in stems:
                rate, samples = _look_at(stem)
                if (rate, samples) != (own_rate, length):
                    raise EvaluationError(
                        f"{stem} has {samples:,} samples at {rate:,} Hz, its mixture {length:,} at {own_rate:,} Hz: a "
                        "stem must be as long as its mixture"
                    )
            if not length:
                raise EvaluationError(f"{mixture} is empty")
            rate = self.sampling_rate or own_rate
            starts = find_segments(length * rate // own_rate, rate, self.segment_seconds)
            name = mixture.parent.relative_to(self.folder).as_posix()
            targets = tuple(
                Target(
                    mix_id=name if name != "." else self.folder.resolve().name,
                    split=self._split_of(mixture),
                    label=stem.stem,
                    query=self.templates[0].replace("{label}", stem.stem.replace("_", " ")),
                    source_ids=(stem.stem,),
                    corpus="",
                    num_sources=len(stems),
                    start_second=start / rate,
                    is_segment=self.segment_seconds is not None,
                )
                for start in starts
                for stem in stems
            )
            hashes = [(file.name, _hash_ends(file)) for file in (mixture, *stems)]
            identity = repr((name, own_rate, length, hashes))
            yield Item(targets, identity, (mixture, stems, len(starts)))

    def read(self, item: Item) -> Signals:
        """Read a mixture and its stems."""
        file, stems, num_segments = item.content
        rate, mixture = self._read(file)
        pairs = [(mixture, self._read(stem)[1]) for stem in stems]
        length = round((self.segment_seconds or 0) * rate)
        starts = [number * length for number in range(num_segments)]
        return rate, cut_segments(pairs, starts, rate, self.segment_seconds)

    def describe(self) -> dict[str, Any]:
        """The options."""
        return {
            "sampling_rate": self.sampling_rate,
            "templates": self.templates[:1],
            "segment_seconds": self.segment_seconds,
        }

    def _split_of(self, mixture: Path) -> str:
        parts = mixture.parent.relative_to(self.folder).parts
        return parts[-2] if len(parts) > 1 else ""

    def _read(self, file: Path) -> tuple[int, Signal]:
        try:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise EvaluationError(f"{file} cannot be read: {error}") from None
        signal: Signal = samples.mean(axis=1)
        if self.sampling_rate in (None, rate):
            return rate, signal
        return int(self.sampling_rate or rate), soxr.resample(signal, rate, self.sampling_rate, quality="HQ")


def _find_mixtures(folder: Path) -> Iterator[Path]:
    """One of each folder that has one, at any depth, beyond links, too."""
    for above, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(os.path.splitext(name)[0] == _MIXTURE for name in names):
            yield from [file for file in _audio_in(Path(above)) if file.stem == _MIXTURE][:1]


def _audio_in(folder: Path) -> list[Path]:
    """In order; without what systems hide, such as ``._vocals.wav``."""
    return [
        file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    ]


def _hash_ends(file: Path) -> str:
    """What tells a file from another of its length: 64 KiB of its start, middle and end, since songs are large."""
    size, hashed = file.stat().st_size, xxhash.xxh3_64()
    with file.open("rb") as opened:
        for start in (0, size // 2, max(0, size - _HASHED_BYTES)):
            opened.seek(start)
            hashed.update(opened.read(_HASHED_BYTES))
    return hashed.hexdigest()


def _look_at(file: Path) -> tuple[int, int]:
    """Its rate in Hz, and how many samples it has."""
    try:
        found = soundfile.info(file)
    except (soundfile.LibsndfileError, OSError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from None
    return found.samplerate, found.frames
