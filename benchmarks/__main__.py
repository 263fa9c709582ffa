"""Everything in one run: ``python -m benchmarks [--only mixing|metadata|verification] [--folder FOLDER]``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from pathlib import Path

import datasets

from . import metadata, mixing, verification
from .corpus import make_corpus

SHARED = Path(__file__).parents[2] / "shared" / "data"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=["mixing", "metadata", "verification"])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / ".data", help="for generated data, 3 GB")
    options = parser.parse_args()
    fast = "with" if importlib.util.find_spec("miniaudio") else "without"
    versions = f"datasets {datasets.__version__}, Python {platform.python_version()}, {fast} miniaudio"
    print(f"{os.cpu_count()} cores, {platform.machine()}, {versions}")
    corpus = make_corpus(options.folder)
    if options.only in (None, "mixing"):
        mixing.measure("generated corpus", corpus / "sources", corpus / "metadata")
        if SHARED.is_dir():
            mixing.measure("mini", SHARED / "corpora", SHARED / "mini" / "hub")
    if options.only in (None, "metadata"):
        metadata.measure_import()
        metadata.measure_first_example(options.folder, corpus)
        metadata.measure_convert(options.folder, corpus)
    if options.only in (None, "verification"):
        verification.measure_index(options.folder)
        verification.measure_exists(options.folder)
        verification.measure_header(options.folder)
