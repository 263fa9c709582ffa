"""``hive-datasets fetch``: get what mixtures need from where the corpora are published."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from ..acquisition.fetch import DEFAULT_JOBS, LACKING_NAME, Fetching, fetch_sources
from ..acquisition.report import format_size
from ..sources.corpora import title_of
from .arguments import add_format, add_scratch, add_subset, parse_name, parse_positive, progress_of, subset_of
from .parser import add_parser

_DESCRIPTION = """\
Downloads the source files that mixtures need from where the corpora are published, and only those where the layout
allows: members of zips, rows of parquet and single files. Compressed archives are downloaded whole, one at a time (up
to 17 GB each, in --scratch), gone through and removed; the audio of videos is taken. Afterwards DIR is a root that
holds all corpora, under the metadata's own names.

Run it again to go on: files appear when they are whole, and what is there is not fetched again. Checksums are compared;
what differs is kept aside and named. What could not be fetched is in DIR/lacking.csv. Corpora that no program may get
are said with what to do by hand; --from takes a corpus from a download of your own."""

_EXAMPLES = [
    "ESC50 FSD50K Clotho --metadata METADATA --to /data/hive",
    "all --metadata METADATA --available-list mixtures.parquet --to /data/hive --dry-run",
    "AVE --from AVE_Dataset.zip --metadata METADATA --to /data/hive",
]
_LEFT = "what was fetched is kept: run it again to go on"


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "fetch", "get what mixtures need of the corpora", _DESCRIPTION, _EXAMPLES, _LEFT)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=parse_name, help='or "all" that programs may get')
    add_subset(parser, has_roots=False)
    parser.add_argument("--to", "-o", "--out", metavar="DIR", required=True, dest="out", help="where to")
    parser.add_argument("--from", metavar="PLACE", dest="place", help="a folder, archive or URL that has the corpus")
    parser.add_argument(
        "--num-workers",
        metavar="N",
        type=parse_positive,
        default=DEFAULT_JOBS,
        help=f"files read at once (default: {DEFAULT_JOBS})",
    )
    add_scratch(parser)
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done, and the bytes it takes")
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetch, and say what was fetched."""
    if "://" in options.out:
        raise argparse.ArgumentTypeError(f"--to {options.out} is a URL: fetch into a local folder")
    result = fetch_sources(
        subset_of(options),
        options.out,
        None if options.corpora == ["all"] else options.corpora,
        published_at=options.place,
        num_workers=options.num_workers,
        dry_run=options.dry_run,
        progress=progress_of(options),
    )
    print(json.dumps(_summary(result), indent=2) if options.format == "json" else _report(result, options))
    return 1 if result.lacking or result.by_hand else 0


def _summary(result: Fetching) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "needed": result.needed,
        "there": result.there,
        "written": result.written,
        "bytes": result.num_bytes,
        "download_bytes": result.download_bytes,
        "by_hand": dict(result.by_hand),
        "lacking": dict(Counter(title_of(path) for path, _ in result.lacking)),
    }


def _report(result: Fetching, options: argparse.Namespace) -> str:
    done = "To be fetched" if options.dry_run else "Fetched"
    lines = [f"{result.needed:,} files are needed, and {result.there:,} were there."]
    lines.append(f"{done}: {result.written:,} files, {format_size(result.num_bytes)}.")
    if options.dry_run:
        lines.append(f"To be downloaded for them: about {format_size(result.download_bytes)}.")
    first: dict[str, tuple[str, str]] = {}
    for path, reason in result.lacking:
        first.setdefault(title_of(path), (path, reason))
    counts = Counter(title_of(path) for path, _ in result.lacking)
    for title, (path, reason) in first.items():
        lines.append(f"Lacking of {title}: {counts[title]:,} files, such as {path!r}: {reason}")
    lines += [f"{title} cannot be fetched by a program. {advice}" for title, advice in result.by_hand]
    if first and not options.dry_run:
        lines.append(f"All are in {result.folder / LACKING_NAME}.")
    if not options.dry_run and result.written + result.there:
        folder = str(result.folder.absolute())
        lines.append(f"Use it: dataset_paths={folder!r}; hive-verify-sources looks at every file.")
    return "\n".join(lines)
