"""Baselines, and masks against another library's transform."""

import numpy as np
import pytest

from hive_datasets.evaluation import sdr, si_sdr
from hive_datasets.evaluation.baselines import BASELINES
from tests.evaluation.test_separators import batch_of


def test_what_they_give():
    batch = batch_of(num_sources=4)
    assert np.array_equal(BASELINES["mixture"](batch), batch.mixtures)
    assert not BASELINES["silence"](batch).any()
    assert np.array_equal(BASELINES["mixture-divided"](batch), batch.mixtures / 4)


@pytest.mark.parametrize("name", ["ideal-ratio-mask", "ideal-binary-mask"])
@pytest.mark.parametrize(("rate", "window"), [(8000, 512), (44100, 2048)])
def test_ideal_masks(name, rate, window):
    """As librosa's transform, another implementation, gives them, but for the ends, which it pads otherwise."""
    librosa = pytest.importorskip("librosa")
    batch = batch_of(length=20000, rate=rate)
    found = BASELINES[name](batch)
    options = {"n_fft": window, "hop_length": window // 4}
    target, rest, mixture = (
        librosa.stft(signal.astype(np.float64), **options)
        for signal in (batch.references[1], batch.mixtures[1] - batch.references[1], batch.mixtures[1])
    )
    powers = abs(target) ** 2, abs(rest) ** 2
    mask = powers[0] > powers[1] if name == "ideal-binary-mask" else np.sqrt(powers[0] / (powers[0] + powers[1]))
    wanted = librosa.istft(mask * mixture, length=20000, **options)
    inner = slice(window, -window)
    assert np.abs(found[1] - wanted)[inner].max() < 1e-5
    assert (si_sdr(found, batch.references) > si_sdr(batch.mixtures, batch.references) + 2.5).all()


def test_masks_leave_what_is_alone_and_bear_short_signals():
    for length in (1, 700, 4096):
        batch = batch_of(length=length)
        alone = type(batch)(batch.targets, batch.references, batch.references, 8000)
        for name in ("ideal-ratio-mask", "ideal-binary-mask"):
            assert (sdr(BASELINES[name](alone), batch.references) > 80).all()
