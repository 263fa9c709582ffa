"""Ways of getting at mixtures: each makes a function that iterates over the mixtures of a corpus once.

A mixture is its sources, float32 of shape (N, T), and their sum, (T,).
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Called for each round; what it yields counts as one mixture, or as as many as its length.
Render = Callable[[], Iterable[Any]]
#: Mixtures of a batch, where there are batches.
BATCH = 16
#: A rate in Hz that is not the metadata's.
OTHER_RATE = 32000


@dataclass(frozen=True)
class Corpus:
    """What is measured on.

    Attributes:
        name: for the table.
        sources: the folder of the corpora.
        metadata: the folder of the metadata.
        prepared: the folder of the prepared sources.
        tars: the folder of tars, rendered as the authors do.
    """

    name: str
    sources: Path
    metadata: Path
    prepared: Path
    tars: Path


def reference(corpus: Corpus) -> Render:
    from hive_datasets.recipe import read_recipes
    from tests.reference import render_mixture

    rows = [recipe.to_dict() for recipe in read_recipes(str(corpus.metadata / "train"))]
    return lambda: (render_mixture(corpus.sources, row) for row in rows)


def lhotse_cuts(corpus: Corpus) -> Render:
    from hive_datasets import read_recipes

    recordings = functools.lru_cache(maxsize=None)(_open_recording)
    cuts = [
        _mix_cuts(recipe, [recordings(corpus.sources / source.path) for source in recipe.sources])
        for recipe in read_recipes(corpus.metadata / "train")
    ]

    def render() -> Iterator[Any]:
        for cut in cuts:
            tracks = [track[0] for track in cut.load_audio(mixed=False)]
            yield tracks, np.sum(tracks, axis=0)

    return render


def _open_recording(file: Path) -> Any:
    from lhotse import Recording

    return Recording.from_file(file)


def _mix_cuts(recipe: Any, recordings: list[Any]) -> Any:
    mixed = None
    for source, recording in zip(recipe.sources, recordings, strict=True):
        start = source.chunk_start_second + source.crop_start_second
        cut = recording.to_cut().truncate(
            offset=start, duration=min(recipe.target_duration, recording.duration - start)
        )
        if recording.num_channels > 1:
            cut = cut.to_mono(mono_downmix=True)
        if recording.sampling_rate != recipe.sample_rate:
            cut = cut.resample(recipe.sample_rate)
        cut = cut.pad(duration=recipe.target_duration)
        cut = cut.perturb_volume(source.applied_weight * recipe.global_normalization_factor)
        mixed = cut if mixed is None else mixed.mix(cut)
    return mixed


def rendered_tars(corpus: Corpus) -> Render:
    import webdataset

    def decode(sample: dict[str, Any]) -> Any:
        stems = [_read_wav(sample[f"s{n}.wav"]) for n in range(1, json.loads(sample["json"])["speaker_num"] + 1)]
        return np.stack(stems), _read_wav(sample["mix.wav"])

    shards = sorted(str(file) for file in corpus.tars.glob("*.tar"))
    return lambda: webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).map(decode)


def _read_wav(data: bytes) -> Any:
    import soundfile

    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def mixer(corpus: Corpus, prepared: bool = False) -> Render:
    from hive_datasets import Mixer, read_recipes

    recipes = list(read_recipes(corpus.metadata / "train"))
    render = Mixer(corpus.sources, prepared=corpus.prepared if prepared else False)
    return lambda: map(render, recipes)


def other_rate(corpus: Corpus, alignment: Any, prepared: bool = False) -> Render:
    from hive_datasets import Mixer, read_recipes

    recipes = list(read_recipes(corpus.metadata / "train"))
    where = corpus.prepared if prepared else False
    render = Mixer(corpus.sources, OTHER_RATE, prepared=where, alignment=alignment)
    return lambda: map(render, recipes)


def threads(corpus: Corpus, num_threads: int) -> Render:
    from hive_datasets import RenderMixtures, read_recipes

    recipes = list(read_recipes(corpus.metadata / "train"))
    render = RenderMixtures(num_threads=num_threads, dataset_paths=corpus.sources, prepared=False, reuse=True)
    batches = [recipes[start : start + BATCH] for start in range(0, len(recipes), BATCH)]
    return lambda: (render(batch)["mix"] for batch in batches)


def stream(corpus: Corpus, prepared: bool = False) -> Render:
    found = _load(corpus, prepared)
    return lambda: map(_render_row, found)


def decode_threads(corpus: Corpus, num_threads: int) -> Render:
    found = _load(corpus)
    return lambda: map(_render_row, found.decode(num_threads=num_threads))


def loader(corpus: Corpus, prepared: bool = False) -> Render:
    """Audio from worker processes."""
    from torch.utils.data import DataLoader

    found = DataLoader(_forever(_load(corpus, prepared)), batch_size=None, num_workers=2)
    return lambda: found


def recipe_loader(corpus: Corpus) -> Render:
    """Recipes from worker processes, rendered from prepared sources in this one."""
    from torch.utils.data import DataLoader

    from hive_datasets import RenderMixtures

    found = DataLoader(_forever(_load(corpus, True).decode(False)), batch_size=BATCH, num_workers=2, collate_fn=list)
    render = RenderMixtures(dataset_paths=corpus.sources, prepared=corpus.prepared, reuse=True)
    return lambda: (render(rows)["mix"] for rows in found)


def batches(corpus: Corpus) -> Render:
    """Whole batches from prepared sources, in the recipes' order."""
    from hive_datasets import RenderMixtures, read_recipes

    recipes = list(read_recipes(corpus.metadata / "train"))
    render = RenderMixtures(dataset_paths=corpus.sources, prepared=corpus.prepared, reuse=True)
    chunks = [recipes[start : start + BATCH] for start in range(0, len(recipes), BATCH)]
    return lambda: (render(chunk)["mix"] for chunk in chunks)


