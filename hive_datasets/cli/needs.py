"""``hive-datasets needs``: what mixtures need of the corpora, and the most mixtures for a budget."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..acquisition.needs import find_requirements
from ..acquisition.report import format_requirements
from .arguments import (
    add_format,
    add_subset,
    parse_file,
    parse_name,
    parse_rate,
    parse_size,
    progress_of,
    roots_of,
    subset_of,
)
from .parser import add_parser

_DESCRIPTION = """\
Says what mixtures need of the corpora before anything is downloaded: files, hours, bytes as published and as prepared
sources, where each corpus is to be had, on which terms, and what is there already.

--corpora   only mixtures all of whose sources are of these
--budget    of those, the most whose prepared sources fit into so many bytes. Greedily: first clips that the fewest
            mixtures use for their bytes are dropped until the rest fits, then those that complete the most mixtures for
            their bytes are added. With --balance, mixtures of rare labels count more.
--write-index writes the mixtures, which --available-list of every command and available_only= take.
--list      writes the needed files, a text file a corpus."""

_EXAMPLES = [
    "METADATA --split train",
    "METADATA --budget 200GB --write-index mixtures.parquet --list files",
    "METADATA --corpora ESC50 FSD50K Clotho",
]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "needs", "what mixtures need, and the most for a budget", _DESCRIPTION, _EXAMPLES)
    add_subset(parser)
    parser.add_argument(
        "--corpora", nargs="+", action="extend", type=parse_name, metavar="NAME", help="only mixtures of these corpora"
    )
    parser.add_argument("--budget", metavar="BYTES", type=parse_size, help="of prepared sources, such as 200GB")
    parser.add_argument("--balance", action="store_true", help="with --budget: mixtures of rare labels count more")
    parser.add_argument(
        "--sampling-rate", metavar="HZ", type=parse_rate, default=44100, help="of prepared sources (default: 44100)"
    )
    parser.add_argument("--list", metavar="DIR", type=Path, help="write the needed files, a text file a corpus")
    parser.add_argument(
        "--write-index", type=parse_file(".parquet"), metavar="FILE", help="write the mixtures, as parquet"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Count, and say what is needed."""
    if options.balance and options.budget is None:
        raise argparse.ArgumentTypeError("--balance is for --budget")
    needs = find_requirements(
        subset_of(options),
        roots_of(options),
        corpora=options.corpora,
        budget=options.budget,
        balanced=options.balance,
        sampling_rate=options.sampling_rate,
        progress=progress_of(options),
    )
    if options.list is not None:
        needs.write_lists(options.list)
        print(f"files listed in {options.list}", file=sys.stderr)
    if options.write_index is not None:
        count = needs.write_mixtures(options.write_index)
        print(f"{count:,} mixtures written to {options.write_index}", file=sys.stderr)
    print(json.dumps(needs.to_dict(), indent=2) if options.format == "json" else format_requirements(needs))
    return 0
