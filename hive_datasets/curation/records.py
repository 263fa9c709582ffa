"""Records to curate, from what users have: the authors' JSON, a dataset, a folder of audio."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Audio, ClassLabel, Dataset, Features, IterableDataset, Sequence, Value

from ..errors import RecordError, describe
from .clips import store_audio
from .steps import Record, batch_of, labels_of

#: What libsndfile reads, by the usual names.
_SUFFIXES = frozenset({".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"})
#: What may be read.
Records: TypeAlias = Dataset | IterableDataset | str | os.PathLike[str]


def read_records(source: Records) -> Dataset | IterableDataset:
    """Records as a dataset: ``audio`` a path, or a column of undecoded ``Audio``; ``labels`` a list of text.

    Args:
        source: the authors' JSON, ``.json`` (a list of objects with ``audio_path`` and ``text_label``, one or a list)
            or ``.jsonl`` (such an object a line, which is streamed), whose relative paths begin at the file's folder;
            or a folder, all audio in and below it: labelled by the folder that a file is in, if there are several
            and all files lie equally deep; or a dataset with a column ``audio``, or one of type ``Audio``. Other
            columns stay.

    Raises:
        RecordError: it is none of these.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.json"
        >>> _ = file.write_text('[{"audio_path": "a.wav", "text_label": "Dog"}, {"audio_path": "b.wav"}]')
        >>> read_records(file)["labels"][:]
        [['Dog'], []]
    """
    if isinstance(source, Dataset | IterableDataset):
        return _prepare(source)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise RecordError(
            f"{path} is neither a folder nor a file of JSON" + ("" if path.exists() else ": it is not there")
        )
    if not path.is_file():
        raise RecordError(f"{path} is not there")
    if path.suffix.lower() == ".jsonl":
        return IterableDataset.from_generator(_iterate_lines, gen_kwargs={"path": path})
    rows = [_parse_row(row, f"{path}: record {number}", path.parent) for number, row in enumerate(_load(path), start=1)]
    if not rows:
        raise RecordError(f"{path} has no records")
    try:
        return Dataset.from_dict(batch_of(rows))  # with the columns of all
    except (ValueError, TypeError) as error:  # pyarrow's are such
        raise RecordError(f"{path}: a column holds values of several types: {error}") from None


def iterate_records(dataset: Dataset | IterableDataset) -> Iterator[Record]:
    """The rows of a dataset that `read_records` gave."""
    for row in dataset.with_format(None):
        if "audio" not in row:
            raise RecordError(f"there is no column audio, only {', '.join(row)}")
        yield {**row, "audio": store_audio(row["audio"]), "labels": labels_of(row)}


def _read_folder(folder: Path) -> Dataset:
    """All files of audio below a folder, labelled as `datasets` labels them.

    Its ``audiofolder`` takes folders named "train" or "test" for splits, and needs torchcodec.
    """
    walked = os.walk(folder.absolute(), followlinks=True)
    files = sorted(Path(parent, name) for parent, _, names in walked for name in names if _is_audio(name))
    if not files:
        raise RecordError(f"{folder}: no audio is found there ({', '.join(sorted(_SUFFIXES))})")
    is_even = len({len(path.parts) for path in files}) == 1 and len({path.parent for path in files}) > 1
    labels = [[path.parent.name] if is_even else [] for path in files]
    features = Features({"audio": Value("string"), "labels": Sequence(Value("string"))})
    return Dataset.from_dict({"audio": list(map(str, files)), "labels": labels}, features=features)


def _is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def _load(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {describe(error)}") from None
    except ValueError as error:
        raise RecordError(f"{path} is no JSON: {error}") from None
    if not isinstance(rows, list):
        raise RecordError(f"{path} holds {type(rows).__name__}, not a list of records")
    return rows


def _iterate_lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RecordError(f"{path}: line {number} is no JSON: {error}") from None
            yield _parse_row(row, f"{path}: line {number}", path.parent)


def _parse_row(row: Any, where: str, folder: Path) -> Record:
    if not isinstance(row, dict):
        raise RecordError(f"{where} is {row!r:.60}, not an object with audio_path and text_label")
    audio = row.get("audio", row.get("audio_path"))
    if not isinstance(audio, str) or not audio:
        raise RecordError(f"{where} has no audio_path")
    try:
        labels = labels_of(row)
    except RecordError as error:
        raise RecordError(f"{where}: {error}") from None
    rest = {name: value for name, value in row.items() if name not in ("audio", "audio_path", "text_label", "labels")}
    is_local = "://" not in audio and not os.path.isabs(audio)
    return {"audio": str(folder / audio) if is_local else audio, "labels": labels, **rest}


def _prepare(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    features = dataset.features
    if features is None:
        return dataset
    audio = [name for name, feature in features.items() if isinstance(feature, Audio)]
    # before anything looks at a row, which would decode it
    if audio and isinstance(dataset, IterableDataset):
        dataset = dataset.decode(False)
    for name in audio if isinstance(dataset, Dataset) else ():
        dataset = dataset.cast_column(name, Audio(decode=False))
    if "audio" not in features:
        named = "audio_path" if "audio_path" in features else audio[0] if len(audio) == 1 else None
        if named is None:
            raise RecordError(f"there is no column audio, nor one of type Audio, only {', '.join(features)}")
        dataset = dataset.rename_column(named, "audio")
    for name in ("labels", "text_label", "label"):
        if name in features:
            feature = features[name]
            inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else feature)
            if isinstance(inner, ClassLabel):
                if name == "labels":  # or names would be made numbers again
                    name = "label_numbers"
                    dataset = dataset.rename_column("labels", name)
                gone = ["label_numbers"] if name == "label_numbers" else None
                dataset = dataset.map(_NameLabels(name, inner.names), remove_columns=gone)
            return dataset
    return dataset


class _NameLabels:
    """The names of labels that are numbers; -1 stands for none."""

    def __init__(self, column: str, names: list[str]) -> None:
        self.column, self.names = column, names

    def __call__(self, row: Record) -> dict[str, list[str]]:
        value = row[self.column]
        numbers = value if isinstance(value, list) else [value]
        return {"labels": [self.names[number] for number in numbers if number is not None and number >= 0]}
