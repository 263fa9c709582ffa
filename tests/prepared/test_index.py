"""The hash table of clips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hive_datasets.prepared.index as index_module
from hive_datasets.prepared.index import ClipIndex, write_index
from hive_datasets.prepared.samples import encode, errors_of
from hive_datasets.prepared.shards import PreparedClip, read_shard, write_shard

RATE = 100


def make_clip(path, start=0, samples=1000, chunk_samples=1000, chunk=(0.0, 10.0), version=1):
    signal = np.linspace(-1, 1, samples, dtype=np.float32)
    stored, steps = encode(signal, "int16")
    errors = errors_of(signal, stored, steps)
    return PreparedClip(path, *chunk, start, chunk_samples, 7, version, errors.max(), stored, steps, errors)


def make_index(folder, *shards):
    """An index of shards of clips."""
    opened = []
    for number, clips in enumerate(shards):
        file = folder / f"shard-{number:05d}.arrow"
        assert write_shard(clips, file, RATE, "int16", "int16") == len(clips)
        opened.append(read_shard(file, RATE, "int16"))
    write_index(opened, folder / "index.arrow", RATE, "int16")
    return ClipIndex(folder / "index.arrow")


@given(numbers=st.lists(st.integers(0, 10**6), max_size=40, unique=True), absent=st.integers(10**6 + 1, 10**7))
def test_every_clip_is_found_and_no_other(tmp_path_factory, numbers, absent):
    names = [f"corpus/{number}.wav" for number in numbers]
    half = len(names) // 2
    parts = [[make_clip(name, samples=10, chunk_samples=10) for name in part] for part in (names[:half], names[half:])]
    index = make_index(tmp_path_factory.mktemp("index"), *parts)
    assert len(index) == len(names)
    for position, name in enumerate(names):
        entry = index.entry(index.find(name, 0.0, 10.0, 0, 10))
        expected = (0, position) if position < half else (1, position - half)
        assert (entry.shard, entry.row) == expected
        assert index.find(name, 0.0, 10.5, 0, 10) == index.find(name, 5.0, 10.0, 0, 10) == -1
    assert index.find(f"corpus/{absent}.wav", 0.0, 10.0, 0, 10) == -1


@pytest.mark.parametrize("low_bits", [0, 1])
def test_hashes_that_are_alike_in_part_are_told_apart(tmp_path, monkeypatch, low_bits):
    monkeypatch.setattr(index_module, "hash_key", lambda path, start, end: (5, hash(path) & 0xFFFF if low_bits else 0))
    index = make_index(tmp_path, [make_clip("a"), make_clip("b")])
    found = {index.find(name, 0.0, 10.0, 0, 10) for name in ("a", "b")}
    assert len(found) == (2 if low_bits else 1)


@pytest.mark.parametrize(
    ("start", "stop", "is_there"),
    [(200, 300, True), (250, 260, True), (199, 300, False), (200, 301, False), (600, 900, True), (590, 910, False)],
)
def test_only_a_clip_that_has_all_samples_is_found(tmp_path, start, stop, is_there):
    index = make_index(tmp_path, [make_clip("a", 200, 100), make_clip("a", 600, 300)])
    assert (index.find("a", 0.0, 10.0, start, stop) >= 0) is is_there


def test_what_lies_past_the_end_of_the_chunk_is_not_asked_for(tmp_path):
    index = make_index(tmp_path, [make_clip("a", 600, 400)])
    assert index.find("a", 0.0, 10.0, 700, 5000) >= 0
    assert index.find("a", 0.0, 10.0, 1000, 5000) >= 0  # nothing but silence
    assert index.find("a", 0.0, 10.0, 500, 5000) == -1


def test_the_latest_of_several_is_found(tmp_path):
    index = make_index(tmp_path, [make_clip("a"), make_clip("b")], [make_clip("a")])
    assert index.entry(index.find("a", 0.0, 10.0, 0, 10)).shard == 1
    assert index.entry(index.find("b", 0.0, 10.0, 0, 10)).shard == 0


def test_nothing_of_an_older_version_of_a_file_is_found(tmp_path):
    old = [make_clip("a", 0, 100), make_clip("a", 200, 100), make_clip("b")]
    index = make_index(tmp_path, old, [make_clip("a", 200, 100, version=2)])
    assert len(index) == 2
    assert index.find("a", 0.0, 10.0, 0, 100) == -1
    assert index.find("a", 0.0, 10.0, 200, 300) >= 0 and index.find("b", 0.0, 10.0, 0, 100) >= 0
