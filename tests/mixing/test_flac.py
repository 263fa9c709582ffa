"""The faster decoder gives libsndfile's samples or nothing."""

import functools
import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_datasets.mixing.flac import parse_flac

pytest.importorskip("miniaudio")


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(-20000, 20000, (100_000, 2)).astype(np.int16)


@pytest.fixture(scope="module")
def flac(noise):
    """Noise, between silences, so that the blocks are of very different sizes."""
    loud = noise.copy()
    loud[:30_000] = loud[80_000:] = 0
    file = io.BytesIO()
    soundfile.write(file, loud, 32000, format="FLAC", subtype="PCM_16")
    return file.getvalue(), loud


def read(data, start, stop):
    flac = parse_flac(io.BytesIO(data))
    return None if flac is None else flac.read(start, stop)


def by_libsndfile(data):
    return soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)[0]


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 100_000), (0, 1), (12_345, 54_321), (99_999, 100_000), (4096, 8192), (98_304, 100_000), (90_000, 98_304)],
)
def test_it_reads_the_samples(flac, start, stop):
    data, samples = flac
    np.testing.assert_array_equal(read(data, start, stop), samples[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(50_000, 100_001), (-1, 10), (10, 10)])
def test_it_leaves_what_is_not_there(flac, start, stop):
    assert read(flac[0], start, stop) is None


@settings(max_examples=60, deadline=None)
@example(channels=1, lengths=(0x60, 16), rate=(0x8, 32000), share=1, last=1, padding=0, where=(0.5, 0.6), seed=0)
@given(
    channels=st.integers(1, 3),
    lengths=st.sampled_from([(0x60, 16), (0x60, 256), (0x70, 300), (0x80, 256), (0x20, 576), (0x70, 5000)]),
    rate=st.sampled_from([(0x0, 44100), (0x8, 32000), (0x9, 44100), (0xC, 22000), (0xD, 44101), (0xE, 48000)]),
    share=st.floats(0, 1),
    last=st.floats(0.001, 1),
    padding=st.sampled_from([0, 10_000]),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_it_reads_all_kinds_of_blocks(channels, lengths, rate, share, last, padding, where, seed):
    random = np.random.default_rng(seed)
    blocks = int(share * 40_000 / lengths[1])  # so that numbers have up to three bytes
    frames = blocks * lengths[1] + max(1, int(last * lengths[1]))
    samples = random.integers(-32768, 32768, (frames, channels)).astype(np.int16)
    samples[random.integers(frames) :] //= 4096  # which many bytes of sync codes are in
    data = encode(samples, lengths, rate, padding)
    start, stop = sorted(int(place * (frames - 1)) for place in where)
    stop += 1
    np.testing.assert_array_equal(by_libsndfile(data), samples)
    np.testing.assert_array_equal(read(data, start, stop), samples[start:stop])


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1), length=st.integers(1, 20_000), how=st.sampled_from(["zeroed", "cut out", "doubled"]))
def test_it_never_shifts_over_damage(flac, place, length, how):
    """A block with a wrong checksum in what is read: dr_flac alone would go on with the next."""
    data, samples = flac
    at = int(place * len(data))
    damaged = {
        "zeroed": data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
        "cut out": data[:at] + data[at + length :],
        "doubled": data[: at + length] + data[at:],
    }[how]
    frames = read(damaged, 10_000, 90_000)
    assert frames is None or np.array_equal(frames, samples[10_000:90_000])


@pytest.mark.parametrize("number", range(8, 20))
def test_it_notices_each_block_that_is_damaged(flac, number):
    data, _ = flac
    place = find_block(data, number) + 1000
    assert read(data[:place] + bytes(40) + data[place + 40 :], 30_000, 81_000) is None
    # but not what is before and after it
    assert read(data[:place] + bytes(40) + data[place + 40 :], 0, number * 4096) is not None
    assert read(data[:place] + bytes(40) + data[place + 40 :], (number + 1) * 4096, 100_000) is not None


@pytest.mark.parametrize("number", [8, 12, 17])
def test_it_notices_blocks_that_come_twice(flac, number):
    data, _ = flac
    once, again = (find_block(data, block) for block in (number, number + 2))
    assert read(data[:again] + data[once:], 30_000, 81_000) is None


@pytest.mark.parametrize("number", [8, 12, 17])
def test_one_block_that_comes_twice_shifts_nothing(flac, number):
    """Wherever it is met in the search for others."""
    data, samples = flac
    once, again = (find_block(data, block) for block in (number, number + 1))
    twice = data[:again] + data[once:]
    for start, stop in itertools.combinations(range(0, 100_000, 4096), 2):
        frames = read(twice, start, stop)
        assert frames is None or np.array_equal(frames, samples[start:stop])


