"""Corpora as they are published: zips in parts and parquet beside what they were made of, and choosing for a budget."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hive_datasets import Mixer, prepare_sources, read_recipes
from hive_datasets.recipe import Recipe, Source
from hive_datasets.recipe.schema import HUB_SCHEMA, SOURCE_FIELDS
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.writing import ParquetFileWriter, write_recipes
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.roots import Roots
from hive_datasets.utils.files import written_aside

from .metadata import make_table, run_apart

_ROUNDS = 7
#: Of Hive's training set: clips of each corpus and how many of its files they are from; labels.
_CORPORA = {
    "BBC_Sound_Effects/x/BBC_Sound_Effects_flac": (370_000, 25_000),
    "AudioSet/audioset_data/audio/unbal_train": (327_000, 327_000),
    "vggsound/wav": (115_000, 115_000),
    "MUSIC_dataset/solo": (33_000, 900),
    "FreeSound/x/FreeSound_flac": (17_500, 9_000),
    "clotho_v2/development": (15_000, 5_900),
    "Voicebank_DEMAND/clean_trainset_28spk_wav": (12_400, 12_400),
    "AVE_Dataset/AVE_Dataset/AVE_truncate": (3_000, 3_000),
    "ESC-50-master/audio": (1_400, 1_400),
}
_LABELS = 283

_NEEDS = """
import json, sys, time
import numpy as np
from hive_datasets.acquisition.needs import find_requirements
start = time.perf_counter()
budget = int(sys.argv[2])
needs = find_requirements(sys.argv[1], budget=budget or None)
seconds = time.perf_counter() - start
megabytes = peak()
# in their order, mixtures are taken until the clips that are new with one do not fit
demand, sizes = needs.demand, needs.demand.prepared_bytes(44100)
first = np.unique(demand.clips, return_index=True)[1]
added = np.bincount(demand.row_of_use[first], weights=sizes[demand.clips[first]], minlength=len(needs.chosen))
in_order = int((np.cumsum(added) <= budget).sum())
files, used = (sum(getattr(each, name) for each in needs.corpora) for name in ("files", "prepared_bytes"))
print(json.dumps([seconds, megabytes, needs.mixtures[0], files, used, in_order]))
"""


def measure_split_zip(folder: Path, members: int = 20_000) -> None:
    """Opening a zip in parts, and reading its members, beside the same zip in one piece."""
    with _empty(folder / "zips") as place:
        random = np.random.default_rng(0)
        for number in range(members):
            (place / "inside" / f"{number % 100}").mkdir(parents=True, exist_ok=True)
            (place / "inside" / f"{number % 100}" / f"{number}.flac").write_bytes(random.bytes(20_000))
        for name, options in (("whole", []), ("parts", ["-s", "8m"])):
            subprocess.run(["zip", "-q", "-0", "-r", *options, f"../{name}.zip", "."], cwd=place / "inside", check=True)
        paths = [f"{number % 100}/{number}.flac" for number in random.permutation(members)[:5_000].tolist()]
        opening: dict[str, float] = {}
        ways: dict[str, Callable[[], object]] = {}

        def read(catalogue: Catalogue) -> Callable[[], object]:
            return lambda: [catalogue.locate(f"Own/{path}").read() for path in paths]

        for name in ("whole", "parts"):
            start = time.perf_counter()
            catalogue = Catalogue(Roots((("Own", f"{place}/{name}.zip"),)))
            catalogue.open_root("Own/any")[0].index(rescan=True)
            opening[name] = time.perf_counter() - start
            ways[name] = read(catalogue)
        times = _interleave(ways)
        parts = len(list(place.glob("parts.z*")))
        print(
            f"\nA zip of {members:,} members in {parts} parts opens in {opening['parts']:.2f} s, in one piece in "
            f"{opening['whole']:.2f} s; reading {len(paths):,} members takes "
            f"{_ratio(times['parts'], times['whole'])} x the time"
        )


def measure_parquet(folder: Path, corpus: Path) -> None:
    """Mixing from parquet of plain values, beside files."""
    with _empty(folder / "parquet") as place:
        for source in sorted((corpus / "sources").iterdir()):
            files = sorted(file for file in source.rglob("*.*") if file.is_file())
            plain = {"row_group_size": 1000, "use_dictionary": False, "compression": "NONE"}
            _write_parquet([(file.stem, file) for file in files], place / source.name, **plain)
        recipes = list(itertools.islice(read_recipes(str(corpus / "metadata")), 200))
        ways = {"files": Mixer(corpus / "sources"), "parquet": Mixer(place)}

        def mix(mixer: Mixer) -> Callable[[], object]:
            return lambda: [mixer(recipe)["mix"] for recipe in recipes]

        times = _interleave({name: mix(mixer) for name, mixer in ways.items()})
        print(f"\nMixing from parquet of plain values: {_ratio(times['files'], times['parquet'])} x the speed of files")


def measure_old_parquet(folder: Path, corpus: Path, rows: int = 4_000) -> None:
    """Preparing some rows from row groups of 100 rows with one dictionary, beside reading them all once."""
    with _empty(folder / "old") as place:
        files = itertools.cycle(sorted((corpus / "sources" / "AudioSet").rglob("*.flac")))
        _write_parquet([(f"{row:011}", next(files)) for row in range(rows)], place / "AudioSet", row_group_size=100)
        (file,) = place.rglob("*.parquet")
        size = file.stat().st_size

        def read() -> None:
            opened = pq.ParquetFile(file)
            for group in range(opened.num_row_groups):
                assert len(opened.read_row_group(group, columns=["audio.bytes"]))

        def prepare(metadata: Path, needed: int) -> Callable[[], object]:
            def run() -> None:
                shutil.rmtree(place / "prepared", ignore_errors=True)
                result = prepare_sources(metadata, place / "prepared", dataset_paths={"AudioSet": place / "AudioSet"})
                assert result.written == needed and not result.lacking

            return run

        ways: dict[str, Callable[[], object]] = {"read": read}
        shares = (0.01, 0.19)
        for share in shares:
            chosen = np.linspace(0, rows - 1, int(rows * share)).astype(int).tolist()
            metadata = place / f"metadata-{share}"
            write_recipes([_mix_alone(chosen)], ParquetFileWriter(metadata / "train" / "data.parquet"))
            ways[f"{share}"] = prepare(metadata, len(chosen))
        times = _interleave(ways)
        for share in shares:
            print(
                f"Preparing {share:.0%} of {rows:,} clips from parquet of large dictionaries, {size / 1e6:,.0f} MB: "
                f"{statistics.median(times[f'{share}']):.1f} s; reading it once: "
                f"{statistics.median(times['read']):.1f} s, {_ratio(times['read'], times[f'{share}'])} x"
            )


def _mix_alone(rows: list[int]) -> pa.Table:
    """A mixture of each of some clips with nothing."""
    recipes = []
    for row in rows:
        path = f"AudioSet/audioset_data/audio/unbal_train/{row:011}.flac"
        source = Source("s1", path, "Bark", 0.0, 4.0, 0.0, 10.0, 1.0, 0.0, 1.0)
        recipes.append(Recipe(f"sample_{row:08}", "train", 44100, 4.0, (source,), 1.0, 0.95))
    return table_from_recipes(recipes)


def measure_needs(folder: Path, rows: int = 5_000_000) -> None:
    """What mixtures need, and the most for a budget, beside taking them in order."""
    metadata = make_hive_like(folder, rows)
    seconds, megabytes, _, files, whole, _ = run_apart(_NEEDS, metadata, 0)
    print(f"\nWhat {rows:,} rows need of {files:,.0f} files: {seconds:.0f} s, process {megabytes:.0f} MB")
    for share in (0.02, 0.1, 0.25):
        budget = int(whole * share)
        seconds, megabytes, chosen, _, used, in_order = run_apart(_NEEDS, metadata, budget)
        assert used <= budget
        print(
            f"  for {budget / 1e9:.0f} of {whole / 1e9:.0f} GB: {chosen:,.0f} mixtures, {chosen / in_order:.1f} times "
            f"the {in_order:,.0f} that fit in their order; {seconds:.0f} s, process {megabytes:.0f} MB"
        )


def make_hive_like(folder: Path, rows: int) -> Path:
    """A folder with one parquet file of mixtures over as many clips as Hive's, a clip's label being its file's."""
    metadata = folder / f"hive-like-{rows}"
    if not metadata.is_dir():
        random = np.random.default_rng(0)
        paths, starts, seconds = [], [], []
        for prefix, (clips, files) in _CORPORA.items():
            of_file = np.sort(random.integers(0, files, clips))
            position = np.arange(clips) - np.searchsorted(of_file, of_file)
            paths += [f"{prefix}/{number:011d}.flac" for number in of_file.tolist()]
            starts.append(position * 5.0)
            seconds.append(np.full(clips, 10.0) if "Voice" not in prefix else random.uniform(2, 6, clips))
        label_of_clip = np.minimum((random.pareto(0.7, len(paths)) * 20).astype(int), _LABELS - 1)
        order = np.argsort(label_of_clip, kind="stable")
        bounds = np.searchsorted(label_of_clip[order], np.arange(_LABELS + 1))
        sizes = np.diff(bounds)
        pool = pa.array(paths)
        clip_start, clip_seconds = np.concatenate(starts), np.concatenate(seconds)
        with written_aside(metadata) as aside:
            (aside / "train").mkdir(parents=True)
            with pq.ParquetWriter(aside / "train" / "data.parquet", HUB_SCHEMA) as writer:
                for start in range(0, rows, 100_000):
                    lengths = random.integers(2, 6, min(100_000, rows - start))
                    label = random.choice(_LABELS, lengths.sum(), p=np.sqrt(sizes) / np.sqrt(sizes).sum())
                    clip = order[bounds[label] + (random.random(len(label)) * sizes[label]).astype(int)]
                    span = clip_start[clip], clip_start[clip] + clip_seconds[clip]
                    writer.write_table(_make_table(start, lengths, pool.take(pa.array(clip)), label, *span))
    return metadata


