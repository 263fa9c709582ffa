"""Roots behind URLs, against a real S3 server and a real HTTP server on this machine."""

import os

import fsspec
import numpy as np
import pytest

from hive_datasets import (
    Mixer,
    SourceError,
    SourceNotFoundError,
    SourceRootError,
    SourceUnreachableError,
    VariantSourceWarning,
)
from hive_datasets.sources import Roots
from hive_datasets.sources.blocks import BLOCK_SIZE
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.storage import load_index, open_storage
from tests.file_server import FileServer


def assert_same(roots, mini, mini_mixes):
    mixer = Mixer(roots)
    for recipe, mix in zip(mini[48:], mini_mixes[48:], strict=True):  # of all corpora, and a quarter of the blocks
        np.testing.assert_array_equal(mixer(recipe)["mix"], mix)


@pytest.mark.parametrize("shape", ["corpora", "all.zip", "all.tar"])
def test_mixtures_are_the_same_from_s3(s3, packed, corpora, mini, mini_mixes, shape):
    s3.put(str(packed / shape), f"hive/{shape}", recursive=shape == "corpora")
    assert_same(f"s3://hive/{shape}", mini, mini_mixes)


@pytest.mark.parametrize("shape", ["corpora", "all.zip", "all.tar"])
def test_mixtures_are_the_same_over_http(packed, mini, mini_mixes, shape):
    with FileServer(packed) as server:
        assert_same(f"{server.url}/{shape}", mini, mini_mixes)
        read = [span for _, path, span in server.requests if path.endswith((".wav", ".flac", ".zip", ".tar"))]
        assert all(read[1:])  # by range; the first may ask for the size


def test_a_part_of_a_remote_archive(packed, corpora, mini, mini_mixes):
    with FileServer(packed) as server:
        assert_same(f"zip://::{server.url}/all.zip", mini, mini_mixes)
        roots = {folder.name: f"zip://{folder.name}::{server.url}/all.zip" for folder in corpora.iterdir()}
        assert_same(roots, mini[:8], mini_mixes[:8])


def test_any_filesystem_of_fsspec(corpora, mini, mini_mixes):
    memory = fsspec.filesystem("memory")
    memory.put(str(corpora), "/hive", recursive=True)
    assert_same("memory://hive", mini, mini_mixes)
    memory.rm("/hive", recursive=True)


def test_only_what_is_needed_is_read_and_only_once(packed, mini, monkeypatch):
    with FileServer(packed) as server:
        mixer = Mixer(f"{server.url}/corpora")
        first = mixer(mini[0])
        asked = len(server.requests)
        np.testing.assert_array_equal(mixer(mini[0])["mix"], first["mix"])
        assert len(server.requests) == asked
        monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
        np.testing.assert_array_equal(mixer(mini[0])["mix"], first["mix"])
        assert len(server.requests) > asked


def test_variants_are_found_there_too(packed, mini, mini_mixes):
    with FileServer(packed) as server, pytest.warns(VariantSourceWarning, match="a folder above the corpus"):
        catalogue = Catalogue(Roots((("ESC50", f"{server.url}/corpora"),)))
        source = catalogue.locate("ESC-50-master/audio/1-59513-A-0.wav")
        assert source.rules == ("root_too_shallow",)
        catalogue.warn(source)


def test_a_server_that_knows_no_ranges(packed, corpora, monkeypatch):
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    name = "ESC-50-master/audio/1-59513-A-0.wav"
    with FileServer(packed, ranges=False) as server:
        storage = open_storage(f"{server.url}/corpora")
        opened = storage.open(name, None)
        opened.seek(1000)
        assert opened.read(100) == (corpora / name).read_bytes()[1000:1100]


def test_a_connection_that_breaks_is_tried_again_but_not_for_ever(packed, mini, monkeypatch):
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    with FileServer(packed) as server:
        mixer = Mixer(f"{server.url}/corpora")
        whole = mixer(mini[0])
        server.failures = 2
        np.testing.assert_array_equal(mixer(mini[0])["mix"], whole["mix"])
        server.failures = 1000
        with pytest.raises(SourceUnreachableError, match="503") as caught:
            mixer(mini[0])
        assert mini[0].mix_id in str(caught.value)
        assert server.url in caught.value.location


