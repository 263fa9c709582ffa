"""What scores cost, beyond rendering: time against torchmetrics, and memory while there are more and more targets."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torchmetrics.functional.audio as reference

from hive_datasets.evaluation.metrics import measure

from .metadata import run_apart

#: 4 s at 32 kHz.
_SAMPLES, _RATE = 128_000, 32_000

_RUN = """
import json, resource, sys, tempfile, time
import numpy as np
from hive_datasets.evaluation import Item, Target, evaluate_separator
class Noise:
    def __init__(self, mixtures):
        random = np.random.default_rng(0)
        self.mixtures, self.signals = mixtures, random.normal(size=(8, 128000)).astype(np.float32)
    def items(self):
        for number in range(self.mixtures):
            targets = [Target(str(number), "test", f"label {label}", "", ("s",), "", 4) for label in range(4)]
            yield Item(tuple(targets), str(number), None)
    def read(self, item):
        return 32000, [(self.signals[0], self.signals[number]) for number in range(1, 5)]
    def describe(self):
        return {}
metrics, targets, folder = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3]
start = time.perf_counter()
with tempfile.TemporaryDirectory(dir=folder) as out:
    evaluate_separator(lambda mixtures, *_: mixtures[:, ::-1], Noise(targets // 4), out, metrics=metrics)
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def measure_scores(folder: Path) -> None:
    """10,000 targets by several sets of metrics, against torchmetrics on some; and the memory of 100,000."""
    folder.mkdir(parents=True, exist_ok=True)
    print("\nScores of targets of 4 s at 32 kHz, with improvements, from signals in memory to the table")
    for metrics in ("sdr,si_sdr", "sdr,si_sdr,sd_sdr,leakage"):
        seconds, peak = run_apart(_RUN, metrics, 10_000, folder)
        print(f"  10,000, {metrics}: {seconds:.0f} s, {peak:,.0f} MB")
    seconds, peak = run_apart(_RUN, "bss_sdr", 200, folder)
    print(f"  200, bss_sdr: {seconds:.0f} s, {peak:,.0f} MB")
    seconds, peak = run_apart(_RUN, "sdr,si_sdr", 100_000, folder)
    print(f"  100,000, sdr,si_sdr: {seconds:.0f} s, {peak:,.0f} MB")
    ours, theirs = _time_of_each()
    print(f"  of one target, in one thread: {ours * 1e3:.2f} ms; by torchmetrics {theirs * 1e3:.2f} ms")


def _time_of_each(count: int = 200) -> tuple[float, float]:
    """SDR and SI-SDR of an estimate and of the mixture."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    target, mixture, estimate = random.normal(size=(3, _SAMPLES)).astype(np.float32)
    tensors = [torch.from_numpy(each) for each in (target, mixture, estimate)]
    metrics = (reference.signal_noise_ratio, reference.scale_invariant_signal_distortion_ratio)
    start = time.perf_counter()
    for _ in range(count):
        measure(["sdr", "si_sdr"], estimate, target, mixture, _RATE)
    middle = time.perf_counter()
    for _ in range(count):
        for metric in metrics:
            metric(tensors[2], tensors[0]) - metric(tensors[1], tensors[0])
    return (middle - start) / count, (time.perf_counter() - middle) / count
