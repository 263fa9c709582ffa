"""``hive-verify-sources``: which of the user's copies of the corpora are complete.

Exit codes: 0 every needed file can be used, 1 there are findings, 2 it could not be verified (a mistake in the
command, no metadata, no roots), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .._version import __version__
from ..errors import HiveError, SourceRootError
from ..utils.progress import no_progress, show_progress
from ..verification.checks import LEVELS
from ..verification.page import write_page
from ..verification.report import REPORT_SUFFIXES, format_report, write_findings, write_usable_mixtures
from ..verification.result import Verification
from ..verification.verify import verify_sources
from .arguments import add_timeout, parse_file, parse_positive, use_timeout
from .wording import plain_warnings

_DESCRIPTION = """\
Checks every source file that Hive's metadata names, once, and says which mixtures can be used.

METADATA is a file, a folder or an fsspec URL of parquet or JSON; without it, what load_dataset("hive") reads.
--check exists   looks files up in an index of each root
        header   also compares rate and length with what the mixtures need
        decode   also decodes every needed frame: truncated, silent, NaN
A file counts as found; as a variant, if under another name by a known rule; as missing; as too short for a mixture;
as unreadable (not audio, empty, cut short); or as wrong (several files fit, silent, NaN, another rate than the corpus).
What was seen of a file is remembered until its size or time of modification changes, also after Ctrl-C.
The report goes to standard output, progress to standard error.

exit codes: 0 every needed file can be used (if under a known variant of its name), 1 there are findings,
            2 it could not be verified, 130 interrupted"""


@plain_warnings("hive-verify-sources")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    use_timeout(options)
    if options.corpus and options.write_index:
        parser.error("--write-index needs all corpora of a mixture: leave --corpus out")
    if options.html and options.html == options.report:
        parser.error("--report and --html must be different files")
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
        written = _write(result, options)
    except KeyboardInterrupt:
        print("hive-verify-sources: interrupted; what was verified is kept: run it again to go on", file=sys.stderr)
        return 130
    except (HiveError, OSError) as error:
        hint = " Here: --dataset-paths." if isinstance(error, SourceRootError) and not error.configured else ""
        print(f"hive-verify-sources: {error}{hint}", file=sys.stderr)
        return 2
    return 2 if not written else 0 if result.is_clean else 1


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
    parser.add_argument(
        "--jobs", type=parse_positive, metavar="N", help="files looked into at once (default: one a core)"
    )
    parser.add_argument("--format", choices=["table", "json"], default="table", help="of the report on standard output")
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
    add_timeout(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--version", action="version", version=f"hive-verify-sources {__version__}")
    return parser


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
                print(f"hive-verify-sources: {what} cannot be written to {file}: {error}", file=sys.stderr)
                all_written = False
    return all_written
