import io
import os
import signal
import threading

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hive_datasets import OutputError
from hive_datasets.export.encoding import SUBTYPES, Encoding, to_pcm

SIGNALS = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1.5, 1.5, width=32))
PCM = [(format_, subtype) for format_ in ("wav", "flac") for subtype in ("PCM_16", "PCM_24")]


@pytest.mark.parametrize("bits", [16, 24])
@given(signal=SIGNALS)
def test_pcm_is_the_nearest_step(bits, signal):
    full = 2 ** (bits - 1)
    samples, clipped = to_pcm(signal, bits)
    exact = signal.astype(np.float64) * full
    within = (exact > -full - 0.5) & (exact < full - 0.5)
    stored = samples.astype(np.int64) >> (0 if bits == 16 else 8)
    assert np.abs(stored - exact)[within].max(initial=0) <= 0.5
    assert (stored[exact >= full] == full - 1).all()
    assert (stored[exact <= -full] == -full).all()
    assert clipped == ((exact >= full - 0.5) | (exact < -full - 0.5)).sum()


@pytest.mark.parametrize(("format_", "subtype"), PCM)
@given(signal=SIGNALS)
def test_what_is_read_back(format_, subtype, signal):
    data, _ = Encoding(format_, subtype).encode(signal, 44100)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == (format_.upper(), subtype, 44100, 1)
        bits = int(subtype[4:])
        assert np.array_equal(file.read(dtype="int32") >> (32 - bits), to_pcm(signal, bits)[0] >> (bits % 16))


@given(signal=SIGNALS)
def test_floats_are_kept(signal):
    data, clipped = Encoding("wav", "FLOAT").encode(signal, 16000)
    assert np.array_equal(soundfile.read(io.BytesIO(data), dtype="float32")[0], signal)
    assert clipped == 0


@pytest.mark.parametrize("encoding", [Encoding(f, s) for f, subtypes in SUBTYPES.items() for s in subtypes])
def test_same_samples_same_bytes(encoding, monkeypatch):
    signal = np.sin(np.arange(4000, dtype=np.float32))
    first = encoding.encode(signal, 44100)[0]
    # libsndfile asks the C library for the time; at another second, it would differ
    assert b"PEAK" not in first or first[first.index(b"PEAK") + 12 :][:4] == bytes(4)
    assert encoding.encode(signal, 44100)[0] == first


@pytest.mark.parametrize("subtype", SUBTYPES["wav"])
@pytest.mark.parametrize("num_samples", [1, 2, 3, 1000, 1001])
def test_the_size_of_wav_is_known_beforehand(subtype, num_samples):
    encoding = Encoding("wav", subtype)
    assert encoding.is_exact
    assert len(encoding.encode(np.zeros(num_samples, np.float32), 44100)[0]) == encoding.num_bytes(num_samples)


def test_ctrl_c_is_not_lost():
    """libsndfile writes through callbacks, in which an exception is printed and forgotten."""
    encoding, signal_ = Encoding("flac"), np.sin(np.arange(1_000_000, dtype=np.float32) ** 1.1)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(100):
            encoding.encode(signal_, 44100)


@pytest.mark.parametrize(
    ("encoding", "rate"), [(Encoding("flac"), 700_000), (Encoding("mp3", "MPEG_LAYER_III"), 96_000)]
)
def test_a_rate_that_a_format_lacks(encoding, rate):
    with pytest.raises(OutputError, match=f"{encoding.format} of {rate:,} Hz cannot be written: .* Choose another"):
        encoding.encode(np.zeros(100, np.float32), rate)


def test_no_such_format():
    with pytest.raises(ValueError, match="audio must be one of wav, flac, mp3, not 'ogg'"):
        Encoding("ogg")
    with pytest.raises(ValueError, match="flac is written as PCM_16 or PCM_24, not 'FLOAT'"):
        Encoding("flac", "FLOAT")
