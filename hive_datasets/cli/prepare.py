"""``hive-datasets prepare``: decode and resample what mixtures need, once."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from ..preparation import Preparation, prepare_sources
from ..preparation.prepare import LACKING_NAME, SHARD_BYTES, Lacking
from ..prepared.samples import SAMPLE_TYPES
from ..sources import find_corpus
from ..sources.published import publish_roots
from .arguments import (
    add_format,
    add_out,
    add_scratch,
    add_subset,
    add_workers,
    parse_name,
    parse_rate,
    parse_size,
    progress_of,
    roots_of,
    subset_of,
)
from .parser import add_parser

_DESCRIPTION = """\
Decodes and resamples every chunk that mixtures need, once, for load_dataset("hive", prepared=DIR).

METADATA is a file, a folder or an fsspec URL of parquet or JSON; without it, what load_dataset("hive") reads.
A chunk takes 2 bytes a sample: all of Hive at 44.1 kHz, 2,735 hours in 10 s chunks, about 870 GB, of which 775 GB are
for training; --dry-run tells what your choice takes.
What is in DIR already is kept, so run it again to go on after an interruption, or to add what other metadata or
corpora that came later need. Files appear when they are whole. Sources that cannot be read are listed in
DIR/lacking.csv; mixtures that need them are rendered from the originals, where there are any.

--from-published needs no copies of the corpora: clips are read from where these are published, by range where the
layout allows. Compressed archives are downloaded whole into --scratch, one at a time (up to 17 GB each), gone through
and removed."""

_EXAMPLES = [
    "METADATA --dataset-paths PATHS --out prepared --dry-run",
    "METADATA --dataset-paths PATHS --out prepared --split train",
    "METADATA --out prepared --from-published SoundBible ESC50",
]
_LEFT = "finished shards are kept: run it again to go on"


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "prepare", "decode and resample sources once", _DESCRIPTION, _EXAMPLES, _LEFT)
    add_subset(parser)
    add_out(parser)
    parser.add_argument(
        "--sampling-rate", metavar="HZ", type=parse_rate, default=44100, help="to resample to (default: 44100)"
    )
    parser.add_argument("--only-crops", action="store_true", help="only the seconds in use, not whole chunks")
    parser.add_argument(
        "--sample-type",
        choices=SAMPLE_TYPES,
        default="int16",
        help="int16 (default): every mixture within one 16-bit step; float32: exact, twice the bytes; float16: coarse",
    )
    add_workers(parser, "files read")
    parser.add_argument(
        "--shard-size",
        metavar="BYTES",
        type=parse_size,
        default=SHARD_BYTES,
        help="size of a file, about, such as 500MB (default: 2GiB)",
    )
    parser.add_argument(
        "--from-published",
        metavar="CORPUS",
        nargs="*",
        type=parse_name,
        help="take these corpora, or all that programs may get, from where they are published; others from PATHS",
    )
    add_scratch(parser)
    parser.add_argument("--verify", action="store_true", help="compare what is there with its checksums, and mend it")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done, and the bytes it takes")
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prepare, and say what was prepared."""
    if options.verify and options.dry_run:
        raise argparse.ArgumentTypeError("--verify and --dry-run exclude each other: a dry run reads nothing")
    if "://" in options.out:
        raise argparse.ArgumentTypeError(f"--out {options.out} is a URL: prepare into a local folder, and upload that")
    result = prepare_sources(
        subset_of(options),
        options.out,
        sampling_rate=options.sampling_rate,
        dataset_paths=_roots(options),
        only_crops=options.only_crops,
        sample_type=options.sample_type,
        num_workers=options.num_workers,
        shard_bytes=options.shard_size,
        verify=options.verify,
        dry_run=options.dry_run,
        progress=progress_of(options),
    )
    print(json.dumps(_summary(result), indent=2) if options.format == "json" else _report(result, options))
    return 1 if result.lacking else 0


def _roots(options: argparse.Namespace) -> Any:
    given = roots_of(options)
    return given if options.from_published is None else publish_roots(given, options.from_published)


def _summary(result: Preparation) -> dict[str, Any]:
    lacking = Counter(_corpus(missing.clip.path) for missing in result.lacking)
    return {
        "folder": str(result.folder),
        "mixtures": result.mixtures,
        "needed": result.needed,
        "clips": result.clips,
        "written": result.written,
        "bytes": result.num_bytes,
        "refined": result.refined,
        "damaged": result.damaged,
        "lacking": dict(lacking),
    }


def _report(result: Preparation, options: argparse.Namespace) -> str:
    dry_run = options.dry_run
    lines = [f"{result.mixtures:,} mixtures need {result.needed:,} clips (chunks of files, or parts of them)."]
    made = f"{result.written:,} clips, {result.num_bytes / 1e9:,.3f} GB"
    kept = result.clips - result.written
    lines.append(f"{'To be prepared' if dry_run else 'Prepared'}: {made}. Already there: {kept:,}.")
    if result.refined:
        lines.append(f"{result.refined:,} clips were stored as float32 too: 16 bits are too few for some mixture.")
    if options.verify:
        lines.append(f"Compared with their checksums: {kept + result.damaged:,} clips. Damaged: {result.damaged:,}.")
    by_corpus: dict[str, list[Lacking]] = {}
    for lacking in result.lacking:
        by_corpus.setdefault(_corpus(lacking.clip.path), []).append(lacking)
    for corpus, of_corpus in by_corpus.items():
        first = of_corpus[0]
        lines.append(f"Lacking of {corpus}: {len(of_corpus):,} clips, such as {first.clip.path!r}: {first.reason}")
    if by_corpus:
        where = "" if dry_run else f" All are in {result.folder / LACKING_NAME}."
        lines.append(f"hive-verify-sources tells what to do about them.{where}")
    if not dry_run and result.clips:
        folder = result.folder.absolute()
        given = "" if options.metadata is None else f'data_dir="{options.metadata}", '
        rate = "" if options.sampling_rate == 44100 else f", sampling_rate={options.sampling_rate}"
        lines.append(f'Use it: load_dataset("hive", {given}prepared="{folder}"{rate}), or HIVE_PREPARED={folder}')
    return "\n".join(lines)


def _corpus(path: str) -> str:
    corpus = find_corpus(path.partition("/")[0])
    return corpus.title if corpus else path.partition("/")[0]