def test_blocks_are_found_however_much_their_sizes_differ():
    """Loud parts between long quiet ones, which mislead a search that goes by the bytes of a block."""
    random = np.random.default_rng(0)
    parts = [random.integers(-level, level + 1, 400_000) for level in (1, 20000, 1, 1, 300, 1, 20000, 1)]
    samples = np.concatenate(parts).astype(np.int16)[:, None]
    file = io.BytesIO()
    soundfile.write(file, samples, 32000, format="FLAC", subtype="PCM_16")
    for start in range(0, len(samples) - 10, 4096):
        np.testing.assert_array_equal(read(file.getvalue(), start, start + 10), samples[start : start + 10])


def test_samples_that_look_like_a_block_mislead_nobody():
    """A block of 256 frames with samples that are what block 100 begins with, but for the checksum."""
    samples = np.arange(128 * 256, dtype=np.int16)[:, None] // 3
    for number in range(90, 100):
        fake = np.frombuffer(b"\xff\xf8\x88\x08" + bytes([100, 0]), ">i2")
        samples[number * 256 + 10 : number * 256 + 13, 0] = fake
    data = encode(samples, (0x80, 256), (0x8, 32000))
    np.testing.assert_array_equal(read(data, 100 * 256, 110 * 256), samples[100 * 256 : 110 * 256])


def test_it_stops_at_what_follows_the_stream(flac):
    data, samples = flac
    np.testing.assert_array_equal(read(data + b"TAG" + bytes(125), 60_000, 100_000), samples[60_000:])
    # which is not read into memory, however much it is
    assert read(data + bytes(1_000_000), 0, 100_000) is None


def test_it_leaves_other_files_to_libsndfile(flac, noise):
    def make(**options):
        file = io.BytesIO()
        soundfile.write(file, noise[:1000], 32000, **options)
        return file.getvalue()

    data, _ = flac
    assert parse_flac(io.BytesIO(data)) is not None
    others = [make(format="WAV"), make(format="OGG"), make(format="FLAC", subtype="PCM_24"), b"", data[:30], data[:60]]
    unknown = data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]  # of how many frames
    varying = encode(noise[:5000], (0x80, 256), (0x8, 32000), shortest=16)
    for other in [*others, unknown, varying, b"ID3" + data, data[:4] + b"\x81" + data[5:]]:
        assert parse_flac(io.BytesIO(other)) is None


def find_block(data, number):
    """The byte at which a block of a file begins, of those with numbers below 128, each of 4096 frames."""
    place = -1
    while True:
        place = data.index(b"\xff\xf8\xc8", place + 1)
        if data[place + 4] == number and crc(data[place : place + 5], 8, 0x07) == data[place + 5]:
            return place


def encode(samples, lengths, rate, padding=0, shortest=None):
    """FLAC with samples as they are, by RFC 9639: all that an encoder may choose in what blocks begin with."""
    (length_code, block), (rate_code, hertz), (frames, channels) = lengths, rate, samples.shape
    facts = hertz << 44 | (channels - 1) << 41 | 15 << 36 | frames
    info = (shortest or block).to_bytes(2, "big") + block.to_bytes(2, "big") + bytes(6) + facts.to_bytes(8, "big")
    data = b"fLaC" + (b"\x00" if padding else b"\x80") + b"\0\0\x22" + info + bytes(16)
    if padding:
        data += b"\x81" + padding.to_bytes(3, "big") + bytes(padding)
    for number, start in enumerate(range(0, frames, block)):
        part = samples[start : start + block]
        code = length_code if len(part) == block else 0x70
        begin = b"\xff\xf8" + bytes([code | rate_code, (channels - 1) << 4 | 8])
        # UTF-8, which Python makes of all numbers but those of surrogates
        begin += chr(number).encode()
        if code in (0x60, 0x70):
            begin += (len(part) - 1).to_bytes(1 if code == 0x60 else 2, "big")
        unit, width = {0xC: (1000, 1), 0xD: (1, 2), 0xE: (10, 2)}.get(rate_code, (hertz + 1, 0))
        begin += (hertz // unit).to_bytes(width, "big")
        begin += bytes([crc(begin, 8, 0x07)])
        # one subframe a channel: a byte that says "verbatim", and the samples
        body = begin + b"".join(b"\x02" + part[:, channel].astype(">i2").tobytes() for channel in range(channels))
        data += body + crc(body, 16, 0x8005).to_bytes(2, "big")
    return data


def crc(data, bits, polynomial):
    """A cyclic redundancy check, from 0."""
    value, mask = 0, (1 << bits) - 1
    table = _tabulate(bits, polynomial)
    for byte in data:
        value = value << 8 & mask ^ table[value >> (bits - 8) ^ byte]
    return value


@functools.cache
def _tabulate(bits, polynomial):
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> (bits - 1) else 0)) & ((1 << bits) - 1)
        table.append(value)
    return table
