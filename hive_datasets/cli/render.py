"""``hive-datasets render``: mixtures as tars, parquet or folders."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from ..export.containers import CONTAINERS
from ..export.encoding import SUBTYPES
from ..export.write import MIXTURES_PER_SHARD, SKIPPED_NAME, Export, write_mixtures
from .arguments import (
    add_format,
    add_out,
    add_rendering,
    add_subset,
    add_workers,
    parse_positive,
    progress_of,
    rendering_of,
    subset_of,
)
from .parser import add_parser
from .wording import count

_DESCRIPTION = """\
Renders mixtures to files, in the authors' layout:

  --to tar      DIR/train/2mix/tar_00001.tar of 1,000 mixtures: {mix_id}.mix.wav, .s1.wav, ..., .json
  --to folder   DIR/train/2mix/00001/ with the same files
  --to parquet  DIR/train/2mix/part-00001.parquet, a row a mixture with its audio inside

{mix_id}.json has the authors' keys (mix_id, speaker_num, sample_rate, labels) and the whole recipe.
A shard appears when it is whole. What is in DIR already is kept if it was made of the same recipes, so run it again to
go on after an interruption; shards of other mixtures are replaced with --overwrite only. Mixtures that cannot be
rendered are left out and listed in DIR/skipped.csv."""

_EXAMPLES = [
    "METADATA --dataset-paths PATHS --out tars --split train --num-sources 2 3 --dry-run",
    "--demo --out tars --to parquet --audio flac",
]
_LEFT = "finished shards are kept, those in the making are not: run it again to go on"


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(
        commands, "render", "render mixtures to tars, parquet or folders", _DESCRIPTION, _EXAMPLES, _LEFT
    )
    add_subset(parser)
    add_rendering(parser)
    add_out(parser)
    parser.add_argument("--to", choices=list(CONTAINERS), default="tar", help="what to write (default: tar)")
    parser.add_argument("--audio", choices=["wav", "flac"], default="wav", help="format of the audio (default: wav)")
    parser.add_argument(
        "--subtype",
        choices=SUBTYPES["wav"],
        default="PCM_16",
        help="of its samples (default: PCM_16); FLOAT is of WAV only",
    )
    parser.add_argument(
        "--mixtures-per-shard",
        metavar="N",
        type=parse_positive,
        default=MIXTURES_PER_SHARD,
        help=f"default: {MIXTURES_PER_SHARD}",
    )
    add_workers(parser, "shards rendered, in processes")
    parser.add_argument(
        "--on-error",
        choices=["skip", "raise"],
        default="skip",
        help="of a mixture that cannot be rendered: leave it out (default), or end there",
    )
    parser.add_argument(
        "--like-authors", action="store_true", help="byte for byte what the authors' own script writes; slower"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace shards that hold other mixtures")
    parser.add_argument(
        "--verify", action="store_true", help="compare what is there with what was written, and mend what differs"
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done, and the bytes it takes")
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Render, and say what was rendered."""
    if options.audio == "flac" and options.subtype not in SUBTYPES["flac"]:
        raise argparse.ArgumentTypeError(f"--subtype {options.subtype}: FLAC has {' and '.join(SUBTYPES['flac'])} only")
    others = (options.audio, options.subtype, options.sampling_rate, options.prepared)
    if options.like_authors and (others != ("wav", "PCM_16", None, None) or options.to == "parquet"):
        raise argparse.ArgumentTypeError(
            "--like-authors is 16-bit WAV in tars or folders, at the metadata's rate and from originals: leave "
            "--audio, --subtype, --sampling-rate, --prepared and --to parquet out"
        )
    result = write_mixtures(
        subset_of(options),
        options.out,
        to=options.to,
        audio=options.audio,
        subtype=options.subtype,
        mixtures_per_shard=options.mixtures_per_shard,
        num_workers=options.num_workers or os.cpu_count() or 1,
        on_error=options.on_error,
        like_authors=options.like_authors,
        overwrite=options.overwrite,
        verify=options.verify,
        dry_run=options.dry_run,
        progress=progress_of(options),
        **rendering_of(options),
    )
    print(json.dumps(_summary(result), indent=2) if options.format == "json" else _report(result, options))
    return 1 if result.skipped else 0


def _summary(result: Export) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "mixtures": result.mixtures,
        "shards": result.shards,
        "kept": result.kept,
        "bytes": result.num_bytes,
        "clipped_mixtures": result.clipped_mixtures,
        "clipped_samples": result.clipped_samples,
        "skipped": len(result.skipped),
        "others": list(result.others),
        "damaged": result.damaged,
    }


def _report(result: Export, options: argparse.Namespace) -> str:
    size = f"{result.num_bytes / 1e9:,.3f} GB"
    whole = f"{count(result.mixtures, 'mixture')} in {count(result.shards, 'shard')}"
    if options.dry_run:
        about = "" if options.audio == "wav" and options.to != "parquet" else "about "
        rest = f", {result.kept:,} of which are there already" if result.kept else ""
        return f"{whole}{rest}; {about}{size} to be written."
    lines = [f"{whole}, {size}, in {result.folder}. Already there: {count(result.kept, 'shard')}."]
    if result.damaged:
        lines.append(f"Found damaged, and made again: {count(result.damaged, 'shard')}.")
    if result.clipped_mixtures:
        lines.append(
            f"Clipped: {count(result.clipped_samples, 'sample')} of {count(result.clipped_mixtures, 'mixture')}, beyond"
            " full scale (--subtype FLOAT keeps them)."
        )
    if result.skipped:
        lines.append(
            f"Left out: {count(len(result.skipped), 'mixture')}, listed in {result.folder / SKIPPED_NAME}. The first: "
            f"{result.skipped[0].reason}"
        )
    if result.others:
        lines.append(
            f"Beside them, from earlier runs, of other mixtures: {count(len(result.others), 'shard')}, "
            f"{result.others[0]} first."
        )
    return "\n".join(lines)
