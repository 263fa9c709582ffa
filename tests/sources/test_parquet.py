"""Roots of parquet with audio in it."""

import shutil
import warnings

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hive_datasets
from hive_datasets import (
    EmptySourceError,
    Mixer,
    SequentialSourceWarning,
    SourceRootError,
    SourceUnreachableError,
    TruncatedSourceError,
    verify_sources,
)
from hive_datasets.sources import find_corpus, parse_roots
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.parquet import ParquetStorage
from hive_datasets.sources.storage import load_index, open_storage
from tests.file_server import FileServer
from tests.hub_server import HubServer
from tests.sources.parquets import AUDIO, LAYOUTS, write, write_corpus


@pytest.fixture(scope="session", params=["dictionary", "pages", "one plain page"])
def parquets(request, corpora, make_once):
    def make(folder):
        for corpus in corpora.iterdir():
            write_corpus(corpus, folder / corpus.name, request.param)

    return make_once(f"parquet {request.param}", make)


@pytest.fixture
def clips(tmp_path):
    """Clips of every size, and the function that writes a file of them."""
    random = np.random.default_rng(0)
    contents = [random.bytes(int(size)) for size in random.integers(0, 150_000, 30)]
    return [f"{number:011}" for number in range(30)], contents


def read(storage, index, path):
    opened = storage.open(path, index.extent(index.find(path)))
    data = opened.read()
    if getattr(opened, "error", None) is not None:
        raise opened.error
    return data


def test_mixtures_are_the_same_from_parquet(parquets, corpora, mini, mini_mixes):
    mixer = Mixer(parquets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SequentialSourceWarning)
        for recipe, mix in zip(mini, mini_mixes, strict=True):
            np.testing.assert_array_equal(mixer(recipe)["mix"], mix)


def test_prepared_sources_are_the_same_from_parquet(parquets, prepared, shared, mini, tmp_path):
    options = {"dataset_paths": parquets, "shard_bytes": 2_000_000}
    result = hive_datasets.prepare_sources(shared / "mini" / "hub", tmp_path, **options)
    assert result.lacking == ()
    one, other = Mixer(prepared=tmp_path), Mixer(prepared=prepared)
    for recipe in mini[::7]:
        np.testing.assert_array_equal(one(recipe)["mix"], other(recipe)["mix"])


def test_nothing_is_found_by_a_variant_or_in_another_split(parquets, shared):
    result = verify_sources(shared / "mini" / "hub", parquets, check="header")
    assert set(result.statuses) <= {"found", "other_rate"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limit", [1 << 16, 16 << 20])
def test_every_layout_gives_every_clip(clips, layout, limit, tmp_path, monkeypatch):
    """Whatever the sizes from which on a page, or a dictionary, is too large to be read for one clip."""
    monkeypatch.setattr("hive_datasets.sources.parquet_pages.MAX_PAGE_BYTES", limit)
    names, contents = clips
    file = write(tmp_path / "a.parquet", names, contents, layout, "video_id")
    storage = open_storage(str(file))
    index = load_index(storage)
    assert set(index.paths()) == {f"{name}.wav" for name in names}
    extents = {path: index.extent(index.find(path)) for path in index.paths()}
    wanted = {path: extent for path, extent in extents.items() if storage.is_sequential(extent)}
    in_order = {path: content.data for path, content in storage.read_in_order(wanted)}
    for name, data in zip(names, contents, strict=True):
        path = f"{name}.wav"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SequentialSourceWarning)
            assert storage.open(path, extents[path]).read() == data
        assert in_order.get(path, data) == data
    assert bool(wanted) == ("plain" not in layout and limit < 1 << 20)  # they have a dictionary of more than that


