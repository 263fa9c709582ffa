"""Records to curate, from what users have: the authors' JSON, a dataset, a folder of audio."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from datasets import Audio, ClassLabel, Dataset, Features, IterableDataset, Sequence, Value

from ..errors import RecordError, describe
from .clips import store_audio
from .steps import Record, batch_of, labels_of

#: Audio, by the usual names; not all of it can be read, and what cannot is told.
_SUFFIXES = frozenset(
    {".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".mp3"}
    | {".oga", ".ogg", ".opus", ".w64", ".wav", ".wma", ".wv"}
)
#: What `datasets` reads in an ``audiofolder``, beside the audio.
_METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
#: What may be read.
Records: TypeAlias = Dataset | IterableDataset | str | os.PathLike[str]


def read_records(source: Records) -> Dataset | IterableDataset:
    """Records as a dataset: ``audio`` a path, or a column of undecoded ``Audio``; ``labels`` a list of text.

    Args:
        source: the authors' JSON, ``.json`` (a list of objects with ``audio_path`` and ``text_label``, one or a list)
            or ``.jsonl`` (such an object a line, which is streamed), whose relative paths begin at the file's folder;
            or a folder: what its ``metadata.csv`` (``.jsonl``, ``.parquet``) lists by ``file_name``, with its columns;
            else all audio in and below it, labelled by the folder that a file is in, if there are several and all
            files lie equally deep; or a dataset with a column ``audio``, or one of type ``Audio``. Other columns stay.

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
    if not isinstance(source, str | os.PathLike):
        hint = ": choose a split of it" if isinstance(source, dict) else ""
        raise RecordError(f"records are a {type(source).__name__}, neither a Dataset nor a path{hint}")
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
    return _dataset_of(rows, path)


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
    found = sorted(_iterate_files(folder.absolute(), set()))
    described = [row for file in found if file.name in _METADATA for row in _iterate_described(file)]
    if described:
        return _dataset_of(described, folder)
    files = [file for file in found if file.suffix.lower() in _SUFFIXES]
    if not files:
        raise RecordError(f"{folder}: no audio is found there ({', '.join(sorted(_SUFFIXES))})")
    is_even = len({len(path.parts) for path in files}) == 1 and len({path.parent for path in files}) > 1
    labels = [[path.parent.name] if is_even else [] for path in files]
    features = Features({"audio": Value("string"), "labels": Sequence(Value("string"))})
    return Dataset.from_dict({"audio": list(map(str, files)), "labels": labels}, features=features)


def _dataset_of(rows: list[Record], path: Path) -> Dataset:
    """Rows as a dataset with the columns of all."""
    try:
        return Dataset.from_dict(batch_of(rows))
    except (ValueError, TypeError) as error:  # pyarrow's are such
        raise RecordError(f"{path}: a column holds values of several types: {error}") from None


def _iterate_described(file: Path) -> Iterator[Record]:
    """The files that an ``audiofolder``'s metadata lists, with all it says of them."""
    read = {".csv": pyarrow.csv.read_csv, ".jsonl": pyarrow.json.read_json, ".parquet": pyarrow.parquet.read_table}
    try:
        rows = read[file.suffix](file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{file} cannot be read: {describe(error)}") from None
    for number, row in enumerate(rows, start=1):
        name = row.pop("file_name", None)
        if not name:
            raise RecordError(f"{file}: record {number} has no file_name, only {', '.join(row)}")
        yield _parse_row({**row, "audio": name}, f"{file}: record {number}", file.parent)


def _iterate_files(folder: Path, above: Set[Path]) -> Iterator[Path]:
    """The files below a folder but hidden ones, through links too, unless these lead back up."""
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _iterate_files(path, above | {real})
        else:
            yield path


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
    decodable = {name: feature for name, feature in features.items() if hasattr(feature, "decode")}
    if decodable and isinstance(dataset, IterableDataset):
        dataset = dataset.decode(False)
    for name, feature in decodable.items() if isinstance(dataset, Dataset) else ():
        dataset = dataset.cast_column(name, decoding(feature, False))
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


def decoding(feature: Any, decode: bool) -> Any:
    """An ``Audio``, ``Image`` or the like that is decoded, or is not."""
    changed = copy.copy(feature)
    changed.decode = decode
    return changed


class _NameLabels:
    """The names of labels that are numbers; -1 stands for none."""

    def __init__(self, column: str, names: list[str]) -> None:
        self.column, self.names = column, names

    def __call__(self, row: Record) -> dict[str, list[str]]:
        value = row[self.column]
        numbers = value if isinstance(value, list) else [value]
        return {"labels": [self.names[number] for number in numbers if number is not None and number >= 0]}
