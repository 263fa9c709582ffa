"""At other rates: the mixture that the authors rendered, resampled, and not another one."""

import numpy as np
import pytest
import soxr

from hive_datasets import Mixer, RenderMixtures, prepare_sources


def snr(signal, other, sampling_rate, lower_rate):
    """Of the difference, in the band up to 0.9 of the lower Nyquist frequency."""
    n = len(signal)
    band = np.fft.rfftfreq(n, 1 / sampling_rate) <= 0.45 * lower_rate
    power = [np.sum(np.abs(np.fft.rfft(x.astype(np.float64))[band]) ** 2) for x in (signal, signal - other)]
    return 10 * np.log10(power[0] / max(power[1], 1e-30))


@pytest.fixture(scope="module")
def theirs(mini, corpora):
    """Mixture and sources of every mixture at 44.1 kHz."""
    return [np.stack([m["mix"], *m["sources"]]) for m in map(Mixer(corpora), mini)]


@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize("rate", [16000, 32000, 48000])
def test_it_is_theirs(mini, corpora, prepared, theirs, rate, is_prepared):
    mixer = Mixer(None if is_prepared else corpora, rate, prepared=prepared if is_prepared else False)
    worst = np.inf
    for recipe, signals in zip(mini, theirs, strict=True):
        mixture = mixer(recipe)
        for signal, made in zip(signals, [mixture["mix"], *mixture["sources"]], strict=True):
            expected = soxr.resample(signal, 44100, rate, quality="HQ")
            worst = min(worst, snr(expected, made, rate, min(rate, 44100)))
        np.testing.assert_allclose(mixture["sources"].sum(0), mixture["mix"], atol=1e-6)
    assert worst >= 60


def test_their_stems_and_what_is_not_resampled(mini, corpora):
    unscaled, scaled = Mixer(corpora, 16000, "unscaled"), Mixer(corpora, 16000)
    for recipe in mini[:8]:
        one, other = unscaled(recipe), scaled(recipe)
        np.testing.assert_allclose(one["mix"], other["mix"], atol=1e-5)
        factor = np.float32(recipe.global_normalization_factor)
        np.testing.assert_allclose(one["sources"] * factor, other["sources"], atol=1e-5)
    for recipe in mini[:2]:
        own = Mixer(corpora, 44100, alignment="own")(recipe)
        np.testing.assert_array_equal(own["mix"], Mixer(corpora, 44100)(recipe)["mix"])


def test_each_source_on_its_own_grid_is_an_option_and_another_mixture(mini, corpora, theirs):
    own = Mixer(corpora, 16000, alignment="own")
    found = [
        snr(soxr.resample(signals[0], 44100, 16000, quality="HQ"), own(recipe)["mix"], 16000, 16000)
        for recipe, signals in zip(mini, theirs, strict=True)
    ]
    assert min(found) < 60  # or this option would not be one
    with pytest.raises(ValueError, match="alignment must be one of 'authors', 'own', not 'mine'"):
        Mixer(alignment="mine")


def test_sources_prepared_at_that_rate_serve_the_own_grid_alone(mini, corpora, shared, tmp_path):
    prepare_sources(shared / "mini" / "hub", tmp_path, sampling_rate=16000, dataset_paths=corpora)
    own, theirs = (Mixer(corpora, 16000, prepared=tmp_path, alignment=a) for a in ("own", "authors"))
    np.testing.assert_allclose(own(mini[0])["mix"], Mixer(corpora, 16000, alignment="own")(mini[0])["mix"], atol=1e-4)
    with pytest.warns(UserWarning, match='prepared for 16000 Hz, not 44100.*unless you say alignment="own"'):
        found = theirs(mini[0])["mix"]
    np.testing.assert_array_equal(found, Mixer(corpora, 16000)(mini[0])["mix"])


@pytest.mark.parametrize("alignment", ["own", "authors"])
def test_in_batches(mini, corpora, alignment):
    render = RenderMixtures(16000, dataset_paths=corpora, alignment=alignment)
    mixer = Mixer(corpora, 16000, alignment=alignment)
    for mix, recipe in zip(render(mini[40:])["mix"], mini[40:], strict=True):
        expected = mixer(recipe)["mix"]
        np.testing.assert_array_equal(mix[: len(expected)], expected)