def _make_table(start: int, lengths: np.ndarray, paths: pa.Array, label: np.ndarray, *span: np.ndarray) -> pa.Table:
    uses = len(label)
    names = pa.array([f"Label {number}" for number in range(_LABELS)])
    fields = {name: np.ones(uses) for name, _ in SOURCE_FIELDS} | {
        "source_id": ["s1"] * uses,
        "path": paths,
        "label": names.take(pa.array(label)),
        "chunk_start_second": span[0],
        "chunk_end_second": span[1],
        "crop_start_second": np.zeros(uses),
        "crop_end_second": np.full(uses, 4.0),
    }
    return make_table(start, lengths, fields, np.ones(len(lengths)))


def _write_parquet(clips: list[tuple[str, Path]], root: Path, **options: object) -> None:
    """A file of parquet of pairs of a clip's name and the file that it is."""
    audio = [{"bytes": file.read_bytes(), "path": f"{name}{file.suffix}"} for name, file in clips]
    column = "clean" if root.name == "Voicebank_DEMAND" else "audio"
    (root / "unbal_train").mkdir(parents=True)
    pq.write_table(
        pa.table({"video_id": [name for name, _ in clips], column: audio}),
        root / "unbal_train" / "000.parquet",
        **options,
    )


def _interleave(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The seconds of each way, in rounds of all."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


def _ratio(numerators: list[float], denominators: list[float]) -> str:
    """Median, lowest and highest ratio of rounds."""
    ratios = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


@contextlib.contextmanager
def _empty(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
