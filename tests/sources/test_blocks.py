import os
import time

import pytest

from hive_datasets import SourceRootError
from hive_datasets.sources.blocks import DEFAULT_LIMIT, BlockCache, find_block_cache
from hive_datasets.sources.ranges import RemoteBytes

DATA = bytes(range(256)) * 40


class Fetcher:
    """The far end: hands out ranges of DATA, and counts how often."""

    def __init__(self):
        self.calls = []

    def __call__(self, start, end):
        self.calls.append((start, end))
        return DATA[start:end]


@pytest.fixture
def fetch():
    return Fetcher()


def remote(name="s3://bucket/a.wav", version=1):
    return RemoteBytes(name, len(DATA), version)


def used(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_block_is_fetched_once_for_all_processes(tmp_path, fetch):
    for _ in range(2):
        cache = BlockCache(tmp_path, block_size=1000)
        assert cache.read(remote(), 0, fetch) == DATA[:1000]
        assert cache.read(remote(), 10, fetch) == DATA[10_000:]  # the last one is shorter
    assert fetch.calls == [(0, 1000), (10_000, 10_240)]


def test_other_contents_under_the_same_name_are_another_block(tmp_path, fetch):
    cache = BlockCache(tmp_path, block_size=1000)
    cache.read(remote(), 0, fetch)
    cache.read(remote(version=2), 0, fetch)
    cache.read(remote("s3://bucket/b.wav"), 0, fetch)
    assert len(fetch.calls) == 3


def test_it_is_bounded_and_keeps_what_was_used_last(tmp_path, fetch):
    cache = BlockCache(tmp_path, limit=5000, block_size=1000)
    cache.read(remote(), 0, fetch)
    for block in range(1, 9):
        for path in tmp_path.glob("*/*"):  # everything gets older
            status = path.stat()
            os.utime(path, (status.st_atime, status.st_mtime - 100))
        cache.read(remote(), 0, fetch)  # but for this one
        cache.read(remote(), block, fetch)
        assert used(tmp_path) <= 5000
    assert fetch.calls.count((0, 1000)) == 1
    cache.read(remote(), 8, fetch)
    assert fetch.calls.count((8000, 9000)) == 1
    cache.read(remote(), 1, fetch)
    assert fetch.calls.count((1000, 2000)) == 2


def test_a_block_that_was_cut_short_is_fetched_again(tmp_path, fetch):
    cache = BlockCache(tmp_path, block_size=1000)
    cache.read(remote(), 0, fetch)
    for path in tmp_path.glob("*/*"):
        path.write_bytes(b"short")
    assert cache.read(remote(), 0, fetch) == DATA[:1000]
    assert len(fetch.calls) == 2


def test_no_flipped_bit_is_served(tmp_path, fetch):
    cache = BlockCache(tmp_path, block_size=1000)
    cache.read(remote(), 0, fetch)
    (path,) = tmp_path.glob("*/*")
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 97):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert cache.read(remote(), 0, fetch) == DATA[:1000]


def test_a_full_disk_leaves_nothing_and_makes_room(tmp_path, fetch, monkeypatch):
    cache = BlockCache(tmp_path, block_size=1000)
    for block in range(8):
        cache.read(remote(), block, fetch)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hive_datasets.sources.blocks.os.replace", full)
    assert cache.read(remote(), 9, fetch) == DATA[9000:10_000]
    assert not list(tmp_path.glob("*/*.aside")) and used(tmp_path) < 5000


def test_what_a_killed_process_left_goes_away(tmp_path, fetch):
    (tmp_path / "00").mkdir()
    for name, age in (("old", 4000), ("young", 10)):
        (tmp_path / "00" / f"{name}.aside").write_bytes(b"half")
        os.utime(tmp_path / "00" / f"{name}.aside", (time.time() - age,) * 2)
    BlockCache(tmp_path).trim()
    assert [path.name for path in tmp_path.glob("*/*")] == ["young.aside"]


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, fetch):
    (tmp_path / "file").touch()
    cache = BlockCache(tmp_path / "file" / "folder", block_size=1000)
    assert cache.read(remote(), 0, fetch) == DATA[:1000]


def test_no_cache(tmp_path, fetch):
    cache = BlockCache(tmp_path, limit=0, block_size=1000)
    cache.read(remote(), 0, fetch)
    cache.read(remote(), 0, fetch)
    assert len(fetch.calls) == 2
    assert used(tmp_path) == 0


def test_the_limit_is_configured(monkeypatch):
    assert find_block_cache().limit == DEFAULT_LIMIT
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "12345")
    assert find_block_cache().limit == 12345
    for value in ("-1", "much"):
        monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", value)
        with pytest.raises(SourceRootError, match=f"a number of bytes, 0 for no cache, not '{value}'"):
            find_block_cache()
