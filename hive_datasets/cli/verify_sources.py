"""``hive-verify-sources``: which of the user's copies of the corpora are complete.

Exit codes: 0 every needed file can be used, 1 there are findings, 2 it could not be verified (a mistake in the
command, no metadata, no roots), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import __version__
from ..errors import HiveError
from ..verification.checks import LEVELS
from ..verification.page import write_page
from ..verification.report import REPORT_SUFFIXES, format_report, write_findings, write_usable_mixtures
from ..verification.result import Verification
from ..verification.verify import no_progress, verify_sources

_DESCRIPTION = """\
Checks every source file that Hive's metadata names, once, and says which mixtures can be used.

METADATA is a file, a folder or an fsspec URL of parquet or JSON; without it, what load_dataset("hive") reads.
--check exists   looks files up in an index of each root
        header   also compares rate and length with what the mixtures need
        decode   also decodes every needed frame: truncated, silent, NaN
What was seen of a file is remembered until its size or time of modification changes, also after Ctrl-C.
The report goes to standard output, progress to standard error.

exit codes: 0 every needed file can be used (if under a known variant of its name), 1 there are findings,
            2 it could not be verified, 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        result = verify_sources(
            options.metadata,
            options.dataset_paths,
            check=options.check,
            splits=options.split,
            corpora=options.corpus,
            jobs=options.jobs,
            rescan=options.rescan,
            progress=no_progress if options.quiet else show_progress,
        )
        _write(result, options)
    except KeyboardInterrupt:
        print("hive-verify-sources: interrupted; what was verified is kept: run it again to go on", file=sys.stderr)
        return 130
    except (HiveError, OSError) as error:
        print(f"hive-verify-sources: {error}", file=sys.stderr)
        return 2
    return 0 if result.is_clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hive-verify-sources", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metadata", metavar="METADATA", nargs="?", help="default: what load_dataset reads")
    parser.add_argument(
        "--dataset-paths", metavar="PATHS", help="JSON text, a JSON file, a folder, an archive or a URL"
    )
    parser.add_argument("--check", choices=LEVELS, default="exists", help="how closely to look (default: exists)")
    parser.add_argument("--split", action="append", metavar="SPLIT", help="only this split; may be repeated")
    parser.add_argument("--corpus", action="append", metavar="NAME", help="only this corpus; may be repeated")
    parser.add_argument("--jobs", type=_positive, metavar="N", help="files looked into at once (default: one a core)")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="of the report on standard output")
    suffixes = ", ".join(REPORT_SUFFIXES)
    parser.add_argument(
        "--report", type=_report_file, metavar="FILE", help=f"write all findings, a row each ({suffixes})"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write everything as one page")
    parser.add_argument("--write-index", type=Path, metavar="FILE", help="write the usable mixtures, as parquet")
    parser.add_argument("--rescan", action="store_true", help="list every root anew")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--version", action="version", version=f"hive-verify-sources {__version__}")
    return parser


def _write(result: Verification, options: argparse.Namespace) -> None:
    """The report first; then the files that were asked for."""
    text = json.dumps(result.to_dict(), indent=2) if options.format == "json" else format_report(result)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has; the files are still wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if options.report:
        print(f"{write_findings(result, options.report):,} findings written to {options.report}", file=sys.stderr)
    if options.html:
        write_page(result, options.html)
        print(f"page written to {options.html}", file=sys.stderr)
    if options.write_index:
        count = write_usable_mixtures(result, options.write_index)
        print(f"{count:,} usable mixtures written to {options.write_index}", file=sys.stderr)


@contextlib.contextmanager
def show_progress(step: str, unit: str, total: int | None) -> Iterator[Callable[[int], Any]]:
    """Progress on standard error, with rate and time left."""
    with tqdm(desc=step, unit=f" {unit}", total=total, file=sys.stderr) as bar:
        yield bar.update


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _report_file(text: str) -> Path:
    if not text.lower().endswith(REPORT_SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} must end with one of {', '.join(REPORT_SUFFIXES)}")
    return Path(text)
