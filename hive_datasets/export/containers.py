"""What holds the mixtures of a shard: a tar, a parquet file or a folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..recipe import Recipe
from .columns import mixture_columns, mixture_row, write_parquet
from .encoding import Encoding
from .samples import Sample
from .tables import Counts

#: What lies beside the audio of a mixture, as JSON.
Describe = Callable[[Recipe], str]
Samples = Iterator[Sample]
#: A row of a parquet file takes about so much beside its audio and the JSON of its recipe, in bytes.
_ROW_BYTES = 500
#: Copied into a tar at once: a whole file of audio.
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Container:
    """A kind of container.

    Attributes:
        prefix, suffix: around the number of the shard in its file's name.
        write: writes samples to a path, given their encoding, what describes them as JSON, and their rate in Hz, if all
            have one; in the authors' names: ``{mix_id}.mix.wav``, ``.s1.wav``, ..., ``.json``.
        is_exact: whether `size` is.
        size: the bytes that mixtures take in it, given the bytes of one file of audio of each, how many such files each
            has, and the bytes of the JSON of each.
    """

    prefix: str
    suffix: str
    write: Callable[[Path, Iterator[Sample], Encoding, Describe, int | None], None]
    size: Callable[[Counts, int, Counts], int]
    is_exact: bool

    def file_name(self, number: int) -> str:
        """The name of a shard.

        Example:
            >>> CONTAINERS["tar"].file_name(1)
            'tar_00001.tar'
        """
        return f"{self.prefix}{number:05d}{self.suffix}"


def _write_tar(path: Path, samples: Samples, encoding: Encoding, describe: Describe, rate: int | None) -> None:
    with tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT, copybufsize=_COPY_BYTES) as tar:
        for sample in samples:
            for name, data in _files_of(sample, encoding, describe):
                member = tarfile.TarInfo(name)  # of 1970 and nobody: same mixtures, same bytes
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_folder(path: Path, samples: Samples, encoding: Encoding, describe: Describe, rate: int | None) -> None:
    path.mkdir()
    for sample in samples:
        for name, data in _files_of(sample, encoding, describe):
            (path / name).write_bytes(data)


def _write_parquet(path: Path, samples: Samples, encoding: Encoding, describe: Describe, rate: int | None) -> None:
    write_parquet(path, (mixture_row(sample, encoding) for sample in samples), mixture_columns(rate))


def _files_of(sample: Sample, encoding: Encoding, describe: Describe) -> Iterator[tuple[str, bytes]]:
    mix_id = sample.recipe.mix_id
    for name, data in sample.audio.items():
        yield f"{mix_id}.{name}.{encoding.format}", data
    yield f"{mix_id}.json", describe(sample.recipe).encode()


def _tar_size(audio: Counts, files: int, texts: Counts) -> int:
    blocks = int(_blocks(audio).sum()) * files + int(_blocks(texts).sum())
    return -(-(blocks + 2) * tarfile.BLOCKSIZE // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _blocks(sizes: Counts) -> Counts:
    """Of files in a tar: their headers', and what their bytes fill."""
    return 2 + (sizes - 1) // tarfile.BLOCKSIZE


def _folder_size(audio: Counts, files: int, texts: Counts) -> int:
    return int(audio.sum()) * files + int(texts.sum())


def _parquet_size(audio: Counts, files: int, texts: Counts) -> int:
    return _folder_size(audio, files, texts) + _ROW_BYTES * len(texts)


#: By what `write_mixtures` calls them.
CONTAINERS = {
    "tar": Container("tar_", ".tar", _write_tar, _tar_size, True),
    "parquet": Container("part-", ".parquet", _write_parquet, _parquet_size, False),
    "folder": Container("", "", _write_folder, _folder_size, True),
}
