"""``hive-datasets stats``: labels, pairs of labels, corpora, SNRs and durations."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import OutputError, describe
from ..statistics import Statistics, compute_statistics
from ..statistics.report import draw_statistics, find_matplotlib, format_statistics
from ..utils.files import written_aside
from .arguments import add_format, add_subset, parse_file, parse_positive, progress_of, roots_of, subset_of
from .parser import add_parser

_DESCRIPTION = """\
Counts what mixtures are made of: labels and which of them occur together, corpora, SNRs, durations.

No audio is read. The report goes to standard output, progress to standard error."""

_EXAMPLES = ["METADATA --split train", "--demo --format json", "METADATA --picture stats.png"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(
        commands, "stats", "count labels, pairs of labels, corpora, SNRs, durations", _DESCRIPTION, _EXAMPLES
    )
    add_subset(parser)
    add_format(parser)
    parser.add_argument("--top", metavar="N", type=parse_positive, default=20, help="rows of a table (default: 20)")
    parser.add_argument("--picture", metavar="FILE", type=parse_file(".png"), help="draw it all as one picture")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Count, and say what was counted."""
    if options.picture is not None:  # before all is counted
        _check_picture(options.picture)
    found = compute_statistics(subset_of(options), roots_of(options), progress=progress_of(options))
    is_json = options.format == "json"
    report = json.dumps(found.to_dict(), indent=2) if is_json else format_statistics(found, options.top)
    try:  # before the report, of which a reader may take the head only
        if options.picture is not None:
            _write_picture(found, options.picture)
    finally:
        print(report)
    return 0


def _check_picture(file: Path) -> None:
    find_matplotlib()
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"--picture {file} is {'a folder' if file.is_dir() else 'in no folder'}")


def _write_picture(found: Statistics, file: Path) -> None:
    picture = draw_statistics(found)
    try:
        with written_aside(file) as aside:
            aside.write_bytes(picture)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {describe(error)}") from None
    print(f"picture written to {file}", file=sys.stderr)
