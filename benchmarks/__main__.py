"""Everything in one run: ``python -m benchmarks [--only PART] [--folder FOLDER]``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from pathlib import Path

import datasets

from . import acquisition, curation, evaluation, metadata, mixing, rendering, scale, statistics, training, verification
from .corpus import make_corpus, make_prepared, make_tars
from .ways import WAYS_AT_OTHER_RATE, WAYS_TO_TRAIN, Corpus

PARTS = [
    "mixing",
    "training",
    "scale",
    "rendering",
    "metadata",
    "verification",
    "curation",
    "evaluation",
    "acquisition",
]
SHARED = Path(__file__).parents[2] / "shared" / "data"


def add_renditions(name: str, folder: Path, sources: Path, metadata: Path) -> Corpus:
    """A corpus, prepared and rendered too."""
    stem = name.split()[0]
    prepared = make_prepared(folder / f"prepared-{stem}", sources, metadata)
    return Corpus(name, sources, metadata, prepared, make_tars(folder / f"tars-{stem}", sources, metadata))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / ".data", help="for generated data, 6 GB")
    options = parser.parse_args()
    fast = " and ".join(f"{name}: {bool(importlib.util.find_spec(name))}" for name in ("miniaudio", "numba"))
    versions = f"datasets {datasets.__version__}, Python {platform.python_version()}, {fast}"
    print(f"{os.cpu_count()} cores, {platform.machine()}, {versions}")
    if options.only in (None, "curation"):
        curation.measure_chunks(options.folder)
        curation.measure_memory(options.folder)
    if options.only in (None, "evaluation"):
        evaluation.measure_scores(options.folder)
    if options.only in ("curation", "evaluation"):
        raise SystemExit
    corpus = make_corpus(options.folder)
    generated = add_renditions("generated corpus", options.folder, corpus / "sources", corpus / "metadata")
    if options.only in (None, "mixing"):
        mixing.measure(generated)
        mixing.measure(generated, WAYS_AT_OTHER_RATE)
        if SHARED.is_dir():
            mixing.measure(add_renditions("mini", options.folder, SHARED / "corpora", SHARED / "mini" / "hub"))
    if options.only in (None, "acquisition"):
        acquisition.measure_split_zip(options.folder)
        acquisition.measure_parquet(options.folder, corpus)
        acquisition.measure_old_parquet(options.folder, corpus)
        acquisition.measure_needs(options.folder)
    if options.only in (None, "training"):
        mixing.measure(generated, WAYS_TO_TRAIN)
        training.measure_table(options.folder, corpus)
    if options.only in (None, "scale"):
        scale.measure_prepare(options.folder, generated)
        scale.measure_rows(options.folder, generated)
        scale.measure_memory(options.folder, generated)
    if options.only in (None, "rendering"):
        rendering.measure_tars(options.folder)
    if options.only in (None, "metadata"):
        statistics.measure_statistics(options.folder, corpus)
        metadata.measure_import()
        metadata.measure_first_example(options.folder, corpus)
        metadata.measure_convert(options.folder, corpus)
    if options.only in (None, "verification"):
        verification.measure_index(options.folder)
        verification.measure_exists(options.folder)
        verification.measure_header(options.folder)
