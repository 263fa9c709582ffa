import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.sources.index import Extent, Index, Scan, write_index
from hive_datasets.sources.variants import loose_key

parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("index") / "a.arrow"


def make_index(file, found, extents=None):
    scan = Scan()
    for path in found:
        folder, _, name = path.rpartition("/")
        scan.add(folder, name, extents and extents[path])
    write_index(scan, file)
    return Index(file)


@given(st.lists(paths, unique=True, max_size=40), st.lists(paths, max_size=10))
def test_it_answers_as_a_dictionary_does(file, present, others):
    index = make_index(file, present)
    assert len(index) == len(present)
    assert sorted(index.paths()) == sorted(present)
    for path in present + others:
        row = index.find(path)
        assert (row >= 0) == (path in present)
        assert row < 0 or index.path(row) == path


@given(st.lists(paths, unique=True, max_size=40), parts)
def test_candidates_are_all_that_are_loosely_the_same(file, present, name):
    index = make_index(file, present)
    for wanted in [name, *(path.rpartition("/")[2] for path in present)]:
        key = loose_key(wanted)
        expected = [path for path in present if loose_key(path.rpartition("/")[2]) in (key, "y" + key)]
        assert sorted(index.candidates(wanted)) == sorted(expected)


def test_many_names_in_one_folder_and_one_name_in_many_folders(file):
    present = [f"a/{number}.wav" for number in range(5000)] + [f"{number}/x.wav" for number in range(5000)]
    index = make_index(file, present)
    assert all(index.path(index.find(path)) == path for path in present)
    assert sorted(index.candidates("X.flac")) == sorted(path for path in present if path.endswith("x.wav"))


def test_extents_and_the_last_of_a_name_counts(file):
    scan = Scan()
    scan.add("a", "x.wav", Extent(1, 2, 3, 8, 4_000_000_000))
    scan.add("a", "y.wav", Extent(0, -1, -1))
    scan.add("a", "x.wav", Extent(5, 6, 7))
    write_index(scan, file)
    index = Index(file)
    assert index.has_extents
    assert index.extent(index.find("a/x.wav")) == Extent(5, 6, 7)
    assert index.extent(index.find("a/y.wav")) == Extent(0, -1, -1)


def test_names_that_are_no_unicode(file):
    name = os.fsdecode(b"a/\xff\xfe.wav")
    index = make_index(file, [name])
    assert list(index.paths()) == [name]
    assert index.find(name) == 0


def test_an_empty_root(file):
    index = make_index(file, [])
    assert (len(index), index.find("a"), index.find("a/b"), index.candidates("a")) == (0, -1, -1, [])


def test_another_layout_is_refused(file, monkeypatch):
    make_index(file, ["a"])
    monkeypatch.setattr("hive_datasets.sources.index.LAYOUT", "0")
    with pytest.raises(ValueError, match="not an index of layout 0"):
        Index(file)