def test_what_this_version_of_datasets_writes(corpora, tmp_path):
    files = sorted((corpora / "ESC-50-master" / "audio").iterdir())[:6]
    audio = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    rows = {"audio": audio, "category": ["a"] * len(files)}
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    table.to_parquet(tmp_path / "train.parquet")
    storage = open_storage(str(tmp_path / "train.parquet"), find_corpus("ESC50"))
    index = load_index(storage)
    for file in files:
        assert read(storage, index, file.name) == file.read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_without_audio(clips, layout, tmp_path):
    names, contents = clips
    file = write(tmp_path / "a.parquet", names, contents, layout, "video_id")
    table = pq.read_table(file)
    rows = table.column("audio").to_pylist()
    rows[3], rows[5] = None, {"bytes": None, "path": "x"}
    table = table.set_column(1, "audio", pa.array(rows, AUDIO))
    options = {**LAYOUTS[layout], **({"compression": {"audio.bytes": "NONE"}} if "plain" in layout else {})}
    pq.write_table(table, file, **options)
    storage = open_storage(str(file), find_corpus("AudioSet"))
    index = load_index(storage)
    folder = tmp_path.name
    for number in (3, 5):
        path = f"{folder}/{names[number]}.flac"
        row = index.find(path)
        if row < 0:
            assert "have no audio, but null" in index.problems[0]
            continue
        with warnings.catch_warnings(), pytest.raises(EmptySourceError, match="no audio, but null"):
            warnings.simplefilter("ignore", SequentialSourceWarning)
            storage.open(path, index.extent(row))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SequentialSourceWarning)
        assert read(storage, index, f"{folder}/{names[6]}.flac") == contents[6]


def test_reading_at_random_what_is_sequential_says_so_once(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("hive_datasets.sources.parquet_pages.MAX_PAGE_BYTES", 1 << 16)
    names, contents = clips
    file = write(tmp_path / "a.parquet", names, contents, "dictionary", "video_id")
    storage = open_storage(str(file))
    index = load_index(storage)
    with pytest.warns(SequentialSourceWarning, match="hive-datasets prepare") as caught:
        for name in names[:6]:
            read(storage, index, f"{name}.wav")
    assert len(caught) == 1


def test_a_clip_is_one_small_read(clips, tmp_path):
    """Of a file of 2 MB, no more than the clip and the header of its page."""
    names, contents = clips
    write(tmp_path / "a.parquet", names, contents, "one plain page", "video_id")
    with FileServer(tmp_path) as server:
        storage = open_storage(f"{server.url}/a.parquet")
        index = load_index(storage)
        server.requests.clear()
        assert read(storage, index, f"{names[4]}.wav") == contents[4]
        assert sum(command == "GET" for command, _, _ in server.requests) <= 2


def test_listing_a_remote_file_reads_little_of_it(tmp_path):
    """Where there is no index of pages, from the length of one clip to that of the next."""
    contents = [np.random.default_rng(number).bytes(900_000) for number in range(8)]
    write(tmp_path / "a.parquet", [f"{number:011}" for number in range(8)], contents, "one plain page", "video_id")
    with FileServer(tmp_path) as server:
        storage = open_storage(f"{server.url}/a.parquet")
        index = load_index(storage)
        spans = [span.removeprefix("bytes=").split("-") for _, _, span in server.requests if span]
        assert sum(int(stop) - int(start) + 1 for start, stop in spans) < 1_000_000
        assert read(storage, index, "00000000005.wav") == contents[5]


def test_a_repository_of_the_hub(corpora, tmp_path, monkeypatch):
    folder = write_corpus(corpora / "AudioSet", tmp_path / "repository", "pages")
    with HubServer("agkphysics/AudioSet", folder) as server:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": server.url})
        catalogue = Catalogue(parse_roots({"AudioSet": "hf://datasets/agkphysics/AudioSet/data"}))
        for file in (corpora / "AudioSet").rglob("*.flac"):
            located = catalogue.locate(f"AudioSet/{file.relative_to(corpora / 'AudioSet')}")
            assert located.rules == ()
            assert located.open().read() == file.read_bytes()


def test_a_server_that_fails(clips, tmp_path):
    names, contents = clips
    write(tmp_path / "a.parquet", names, contents, "plain pages", "video_id")
    with FileServer(tmp_path) as server:
        storage = open_storage(f"{server.url}/a.parquet")
        server.fault = lambda path: 403
        with pytest.raises(SourceUnreachableError, match="403"):
            load_index(storage)


def test_a_file_that_changes_is_listed_again(clips, tmp_path):
    names, contents = clips
    file = write(tmp_path / "a.parquet", names, contents, "plain pages", "video_id")
    storage = open_storage(str(file))
    index = load_index(storage)
    write(file, names[::-1], contents, "plain pages", "video_id")
    with pytest.raises(OSError, match="has changed"):
        read(storage, index, f"{names[0]}.wav")
    storage = open_storage(str(file))
    assert read(storage, load_index(storage), f"{names[0]}.wav") == contents[-1]


def test_folders_that_only_look_like_parquet(clips, tmp_path):
    """A table beside audio is no root of parquet, nor is one without audio in it."""
    names, contents = clips
    write(tmp_path / "both" / "a.parquet", names, contents, "pages")
    (tmp_path / "both" / "a.wav").write_bytes(b"1")
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "table" / "a.parquet")
    kinds = [type(open_storage(str(tmp_path / name))).__name__ for name in ("both", "table")]
    assert kinds == ["FolderStorage", "FolderStorage"]
    with pytest.raises(SourceRootError, match=r"no clip is found in it: .* no column of audio"):
        load_index(open_storage(str(tmp_path / "table" / "a.parquet")))