def training(corpus: Corpus, num_workers: int, **options: Any) -> Render:
    """Batches with targets from prepared sources, in an elastic order of a hundred times the rows."""
    from datasets import concatenate_datasets

    from hive_datasets import RenderExamples, SelectTarget, TrainingLoader, load_dataset

    where = {"data_dir": str(corpus.metadata), "dataset_paths": str(corpus.sources), "prepared": str(corpus.prepared)}
    cache = str(corpus.prepared.parent / "tables")
    ds = load_dataset("hive", split="train", cache_dir=cache, **where)
    render = RenderExamples(select=SelectTarget(silent=0.05), **options)
    loader = TrainingLoader(concatenate_datasets([ds] * 100), BATCH, render, num_workers=num_workers)
    return lambda: (batch["mixture"] for batch in loader)


def writing(corpus: Corpus) -> Render:
    """The floor: arrays of the right shapes, written once."""
    from hive_datasets import Mixer, read_recipes

    shapes = [(recipe.num_sources, 176400) for recipe in read_recipes(corpus.metadata / "train")]
    Mixer(corpus.sources)  # which tells the C library to keep freed memory
    return lambda: (_write(shape) for shape in shapes)


def writing_loader(corpus: Corpus) -> Render:
    """The floor of worker processes: such arrays from them, made once."""
    from torch.utils.data import DataLoader

    found: Any = DataLoader(
        _Constant(),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=2,
    )
    return lambda: found


class _Constant:
    """Arrays of 3 and 4 sources, over and over, as an iterable data set of PyTorch."""

    def __init__(self) -> None:
        self.mixtures = [_write((sources, 176400)) for sources in (3, 4)]

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Any:
        return self.mixtures[index % 2]


def _write(shape: tuple[int, int]) -> Any:
    sources, mix = np.empty(shape, np.float32), np.empty(shape[1], np.float32)
    sources.fill(1.0)
    mix.fill(1.0)
    return sources, mix


def _render_row(row: Any) -> Any:
    row["mixture"]["mix"]  # which is rendered when it is asked for
    return row


def _load(corpus: Corpus, prepared: bool = False) -> Any:
    from hive_datasets import load_dataset

    return load_dataset(
        "hive",
        data_dir=str(corpus.metadata),
        dataset_paths=str(corpus.sources),
        prepared=str(corpus.prepared) if prepared else False,
        split="train",
        streaming=True,
    )


def _forever(found: Any) -> Any:
    """So that no new worker processes are begun."""
    return found.repeat(None)


#: In the order of the table; the first is what the others are compared with.
WAYS: dict[str, Callable[[Corpus], Render]] = {
    "reference: whole chunk, float64, librosa": reference,
    "lhotse: MixedCut.load_audio": lhotse_cuts,
    "webdataset: tars rendered before": rendered_tars,
    "Mixer": mixer,
    "RenderMixtures, 2 threads": functools.partial(threads, num_threads=2),
    "RenderMixtures, 4 threads": functools.partial(threads, num_threads=4),
    "load_dataset, streaming": stream,
    "load_dataset, decode(num_threads=4)": functools.partial(decode_threads, num_threads=4),
    "load_dataset, DataLoader of 2 workers": loader,
    "prepared: Mixer": functools.partial(mixer, prepared=True),
    "prepared: load_dataset, streaming": functools.partial(stream, prepared=True),
    "prepared: load_dataset, DataLoader of 2 workers": functools.partial(loader, prepared=True),
    "prepared: recipes by 2 workers, rendered here": recipe_loader,
    "floor: DataLoader of 2 workers, the same arrays": writing_loader,
    "floor: writing the arrays": writing,
}
#: Batches to train on, against batches alone.
WAYS_TO_TRAIN: dict[str, Callable[[Corpus], Render]] = {
    "prepared: RenderMixtures alone, batches of 16": batches,
    "TrainingLoader, 2 workers": functools.partial(training, num_workers=2),
    "TrainingLoader, no workers": functools.partial(training, num_workers=0),
    "TrainingLoader, 2 workers, all signals": functools.partial(
        training, num_workers=2, signals=("target", "interference", "sources")
    ),
    "TrainingLoader, 2 workers, tensors": functools.partial(training, num_workers=2, device="cpu"),
}
#: Mixtures of another rate.
WAYS_AT_OTHER_RATE: dict[str, Callable[[Corpus], Render]] = {
    "at 32 kHz: Mixer, alignment own": functools.partial(other_rate, alignment="own"),
    "at 32 kHz: Mixer": functools.partial(other_rate, alignment="authors"),
    "at 32 kHz: Mixer, prepared at 44.1 kHz": functools.partial(other_rate, alignment="authors", prepared=True),
}
