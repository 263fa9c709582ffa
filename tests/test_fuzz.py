"""Damage of every format that is read, a fixed number of cases each: errors of this library, or the right thing.

What is damaged is never served otherwise than it was: a fault is found, or it is in a place that says nothing (padding,
a comment), and then the result is the same to the bit.
"""

import io
import json
import random
import resource
import shutil
import tarfile
import warnings
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from hive_datasets import HiveError, Mixer, PreparedSources, parse_recipe, prepare_sources, read_recipes
from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.writing import JsonFileWriter, ParquetFileWriter, write_recipes
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.folders import FolderStorage
from hive_datasets.sources.index import Index, write_index
from hive_datasets.sources.roots import Roots
from hive_datasets.sources.storage import load_index, open_storage
from tests.sources.parquets import write

CASES = 60
#: What a case may add to the most memory that this process ever had, in bytes.
MEMORY = 300 << 20


def damages(data, seed, cases=CASES):
    """Data with one bit flipped, a few bytes overwritten, cut short, or with bytes taken out or put in."""
    chance = random.Random(seed)
    for _ in range(cases):
        damaged, at = bytearray(data), chance.randrange(len(data))
        kind = chance.choice(["flip", "flip", "flip", "overwrite", "cut", "remove", "insert", "zero"])
        if kind == "flip":
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == "overwrite":
            damaged[at : at + 4] = chance.randbytes(4)
        elif kind == "cut":
            del damaged[at:]
        elif kind == "remove":
            del damaged[at : at + chance.randrange(1, 64)]
        elif kind == "insert":
            damaged[at:at] = chance.randbytes(chance.randrange(1, 64))
        else:
            damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
        yield bytes(damaged)


@pytest.fixture(autouse=True)
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is passed over; results are compared
        yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def outcome(function):
    """What a function returns, or None for an error of this library; other errors are raised."""
    try:
        return function()
    except HiveError as error:
        assert str(error)
        return None


def test_metadata_in_parquet(mini, tmp_path):
    file = tmp_path / "a.parquet"
    write_recipes([table_from_recipes(mini)], ParquetFileWriter(file, 16))
    for damaged in damages(file.read_bytes(), 1, 4 * CASES):
        file.write_bytes(damaged)
        assert outcome(lambda: list(read_recipes(file))) in (None, mini)


def test_parquet_of_others_has_no_checksums_and_is_checked_all_the_same(mini, tmp_path):
    """Values may be others; what comes of it is a recipe that could be one, or an error."""
    file = tmp_path / "a.parquet"
    write_recipes([table_from_recipes(mini)], ParquetFileWriter(file))
    pq.write_table(pq.read_table(file), file, compression="none", use_dictionary=False)
    for damaged in damages(file.read_bytes(), 2, 2 * CASES):
        file.write_bytes(damaged)
        for recipe in outcome(lambda: list(read_recipes(file))) or ():
            assert parse_recipe(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_metadata_in_json(mini, tmp_path, name):
    file = tmp_path / name
    write_recipes([table_from_recipes(mini[:8])], JsonFileWriter(file))
    for damaged in damages(file.read_bytes(), 3, 2 * CASES):
        file.write_bytes(damaged)
        for recipe in outcome(lambda: list(read_recipes(file))) or ():
            assert parse_recipe(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "fault",
    [
        {"applied_weight": 1e300},
        {"applied_weight": float("nan")},
        {"crop_start_second": 1e200, "crop_end_second": 1e201},
        {"chunk_end_second": 1e15},
        {"path": "a/" * 100_000 + "b"},
        {"label": "x" * (1 << 24)},
        {"source_id": {"a": [[[[]]]]}},
    ],
    ids=str,
)
def test_rows_that_ask_for_too_much(row, tmp_path, fault):
    row["sources"][0].update(fault)
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert outcome(lambda: list(read_recipes(tmp_path / "a.json"))) is None


@pytest.fixture(scope="module")
def small(demo_recipes, demo, tmp_path_factory):
    """A prepared mixture, and what it sounds like."""
    folder = tmp_path_factory.mktemp("small")
    write_recipes([table_from_recipes(demo_recipes[:1])], JsonFileWriter(folder / "a.json"))
    prepare_sources(folder / "a.json", folder / "prepared", sampling_rate=8000, dataset_paths=demo / "sources")
    recipe = demo_recipes[0]
    return folder / "prepared", recipe, Mixer(prepared=folder / "prepared", sampling_rate=8000, alignment="own")(recipe)


@pytest.mark.parametrize("pattern", ["shard-*.arrow", "index.arrow"])
def test_prepared_sources(small, tmp_path, pattern):
    """No originals are there to fall back to."""
    original, recipe, expected = small
    data = next(original.glob(pattern)).read_bytes()
    for number, damaged in enumerate(damages(data, 4)):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        next(folder.glob(pattern)).write_bytes(damaged)
        mixer = outcome(lambda: Mixer({}, 8000, prepared=PreparedSources(folder), alignment="own"))  # noqa: B023
        found = mixer and outcome(lambda: mixer(recipe))  # noqa: B023
        if found is not None:
            np.testing.assert_array_equal(found["sources"], expected["sources"])
        shutil.rmtree(folder)


def test_the_index_of_a_root(corpora, tmp_path):
    scan = FolderStorage(str(corpora)).scan(lambda files: None)
    write_index(scan, tmp_path / "index")
    paths = sorted(Index(tmp_path / "index").paths())
    data = (tmp_path / "index").read_bytes()
    refused = 0
    for damaged in damages(data, 5, 4 * CASES):
        (tmp_path / "index").write_bytes(damaged)
        try:
            index = Index(tmp_path / "index")
        except (OSError, ValueError):  # which `load_index` takes for a reason to make it anew
            refused += 1
            continue
        assert sorted(index.paths()) == paths and all(index.path(index.find(path)) == path for path in paths)
    assert refused > 2 * CASES


def packed(folder, kind):
    made = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=made, mode="w") as archive:
            archive.add(folder, "ESC-50-master")
    else:
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, f"ESC-50-master/{file.relative_to(folder)}")
    return made.getvalue()


