"""How near an estimate is to its target, as ratios in dB, each named by which one it is.

"SDR" means several things: of a target at half its level with noise 20 dB below it, `sdr` says 6.0 dB, `sd_sdr` 0.0,
`si_sdr` 20.0, and `bss_sdr` a little more. Papers on universal separation (USS, AudioSep, Hive) mean `sdr`.

What holds for all of them:

- They take arrays of numpy or tensors of PyTorch, of shape (..., T) and any floating dtype, reckon in float64 and give
  the same kind of shape (...); shapes are broadcast.
- A ratio is held within -100 to 100 dB, so that no mean is infinite: a perfect estimate has 100 dB.
- A target is silent if its mean square is below 1e-10, -100 dB of full scale (the floor that USS has). What is measured
  against a silent target is NaN, and no mean counts it: `leakage` says how silent an estimate of it is.
- A silent estimate of a target that is not silent has 0 dB of `sdr`, since all of the target is missing, and -100 dB of
  the others, which look for the target in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.extras import import_extra

__all__ = [
    "LESS_IS_BETTER",
    "LIMIT_DB",
    "METRICS",
    "Metric",
    "bss_sdr",
    "leakage",
    "measure",
    "remix_sdr",
    "sd_sdr",
    "sdr",
    "si_sdr",
]

#: What ratios are held within, in dB.
LIMIT_DB = 100.0
#: Mean squares below are silence.
_SILENCE = 1e-10
#: Taps of the filter that BSS-eval allows.
_FILTER_TAPS = 512
#: Of `leakage`: the length of a frame, in seconds, and how far below the loudest one of a target it is silent.
_FRAME_SECONDS, _FRAME_FLOOR = 0.02, 1e-6


def sdr(estimate: Any, target: Any) -> Any:
    """Signal-to-distortion ratio, the plain one, without any freedom of scale or filter: also called SNR.

    10 log10(|s|^2 / |e - s|^2) for a target s and an estimate e, in dB, -100 to 100; 0 dB is what silence has.
    Kong et al., "Universal source separation with weakly labelled data" (2023), equation 14; `SignalNoiseRatio` of
    torchmetrics.

    Example:
        >>> sdr(np.array([0.5, 0.5]), np.array([1.0, 1.0])).round(2)
        np.float64(6.02)
    """
    xp, e, s = _prepare(estimate, target)
    return _mask_silence(xp, _decibels(xp, _energy(xp, s), _energy(xp, e - s)), s)


def si_sdr(estimate: Any, target: Any) -> Any:
    """Scale-invariant signal-to-distortion ratio: the estimate's level does not matter.

    10 log10(|a s|^2 / |e - a s|^2) with a = <e, s> / |s|^2, in dB, -100 to 100. Means are not taken off the signals.
    Le Roux et al., "SDR - half-baked or well done?" (2019), equation 5.

    Example:
        >>> si_sdr(np.array([1.0, 0.1]), np.array([0.5, 0.0])).round(2)
        np.float64(20.0)
    """
    xp, e, s = _prepare(estimate, target)
    projected = _scale(xp, e, s)[..., None] * s
    return _mask_silence(xp, _decibels(xp, _energy(xp, projected), _energy(xp, e - projected)), s)


def sd_sdr(estimate: Any, target: Any) -> Any:
    """Scale-dependent signal-to-distortion ratio: as `si_sdr`, but a wrong level is an error, too loud or too soft.

    10 log10(|a s|^2 / |e - s|^2) with a = <e, s> / |s|^2, in dB, -100 to 100; below `sdr` if e is too soft.
    Le Roux et al. (2019), equation 10.

    Example:
        >>> sd_sdr(np.array([0.5, 0.5]), np.array([1.0, 1.0])).round(2)
        np.float64(0.0)
    """
    xp, e, s = _prepare(estimate, target)
    a = _scale(xp, e, s)
    return _mask_silence(xp, _decibels(xp, a * a * _energy(xp, s), _energy(xp, e - s)), s)


def bss_sdr(estimate: Any, target: Any) -> Any:
    """Signal-to-distortion ratio of BSS-eval: any filter of 512 taps of the target counts as the target.

    10 log10(|p|^2 / |e - p|^2) with p the projection of e onto the target's shifts by 0 to 511 samples, in dB, -100 to
    100.
    Vincent et al., "Performance measurement in blind audio source separation" (2006); by torchmetrics, as Scheibler,
    "SDR - medium rare with fast computations" (2022), reckons it. Some 30 times slower than the others.

    NaN of signals that are shorter than the filter, of which anything is the target, filtered.

    Raises:
        BackendError: PyTorch or torchmetrics is not installed.

    Example:
        >>> random = np.random.default_rng(0)
        >>> target = random.normal(size=8000)
        >>> late = np.roll(target, 3)  # three samples late, which no other ratio forgives
        >>> bool(bss_sdr(late, target) > 30), bool(si_sdr(late, target) < -20)
        (True, True)
    """
    torch = import_extra("torch", "evaluate")
    compute = import_extra("torchmetrics.functional.audio", "evaluate").signal_distortion_ratio
    xp, e, s = _prepare(estimate, target)
    if xp is np:
        e, s = (torch.from_numpy(np.array(each)) for each in (e, s))
    e, s = torch.broadcast_tensors(e, s)
    found = torch.full(s.shape[:-1], torch.nan, dtype=torch.float64, device=s.device)
    heard = ~_is_silent(torch, s)
    if heard.any() and s.shape[-1] >= _FILTER_TAPS:
        ratios = compute(e[heard], s[heard], filter_length=_FILTER_TAPS)
        # NaN is the logarithm of what is below 0 by rounding: what is left of an estimate that is its projection
        found[heard] = torch.nan_to_num(ratios, nan=LIMIT_DB).clip(-LIMIT_DB, LIMIT_DB)
    return found if xp is torch else found.numpy()[()]


def remix_sdr(estimates: Any, mixture: Any, metric: Callable[[Any, Any], Any] = bss_sdr) -> Any:
    """How near the sum of what was separated is to the mixture: ClearSep's Re-SDR, or with `si_sdr`, its Re-SISDR.

    It does not certify a separation: the mixture and silence sum to the mixture, too. In dB, -100 to 100.
    Cheng et al., "Unleashing the power of natural audio featuring multiple sound sources" (2025).

    Args:
        estimates: of shape (..., N, T), of all sources of a mixture.
        mixture: of shape (..., T).
        metric: what compares the sum with the mixture.

    Example:
        >>> stems = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.1]])
        >>> remix_sdr(stems, np.array([1.0, 1.0, 0.0]), si_sdr).round(2)
        np.float64(23.01)
    """
    return metric(estimates.sum(-2), mixture)


def leakage(estimate: Any, target: Any, mixture: Any, sampling_rate: int) -> Any:
    """How much of the mixture is left where the target is silent, in dB: the less, the better.

    10 log10(|e|^2 / |m|^2) over frames of 20 ms in which the target is 60 dB below its loudest one, or 100 dB below
    full scale. 0 dB is what the mixture itself has, -100 dB what silence has; of an absent label all frames count. NaN
    if the target is nowhere silent, or the mixture is silent where the target is.

    Args:
        estimate: of shape (..., T).
        target: of that shape.
        mixture: of that shape.
        sampling_rate: rate in Hz.

    Example:
        >>> target, mixture = np.zeros(8000), np.ones(8000)
        >>> target[:4000] = 1.0
        >>> leakage(0.1 * mixture, target, mixture, 8000).round(2)
        np.float64(-20.0)
    """
    xp, e, s = _prepare(estimate, target)
    m = _prepare(mixture, target)[1]
    length = max(1, round(_FRAME_SECONDS * sampling_rate))
    e, s, m = (_frame_energies(xp, each, length) for each in (e, s, m))
    floor = xp.clip(xp.amax(s, -1) * _FRAME_FLOOR, _SILENCE * length, None)
    is_silent = s <= floor[..., None]
    left, there = (xp.where(is_silent, each, 0.0).sum(-1) for each in (e, m))
    return xp.where(there > _SILENCE * length, _decibels(xp, left, there), xp.nan)[()]


@dataclass(frozen=True)
class Metric:
    """One of `METRICS`.

    Attributes:
        title: what tables call it.
        compare: is called with an estimate and its target; None for `leakage` and what is of whole mixtures.
        remix: is called with all estimates of a mixture and the mixture.
        needs: the extra to install for it.
    """

    title: str
    compare: Callable[[Any, Any], Any] | None = None
    remix: Callable[[Any, Any], Any] | None = None
    needs: str | None = None

    @property
    def improves(self) -> bool:
        """Whether there is an improvement over the mixture."""
        return self.compare is not None


def _remix_si_sdr(estimates: Any, mixture: Any) -> Any:
    return remix_sdr(estimates, mixture, si_sdr)


#: Columns of which less is better.
LESS_IS_BETTER = frozenset({"leakage"})
#: What can be asked for, by name.
METRICS = {
    "sdr": Metric("SDR (plain)", sdr),
    "si_sdr": Metric("SI-SDR", si_sdr),
    "sd_sdr": Metric("SD-SDR", sd_sdr),
    "bss_sdr": Metric("SDR (BSS-eval)", bss_sdr, needs="evaluate"),
    "leakage": Metric("leakage"),
    "remix_sdr": Metric("Re-SDR (BSS-eval)", remix=remix_sdr, needs="evaluate"),
    "remix_si_sdr": Metric("Re-SI-SDR", remix=_remix_si_sdr),
}


def measure(names: Collection[str], estimate: Any, target: Any, mixture: Any, sampling_rate: int) -> dict[str, Any]:
    """Several metrics of estimates, each with its improvement over the mixture: ``sdr``, ``sdr_improvement``, ...

    Those of whole mixtures are left out.

    Args:
        names: of `METRICS`.
        estimate: of shape (..., T).
        target: of that shape.
        mixture: of that shape.
        sampling_rate: rate in Hz.

    Example:
        >>> target, mixture = np.array([1.0, 0.0]), np.array([1.0, 1.0])
        >>> found = measure(["sdr"], np.array([1.0, 0.1]), target, mixture, 8000)
        >>> {name: float(value.round(1)) for name, value in found.items()}
        {'sdr': 20.0, 'sdr_improvement': 20.0}
    """
    _, estimate, target = _prepare(estimate, target)  # once for all
    mixture = _prepare(mixture, target)[1]
    found = {}
    for name in names:
        compare = METRICS[name].compare
        if compare is not None:
            found[name] = compare(estimate, target)
            found[f"{name}_improvement"] = found[name] - compare(mixture, target)
        elif name == "leakage":
            found[name] = leakage(estimate, target, mixture, sampling_rate)
    return found


def _prepare(estimate: Any, target: Any) -> tuple[Any, Any, Any]:
    """The module that both are of, and both in float64."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(estimate, torch.Tensor):
        return torch, estimate.double(), torch.as_tensor(target, device=estimate.device).double()
    return np, np.asarray(estimate, np.float64), np.asarray(target, np.float64)


