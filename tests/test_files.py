import pytest

from hive_datasets.files import written_aside


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
