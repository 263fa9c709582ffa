"""``hive-datasets verify``, and ``hive-verify-sources``: which of the user's copies of the corpora are complete."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..verification.checks import LEVELS
from ..verification.page import write_page
from ..verification.report import REPORT_SUFFIXES, format_report, write_findings, write_usable_mixtures
from ..verification.result import Verification
from ..verification.verify import verify_sources
from .arguments import (
    add_format,
    add_subset,
    add_workers,
    parse_file,
    parse_name,
    progress_of,
    roots_of,
    subset_of,
)
from .parser import add_parser

_DESCRIPTION = """\
Checks every source file that Hive's metadata names, once, and says which mixtures can be used.

METADATA is a file, a folder or an fsspec URL of parquet or JSON; without it, what load_dataset("hive") reads.
--check exists   looks files up in an index of each root
        header   also compares rate and length with what the mixtures need
        decode   also decodes every needed frame: truncated, silent, NaN
A file counts as found; as a variant, if under another name by a known rule; as missing; as too short for a mixture;
as unreadable (not audio, empty, cut short); or as wrong (several files fit, silent, NaN, another rate than the corpus).
What was seen of a file is remembered until its size or time of modification changes, also after Ctrl-C.
The report goes to standard output, progress to standard error."""

_EXAMPLES = [
    "METADATA --dataset-paths PATHS",
    "METADATA --dataset-paths PATHS --check decode --html page.html --write-index usable.parquet",
    "--demo --check header",
]
_LEFT = "what was verified is kept: run it again to go on"


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "verify", "check your copies of the corpora", _DESCRIPTION, _EXAMPLES, _LEFT)
    add_subset(parser)
    parser.add_argument("--check", choices=LEVELS, default="exists", help="how closely to look (default: exists)")
    parser.add_argument(
        "--corpus", nargs="+", action="extend", type=parse_name, metavar="NAME", help="only these corpora"
    )
    add_workers(parser, "files looked into")
    add_format(parser)
    suffixes = ", ".join(REPORT_SUFFIXES)
    parser.add_argument(
        "--report",
        type=parse_file(*REPORT_SUFFIXES),
        metavar="FILE",
        help=f"write all findings, a row each ({suffixes})",
    )
    parser.add_argument("--html", type=parse_file(".html", ".htm"), metavar="FILE", help="write everything as one page")
    parser.add_argument(
        "--write-index", type=parse_file(".parquet"), metavar="FILE", help="write the usable mixtures, as parquet"
    )
    parser.add_argument("--rescan", action="store_true", help="list every root and look into every file anew")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, and say what was found."""
    if options.corpus and options.write_index:
        raise argparse.ArgumentTypeError("--write-index needs all corpora of a mixture: leave --corpus out")
    if options.html and options.html == options.report:
        raise argparse.ArgumentTypeError("--report and --html must be different files")
    result = verify_sources(
        subset_of(options),
        roots_of(options),
        check=options.check,
        corpora=options.corpus,
        num_workers=options.num_workers,
        rescan=options.rescan,
        progress=progress_of(options),
    )
    return 2 if not _write(result, options) else 0 if result.is_clean else 1


def _write(result: Verification, options: argparse.Namespace) -> bool:
    """The report first; then the files that were asked for, each whatever becomes of the others; whether all are."""
    text = json.dumps(result.to_dict(), indent=2) if options.format == "json" else format_report(result)
    try:
        # names of files may have what UTF-8 has not
        print(text.encode("utf-8", "backslashreplace").decode(), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    outputs: list[tuple[Path | None, Callable[[Verification, Path], object], str]] = [
        (options.report, write_findings, "findings"),
        (options.html, write_page, "page"),
        (options.write_index, write_usable_mixtures, "usable mixtures"),
    ]
    all_written = True
    for file, write, what in outputs:
        if file is not None:
            try:
                count = write(result, file)
                print(
                    f"{what} written to {file}" if count is None else f"{count:,} {what} written to {file}",
                    file=sys.stderr,
                )
            except OSError as error:
                print(f"hive-datasets: {what} cannot be written to {file}: {error}", file=sys.stderr)
                all_written = False
    return all_written