def _energy(xp: Any, signal: Any) -> Any:
    return xp.einsum("...t,...t->...", signal, signal)


def _scale(xp: Any, e: Any, s: Any) -> Any:
    """What the target is to be multiplied by to be nearest to the estimate."""
    return xp.einsum("...t,...t->...", e, s) / xp.clip(_energy(xp, s), 1e-300, None)


def _decibels(xp: Any, signal: Any, noise: Any) -> Any:
    """10 log10 of a ratio, within the limits; of 0 / 0, the lower one."""
    bound = 10 ** (LIMIT_DB / 10)
    return 10.0 * xp.log10(xp.clip(signal / xp.clip(noise, 1e-300, None), 1 / bound, bound))


def _is_silent(xp: Any, s: Any) -> Any:
    return _energy(xp, s) < _SILENCE * s.shape[-1]


def _mask_silence(xp: Any, ratios: Any, s: Any) -> Any:
    return xp.where(_is_silent(xp, s), xp.nan, ratios)[()]


def _frame_energies(xp: Any, signal: Any, length: int) -> Any:
    """Of shape (..., frames); a last frame that is shorter counts as it is."""
    whole = signal.shape[-1] // length * length
    frames = signal[..., :whole].reshape(*signal.shape[:-1], -1, length)
    energies = [_energy(xp, frames)] if whole else []
    if whole < signal.shape[-1]:
        energies.append(_energy(xp, signal[..., whole:])[..., None])
    return xp.concatenate(energies, -1)
