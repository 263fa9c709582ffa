import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from hive_datasets import Source
from hive_datasets.mixing.planning import Header, OutOfRangeError, plan_excerpt
from hive_datasets.sources import parse_roots
from hive_datasets.sources.catalogue import Catalogue
from hive_datasets.verification import checks
from hive_datasets.verification.checks import check_frames, check_header, is_too_short

RATE = 8000


@pytest.fixture
def write(tmp_path):
    """Write seconds of noise, changed, and locate the file."""

    def write(change=lambda frames: frames, suffix=".wav", seconds=10, **options):
        frames = 0.1 * np.random.default_rng(0).standard_normal((seconds * RATE, 2))
        file = tmp_path / "AudioSet" / f"a{suffix}"
        file.parent.mkdir()
        soundfile.write(file, change(frames), RATE, **options)
        return Catalogue(parse_roots(tmp_path)).locate(f"AudioSet/a{suffix}")

    return write


def crops(*spans):
    return np.array([(start - 0.1, stop + 0.1, start, stop) for start, stop in spans])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_sound_file(write, suffix):
    located = write(suffix=suffix)
    expected = ("ok", "", RATE, 2, 10 * RATE)
    assert check_header(located) == expected
    assert check_frames(located, crops((1, 5), (2, 6), (0.1, 9.9))) == expected


def silence(start, stop):
    def change(frames):
        frames[int(start * RATE) : int(stop * RATE)] = 0
        return frames

    return change


@pytest.mark.parametrize(
    ("silent", "crop", "status"),
    [((2, 6), (2, 6), "silent"), ((2, 5.99), (2, 6), "ok"), ((2.01, 6), (2, 6), "ok"), ((0, 10), (9, 10), "silent")],
)
@pytest.mark.parametrize("block", [1 << 20, 1000])
def test_a_crop_is_silent_only_if_all_of_it_is(write, monkeypatch, silent, crop, status, block):
    monkeypatch.setattr(checks, "_BLOCK_FRAMES", block)
    located = write(silence(*silent))
    assert check_frames(located, crops((0.5, 1.5), crop, (1, 9))[: 2 if silent == (0, 10) else 3]).status == status
    assert check_header(located).status == "ok"


def test_a_crop_past_the_end_is_for_the_rows_to_judge(write):
    assert check_frames(write(), crops((1, 4), (12, 14))).status == "ok"


def test_what_is_not_needed_is_not_decoded(write):
    def change(frames):
        frames[5 * RATE :] = np.nan
        return frames

    located = write(change, subtype="FLOAT")
    assert check_frames(located, crops((1, 4))).status == "ok"
    assert check_frames(located, crops((1, 4), (4, 6))).status == "non_finite"


def test_damage(write, tmp_path):
    located = write(suffix=".flac")
    data = (tmp_path / "AudioSet" / "a.flac").read_bytes()
    (tmp_path / "AudioSet" / "a.flac").write_bytes(data[: len(data) // 2])
    assert check_header(located).status == "ok"  # which only decoding tells
    assert check_frames(located, crops((1, 4))).status == "ok"
    for crop in ((6, 8), (4, 6)):  # behind the cut, and across it
        assert check_frames(located, crops((1, 4), crop)).status == "truncated"
    (tmp_path / "AudioSet" / "a.flac").write_bytes(b"")
    assert check_header(located).status == check_frames(located, crops((1, 4))).status == "empty"
    (tmp_path / "AudioSet" / "a.flac").unlink()
    assert check_header(located).status == "missing"


def test_a_stream_that_does_not_know_its_length(write, tmp_path):
    located = write(suffix=".flac")
    data = bytearray((tmp_path / "AudioSet" / "a.flac").read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples
    data[22:26] = bytes(4)
    (tmp_path / "AudioSet" / "a.flac").write_bytes(data)
    assert check_header(located).frames > 1 << 60  # counts as endless
    assert check_frames(located, crops((1, 9))).status == "ok"
    assert check_frames(located, crops((8, 11))).status == "truncated"


def test_one_odd_file_ends_nothing(write, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("something nobody thought of")

    located = write()
    monkeypatch.setattr("hive_datasets.mixing.reading._SourceFile", fail)
    expected = ("unreadable", "RuntimeError: something nobody thought of", 0, 0, 0)
    assert check_header(located) == check_frames(located, crops((1, 4))) == expected


seconds = st.floats(0, 30, allow_nan=False)


@example(105 / 8000, 0.0, 8000, 100, 9)  # behind the end, but within the tolerance
@given(seconds, seconds, st.sampled_from([8000, 16000, 44100]), st.integers(1, 30 * 44100), st.integers(-12, 12))
def test_too_short_is_what_planning_refuses(start, length, rate, frames, near):
    ends = [start + length + 1e-3, (frames + near + 0.5) / rate]
    for end in ends:
        if end <= start:
            continue
        source = Source("s1", "a/b", "x", 0.0, 1.0, start, end, 1.0, 0.0, 1.0)
        try:
            plan_excerpt(source, Header(rate, frames, 1), rate, rate)
            expected = False
        except OutOfRangeError:
            expected = True
        arrays = (np.array([value]) for value in (start, end, rate, frames))
        assert is_too_short(*arrays).tolist() == [expected]
