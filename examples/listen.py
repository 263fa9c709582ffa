"""Stream a few mixtures of the demo; leave their stems as WAV files and a picture of their spectrograms.

    python examples/listen.py FOLDER

Needs matplotlib for the picture: ``pip install "hive-datasets[plot]"``.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile
from datasets import load_dataset

import hive_datasets  # noqa: F401  (makes load_dataset know "hive")

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(folder: Path) -> None:
    """Write one mixture of each number of sources, and say where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [next(iter(load_dataset("hive", "demo", split="train", streaming=True, num_sources=n))) for n in range(2, 6)]
    for row in rows:
        rate = row["mixture"]["sampling_rate"]
        name = f"{row['mix_id']}.mix.wav"
        soundfile.write(folder / name, row["mixture"]["mix"], rate)
        print(f"{folder / name}: {', '.join(row['labels'])}")
        for index, stem in enumerate(row["mixture"]["sources"], start=1):
            soundfile.write(folder / f"{row['mix_id']}.s{index}.wav", stem, rate)
    picture = folder / "spectrograms.png"
    draw(rows, picture)
    print(f"{picture}: the mixtures and their stems")
    print()
    print("Each mixture was rendered from its recipe; each folder of stems sums to its mixture.")
    print("Next: hear the demo's mixtures on a page of their own (hive-datasets browse --demo), or point dataset_paths")
    print("to your copies of the corpora, and stream Hive itself:")
    print('  load_dataset("hive", split="train", streaming=True, dataset_paths={"AudioSet": "/data/AudioSet", ...})')


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """One row of panels a mixture: the mixture, then its stems."""
    columns = 1 + max(row["num_sources"] for row in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(3 * columns, 2.2 * len(rows)), layout="constrained")
    noise = np.random.RandomState(0).standard_normal(1 << 20)
    for panels, row in zip(axes, rows, strict=True):
        signals = [row["mixture"]["mix"], *row["mixture"]["sources"]]
        titles = [f"{row['mix_id']}: mixture", *row["labels"]]
        for panel in panels:
            panel.set_axis_off()
        for panel, signal, title in zip(panels, signals, titles, strict=False):
            panel.set_axis_on()
            panel.set_title(title, fontsize=9)
            rate = row["mixture"]["sampling_rate"]
            audible = signal + 1e-6 * noise[: signal.size]  # digital silence has no level in dB
            panel.specgram(audible, NFFT=1024, Fs=rate, noverlap=512, vmin=-120, vmax=-40)
            panel.set_ylim(0, 12000)
            panel.tick_params(labelsize=6)
        panels[0].set_ylabel("Hz", fontsize=7)
        panels[0].set_xlabel("seconds", fontsize=7)
    figure.savefig(file, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
