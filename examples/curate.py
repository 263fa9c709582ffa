"""Curate recordings of the demo's sounds, from weak labels to single events, with models that fit on this page.

    python examples/curate.py FOLDER

Leaves ``FOLDER/curated``: what was kept, what was dropped and why, and ``examples.html`` to hear both. The models know
the spectrum of each of the demo's sounds, and nothing else; put `OpenAIJudge`, `TransformersJudge`, `SherpaTagger` or
your own in their place.
"""

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset

import hive_datasets
from hive_datasets.backends import Answer, Resample
from hive_datasets.curation import (
    Chunk,
    CurateMixtures,
    CurationPipeline,
    LeafLabel,
    MinScore,
    SingleEvent,
    SingleLabel,
    SuperResolve,
    TagAudioSet,
    best_mixtures,
    run_pipeline,
)
from hive_datasets.curation.page import table_of, write_examples
from hive_datasets.demo.recipes import list_sounds
from hive_datasets.ontology import Ontology, audioset_classes


def spectrum_of(samples: Any, sampling_rate: int) -> Any:
    """The shape of a sound's spectrum: of unit length, in 48 bands from 50 Hz to 7.5 kHz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    edges = np.geomspace(50, 7500, 49) * len(samples) / sampling_rate
    bands = np.add.reduceat(power, np.minimum(edges.astype(int), len(power) - 1))[:-1]
    levels = np.sqrt(bands + 1e-12)
    return levels / np.linalg.norm(levels)


@cache
def known_spectra() -> dict[str, Any]:
    """The spectrum of each of the demo's sounds, by label."""
    found = {}
    for sound in list_sounds():
        samples, rate = soundfile.read(hive_datasets.demo_folder() / "sources" / sound.path, always_2d=True)
        found[sound.label] = spectrum_of(samples.mean(axis=1), rate)
    return found


def likeness(clip: Any) -> dict[str, float]:
    """How like each known sound a clip is, from 0 to 1."""
    spectrum = spectrum_of(clip.samples, clip.sampling_rate)
    return {label: float(np.clip(spectrum @ known, 0, 1)) for label, known in known_spectra().items()}


@dataclass(frozen=True)
class SpectrumTagger:
    """An AudioTagger: as probable as the spectra are alike."""

    model: str = "spectra of the demo"
    version: str = "1"

    def tag(self, clips: Any) -> Any:
        """Probabilities of shape (clips, 527)."""
        alike = [likeness(clip) for clip in clips]
        return np.array([[each.get(name, 0.0) for name in audioset_classes()] for each in alike])


@dataclass(frozen=True)
class SpectrumJudge:
    """An AudioJudge: a clip that is like none of the sounds by itself has several."""

    model: str = "spectra of the demo"
    version: str = "1"

    def ask(self, clips: Any, questions: Any) -> list[Answer]:
        """True or False; or the number of the label that is most alike."""
        return [self._answer(likeness(clip), question) for clip, question in zip(clips, questions, strict=True)]

    def _answer(self, alike: dict[str, float], question: Any) -> Answer:
        if question.choices == ("True", "False"):
            single = max(alike.values())
            return Answer("True" if single > 0.9 else "False", {"True": single, "False": 1 - single})
        listed = [line.split(": ", 1)[1] for line in question.text.splitlines() if line[:1].isdigit()]
        best = max(listed, key=lambda label: alike.get(label, 0.0))
        return Answer(str(listed.index(best)) if alike.get(best, 0.0) > 0.5 else "-1")


def write_recordings(folder: Path) -> Path:
    """Each sound alone, under the label of what it is a kind of; and pairs of them, some with one label only."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = hive_datasets.demo_folder() / "sources"
    sounds = list_sounds()
    records: list[dict[str, Any]] = []
    for sound in sounds:
        weak = Ontology.hive().parents(sound.label) if sound.label in Ontology.hive() else []
        records.append({"audio_path": str(sources / sound.path), "text_label": (weak or [sound.label])[0]})
    for number, (one, other) in enumerate(zip(sounds[::2], sounds[1::2], strict=True)):
        first, second = (soundfile.read(sources / sound.path, always_2d=True) for sound in (one, other))
        length = min(len(first[0]), len(second[0]))
        together = first[0][:length].mean(axis=1) + second[0][:length].mean(axis=1)
        soundfile.write(folder / f"pair-{number:02d}.flac", together / 2, first[1])
        labels = [one.label] if number % 2 else [one.label, other.label]
        records.append({"audio_path": f"pair-{number:02d}.flac", "text_label": labels})
    records.append({"audio_path": "lost.wav", "text_label": "Rain"})
    (folder / "recordings.json").write_text(json.dumps(records, indent=1))
    return folder / "recordings.json"


def main(folder: Path) -> None:
    """Curate recordings, and then the demo's mixtures."""
    pipeline = CurationPipeline(
        [
            Chunk(min_energy=1e-4),
            SingleLabel(),
            SingleEvent(SpectrumJudge()),
            MinScore("single_event", 0.9),
            TagAudioSet(SpectrumTagger(), relabel=False),
            MinScore("tag", 0.9),
            LeafLabel(SpectrumJudge()),
            MinScore("leaf_label"),
            SuperResolve(Resample()),
        ]
    )
    curation = run_pipeline(pipeline, write_recordings(folder / "recordings"), folder / "curated", resume=True)
    for step, what, number in table_of(curation):
        print(f"{step:24} {what:32} {number:>5}")
    print(f"\n{write_examples(curation)}: what was kept and dropped, to hear")

    stream = hive_datasets.load_dataset("hive", "demo", split="train", streaming=True)
    scored = stream.map(CurateMixtures(SpectrumJudge()), batched=True, batch_size=8)
    wanted = ("mix_id", "num_sources", "confusion_score")
    scores = Dataset.from_list([{name: row[name] for name in wanted} for row in scored])
    best = best_mixtures(scores)
    print(f"{len(best)} of {len(scores)} mixtures are the better half of their number of sources, the first: {best[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
