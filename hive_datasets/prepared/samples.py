"""How samples are stored: 16-bit integers with a step size for each block of them, or floats.

An integer times its step is the sample. If one power of two serves as the step of all of them, as for a 16-bit file at
its own rate, they are stored exactly. Else every block has the step that its loudest sample needs, so that a quiet
clip, which a mixture may bring up a hundredfold, loses nothing: the error is at most half a step, 2**-16 of the block's
peak.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xxhash

from .fused import find_fused_scale

#: How samples may be stored.
SampleType = Literal["int16", "float16", "float32"]
SAMPLE_TYPES: tuple[SampleType, ...] = get_args(SampleType)
#: Samples that share a step. numpy takes three times as long to multiply rows shorter than some 5,000.
BLOCK = 8192
#: Samples that share a checksum; a multiple of `BLOCK`.
PAGE = 8 * BLOCK

_MAX = 32767

Signal = npt.NDArray[np.float32]
Stored = npt.NDArray[Any]


def encode(signal: Signal, sample_type: SampleType) -> tuple[Stored, Signal]:
    """A signal as it is stored.

    Args:
        signal: float32 of shape (T,).
        sample_type: how to store it.

    Returns:
        the samples, shape (T,), and the steps, float32: one for all, or one a block, shape (ceil(T / BLOCK),).

    Example:
        >>> stored, steps = encode(np.array([0.5, -0.25, 0.125], np.float32), "int16")
        >>> stored * steps[0]
        array([ 0.5  , -0.25 ,  0.125], dtype=float32)
    """
    one = np.ones(1, np.float32)
    if sample_type != "int16":
        return signal.astype(sample_type), one
    peak = float(np.abs(signal).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(len(signal), np.int16), one
    # -1 is a 16-bit sample, 1 is not
    step = np.float32(2.0 ** max(-126, np.ceil(np.log2(max(signal.max() / _MAX, -signal.min() / (_MAX + 1))))))
    stored = np.rint(signal / step)
    if np.array_equal(stored * step, signal):
        return stored.astype(np.int16), one * step
    blocks = np.zeros((-(-len(signal) // BLOCK), BLOCK), np.float32)
    blocks.reshape(-1)[: len(signal)] = signal
    steps: Signal = np.abs(blocks).max(axis=1) / np.float32(_MAX)
    steps[steps < np.finfo(np.float32).tiny] = 1.0
    stored = np.clip(np.rint(blocks / steps[:, None]), -_MAX, _MAX)
    return stored.astype(np.int16).reshape(-1)[: len(signal)], steps


def decode(
    stored: Stored,
    steps: Signal,
    start: int,
    gain: float,
    out: Signal,
    total: Signal | None = None,
    is_first: bool = False,
) -> None:
    """Stored samples times a gain.

    Args:
        stored: samples of a clip, shape (n,).
        steps: the clip's steps, all of them.
        start: which sample of the clip `stored` begins with.
        gain: linear.
        out: float32 of shape (n,), written to.
        total: float32 of shape (n,), to which it is added, too; written to, if it is the first to be.
        is_first: whether it is.

    Example:
        >>> signal = np.linspace(-1, 1, 20000, dtype=np.float32)
        >>> stored, steps = encode(signal, "int16")
        >>> out = np.empty(1000, np.float32)
        >>> decode(stored[8000:9000], steps, 8000, 2.0, out)
        >>> bool(np.abs(out - 2 * signal[8000:9000]).max() <= 2 * steps.max() / 2)
        True
    """
    first, last = start // BLOCK, (start + len(out) - 1) // BLOCK + 1
    gains = (steps if len(steps) == 1 else steps[first:last]) * np.float32(gain)
    head = len(out) if len(steps) == 1 else min((first + 1) * BLOCK - start, len(out))
    fused_scale = find_fused_scale()
    if fused_scale is not None and stored.dtype != np.float16:
        fused_scale(stored, gains, head, BLOCK, out, total, is_first)
        return
    np.copyto(out, stored)  # and then multiplied in place: in one step, numpy would go through buffers
    out[:head] *= gains[0]
    whole = (len(out) - head) // BLOCK
    if whole:
        body = out[head : head + whole * BLOCK].reshape(whole, BLOCK)
        body *= gains[1 : 1 + whole, None]
    if head + whole * BLOCK < len(out):
        out[head + whole * BLOCK :] *= gains[-1]
    if total is not None:
        add(out, total, is_first)


def add(signal: Signal, total: Signal, is_first: bool) -> None:
    """Add a signal to a total; write it there, if it is the first."""
    if is_first:
        np.copyto(total, signal)
    else:
        total += signal


def checksums(stored: Stored, steps: Signal, errors: Signal, seed: int) -> npt.NDArray[np.uint64]:
    """A checksum for every `PAGE` samples, and their steps and errors, uint64 of shape (ceil(T / PAGE),).

    Args:
        stored: samples, from the start of a page on.
        steps: their steps: one for all, or one a block.
        errors: their errors, one a block.
        seed: tells what the samples are, so that those of another clip are not taken for them.
    """
    found = []
    for start in range(0, len(stored), PAGE):
        blocks = slice(start // BLOCK, (start + PAGE) // BLOCK)
        digest = xxhash.xxh3_64(seed=seed)
        for part in (stored[start : start + PAGE], steps if len(steps) == 1 else steps[blocks], errors[blocks]):
            digest.update(part.data)
        found.append(digest.intdigest())
    return np.array(found, dtype=np.uint64)


def errors_of(signal: Signal, stored: Stored, steps: Signal) -> Signal:
    """By how much stored samples differ from the signal at most, float32 of shape (ceil(T / BLOCK),)."""
    difference = np.zeros((-(-len(signal) // BLOCK), BLOCK), np.float32)
    out = difference.reshape(-1)[: len(signal)]
    decode(stored, steps, 0, 1.0, out)
    np.abs(np.subtract(signal, out, out=out), out=out)
    errors: Signal = difference.max(axis=1)
    return errors