def test_a_file_in_the_folder_that_holds_all_corpora(clips, tmp_path):
    names, contents = clips
    file = write(tmp_path / "ESC50.parquet", [f"{name}.wav" for name in names], contents, "pages", "filename")
    for roots in (tmp_path, file):
        located = Catalogue(parse_roots(roots)).locate(f"ESC-50-master/audio/{names[7]}.wav")
        assert (located.rules, located.read()) == ((), contents[7])


def test_a_damaged_file_among_others(clips, tmp_path):
    names, contents = clips
    write(tmp_path / "a.parquet", names[:9], contents[:9], "pages", "video_id")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more than that")
    index = load_index(open_storage(str(tmp_path)))
    assert len(index) == 9
    assert index.problems[0].startswith(f"{tmp_path}/b.parquet: it cannot be read")


def test_a_damaged_row_group(clips, tmp_path):
    names, contents = clips
    file = write(tmp_path / "a.parquet", names, contents, "pages", "video_id")
    storage = open_storage(str(file))
    index = load_index(storage)
    extent = index.extent(index.find(f"{names[2]}.wav"))
    data = bytearray(file.read_bytes())
    data[extent.offset : extent.offset + 20] = bytes(20)
    shutil.copystat(file, tmp_path / "times") if (tmp_path / "times").touch() is None else None
    file.write_bytes(data)
    shutil.copystat(tmp_path / "times", file)
    with pytest.raises(TruncatedSourceError, match="damaged, or has changed"):
        read(storage, index, f"{names[2]}.wav")


def test_more_files_than_may_be_open(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("hive_datasets.sources.ranges._MAX_OPEN_PARTS", 2)
    names, contents = clips
    for number in range(10):
        part = slice(number * 3, number * 3 + 3)
        write(tmp_path / f"{number}.parquet", names[part], contents[part], "one plain page", "video_id")
    storage = open_storage(str(tmp_path))
    assert isinstance(storage, ParquetStorage)
    index = load_index(storage)
    for name, data in zip(names, contents, strict=True):
        assert read(storage, index, f"{name}.wav") == data
    assert len(storage._bytes._opened) == 2


def test_a_folder_of_no_clips(tmp_path):
    pq.write_table(pa.table({"audio": pa.array([], AUDIO)}), tmp_path / "a.parquet")
    with pytest.raises(SourceRootError, match="no clip is found in it"):
        load_index(open_storage(str(tmp_path)))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SourceRootError, match="it has no file of parquet"):
        ParquetStorage(str(tmp_path), None).scan(lambda files: None)
