import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from hive_datasets import (
    HiveError,
    Mixer,
    SourceFormatError,
    SourceNotFoundError,
    SourceRootError,
    TruncatedSourceError,
)
from hive_datasets.sources import Roots, archives, parse_roots
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.storage import load_index, open_storage


@pytest.mark.parametrize("shape", ["zips", "one zip", "tar", "inside", "aliases"])
def test_mixtures_are_the_same_from_archives(packed, corpora, mini, mini_mixes, shape, tmp_path):
    for file in (packed / "each").iterdir():
        (tmp_path / file.name.replace("ESC-50-master", "ESC-50")).symlink_to(file)
    roots = {
        "zips": {folder.name: packed / "each" / f"{folder.name}.zip" for folder in corpora.iterdir()},
        "one zip": packed / "all.zip",
        "tar": packed / "all.tar",
        "inside": {folder.name: f"tar://{folder.name}::{packed}/all.tar" for folder in corpora.iterdir()},
        "aliases": tmp_path,  # one folder for all, in which each is packed
    }[shape]
    mixer = Mixer(roots)
    for recipe, mix in zip(mini, mini_mixes, strict=True):
        np.testing.assert_array_equal(mixer(recipe)["mix"], mix)


def make_zip(file, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return open_storage(str(file))


def make_tar(file, members):
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return open_storage(str(file))


def read(storage, path):
    index = load_index(storage)
    opened = storage.open(path, index.extent(index.find(path)))
    return opened.read()


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_members_that_lead_out_are_left_out(tmp_path, make):
    suffix = make.__name__.removeprefix("make_")
    members = {"../a.wav": b"1", "/b.wav": b"2", "c/../../d.wav": b"3", "..\\e.wav": b"4", "./f/g.wav": b"good"}
    storage = make(tmp_path / f"a.{suffix}", members)
    index = load_index(storage)
    assert list(index.paths()) == ["f/g.wav"]
    assert read(storage, "f/g.wav") == b"good"
    assert len(index.problems) == 4
    assert all("leads out of the archive" in problem for problem in index.problems)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_left_out(tmp_path, method):
    index = load_index(make_zip(tmp_path / "a.zip", {"x/a.wav": bytes(1000)}, method))
    assert len(index) == 0
    assert "compressed otherwise than by deflate" in index.problems[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_methods_of_compression(tmp_path, method):
    data = bytes(range(256)) * 5000
    storage = make_zip(tmp_path / "a.zip", {"x/a.wav": data, "x/b.wav": b""}, method)
    assert (read(storage, "x/a.wav"), read(storage, "x/b.wav")) == (data, b"")


def test_the_last_member_of_a_name_counts(tmp_path):
    storage = make_tar(tmp_path / "a.tar", {"x/a.wav": b"old"})
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        member = tarfile.TarInfo("x/a.wav")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"new"))
    assert read(open_storage(storage.root), "x/a.wav") == b"new"


def test_an_archive_that_changes_is_listed_again(tmp_path):
    first = make_zip(tmp_path / "a.zip", {"a.wav": b"1"})
    assert list(load_index(first).paths()) == ["a.wav"]
    second = make_zip(tmp_path / "a.zip", {"b.wav": b"22"})
    assert list(load_index(second).paths()) == ["b.wav"]


def test_names_in_utf8_that_are_not_marked_as_such(tmp_path):
    """As Info-ZIP writes them on Unix."""
    make_zip(tmp_path / "a.zip", {"Straße é.wav": b"1"})
    data = (tmp_path / "a.zip").read_bytes()
    central = data.index(b"PK\x01\x02")
    flags = struct.pack("<H", struct.unpack_from("<H", data, central + 8)[0] & ~0x800)
    (tmp_path / "b.zip").write_bytes(data[: central + 8] + flags + data[central + 10 :])
    assert list(load_index(open_storage(str(tmp_path / "b.zip"))).paths()) == ["Straße é.wav"]


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    storage = make_zip(tmp_path / "a.zip", {"a.wav": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "a.zip").stat().st_size < 20_000
    assert len(read(storage, "a.wav")) == 10_000_000
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 9_999_999)
    with pytest.raises(SourceFormatError, match="10000000 bytes when unpacked"):
        read(storage, "a.wav")


