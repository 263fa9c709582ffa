"""Mixtures a second against the reference algorithm, as ratios measured in one run.

Each way runs in a process of its own, one at a time, in turns: what one does to its process (allocator, caches,
threads) neither helps nor hurts another.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path

ROUNDS = 7
_SECONDS_A_ROUND = 2.0

Render = Callable[[], Iterable[object]]


def prepare_reference(sources: Path, metadata: Path) -> Render:
    from hive_datasets.recipe import read_recipes
    from tests.reference import render_mixture

    rows = [recipe.to_dict() for recipe in read_recipes(str(metadata / "train"))]
    return lambda: (render_mixture(sources, row) for row in rows)


def prepare_mixer(sources: Path, metadata: Path) -> Render:
    from hive_datasets import Mixer, read_recipes

    recipes, mixer = list(read_recipes(str(metadata / "train"))), Mixer(sources)
    return lambda: map(mixer, recipes)


def prepare_stream(sources: Path, metadata: Path) -> Render:
    from hive_datasets import load_dataset

    stream = load_dataset("hive", data_dir=str(metadata), dataset_paths=str(sources), split="train", streaming=True)
    return lambda: stream


def prepare_threads(sources: Path, metadata: Path) -> Render:
    stream = prepare_stream(sources, metadata)()
    return lambda: stream.decode(num_threads=4)  # type: ignore[attr-defined]


WAYS = {
    "reference: whole chunk, float64, librosa": prepare_reference,
    "Mixer": prepare_mixer,
    "load_dataset, streaming": prepare_stream,
    "load_dataset, decode(num_threads=4)": prepare_threads,
}


def measure(name: str, sources: Path, metadata: Path) -> None:
    """Print a table: each way of rendering the training mixtures of `metadata`, and its ratio to the reference."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for way in WAYS:
        pipes[way], far_end = context.Pipe()
        context.Process(target=_serve, args=(far_end, way, sources, metadata), daemon=True).start()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_ in range(ROUNDS + 1):
        for way, pipe in pipes.items():
            pipe.send("go")
            seconds = pipe.recv()
            if round_:  # the first warms up
                times[way].append(seconds)
    for pipe in pipes.values():
        pipe.close()
    base, mixer, stream, _ = times.values()
    print(f"\n{name}: {ROUNDS} rounds, median (lowest to highest)")
    for way, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(base, seconds, strict=True))
        rate = 1 / statistics.median(seconds)
        print(f"  {way:42} {rate:6.0f} / s   {statistics.median(ratios):5.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    overhead = statistics.median(a / b - 1 for a, b in zip(stream, mixer, strict=True))
    print(f"  overhead of datasets over the Mixer: {100 * overhead:.1f} %")


def _serve(pipe: Connection, way: str, sources: Path, metadata: Path) -> None:
    """In a process: at each word, render for a while and answer with the seconds a mixture."""
    render = WAYS[way](sources, metadata)
    try:
        while pipe.recv():
            mixtures, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < _SECONDS_A_ROUND:
                for _mixture in render():  # which holds one while the next is made, as a training loop does
                    mixtures += 1
            pipe.send(elapsed / mixtures)
    except EOFError:
        pass