@pytest.mark.parametrize("kind", ["tar", "deflated", "stored", "in parts"])
def test_archives(tmp_path, kind):
    """A deflated member has a checksum that is looked at. In the others a bit of audio may be another."""
    folder = tmp_path / "ESC-50-master" / "audio"
    folder.mkdir(parents=True)
    tone = np.sin(np.arange(2000) / 5) * 0.5
    for name in "ab":
        soundfile.write(folder / f"{name}.wav", tone, 44100)
    data = packed(folder.parent, kind)
    suffix = ".tar" if kind == "tar" else ".zip"
    first = 0
    if kind == "in parts":  # as if two thirds of it were in the first of two
        first, end = len(data) * 2 // 3, data.rindex(b"PK\x05\x06")
        data = data[: end + 4] + b"\1\0" + data[end + 6 :]
    for number, damaged in enumerate(damages(data[first:], 6)):
        archive = tmp_path / f"{number}{suffix}"
        archive.write_bytes(damaged)
        if first:
            archive.with_suffix(".z01").write_bytes(data[:first])
        located = outcome(lambda: Catalogue(Roots((("ESC50", str(archive)),))).locate("ESC-50-master/audio/a.wav"))  # noqa: B023
        opened = located and outcome(located.open)
        read = opened and opened.read()
        if read and kind == "deflated":
            assert read == (folder / "a.wav").read_bytes()


@pytest.mark.parametrize("layout", ["dictionary", "pages", "plain pages", "small pages"])
@pytest.mark.parametrize("limit", [1 << 12, 16 << 20])
def test_parquet(tmp_path, layout, limit, monkeypatch):
    """Whether a row group is decoded or one of its pages read; a bit of audio may be another."""
    monkeypatch.setattr("hive_datasets.sources.parquet_pages.MAX_PAGE_BYTES", limit)
    contents = [np.random.default_rng(number).bytes(5_000) for number in range(6)]
    names = [f"{number}.wav" for number in range(6)]
    data = write(tmp_path / "a.parquet", names, contents, layout).read_bytes()
    cut = len(data) - 3_000  # behind which are the footer and the index of pages
    for number, damaged in enumerate([*damages(data, 8), *(data[:cut] + tail for tail in damages(data[cut:], 9))]):
        file = tmp_path / f"{number}.parquet"
        file.write_bytes(damaged)
        storage = outcome(lambda: open_storage(str(file)))  # noqa: B023
        index = storage and outcome(lambda: load_index(storage))  # noqa: B023
        row = -1 if index is None else index.find("3.wav")
        if row >= 0:
            opened = outcome(lambda: storage.open("3.wav", index.extent(row)))  # noqa: B023
            assert opened is None or len(opened.read()) <= len(data)


@pytest.mark.parametrize(("name", "subtype"), [("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS")])
def test_audio(row, tmp_path, name, subtype):
    """FLAC and Ogg have checksums: the same samples, or an error."""
    file = tmp_path / "ESC-50-master" / f"a.{name}"
    file.parent.mkdir()
    chance = np.random.default_rng(0)
    soundfile.write(file, 0.1 * chance.standard_normal(96_000), 48000, format=name.upper(), subtype=subtype)
    times = {"crop_start_second": 0.5, "crop_end_second": 1.0, "chunk_start_second": 0.0, "chunk_end_second": 1.5}
    source = {**row["sources"][0], "path": f"ESC-50-master/a.{name}", **times}
    recipe = parse_recipe({**row, "sources": [source], "num_sources": 1, "target_duration": 0.5})
    mixer = Mixer({"ESC50": str(file.parent)})
    expected = mixer(recipe)["mix"]
    for damaged in damages(file.read_bytes(), 7, 2 * CASES):
        file.write_bytes(damaged)
        found = outcome(lambda: mixer(recipe)["mix"])
        if found is not None:
            np.testing.assert_array_equal(found, expected)
