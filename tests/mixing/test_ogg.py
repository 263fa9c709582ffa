"""Pages of Ogg files: what is damaged is found, also before the part that is needed, where decoding would not tell."""

import io

import numpy as np
import pytest
import soundfile

from hive_datasets.mixing.ogg import find_damage


@pytest.fixture(params=["VORBIS", "OPUS"])
def data(request):
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(10 * 48000)
    soundfile.write(file, noise, 48000, format="OGG", subtype=request.param)
    return file.getvalue()


def pages(data):
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


def test_whole(data, tmp_path):
    assert find_damage(io.BytesIO(data), 480_000, 48000) is None
    (tmp_path / "a.ogg").write_bytes(data)
    assert find_damage(bytes(tmp_path / "a.ogg"), 480_000, 48000) is None
    file = io.BytesIO(data)
    file.seek(17)
    find_damage(file, 480_000, 48000)
    assert file.tell() == 17


def test_every_page(data):
    """Needed to the end, so any damage counts; a page taken out or put twice, too."""
    for start, stop in pages(data):
        for at in (start + 6, start + 20, (start + stop) // 2, stop - 1):
            damaged = bytearray(data)
            damaged[at] ^= 16
            assert find_damage(io.BytesIO(damaged), 480_000, 48000)
        if start > 0 and stop < len(data):
            assert "missing" in find_damage(io.BytesIO(data[:start] + data[stop:]), 480_000, 48000)
    assert "cut short" in find_damage(io.BytesIO(data[:-5]), 480_000, 48000)


def test_what_comes_after_the_last_page_is_no_part_of_it(data):
    for more in (b"x" * 5, b"x" * 1000):
        assert find_damage(io.BytesIO(data + more), 10**9, 48000) is None


def test_what_is_not_needed_may_be_damaged(data):
    damaged = bytearray(data)
    damaged[-100] ^= 16
    assert find_damage(io.BytesIO(damaged), 48_000, 48000) is None
