"""Finding the metadata: which files hold the recipes of which split."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from glob import has_magic
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.data_files import SPLIT_KEYWORDS, DataFilesDict, get_data_patterns, sanitize_patterns
from huggingface_hub import snapshot_download

from ..errors import MetadataUnavailableError
from .parsing import SPLITS, normalize_split
from .reading import METADATA_SUFFIXES, is_metadata_file, read_tables
from .uniqueness import UniqueIds

HUB_REPOSITORY = "ShandaAI/Hive"
_HUB_PATTERNS = {split: [f"{split}/*.parquet"] for split in SPLITS}

#: `datasets` finds files with progress bars whose lock it takes away at the end, from other threads too.
_RESOLVING = threading.Lock()


def find_metadata_files(
    data_dir: str | None, data_files: Any, revision: str | None, download_config: datasets.DownloadConfig
) -> DataFilesDict:
    """The metadata files by split.

    Args:
        data_dir: a folder, a file or a glob, local or any fsspec URL; splits are told by the names of files and
            folders.
        data_files: a path, a list of paths, or a mapping of split to those, relative to `data_dir`; globs too.
        revision: of the Hub's repository, where neither of them is given.
        download_config: token and storage options.

    Raises:
        MetadataUnavailableError: there are none, or the Hub cannot be reached.
    """
    if data_files is not None:
        return _resolve(sanitize_patterns(data_files), data_dir or "", download_config)
    if data_dir is not None:
        return _find_in(os.fspath(data_dir), download_config)
    return _find_on_hub(revision, download_config)


def read_metadata(metadata: str | os.PathLike[str] | None, splits: Collection[str] | None = None) -> Iterator[pa.Table]:
    """Iterate over metadata as tables of `RECIPE_SCHEMA`.

    Args:
        metadata: a file or folder, or its URL; None for what ``load_dataset("hive")`` reads.
        splits: only mixtures of these ("val" is "validation").

    Raises:
        MetadataUnavailableError, RecipeError: it cannot be read, or has a mixture in two files.
    """
    unique = UniqueIds(read_tables)
    data_dir = None if metadata is None else os.fspath(metadata)
    wanted = None if splits is None else sorted(map(normalize_split, splits))
    for split, names in find_metadata_files(data_dir, None, None, datasets.DownloadConfig()).items():
        # on the Hub, a split's files hold that split alone
        if metadata is None and wanted is not None and str(split) not in wanted:
            continue
        for name in names:
            for table in read_tables(str(name)):
                if wanted is not None:
                    table = table.filter(pc.is_in(table.column("split"), value_set=pa.array(wanted, pa.string())))
                unique.add(table, str(name))
                yield table
    unique.finish()


def _find_in(data_dir: str, download_config: datasets.DownloadConfig) -> DataFilesDict:
    data_dir = data_dir if "://" in data_dir else os.path.abspath(os.path.expanduser(data_dir))
    if has_magic(data_dir) or is_metadata_file(data_dir):
        return _resolve({_split_of(os.path.dirname(data_dir)): [data_dir]}, "", download_config)
    if "://" not in data_dir and not os.path.exists(data_dir):
        raise MetadataUnavailableError(f"no metadata: there is no {data_dir}")
    try:
        patterns = get_data_patterns(data_dir, download_config)
    except FileNotFoundError as error:
        raise MetadataUnavailableError(f"no metadata in {data_dir}: {error}") from None
    if patterns == {"train": ["**"]}:  # no name inside speaks of a split; the folder's own may
        patterns = {_split_of(data_dir): ["**"]}
    return _resolve(patterns, data_dir, download_config)


def _split_of(folder: str) -> str:
    """The split that a folder is named after; train if none."""
    name = os.path.basename(folder.rstrip("/"))
    return next((str(split) for split, keywords in SPLIT_KEYWORDS.items() if name in keywords), "train")


def _find_on_hub(revision: str | None, download_config: datasets.DownloadConfig) -> DataFilesDict:
    base = f"hf://datasets/{HUB_REPOSITORY}" + (f"@{revision}" if revision else "")
    try:
        return _resolve(_HUB_PATTERNS, base, download_config)
    except Exception as hub_error:  # whatever keeps the Hub away: no network, no such host, offline mode, no access
        try:
            snapshot = snapshot_download(HUB_REPOSITORY, repo_type="dataset", revision=revision, local_files_only=True)
            return _resolve(_HUB_PATTERNS, snapshot, download_config)
        except Exception:
            raise MetadataUnavailableError(
                f"Hive's metadata could not be had from the Hub ({HUB_REPOSITORY}): "
                f"{type(hub_error).__name__}: {hub_error}\n"
                "Three ways on:\n"
                '  1. load_dataset("hive", "demo") needs no download;\n'
                "  2. download the metadata where there is a network\n"
                f"     (hf download {HUB_REPOSITORY} --repo-type dataset --local-dir DIR)\n"
                '     and load_dataset("hive", data_dir="DIR"), or a folder of the authors\' JSON files;\n'
                "  3. point HF_ENDPOINT to a mirror that you can reach, or log in (hf auth login) if access is denied."
            ) from None


def _resolve(patterns: Any, base_path: str, download_config: datasets.DownloadConfig) -> DataFilesDict:
    try:
        with _RESOLVING:
            files = DataFilesDict.from_patterns(
                patterns,
                base_path=base_path,
                allowed_extensions=list(METADATA_SUFFIXES),
                download_config=download_config,
            )
    except FileNotFoundError as error:
        raise MetadataUnavailableError(f"no metadata: {error}") from None
    found = DataFilesDict({split: paths for split, paths in files.items() if len(paths)})
    if not found:
        raise MetadataUnavailableError(
            f"no metadata at {base_path or patterns}: looked for {', '.join(METADATA_SUFFIXES)}"
        )
    return found
