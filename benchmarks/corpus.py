"""A corpus of Hive's make-up, generated once: the same kinds of files, in the same shares, as Hive's sources.

By source: 43 % mono 32 kHz FLAC of 30 to 200 s in 10 s chunks; 36 % FLAC of 10 s at 44.1 and 48 kHz, half of them
stereo; 13 % WAV of 10 s at 44.1 kHz; 8 % WAV of 3 to 20 s.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from hive_datasets import Subset, prepare_sources
from hive_datasets.demo import sounds
from hive_datasets.recipe import Recipe, Source, read_recipes
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.writing import ParquetFileWriter, write_recipes
from hive_datasets.utils.files import written_aside
from tests.reference import Signal, render_mixture

_TARGET_SECONDS = 4.0
#: kind: (share of sources, files, suffix, rates, channels, shortest and longest in seconds)
_KINDS = {
    "BBC_Sound_Effects": (0.43, 48, "flac", (32000,), (1,), (30, 200)),
    "AudioSet": (0.36, 96, "flac", (44100, 48000), (1, 2), (10, 10)),
    "vggsound": (0.13, 36, "wav", (44100,), (1,), (10, 10)),
    "Voicebank_DEMAND": (0.08, 24, "wav", (44100,), (1,), (3, 20)),
}


def make_corpus(folder: Path, mixtures: int = 480) -> Path:
    """The folder of the corpus: ``sources/`` and ``metadata/train/data.parquet``; made if it is not there."""
    corpus = folder / f"corpus-{mixtures}"
    if not corpus.is_dir():
        with written_aside(corpus) as aside:
            random = np.random.RandomState(0)
            files = {kind: _write_files(aside / "sources", kind, random) for kind in _KINDS}
            recipes = [_draw_recipe(index, files, random) for index in range(mixtures)]
            table = table_from_recipes(recipes)
            write_recipes([table], ParquetFileWriter(aside / "metadata" / "train" / "data.parquet"))
    return corpus


def make_prepared(folder: Path, sources: Path, metadata: Path) -> Path:
    """The folder of the prepared sources of some training mixtures; made if it is not there."""
    if not folder.is_dir():
        with written_aside(folder) as aside:
            prepare_sources(Subset(metadata, splits=["train"]), aside, dataset_paths=sources)
    return folder


def make_tars(folder: Path, sources: Path, metadata: Path) -> Path:
    """A folder of tars of training mixtures, rendered as the authors do: 16 bits, 1,000 a tar; made if not there."""
    if not folder.is_dir():
        rows = (recipe.to_dict() for recipe in read_recipes(str(metadata / "train")))
        with written_aside(folder) as aside:
            for number in itertools.count(1):
                chosen = list(itertools.islice(rows, 1000))
                if not chosen:
                    break
                aside.mkdir(exist_ok=True)
                write_tar(aside / f"tar_{number:05d}.tar", sources, chosen)
    return folder


def write_tar(file: Path, sources: Path, rows: list[dict[str, Any]]) -> None:
    """A tar of mixtures, by the reference algorithm and libsndfile."""
    with tarfile.open(file, "w") as tar:
        for row in rows:
            _add_to_tar(tar, row, *render_mixture(sources, row))


def _add_to_tar(tar: tarfile.TarFile, row: dict[str, Any], mix: Signal, stems: Signal) -> None:
    labels = [source["label"] for source in row["sources"]]
    facts = {"mix_id": row["mix_id"], "speaker_num": len(stems), "sample_rate": row["sample_rate"], "labels": labels}
    members = {"json": json.dumps(facts).encode()}
    for name, signal in {"mix": mix, **{f"s{n}": stem for n, stem in enumerate(stems, start=1)}}.items():
        wav = io.BytesIO()
        soundfile.write(wav, signal, row["sample_rate"], format="WAV", subtype="PCM_16")
        members[f"{name}.wav"] = wav.getvalue()
    for name, data in members.items():
        member = tarfile.TarInfo(f"{row['mix_id']}.{name}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _write_files(folder: Path, kind: str, random: np.random.RandomState) -> list[tuple[str, float]]:
    """Write the files of one kind; returns their paths and seconds."""
    _, count, suffix, rates, channel_counts, (shortest, longest) = _KINDS[kind]
    written = []
    for index in range(count):
        rate, channels = rates[index % len(rates)], channel_counts[index // 2 % len(channel_counts)]
        seconds = float(random.randint(shortest, longest + 1))
        n = int(seconds * rate)
        # falling spectrum, swells, a tone, more or less loud: FLAC halves it, as it does real clips
        signal = sounds.noise(random, rate, n, 40, rate / 2, 1.2, random.uniform(2, 7), 0.8)
        signal /= np.abs(signal).max()
        signal += 0.3 * sounds.tone(random, rate, n, random.uniform(100, 900), 6, 1.2, 3, random.uniform(0.3, 3))
        frames = np.stack([signal] + [0.8 * np.roll(signal, 25)] * (channels - 1), axis=1)
        file = folder / kind / f"{index:04d}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, frames * (random.uniform(0.03, 0.5) / np.abs(frames).max()), rate, subtype="PCM_16")
        written.append((f"{kind}/{index:04d}.{suffix}", seconds))
    return written


def _draw_recipe(index: int, files: dict[str, list[tuple[str, float]]], random: np.random.RandomState) -> Recipe:
    sources = []
    for number in range(2 + index % 4):
        kind = random.choice(list(_KINDS), p=[share for share, *_ in _KINDS.values()])
        path, seconds = files[kind][random.randint(len(files[kind]))]
        start = 5.0 * random.randint(max(1, int((seconds - 10) // 5 + 1)))
        end = min(start + 10.0, seconds)
        crop = int(random.uniform(0, max(0.0, end - start - _TARGET_SECONDS)) * 44100) / 44100
        sources.append(Source(f"s{number + 1}", path, kind, crop, crop + _TARGET_SECONDS, start, end, 1.0, 0.0, 1.0))
    return Recipe(f"sample_{index:08d}", "train", 44100, _TARGET_SECONDS, tuple(sources), 0.2, 0.95)