def test_a_zip_bomb_that_lies_about_its_size_gives_no_more_than_it_says(tmp_path):
    make_zip(tmp_path / "a.zip", {"a.wav": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(TruncatedSourceError, match="cannot be unpacked"):  # the checksum is that of all
        read(open_storage(str(tmp_path / "b.zip")), "a.wav")


def test_damage_is_told(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, 100_000, dtype=np.uint8).tobytes()
    storage = make_zip(tmp_path / "a.zip", {"a.wav": data, "b.wav": data}, zipfile.ZIP_DEFLATED)
    index = load_index(storage)
    extent = index.extent(index.find("a.wav"))
    with open(tmp_path / "a.zip", "r+b") as file:
        file.seek(extent.packed_size // 2)
        file.write(bytes(1000))
    with pytest.raises(TruncatedSourceError, match="cannot be unpacked"):
        storage.open("a.wav", extent)
    with open(tmp_path / "a.zip", "r+b") as file:
        file.write(bytes(100))
    with pytest.raises(TruncatedSourceError, match="the archive is damaged or changed"):
        storage.open("a.wav", extent)


def test_an_encrypted_member_is_left_out(tmp_path):
    make_zip(tmp_path / "a.zip", {"a.wav": b"1"})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    index = load_index(open_storage(str(tmp_path / "a.zip")))
    assert len(index) == 0
    assert "encrypted" in index.problems[0]


def test_links_and_sparse_files_of_a_tar_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link.wav")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    index = load_index(open_storage(str(tmp_path / "a.tar")))
    assert len(index) == 0
    assert "not a plain file" in index.problems[0]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_what_is_no_archive(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"this is no archive" * 100)
    with pytest.raises(SourceRootError, match=f"a{suffix}: it is not a"):
        load_index(open_storage(str(tmp_path / f"a{suffix}")))


def test_a_tar_that_is_cut_short(tmp_path):
    make_tar(tmp_path / "a.tar", {"a.wav": bytes(1000), "b.wav": bytes(100_000)})
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(data[: len(data) // 2])
    index = load_index(open_storage(str(tmp_path / "b.tar")))
    assert "a.wav" in index.paths()  # what is there can be used
    assert "ends too early" in index.problems[0]


def test_members_that_are_said_to_be_in_another_part(tmp_path):
    make_zip(tmp_path / "a.zip", {"a.wav": b"1"})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 34, 2)  # it begins on the third disk
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SourceRootError, match="speaks of other parts"):
        load_index(open_storage(str(tmp_path / "a.zip")))


def test_an_archive_replaced_under_a_running_process(tmp_path, monkeypatch):
    monkeypatch.setattr("hive_datasets.sources.catalogue.RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("hive_datasets.sources.catalogue.RECHECK_SHARE", float("inf"))
    make_zip(tmp_path / "AudioSet.zip", {"x/a.wav": b"1"})
    catalogue = Catalogue(parse_roots(tmp_path))
    assert catalogue.locate("AudioSet/x/a.wav").open().read() == b"1"
    with pytest.raises(SourceNotFoundError):
        catalogue.locate("AudioSet/x/b.wav")
    make_zip(tmp_path / "new.zip", {"x/c.wav": b"33", "x/b.wav": b"22"})
    os.replace(tmp_path / "new.zip", tmp_path / "AudioSet.zip")
    assert catalogue.locate("AudioSet/x/b.wav").open().read() == b"22"


def test_another_member_where_one_was_is_not_taken_for_it(tmp_path):
    storage = make_zip(tmp_path / "a.zip", {"x/a.wav": b"1", "x/b.wav": b"2"})
    index = load_index(storage)
    extent = index.extent(index.find("x/a.wav"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/b.wav", b"2")
    (tmp_path / "a.zip").write_bytes((tmp_path / "b.zip").read_bytes())  # in place: the same inode
    with pytest.raises(TruncatedSourceError, match="damaged or changed"):
        storage.open("x/a.wav", extent)


def test_a_tar_rewritten_in_place(tmp_path):
    storage = make_tar(tmp_path / "a.tar", {"x/a.wav": b"1", "x/b.wav": b"2", "x/" + "n" * 120 + ".wav": b"3"})
    index = load_index(storage)
    paths = list(index.paths())
    assert sorted(read(storage, path) for path in paths) == [b"1", b"2", b"3"]
    make_tar(tmp_path / "b.tar", {"x/b.wav": b"2", "x/a.wav": b"1"})
    (tmp_path / "a.tar").write_bytes((tmp_path / "b.tar").read_bytes())
    for path in paths:
        with pytest.raises(TruncatedSourceError, match="damaged or changed"):
            storage.open(path, index.extent(index.find(path)))


def patch(file, signature, offset, format, value):
    data = bytearray(file.read_bytes())
    struct.pack_into(format, data, data.index(signature) + offset, value)
    file.write_bytes(data)


def test_however_a_directory_is_broken_the_archive_is_named(tmp_path):
    """In ways for which `zipfile` raises no BadZipFile."""
    make_zip(tmp_path / "a.zip", {"x/a.wav": b"1"})
    patch(tmp_path / "a.zip", b"PK\x01\x02", 6, "<H", 99)  # the version needed to unpack it
    with pytest.raises(SourceRootError, match=r"a\.zip: it is not a zip, or it is damaged .*9\.9"):
        load_index(open_storage(str(tmp_path / "a.zip")))
    make_zip(tmp_path / "a.zip", {"x/a.wav": b"1"})
    patch(tmp_path / "a.zip", b"PK\x01\x02", 8, "<H", 0x800)  # its names are UTF-8 ...
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x/a.wav", b"x/\xff.wav"))
    with pytest.raises(SourceRootError, match=r"a\.zip: it is not a zip, or it is damaged .*utf-8"):
        load_index(open_storage(str(tmp_path / "a.zip")))


@pytest.mark.parametrize("mtime", ["nan", "inf", "1e300"])
def test_odd_times_in_a_tar(tmp_path, mtime):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.wav")
        member.size, member.pax_headers = 1, {"mtime": mtime}
        archive.addfile(member, io.BytesIO(b"1"))
    assert read(open_storage(str(tmp_path / "a.tar")), "a.wav") == b"1"


def test_damage_in_the_middle_of_a_tar_is_told(tmp_path):
    make_tar(tmp_path / "a.tar", {f"{number}.wav": bytes(1000) for number in range(5)})
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[2 * 1536 : 2 * 1536 + 512] = b"x" * 512
    (tmp_path / "a.tar").write_bytes(data)
    index = load_index(open_storage(str(tmp_path / "a.tar")))
    assert sorted(index.paths()) == ["0.wav", "1.wav"]
    assert "damaged at byte 3072" in index.problems[0]


def test_a_name_that_an_archive_has_twice_is_not_ambiguous(tmp_path):
    file = tmp_path / "ESC-50-master.zip"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(file, "w") as archive:
        archive.writestr("audio/A.wav", b"old")
        archive.writestr("audio/A.wav", b"new")
    assert Catalogue(parse_roots(tmp_path)).locate("ESC-50-master/audio/a.wav").open().read() == b"new"


BOMB = """
import resource, sys
from hive_datasets.sources.storage import load_index, open_storage
storage = open_storage(sys.argv[1])
index = load_index(storage)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    storage.open("a.wav", index.extent(index.find("a.wav")))
except OSError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_zip_bomb_that_lies_takes_no_memory(tmp_path, subprocess_environment):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.wav", "w") as file:
        for _ in range(500):
            file.write(bytes(1 << 20))
    patch(tmp_path / "a.zip", b"PK\x01\x02", 24, "<I", 1000)
    command = [sys.executable, "-W", "ignore", "-c", BOMB, str(tmp_path / "a.zip")]
    printed = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, check=True).stdout
    assert int(printed.split()[0]) < 50_000  # KB, of 500 MB


INTERRUPTED = """
import os, signal, sys, threading, time, warnings
import hive_datasets
mixer = hive_datasets.Mixer(sys.argv[1])
recipes = list(hive_datasets.read_recipes(sys.argv[2]))[:8]
for recipe in recipes:
    mixer(recipe)
caught = 0
for _ in range(150):
    timer = threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            for recipe in recipes:
                mixer(recipe)
    except KeyboardInterrupt:
        caught += 1
    timer.join()
print(caught)
"""


def test_ctrl_c_while_an_archive_is_read(packed, shared, subprocess_environment):
    """libsndfile reads it through callbacks, out of which no exception comes."""
    command = [sys.executable, "-c", INTERRUPTED, str(packed / "all.tar"), str(shared / "mini" / "hub")]
    # an interruption that is lost is waited for without end
    done = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip()) == (0, "150"), done.stderr


def test_a_header_of_gigabytes_takes_no_memory(tmp_path):
    """Of a name, or of pax fields: in a sparse file they take no disk either."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        header = tarfile.TarInfo("a")
        header.type, header.size = kind, 6 << 30
        archive = tmp_path / "sparse.tar"
        with archive.open("wb") as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.truncate(6 << 30)
        with pytest.raises(SourceRootError, match="a header says that it has 6,442,450,944 bytes"):
            open_storage(str(archive)).scan(lambda files: None)


def test_a_sparse_member_is_no_plain_file(tmp_path):
    member = tarfile.TarInfo("ESC-50-master/a.wav")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(6 << 30)}
    data = b"9999999999\n" + b"0\n" * 400
    member.size = len(data)
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(data))
    try:
        scan = open_storage(str(tmp_path / "a.tar")).scan(lambda files: None)
    except SourceRootError:
        return
    assert not len(scan) and scan.problems


def test_a_large_member_is_unpacked_to_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MAX_BYTES_IN_MEMORY", 1000)
    data = bytes(range(256)) * 20_000
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ESC-50-master/a.wav", data)
    located = Catalogue(Roots((("ESC50", str(tmp_path / "a.zip")),))).locate("ESC-50-master/a.wav")
    with located.open() as opened:
        assert not isinstance(opened, io.BytesIO) and opened.read() == data
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(HiveError, match=r"cannot be unpacked|there is no space"):
        located.open()
