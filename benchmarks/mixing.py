"""Mixtures a second against the reference algorithm, as ratios measured in one run.

Each way runs in a process of its own, one at a time, in turns: what one does to its process (allocator, caches,
threads) neither helps nor hurts another.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Collection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .ways import WAYS, WAYS_AT_OTHER_RATE, WAYS_TO_TRAIN, Corpus

ROUNDS = 7
_SECONDS_A_ROUND = 2.0


def measure(corpus: Corpus, chosen: Collection[str] = tuple(WAYS)) -> None:
    """Print a table: each way of getting at the training mixtures of a corpus, and its ratio to the first."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for way in chosen:
        pipes[way], far_end = context.Pipe()
        # not a daemon: those may have no workers
        context.Process(target=_serve, args=(far_end, way, corpus)).start()
        far_end.close()
    times: dict[str, list[float]] = {way: [] for way in chosen}
    for round_ in range(ROUNDS + 1):
        for way, pipe in pipes.items():
            pipe.send("go")
            seconds = pipe.recv()
            if round_:  # the first warms up
                times[way].append(seconds)
    for pipe in pipes.values():
        pipe.close()
    base = next(iter(times.values()))
    print(f"\n{corpus.name}: {ROUNDS} rounds, median (lowest to highest)")
    for way, seconds in times.items():
        ratios = sorted(a / b for a, b in zip(base, seconds, strict=True))
        rate = 1 / statistics.median(seconds)
        print(f"  {way:50} {rate:6.0f} / s   {statistics.median(ratios):6.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(
        "  bytes: "
        + ", ".join(f"{name} {_size(getattr(corpus, name)) / 1e6:.0f} MB" for name in ("sources", "prepared", "tars"))
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _serve(pipe: Connection, way: str, corpus: Corpus) -> None:
    """In a process: at each word, render for a while and answer with the seconds a mixture."""
    render = (WAYS | WAYS_AT_OTHER_RATE | WAYS_TO_TRAIN)[way](corpus)
    mixtures = itertools.chain.from_iterable(render() for _ in itertools.count())  # a round goes on where one ended
    try:
        while pipe.recv():
            seen, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < _SECONDS_A_ROUND or not seen:
                mixture = next(mixtures)  # held while the next is made, as a training loop does
                seen += _count(mixture)
            pipe.send(elapsed / seen)
    except EOFError:
        os._exit(0)  # whatever its worker processes do


def _count(mixture: Any) -> int:
    """The mixtures of a batch, whose mixes are an array of two dimensions; of anything else, one."""
    return len(mixture) if getattr(mixture, "ndim", 0) == 2 else 1
