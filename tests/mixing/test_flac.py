"""The faster decoder gives libsndfile's samples or nothing."""

import numpy as np
import pytest
import soundfile

from hive_datasets.mixing.flac import read_flac

pytest.importorskip("miniaudio")


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(-20000, 20000, (100_000, 2)).astype(np.int16)


def read(file, start, stop):
    with soundfile.SoundFile(file) as stream:
        return read_flac(stream, start, stop)


@pytest.mark.parametrize(("start", "stop"), [(0, 100_000), (0, 64), (12_345, 54_321), (99_900, 100_000), (4096, 8192)])
def test_it_reads_the_samples(tmp_path, noise, start, stop):
    soundfile.write(tmp_path / "a.flac", noise, 32000)
    np.testing.assert_array_equal(read(tmp_path / "a.flac", start, stop), noise[start:stop])


def test_it_leaves_what_it_cannot_vouch_for(tmp_path, noise):
    soundfile.write(tmp_path / "a.flac", noise, 32000)
    assert read(tmp_path / "a.flac", 100, 110) is None  # too short to compare
    assert read(tmp_path / "a.flac", 50_000, 100_001) is None  # past the end
    noise[60_000:] = 0
    soundfile.write(tmp_path / "silent.flac", noise, 32000)
    assert read(tmp_path / "silent.flac", 50_000, 70_000) is None


@pytest.mark.parametrize("place", np.linspace(0.2, 0.75, 12))
def test_it_never_shifts_over_damage(tmp_path, noise, place):
    """A frame with a wrong checksum in what is read: dr_flac alone would go on with the next."""
    soundfile.write(tmp_path / "a.flac", noise, 32000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    position = int(place * len(data))
    data[position : position + 40] = bytes(40)
    (tmp_path / "a.flac").write_bytes(data)
    frames = read(tmp_path / "a.flac", 10_000, 90_000)
    assert frames is None
