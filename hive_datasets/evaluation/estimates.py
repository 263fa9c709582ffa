"""Estimates as files: those that someone rendered elsewhere, and those that an evaluation is asked to keep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import xxhash

from ..errors import EvaluationError
from ..export.encoding import Encoding
from ..utils.files import written_aside
from .batches import Batch
from .targets import Target

_SUFFIXES = (".wav", ".flac")
_ENCODING = Encoding("wav", "FLOAT")


class EstimateFolder:
    """Estimates in a folder, at any depth, a WAV or FLAC file a target.

    A file is found by its name: ``{mix_id}.{label}.wav``, ``{mix_id}/{label}.wav``, or, as the authors name stems,
    ``{mix_id}.{source_id}.wav``, such as ``sample_00000014.s2.wav``; ``/`` in a label is ``%2F`` or ``_``. A
    file in a folder that is named after another split is not of the mixture of that name in this one.

    Args:
        folder: its path.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> target = Target("sample_1", "test", "Dog", "a dog", ("s2",), "", 2)
        >>> EstimateFolder(folder).find_missing([target])
        ['sample_1.Dog.wav']
        >>> write_estimate(folder, target, np.zeros(8, np.float32), 8000)
        >>> EstimateFolder(folder).find(target).relative_to(folder).as_posix()
        'test/sample_1.Dog.wav'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, list[str]] = {}
        self._paths: dict[str, str] = {}
        hashed = xxhash.xxh3_64()
        for above, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))  # nothing half-written
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in _SUFFIXES:
                    path = os.path.join(above, name)
                    facts = os.stat(path)
                    hashed.update(repr((os.path.relpath(path, folder), facts.st_size, facts.st_mtime_ns)).encode())
                    self._paths[os.path.relpath(os.path.join(above, stem), folder).replace(os.sep, "/")] = path
                    for key in (stem, f"{os.path.basename(above)}/{stem}"):
                        self._files.setdefault(key, []).append(path)
        #: What tells it from what was there before.
        self.version = hashed.hexdigest()

    def find(self, target: Target) -> Path:
        """The file of a target.

        Raises:
            EvaluationError: there is none, or several.
        """
        name = os.path.basename(target.mix_id)
        labels = dict.fromkeys([_name_of(target.label), target.label.replace("/", "_")])
        mixtures = (f"{target.split}/{target.mix_id}", target.mix_id)
        own = [f"{mixture}.{label}" for mixture in mixtures for label in labels]
        keys = [key for label in labels for key in (f"{name}.{label}", f"{name}/{label}")]
        if len(target.source_ids) == 1:
            keys.append(f"{name}.{target.source_ids[0]}")
        for key in own:
            if key in self._paths:
                return Path(self._paths[key])
        for key in keys:
            found = [file for file in self._files.get(key, []) if self._may_be_of(file, target.split)]
            if len(found) > 1:
                found = [file for file in found if _splits_of(file, self.folder)] or found
            if len(found) > 1:
                raise self._error(f"several files fit: {found[0]}, {found[1]}", target)
            if found:
                return Path(found[0])
        raise self._error(f"there is no file {keys[0]}.wav in {self.folder}, nor {keys[-1]}.wav", target)

    def _may_be_of(self, file: str, split: str) -> bool:
        """Whether it lies in no folder of another split's name: mix_ids repeat in each."""
        named = _splits_of(file, self.folder)
        return not named or split not in _SPLITS.values() or split in named

    def find_missing(self, targets: Iterable[Target]) -> list[str]:
        """The names of what is not there, as they are listed to whoever renders it.

        Raises:
            EvaluationError: a file may be of several splits.
        """
        missing: list[str] = []
        split_of: dict[int, str] = {}
        for target in targets:
            try:
                file = self.find(target)
            except EvaluationError:
                missing.append(f"{target.mix_id}.{_name_of(target.label)}.wav")
                continue
            other = split_of.setdefault(hash(file), target.split)
            if other != target.split:
                raise self._error(
                    f"{file} is the estimate of {target.mix_id} in {other}, or in {target.split}? mix_ids repeat in "
                    "each split: put files into folders that are named after theirs",
                    target,
                )
        return missing

    def __len__(self) -> int:
        return len(self._paths)

    def read_batch(self, batch: Batch) -> npt.NDArray[np.float32]:
        """The estimates of a batch."""
        length = batch.mixtures.shape[1]
        return np.stack([self._read(target, length, batch.sampling_rate) for target in batch.targets])

    def _read(self, target: Target, length: int, sampling_rate: int) -> npt.NDArray[np.float32]:
        file = self.find(target)
        try:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise self._error(f"{file} cannot be read: {error}", target) from None
        if rate != sampling_rate:
            raise self._error(
                f"{file} is of {rate:,} Hz, and the mixture of {sampling_rate:,} Hz: resample it, or evaluate at its "
                f"rate (sampling_rate={rate})",
                target,
            )
        start = round(target.start_second * rate)
        signal: npt.NDArray[np.float32] = samples.mean(axis=1)[start:]
        if len(signal) != length and not (target.is_segment and len(signal) > length):
            raise self._error(f"{file} has {len(signal):,} samples, and the mixture {length:,}", target)
        return signal[:length]

    @staticmethod
    def _error(message: str, target: Target) -> EvaluationError:
        return EvaluationError(message, mix_id=target.mix_id, label=target.label)


def write_estimate(folder: Path, target: Target, signal: npt.NDArray[np.float32], sampling_rate: int) -> None:
    """Write an estimate to where `EstimateFolder` finds it: float32, so that it is scored as it was.

    Raises:
        OSError: it cannot be written.
    """
    above = [part for part in f"{target.split}/{target.mix_id}".split("/") if part not in ("", ".", "..")]
    *parts, last = map(_name_of, above or ["mixture"])
    file = folder.joinpath(*parts) / f"{last}.{_name_of(target.label)}.wav"
    with written_aside(file) as aside:
        aside.write_bytes(_ENCODING.encode(signal, sampling_rate)[0])


#: Splits, by the names of their folders.
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def _splits_of(file: str, folder: Path) -> set[str]:
    """The splits after which folders are named that a file lies in."""
    return {_SPLITS[part] for part in Path(file).relative_to(folder).parts[:-1] if part in _SPLITS}


def _name_of(label: str) -> str:
    """As a part of a file's name: no two labels have one."""
    return "".join(f"%{ord(letter):02X}" if letter in "%/\\\0" else letter for letter in label)
