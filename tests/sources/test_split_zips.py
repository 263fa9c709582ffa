"""Zips in parts, as `zip -s` makes them."""

import shutil
import struct
import subprocess

import numpy as np
import pytest

from hive_datasets import Mixer, SourceError, SourceRootError, SourceUnreachableError, TruncatedSourceError
from hive_datasets.sources.storage import load_index, open_storage
from tests.file_server import FileServer

needs_zip = pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")


@pytest.fixture(scope="session")
def contents():
    """Files of every size about that of a part, some that deflate can make smaller."""
    random = np.random.default_rng(0)
    sizes = [0, 1, 100, 65535, 65536, 65537, 200_000, 300_000, *random.integers(1, 40_000, 60).tolist()]
    data = {
        f"a/{number} ü.wav": random.integers(0, 256, size, dtype=np.uint8).tobytes()
        for number, size in enumerate(sizes)
    }
    return data | {f"b/{number}.wav": random.integers(0, 4, 50_000, dtype=np.uint8).tobytes() for number in range(9)}


def split(folder, contents, *options):
    """The .zip of a new archive in parts of 64 KiB, the smallest that zip makes."""
    inside = folder / "inside"
    for name, data in contents.items():
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_bytes(data)
    subprocess.run(["zip", "-q", "-r", "-s", "64k", *options, "../X.zip", "."], cwd=inside, check=True)
    shutil.rmtree(inside)
    return folder / "X.zip"


def read(storage, index, path):
    return storage.open(path, index.extent(index.find(path))).read()


@needs_zip
@pytest.mark.parametrize("options", [["-0"], ["-6"], ["-0", "-fz"], ["-6", "-fz"]], ids=" ".join)
def test_members_are_read_from_the_parts(tmp_path, contents, options):
    archive = split(tmp_path, contents, *options)
    assert len(list(tmp_path.glob("X.z[0-9]*"))) > 7
    storage = open_storage(str(archive))
    index = load_index(storage)
    assert set(index.paths()) == set(contents)
    assert index.problems == []
    for path, data in contents.items():
        assert read(storage, index, path) == data


@needs_zip
def test_more_than_99_parts_are_in_the_order_of_their_numbers(tmp_path):
    random = np.random.default_rng(1)
    contents = {f"{number}.wav": random.bytes(70_000) for number in range(95)}
    storage = open_storage(str(split(tmp_path, contents, "-0")))
    assert (tmp_path / "X.z100").exists()
    index = load_index(storage)
    for path, data in contents.items():
        assert read(storage, index, path) == data


@needs_zip
def test_mixtures_are_the_same_from_zips_in_parts(corpora, mini, mini_mixes, tmp_path):
    roots = {}
    for folder in corpora.iterdir():
        roots[folder.name] = tmp_path / f"{folder.name}.zip"
        options = ["-r", "-s", "256k", "-0" if folder.name < "E" else "-6"]
        subprocess.run(["zip", "-q", *options, roots[folder.name], "."], cwd=folder, check=True)
    assert len(list(tmp_path.glob("*.z05"))) > 3
    mixer = Mixer(roots)
    for recipe, mix in zip(mini, mini_mixes, strict=True):
        np.testing.assert_array_equal(mixer(recipe)["mix"], mix)


@needs_zip
def test_of_a_missing_part_only_its_members_are_lost(tmp_path, contents):
    archive = split(tmp_path, contents, "-0")
    (tmp_path / "X.z04").rename(tmp_path / "aside")
    storage = open_storage(str(archive))
    index = load_index(storage)
    found = set(index.paths())
    lost = set(contents) - found
    assert index.problems == [f"the part X.z04 of {archive} is missing, and with it {len(lost)} members"]
    assert 0 < len(lost) < 20
    assert all(read(storage, index, path) == contents[path] for path in found)
    # that come back, with the part, without being told to look again
    (tmp_path / "aside").rename(tmp_path / "X.z04")
    assert set(load_index(open_storage(str(archive))).paths()) == set(contents)


@needs_zip
def test_a_directory_that_begins_in_an_earlier_part(tmp_path):
    contents = {f"{number:03}{'x' * 200}.wav": b"1" for number in range(400)}
    archive = split(tmp_path, contents, "-0")
    tail = archive.read_bytes()[-22:]
    last, first = struct.unpack_from("<HH", tail, 4)
    assert first < last
    assert set(load_index(open_storage(str(archive))).paths()) == set(contents)
    (tmp_path / f"X.z{last:02}").unlink()
    with pytest.raises(SourceRootError, match=rf"the part X\.z{last:02} of .* is missing"):
        load_index(open_storage(str(archive)))


@needs_zip
@pytest.mark.parametrize("listing", [True, False])
def test_parts_on_a_server(tmp_path, contents, listing):
    split(tmp_path, contents, "-0")
    with FileServer(tmp_path, listing=listing) as server:
        storage = open_storage(f"{server.url}/X.zip")
        index = load_index(storage)
        assert set(index.paths()) == set(contents)
        for path in ["a/6 ü.wav", "b/0.wav"]:
            assert read(storage, index, path) == contents[path]
        server.fault = lambda path: 403 if path.endswith(".z03") else None
        with pytest.raises(SourceUnreachableError, match="403"):
            open_storage(f"{server.url}/X.zip")


@needs_zip
def test_a_part_that_changes_under_way(tmp_path, contents):
    archive = split(tmp_path, contents, "-0")
    storage = open_storage(str(archive))
    index = load_index(storage)
    path = min(index.paths(), key=lambda path: index.extent(index.find(path)).offset)  # the first
    (tmp_path / "X.z01").write_bytes(bytes(65536))
    with pytest.raises(SourceError, match="has changed since it was listed"):
        read(storage, index, path)
    second = open_storage(str(archive))
    index = load_index(second)
    with pytest.raises(TruncatedSourceError, match="damaged or changed"):
        read(second, index, path)


@needs_zip
def test_parts_that_were_put_together_by_cat(tmp_path, contents):
    archive = split(tmp_path, contents, "-0")
    parts = sorted(tmp_path.glob("X.z[0-9]*"))
    joined = b"".join(part.read_bytes() for part in [*parts, archive])
    for part in parts:
        part.unlink()
    archive.write_bytes(joined)
    with pytest.raises(SourceRootError, match="are not beside it, as they were published"):
        load_index(open_storage(str(archive)))