def test_a_break_in_the_middle_of_a_file_is_not_taken_for_its_end(packed, corpora, monkeypatch):
    """libsndfile would say that the file is cut short."""
    monkeypatch.setenv("HIVE_BLOCK_CACHE_BYTES", "0")
    longest = max(corpora.rglob("*.wav"), key=lambda file: file.stat().st_size)
    assert longest.stat().st_size > 4 * BLOCK_SIZE
    path = str(longest.relative_to(corpora))
    with FileServer(packed) as server:
        catalogue = Catalogue(Roots(parent=f"{server.url}/corpora"))
        from hive_datasets.mixing.reading import open_source

        with pytest.raises(SourceUnreachableError, match="503"), open_source(catalogue.locate(path)) as file:
            server.failures = 1000
            if file.read(file.frames).shape[0] < file.frames:
                raise SourceError("the stream ends")


def test_a_server_that_lists_nothing(packed, mini, mini_mixes):
    """As most on the web: files are asked for one by one, where the metadata says."""
    with FileServer(packed, listing=False) as server:
        assert_same(f"{server.url}/corpora", mini[:8], mini_mixes[:8])


def test_what_is_not_there(packed, s3):
    with FileServer(packed) as server:
        with pytest.raises(SourceRootError, match=r"nowhere\.zip: there is no such file"):
            open_storage(f"{server.url}/nowhere.zip")
        with pytest.raises(SourceNotFoundError, match=f"no file is listed in {server.url}/nowhere"):
            Catalogue(Roots((("ESC50", f"{server.url}/nowhere"),))).locate("ESC-50-master/audio/none.wav")
        with pytest.raises(SourceNotFoundError, match="nor a known variant"):
            Catalogue(Roots(parent=f"{server.url}/corpora")).locate("ESC-50-master/audio/none.wav")
    with pytest.raises(SourceNotFoundError, match="no file is listed in s3://hive/nowhere"):
        Catalogue(Roots((("ESC50", "s3://hive/nowhere"),))).locate("ESC-50-master/audio/none.wav")
    with pytest.raises(SourceRootError, match="s3://nowhere/x: there is no such folder"):
        Catalogue(Roots((("ESC50", "s3://nowhere/x"),))).locate("ESC-50-master/audio/none.wav")
    with pytest.raises(SourceRootError, match="Protocol not known: nonsense"):
        Catalogue(Roots((("ESC50", "nonsense://x"),))).locate("ESC-50-master/audio/none.wav")


def test_a_file_that_changed_is_told_by_what_the_server_says_of_it(tmp_path):
    """HTTP's listings give names only."""
    (tmp_path / "ESC-50-master").mkdir()
    file = tmp_path / "ESC-50-master" / "a b.wav"
    file.write_bytes(b"1234")
    with FileServer(tmp_path) as server:
        located = Catalogue(Roots(parent=server.url)).locate("ESC-50-master/a b.wav")
        before = located.identity()
        assert (before, located.open().read()) == (located.identity(), b"1234")
        file.write_bytes(b"5678")
        os.utime(file, (1, 1))
        assert located.identity() != before
        assert located.open().read() == b"5678"


def test_a_listing_is_kept_for_a_day(packed, monkeypatch):
    with FileServer(packed) as server:
        storage = open_storage(f"{server.url}/corpora/ESC-50-master")
        load_index(storage)
        asked = len(server.requests)
        load_index(storage)
        assert len(server.requests) == asked
        load_index(storage, rescan=True)
        assert len(server.requests) > asked
        asked = len(server.requests)
        monkeypatch.setattr("hive_datasets.sources.remote.LISTING_SECONDS", 0.0)
        load_index(storage)
        assert len(server.requests) > asked
