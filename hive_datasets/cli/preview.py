"""``hive-datasets preview``: a few mixtures that play in the Hub's dataset viewer."""

from __future__ import annotations

import argparse
from typing import Any

from ..export.preview import MIXTURES_PER_GROUP, write_preview
from .arguments import (
    add_out,
    add_push,
    add_rendering,
    add_subset,
    add_workers,
    check_push_if_asked,
    parse_positive,
    progress_of,
    push_if_asked,
    rendering_of,
    subset_of,
)
from .parser import add_parser
from .wording import count

_DESCRIPTION = """\
Writes a folder that is ready for the Hub: parquet with players for mixtures and sources, and a card made of the data.

The first mixtures of each split and number of sources are taken. Only corpora whose licence lets others pass their
audio on are drawn on, unless you say --any-licence; the card says which are.
DIR appears when it is whole, and must not be there before, or be empty."""

_EXAMPLES = ["--demo --out preview", "METADATA --dataset-paths PATHS --out preview --push-to-hub me/hive-preview"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "preview", "make a preview for the Hub's dataset viewer", _DESCRIPTION, _EXAMPLES)
    add_subset(parser)
    add_rendering(parser, stems=False)
    add_out(parser)
    parser.add_argument(
        "--per-group",
        metavar="N",
        type=parse_positive,
        default=MIXTURES_PER_GROUP,
        help=f"mixtures of each split and number of sources (default: {MIXTURES_PER_GROUP})",
    )
    parser.add_argument(
        "--audio",
        choices=["flac", "wav", "mp3"],
        default="flac",
        help="format of the audio (default: flac)",
    )
    parser.add_argument("--stem-columns", action="store_true", help="a column for each stem, not one of lists")
    parser.add_argument(
        "--any-licence",
        "--any-license",
        action="store_true",
        help="take all corpora: you say that you may pass their audio on",
    )
    parser.add_argument("--title", default="Hive preview", help="heading of the card")
    add_workers(parser, "mixtures rendered")
    add_push(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the preview, and upload it if asked."""
    check_push_if_asked(options)
    rendering = rendering_of(options)
    result = write_preview(
        subset_of(options),
        options.out,
        per_group=options.per_group,
        audio=options.audio,
        stem_columns=options.stem_columns,
        any_licence=options.any_licence,
        title=options.title,
        name=options.name or options.push_to_hub,
        num_workers=options.num_workers,
        progress=progress_of(options),
        **rendering,
    )
    print(f"{count(result.mixtures, 'mixture')}, {result.num_bytes / 1e6:,.1f} MB, in {result.folder}")
    if result.restricted:
        print(
            f"Passed over: {count(result.restricted, 'mixture')}, which draw on {', '.join(result.restricted_corpora)}"
            ", whose licence does not let others pass its audio on (--any-licence takes them)"
        )
    if result.skipped:
        print(f"Left out: {count(len(result.skipped), 'mixture')}. The first: {result.skipped[0].reason}")
    push_if_asked(options, result.folder)
    return 1 if result.skipped else 0
