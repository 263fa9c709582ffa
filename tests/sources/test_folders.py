import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

from hive_datasets import SourceRootError
from hive_datasets.sources import parse_roots
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.sources.storage import index_file, load_index, open_storage
from hive_datasets.verification.checks import check_header


def listing(root, rescan=False):
    return sorted(load_index(open_storage(str(root)), rescan=rescan).paths())


@pytest.fixture
def root(tmp_path):
    for name in ("a.wav", "b/c.FLAC", "b/d/e.mp4", "b/notes.txt", ".hidden/f.wav"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    return tmp_path / "root"


def settle(root):
    """Give folders an age past which their times of modification are trusted."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        os.utime(folder, (1_000_000, 1_000_000))


def count_scans(monkeypatch):
    scans = []
    scan = type(open_storage("/")).scan
    monkeypatch.setattr(
        "hive_datasets.sources.folders.FolderStorage.scan",
        lambda self, progress: scans.append(self.root) or scan(self, progress),
    )
    return scans


ALL = [".hidden/f.wav", "a.wav", "b/c.FLAC", "b/d/e.mp4", "b/notes.txt"]


def test_every_file_is_listed(root):
    assert listing(root) == ALL


def test_an_index_is_made_once_and_again_when_the_root_changes(root, monkeypatch):
    settle(root)
    scans = count_scans(monkeypatch)
    before = listing(root)
    assert listing(root) == before
    assert len(scans) == 1
    (root / "b" / "new.wav").touch()
    assert listing(root) == sorted([*before, "b/new.wav"])
    settle(root)
    os.rename(root / "b" / "d", root / "b" / "dd")
    assert "b/dd/e.mp4" in listing(root)
    settle(root)
    shutil.rmtree(root / "b" / "dd")
    assert listing(root) == sorted([*set(ALL) - {"b/d/e.mp4"}, "b/new.wav"])
    settle(root)
    listing(root)
    scans.clear()
    listing(root, rescan=True)
    assert len(scans) == 1


def test_a_change_right_after_the_scan_is_seen(root):
    """Within the clock's grain a folder changes without a newer time of modification."""
    before = listing(root)
    status = os.stat(root)
    (root / "new.wav").touch()
    os.utime(root, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert listing(root) == sorted([*before, "new.wav"])


def test_a_damaged_index_is_made_again(root, monkeypatch):
    settle(root)
    before = listing(root)
    index_file(str(root)).write_bytes(b"damaged")
    assert listing(root) == before


def test_links_are_followed_but_not_in_a_circle(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "g.wav").touch()
    (root / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    index = load_index(open_storage(str(root)))
    assert "link/g.wav" in index.paths()
    assert not any("back/a.wav" in path or path == "gone.wav" for path in index.paths())
    assert any("link/back is a link to a folder that it lies in" in problem for problem in index.problems)
    assert any("self" in problem for problem in index.problems)


def test_a_bad_link_hides_no_other_file(root):
    (root / "zz.wav").symlink_to("zz.wav")
    index = load_index(open_storage(str(root)))
    assert sorted(index.paths()) == ALL
    assert any("zz.wav is a link that leads nowhere" in problem for problem in index.problems)


def test_a_link_whose_target_comes_later(root, tmp_path):
    """As of git-annex and of the Hub's snapshots: the folder does not change."""
    (root / "b" / "link.wav").symlink_to(tmp_path / "target.wav")
    settle(root)
    assert listing(root) == ALL
    (tmp_path / "target.wav").touch()
    assert listing(root) == sorted([*ALL, "b/link.wav"])


def test_a_folder_that_cannot_be_listed_for_once(root, monkeypatch):
    settle(root)
    scandir = os.scandir

    def fail(path):
        if str(path).endswith("/b"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        assert listing(root) == [".hidden/f.wav", "a.wav"]
    assert listing(root) == ALL


def test_archives_inside_a_root_are_named(root):
    (root / "b" / "FSD50K.dev_audio.zip").touch()
    index = load_index(open_storage(str(root)))
    assert index.problems == [f"{root}/b/FSD50K.dev_audio.zip is an archive: make it the root, or unpack it"]


def test_a_folder_where_an_archive_was(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.wav", b"1")
    assert listing(tmp_path / "a.zip") == ["a.wav"]
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip").mkdir()
    (tmp_path / "a.zip" / "b.wav").touch()
    assert listing(tmp_path / "a.zip") == ["b.wav"]


def test_a_folder_without_permission_is_named():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "open").mkdir()
        (root / "open" / "a.wav").touch()
        (root / "closed").mkdir(mode=0o000)
        settle(root)
        with as_nobody():
            index = load_index(open_storage(str(root)))
            assert list(index.paths()) == ["open/a.wav"]
            assert index.problems == [f"{root}/closed cannot be listed: Permission denied"]
            with pytest.raises(SourceRootError, match="closed: it cannot be listed: Permission denied"):
                load_index(open_storage(str(root / "closed")))
        (root / "closed").chmod(0o755)
        (root / "closed" / "b.wav").touch()
        assert listing(root) == ["closed/b.wav", "open/a.wav"]  # which no folder's time would tell


def test_a_file_without_permission_is_named():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "AudioSet" / "x").mkdir(parents=True)
        file = root / "AudioSet" / "x" / "a.wav"
        file.write_bytes(b"1")
        file.chmod(0o000)
        located = Catalogue(parse_roots(root)).locate("AudioSet/x/a.wav")
        with as_nobody():
            facts = check_header(located)
    assert (facts.status, facts.detail) == ("unreachable", "there is no permission to read it")


class as_nobody:  # noqa: N801
    """Without root's privileges, if they are there; the cache stays writable."""

    def __enter__(self):
        self.user = os.geteuid()
        if self.user == 0:
            from hive_datasets.utils.files import cache_folder

            for folder in [cache_folder("indexes"), *cache_folder("indexes").parents][:-1]:
                os.chmod(folder, 0o777)
            os.seteuid(65534)

    def __exit__(self, *exception):
        os.seteuid(self.user)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "there is no such folder or archive"),
        ("a.txt", "it is not a folder, nor an archive that can be read in place"),
        ("a.tar.gz", "a compressed tar cannot be read at random"),
        ("a.7z", "hive-datasets prepare"),
        ("a.z01", "make the .zip beside it the root"),
        ("fifo", "neither a folder nor a file"),
    ],
)
def test_what_is_no_root(tmp_path, name, says):
    if name == "fifo":
        os.mkfifo(tmp_path / name)
    elif name != "nowhere":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceRootError, match=says) as caught:
        open_storage(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
