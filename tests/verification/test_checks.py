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
    assert check_frames(located, crops((1, 5), (2, 6), (0.1, 9.9))) == (expected, [])


def silence(start, stop):
    def change(frames):
        frames[int(start * RATE) : int(stop * RATE)] = 0
        return frames

    return change


def faults_of(located, *spans):
    """The faults of crops, without their texts."""
    facts, faults = check_frames(located, crops(*spans))
    assert facts.status == "ok"
    assert all(detail for *_, detail in faults)
    return [fault[:3] for fault in faults]


@pytest.mark.parametrize("block", [1 << 20, 1000])
def test_a_crop_is_silent_only_if_all_of_it_is(write, monkeypatch, block):
    monkeypatch.setattr(checks, "_BLOCK_FRAMES", block)
    located = write(silence(2, 6))
    assert faults_of(located, (1, 3), (2, 6), (2.5, 5), (5, 7), (8, 9)) == [(2.0, 6.0, "silent"), (2.5, 5.0, "silent")]
    assert faults_of(located, (1.99, 6), (2, 6.01)) == []
    assert check_header(located).status == "ok"


def test_a_crop_past_the_end_is_for_the_rows_to_judge(write):
    assert faults_of(write(), (1, 4), (12, 14)) == []


def test_only_the_crops_with_a_fault_have_it(write):
    def change(frames):
        frames[5 * RATE : 6 * RATE] = np.nan
        return frames

    located = write(change, subtype="FLOAT")
    assert faults_of(located, (1, 4)) == []
    assert faults_of(located, (1, 4), (3, 7), (6.5, 9)) == [(3.0, 7.0, "non_finite")]


def test_damage(write, tmp_path):
    located = write(suffix=".flac")
    data = (tmp_path / "AudioSet" / "a.flac").read_bytes()
    (tmp_path / "AudioSet" / "a.flac").write_bytes(data[: len(data) // 2])
    assert check_header(located).status == "ok"  # which only decoding tells
    assert faults_of(located, (1, 4)) == []
    # behind the cut, and across it; the crop before it, which the others overlap, is whole
    assert faults_of(located, (1, 4), (3, 8), (6, 8)) == [(3.0, 8.0, "truncated"), (6.0, 8.0, "truncated")]
    (tmp_path / "AudioSet" / "a.flac").write_bytes(b"")
    assert check_header(located).status == check_frames(located, crops((1, 4)))[0].status == "empty"
    (tmp_path / "AudioSet" / "a.flac").unlink()
    assert check_header(located).status == "missing"


def test_a_stream_that_does_not_know_its_length(write, tmp_path):
    located = write(suffix=".flac")
    data = bytearray((tmp_path / "AudioSet" / "a.flac").read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples
    data[22:26] = bytes(4)
    (tmp_path / "AudioSet" / "a.flac").write_bytes(data)
    assert check_header(located).frames > 1 << 60  # counts as endless
    assert faults_of(located, (1, 9), (8, 11)) == [(8.0, 11.0, "truncated")]


def test_one_odd_file_ends_nothing(write, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("something nobody thought of")

    located = write()
    monkeypatch.setattr("hive_datasets.mixing.reading._SourceFile", fail)
    expected = ("unreadable", "RuntimeError: something nobody thought of", 0, 0, 0)
    assert check_header(located) == check_frames(located, crops((1, 4)))[0] == expected


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
