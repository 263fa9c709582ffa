"""Metrics: numbers worked by hand, the definitions written out slowly, and other libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_datasets.evaluation import METRICS, bss_sdr, leakage, remix_sdr, sd_sdr, sdr, si_sdr
from hive_datasets.evaluation.metrics import LIMIT_DB, measure

RATIOS = [sdr, si_sdr, sd_sdr]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def slow_sdr(e, s):
    return 10 * np.log10(sum(x * x for x in s) / sum((y - x) ** 2 for x, y in zip(s, e, strict=True)))


def slow_si_sdr(e, s):
    a = sum(x * y for x, y in zip(s, e, strict=True)) / sum(x * x for x in s)
    return slow_sdr(e, [a * x for x in s])


def slow_sd_sdr(e, s):
    a = sum(x * y for x, y in zip(s, e, strict=True)) / sum(x * x for x in s)
    return slow_sdr(e, s) + 20 * np.log10(abs(a))


def slow_bss_sdr(e, s, taps=512):
    """Least squares on all shifts of the target, over the whole length of the filtered target."""
    length = len(s) + taps - 1
    shifts = np.zeros((length, taps))
    for tap in range(taps):
        shifts[tap : tap + len(s), tap] = s
    padded = np.concatenate([e, np.zeros(taps - 1)])
    projected = shifts @ np.linalg.lstsq(shifts, padded, rcond=None)[0]
    return 10 * np.log10((projected**2).sum() / ((padded - projected) ** 2).sum())


def test_one_estimate_by_each():
    """The target at half its level, and noise 20 dB below that: they do not mean the same."""
    target = np.tile([1.0, 1.0, -1.0, -1.0], 1000)
    estimate = 0.5 * target + 0.05 * np.tile([1.0, -1.0, 1.0, -1.0], 1000)
    assert sdr(estimate, target) == pytest.approx(10 * np.log10(1 / (0.25 + 0.0025)), abs=1e-9)  # 5.98
    assert si_sdr(estimate, target) == pytest.approx(20.0, abs=1e-9)
    assert sd_sdr(estimate, target) == pytest.approx(10 * np.log10(0.25 / 0.2525), abs=1e-9)  # -0.04


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(1e-3, 1e2))
def test_as_they_are_defined(seed, scale, error):
    s, n = np.random.default_rng(seed).normal(size=(2, 50))
    e = scale * s + error * n
    for fast, slow in ((sdr, slow_sdr), (si_sdr, slow_si_sdr), (sd_sdr, slow_sd_sdr)):
        assert fast(e, s) == pytest.approx(np.clip(slow(e.tolist(), s.tolist()), -LIMIT_DB, LIMIT_DB), abs=1e-6)
    assert si_sdr(3 * e, s) == pytest.approx(si_sdr(e, s), abs=1e-6)
    assert sd_sdr(e, s) <= si_sdr(e, s) + 1e-9


def test_as_torchmetrics_has_them():
    audio = pytest.importorskip("torchmetrics.functional.audio")
    torch = pytest.importorskip("torch")
    s, n = torch.from_numpy(noise(2, 3, 4000))
    e = 0.7 * s + 0.2 * n
    assert sdr(e, s).numpy() == pytest.approx(audio.signal_noise_ratio(e, s).numpy(), abs=1e-9)
    assert si_sdr(e, s).numpy() == pytest.approx(audio.scale_invariant_signal_distortion_ratio(e, s).numpy(), abs=1e-9)
    found = audio.source_aggregated_signal_distortion_ratio  # of one source with its scale, which is si_sdr again
    assert si_sdr(e, s).numpy() == pytest.approx(found(e[:, None], s[:, None]).numpy(), abs=1e-9)


def test_bss_eval_is_a_projection():
    pytest.importorskip("torchmetrics")
    s, n = noise(2, 3000)
    e = np.convolve(s, [0.0, 0.5, 0.3])[:3000] + 0.1 * n
    assert bss_sdr(e, s) == pytest.approx(slow_bss_sdr(e, s), abs=1e-6)
    assert bss_sdr(e, s) > sdr(e, s) + 10
    oracle = pytest.importorskip("fast_bss_eval")
    assert bss_sdr(np.stack([e, n]), np.stack([s, s])) == pytest.approx(oracle.sdr(np.stack([s, s]), np.stack([e, n])))


def test_bss_eval_where_rounding_leaves_less_than_nothing():
    """Of which torchmetrics has the logarithm: what is as it should be is not NaN for that."""
    audio, torch = pytest.importorskip("torchmetrics.functional.audio"), pytest.importorskip("torch")
    target = np.sin(0.05 * np.arange(128_000))
    assert audio.signal_distortion_ratio(torch.from_numpy(0.5 * target), torch.from_numpy(target)).isnan()
    assert bss_sdr(0.5 * target, target) == LIMIT_DB


def test_bss_eval_says_nothing_of_what_is_shorter_than_its_filter():
    pytest.importorskip("torchmetrics")
    assert np.isnan(bss_sdr(*noise(2, 511))) and bss_sdr(*noise(2, 512)) < LIMIT_DB


@pytest.mark.parametrize("kind", ["tone", "constant", "band"])
def test_bss_eval_of_targets_that_lack_bands(kind):
    """Of which many filters make the same: perfect estimates are perfect, others are as good as they are."""
    pytest.importorskip("torchmetrics")
    time = np.arange(16000)
    band = np.fft.irfft(np.where(np.arange(8001) < 1500, np.fft.rfft(noise(16000)), 0))
    target = {"tone": np.sin(0.05 * time), "constant": np.ones(16000), "band": band}[kind]
    assert bss_sdr(target, target) == bss_sdr(-0.5 * target, target) == LIMIT_DB
    estimate = target + 0.1 * np.sqrt((target**2).mean()) * noise(16000)
    assert bss_sdr(estimate, target) == pytest.approx(slow_bss_sdr(estimate, target), abs=0.01)


@pytest.mark.parametrize("metric", RATIOS, ids=lambda metric: metric.__name__)
def test_numpy_and_torch_in_any_shape_and_dtype(metric):
    torch = pytest.importorskip("torch")
    s, n = noise(2, 2, 3, 400).astype(np.float32)
    found = metric(s + n, s)
    assert found.shape == (2, 3) and found.dtype == np.float64
    alone = [[metric(a, b) for a, b in zip(*pair, strict=True)] for pair in zip(s + n, s, strict=True)]
    assert found == pytest.approx(np.array(alone), abs=1e-12)
    assert isinstance(metric((s + n)[0, 0], s[0, 0]), float)
    tensors = metric(torch.from_numpy(s + n), torch.from_numpy(s))
    assert tensors.dtype == torch.float64 and tensors.numpy() == pytest.approx(found, abs=1e-9)
    assert metric(s + n, s[0, 0]).shape == (2, 3)  # broadcast


def test_what_is_stated_of_silence():
    pytest.importorskip("torchmetrics")
    target, silence = noise(2000), np.zeros(2000)
    for metric in (*RATIOS, bss_sdr):
        assert np.isnan(metric(target, silence)) and np.isnan(metric(silence, silence))
        assert np.isnan(metric(target, 9e-6 * np.sign(target)))  # -101 dB of full scale
        assert metric(target, target) == LIMIT_DB
        assert metric(silence, target) == (0.0 if metric is sdr else -LIMIT_DB)
        both = metric(np.stack([target, target]), np.stack([silence, target]))
        assert np.isnan(both[0]) and both[1] == LIMIT_DB  # one has nothing to do with the other
        assert -LIMIT_DB <= metric(1e9 * noise(2000, seed=1), target) < 0


def test_leakage():
    """A target that is heard in the second half alone; the mixture goes on all the time."""
    rate, silence = 8000, np.zeros(16000)
    target = np.concatenate([np.zeros(8000), np.ones(8000)])
    mixture = np.ones(16000)
    assert leakage(0.01 * mixture, target, mixture, rate) == pytest.approx(-40.0)
    assert leakage(mixture, target, mixture, rate) == 0.0
    assert leakage(silence, target, mixture, rate) == -LIMIT_DB
    assert (
        leakage(np.where(target > 0, 5.0, 0.0), target, mixture, rate) == -LIMIT_DB
    )  # where it is heard, anything goes
    assert leakage(0.1 * mixture, silence, mixture, rate) == pytest.approx(-20.0)  # a label that is not there
    assert np.isnan(leakage(mixture, mixture, mixture, rate))
    assert np.isnan(leakage(mixture, target, target, rate))  # nothing else to be heard there
    quiet = target + 0.0009 * (target == 0)  # 61 dB below
    assert leakage(0.01 * mixture, quiet, mixture, rate) == pytest.approx(-40.0)
    assert np.isnan(leakage(0.01 * mixture, target + 0.0011 * (target == 0), mixture, rate))
    odd = leakage(0.01 * mixture[:100], silence[:100], mixture[:100], rate)  # shorter than a frame
    assert odd == pytest.approx(-40.0)
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(np.stack([each, each])) for each in (0.01 * mixture, target, mixture)]
    assert leakage(*tensors, rate).numpy() == pytest.approx([-40.0, -40.0])


def test_a_remix_does_not_certify_a_separation():
    pytest.importorskip("torchmetrics")
    first, second = noise(2, 2, 2000)
    mixtures = np.stack([first.sum(0), second.sum(0)])
    halves = np.stack([mixtures / 2, mixtures / 2], axis=1)
    for metric in (bss_sdr, si_sdr):
        assert (remix_sdr(halves, mixtures, metric) == LIMIT_DB).all()
        assert remix_sdr(np.stack([first, second])[:, :1], mixtures, metric).max() < 5


def test_all_by_name():
    pytest.importorskip("torchmetrics")
    s, m = noise(2, 2000)
    found = measure(METRICS, s + 0.1 * m, s, s + m, 8000)
    wanted = {f"{name}{end}" for name in ("sdr", "si_sdr", "sd_sdr", "bss_sdr") for end in ("", "_improvement")}
    assert set(found) == wanted | {"leakage"}
    for name in ("sdr", "si_sdr", "sd_sdr", "bss_sdr"):
        assert found[f"{name}_improvement"] == found[name] - METRICS[name].compare(s + m, s)
