import os
import signal

import pytest

from hive_datasets.utils import files
from hive_datasets.utils.files import remove_leftovers, written_aside


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(target) as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_does_not_vanish_into_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), written_aside(tmp_path / "folder") as path:
        path.write_text("whole")


def test_it_is_renamed_not_copied(tmp_path):
    with written_aside(tmp_path / "a.txt") as path:
        path.write_text("whole")
        inode = path.stat().st_ino
    assert (tmp_path / "a.txt").stat().st_ino == inode


def test_of_two_that_make_one_folder_the_first_stays(tmp_path):
    target = tmp_path / "folder"
    with written_aside(target, or_keep=True) as slow:
        slow.mkdir()
        (slow / "file").write_text("slow")
        with written_aside(target, or_keep=True) as fast:
            fast.mkdir()
            (fast / "file").write_text("fast")
    assert (target / "file").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [target]


def test_what_two_wrote_is_not_lost_in_silence(tmp_path):
    with pytest.raises(OSError, match="not empty"), written_aside(tmp_path / "folder") as slow:
        slow.mkdir()
        (slow / "file").touch()
        with written_aside(tmp_path / "folder") as fast:
            fast.mkdir()
            (fast / "file").touch()


def replace_and_be_killed(target, step, is_fallback):
    """In a process of its own: replace a folder, killed before so many steps; exits with 0 if it came to the end."""
    calls = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    if is_fallback:
        files._exchange = lambda one, other: False
    with written_aside(target, replaces=True, is_durable=True) as new:
        new.mkdir()
        for number in range(3):
            (new / str(number)).write_text("new")
        for name in ("replace", "fsync", "open"):
            setattr(os, name, counted(getattr(os, name)))
        for module, name in ((files.shutil, "rmtree"), (files, "_swap"), (files, "_exchange")):
            setattr(module, name, counted(getattr(module, name)))
    os._exit(0)


@pytest.mark.parametrize("is_fallback", [False, True])
def test_a_folder_is_whole_wherever_its_replacement_is_killed(tmp_path, is_fallback):
    """Where the system cannot exchange folders, the next run puts back what was there."""
    outcomes = set()
    for step in range(1, 40):
        folder = tmp_path / f"{step}"
        (folder / "target").mkdir(parents=True)
        for number in range(3):
            (folder / "target" / str(number)).write_text("old")
        child = os.fork()
        if not child:
            try:
                replace_and_be_killed(folder / "target", step, is_fallback)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not is_fallback:
            assert contents(folder / "target") in ({"old"}, {"new"})
        remove_leftovers(folder)
        assert contents(folder / "target") in ({"old"}, {"new"}) and len(list((folder / "target").iterdir())) == 3
        assert [path.name for path in folder.iterdir()] == ["target"]
        outcomes |= contents(folder / "target")
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
    assert outcomes == {"old", "new"} and step > 5


def contents(folder):
    return {file.read_text() for file in folder.iterdir()}


def test_a_folder_that_cannot_be_put_in_place_leaves_the_other_there(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "a").write_text("old")
    replace, calls = os.replace, []

    def fail_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    with pytest.raises(KeyboardInterrupt), written_aside(tmp_path / "target", replaces=True) as new:
        new.mkdir()
        monkeypatch.setattr(os, "replace", fail_at_the_second)
    assert contents(tmp_path / "target") == {"old"} and len(list(tmp_path.iterdir())) == 1


def test_what_others_are_writing_is_not_left_over(tmp_path):
    with written_aside(tmp_path / "a.txt") as path:
        path.write_text("half")
        remove_leftovers(tmp_path)
        assert path.read_text() == "half"
    (tmp_path / ".a.txt.x.incomplete").mkdir()  # begun just now
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    os.utime(tmp_path / ".a.txt.x.incomplete", (0, 0))
    remove_leftovers(tmp_path, "b*")
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'"),
        written_aside(tmp_path / "a.txt", is_durable=True) as path,
    ):
        path.write_text("whole")
