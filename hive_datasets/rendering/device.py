"""Resampling and mixing on a device, with PyTorch. The same code runs on its CPU device, where tests compare it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..mixing.planning import Excerpt
from .kernels import HEAD, is_periodic, measure_kernel, num_head_frames, num_resampled, resample_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class WeightedSignal:
    """A source that was read, to be put into a batch.

    Attributes:
        signal: float32 of shape (frames,), mono, at `rate` in Hz.
        rate: its own, or already the batch's.
        excerpt: which samples of it to keep, once resampled.
        gain: linear.
        row, column: of the batch: which mixture, which source.
    """

    signal: npt.NDArray[np.float32]
    rate: int
    excerpt: Excerpt
    gain: float
    row: int
    column: int


class DeviceMixer:
    """Resamples and weighs signals on a device, those of one rate in one convolution.

    Args:
        device: a device of PyTorch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._weights: dict[tuple[int, int], torch.Tensor] = {}

    def add(self, signals: Sequence[WeightedSignal], sources: torch.Tensor, sampling_rate: int) -> None:
        """Write signals into `sources`, float32 of shape (B, N, T), where they belong."""
        groups: dict[int, list[WeightedSignal]] = defaultdict(list)
        for signal in signals:
            groups[signal.rate].append(signal)
        for rate, group in groups.items():
            self._add_group(group, rate, sources, sampling_rate)

    def resample(
        self,
        sources: torch.Tensor,
        rate_in: int,
        rate_out: int,
        lengths_in: Sequence[int],
        lengths_out: Sequence[int],
        num_samples: int,
    ) -> torch.Tensor:
        """Sources of mixtures, (B, N, T) at one rate, as (B, N, num_samples) at another.

        Args:
            sources: float32, with zeros after the end of each mixture.
            rate_in: in Hz, before.
            rate_out: in Hz, after.
            lengths_in: of each mixture, its samples before.
            lengths_out: and after.
            num_samples: of the longest.
        """
        import torch

        batch, columns = sources.shape[:2]
        signals = sources.reshape(batch * columns, -1)
        lengths = np.repeat(lengths_in, columns).tolist()
        if can_resample(rate_in, rate_out):
            resampled = self._resample(signals, rate_in, rate_out)[:, :num_samples]
            frames = num_head_frames(rate_in, rate_out)
            starts = signals[:, :frames].cpu().numpy()
            rows = [(start[: min(length, frames)], 0) for start, length in zip(starts, lengths, strict=True)]
            self._replace_heads(resampled, rows, rate_in, rate_out)
        else:
            import soxr

            here = [soxr.resample(row, rate_in, rate_out, quality="HQ") for row in signals.cpu().numpy()]
            resampled = torch.from_numpy(np.stack(here)).to(self.device)[:, :num_samples]
        out = torch.zeros((batch, columns, num_samples), device=self.device)
        out[:, :, : resampled.shape[1]] = resampled.reshape(batch, columns, -1)
        ends = torch.tensor(list(lengths_out), device=self.device)
        return out * (torch.arange(num_samples, device=self.device) < ends[:, None, None])

    def _add_group(self, group: Sequence[WeightedSignal], rate: int, sources: torch.Tensor, sampling_rate: int) -> None:
        import torch

        batch = self._upload([signal.signal for signal in group])
        if rate != sampling_rate:
            batch = self._resample(batch, rate, sampling_rate)
            self._replace_heads(batch, [(s.signal, s.excerpt.skip) for s in group], rate, sampling_rate)
        num_samples = sources.shape[-1]
        skips, lengths, rows, columns = (
            torch.tensor(values, device=self.device)
            for values in zip(*((s.excerpt.skip, s.excerpt.length, s.row, s.column) for s in group), strict=True)
        )
        gains = torch.tensor([signal.gain for signal in group], dtype=torch.float32, device=self.device)
        position = torch.arange(num_samples, device=self.device)
        available = torch.tensor([num_resampled(len(s.signal), rate, sampling_rate) for s in group], device=self.device)
        wanted = position < torch.minimum(lengths, available - skips)[:, None]
        places = (skips[:, None] + position).clamp_(max=batch.shape[1] - 1)
        sources[rows, columns] = torch.where(wanted, batch.gather(1, places) * gains[:, None], 0.0)

    def _upload(self, signals: Sequence[npt.NDArray[np.float32]]) -> torch.Tensor:
        """Signals of different lengths as one tensor, (n, longest), with zeros behind them."""
        import torch

        is_cuda = self.device.type == "cuda"
        batch = torch.zeros((len(signals), max(1, *map(len, signals))), pin_memory=is_cuda)
        for row, signal in zip(batch.numpy(), signals, strict=True):
            row[: len(signal)] = signal
        return batch.to(self.device, non_blocking=is_cuda)

    def _resample(self, batch: torch.Tensor, rate_in: int, rate_out: int) -> torch.Tensor:
        """(n, frames) at one rate as (n, samples) at another, by the filter bank that soxr HQ is."""
        import torch

        kernel = measure_kernel(rate_in, rate_out)
        weights = self._weights.get((rate_in, rate_out))
        if weights is None:
            weights = torch.from_numpy(kernel.weights)[:, None].to(self.device)
            self._weights[rate_in, rate_out] = weights
        periods = -(-batch.shape[1] // kernel.period_in)
        missing = periods * kernel.period_in - batch.shape[1]
        padded = torch.nn.functional.pad(batch, (kernel.reach, missing + kernel.reach))
        with _in_full_precision():
            blocks = torch.nn.functional.conv1d(padded[:, None], weights, stride=kernel.period_in)
        return blocks.transpose(1, 2).reshape(len(batch), periods * kernel.period_out)

    def _replace_heads(
        self,
        batch: torch.Tensor,
        signals: Sequence[tuple[npt.NDArray[np.float32], int]],
        rate_in: int,
        rate_out: int,
    ) -> None:
        """Give signals, (frames, samples skipped), of which the start is kept the first samples that soxr gives."""
        import torch

        rows = [row for row, (_, skip) in enumerate(signals) if skip < HEAD]
        if rows:
            heads = np.zeros((len(rows), min(HEAD, batch.shape[1])), np.float32)
            for head, row in zip(heads, rows, strict=True):
                resampled = resample_head(signals[row][0], rate_in, rate_out)[: len(head)]
                head[: len(resampled)] = resampled
            batch[rows, : heads.shape[1]] = torch.from_numpy(heads).to(self.device)


def find_device(device: str | int | torch.device) -> torch.device:
    """A device as PyTorch calls it.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: there is no such device, or it is of a kind that nothing here was made for.
        RuntimeError: it is not on this machine.
    """
    try:
        import torch
    except ImportError:
        message = f'device={device!r} needs PyTorch: pip install "hive-datasets[torch]"'
        raise ImportError(message) from None
    try:
        found = torch.device("cuda", device) if type(device) is int else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is no device of PyTorch: {error}") from None
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}: batches are made on a CPU or a CUDA device; move them from there")
    if found.type == "cuda" and not torch.cuda.is_available():
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        raise RuntimeError(
            f"device={device!r}: PyTorch {torch.__version__} {built} and finds no CUDA device. Install a driver "
            'and a build of PyTorch for it (https://pytorch.org/get-started), or use device="cpu".'
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(f"device={device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return found


def can_resample(rate_in: int, rate_out: int) -> bool:
    """Whether `DeviceMixer` can resample between two rates in Hz."""
    return rate_in == rate_out or is_periodic(rate_in, rate_out)


@contextlib.contextmanager
def _in_full_precision() -> Iterator[None]:
    """No TF32, which convolutions on CUDA use by default, and which has 10 bits."""
    import torch

    cudnn: Any = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield
