"""``hive-datasets package``: metadata as a dataset repository."""

from __future__ import annotations

import argparse
from typing import Any

from ..export.package import ROWS_PER_SHARD, write_package
from .arguments import (
    add_out,
    add_push,
    add_subset,
    check_push_if_asked,
    parse_licence,
    parse_positive,
    progress_of,
    push_if_asked,
    roots_of,
    subset_of,
)
from .parser import add_parser
from .wording import count

_DESCRIPTION = """\
Writes metadata as a dataset repository for the Hub: parquet shards of each split, and a card made of the data.

No audio, no code. load_dataset("hive", data_dir=DIR) and plain load_dataset(DIR) both read it.
DIR appears when it is whole, and must not be there before, or be empty."""

_EXAMPLES = ["METADATA --out hive-metadata --license cc-by-4.0 --push-to-hub me/hive-metadata"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "package", "make a Hub repository of metadata", _DESCRIPTION, _EXAMPLES)
    add_subset(parser)
    add_out(parser)
    parser.add_argument(
        "--rows-per-shard",
        metavar="N",
        type=parse_positive,
        default=ROWS_PER_SHARD,
        help=f"mixtures of a file (default: {ROWS_PER_SHARD:,})",
    )
    parser.add_argument("--title", default="Mixtures", help="heading of the card")
    parser.add_argument(
        "--licence",
        "--license",
        metavar="ID",
        type=parse_licence,
        default="other",
        help="of the metadata, by the Hub's identifier (default: other)",
    )
    parser.add_argument(
        "--licence-name", "--license-name", metavar="NAME", help="of --licence other: what the Hub calls it"
    )
    parser.add_argument(
        "--licence-link",
        "--license-link",
        metavar="LINK",
        help="of --licence other: its address (default: a file of the corpora's licences)",
    )
    add_push(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the repository, and upload it if asked."""
    check_push_if_asked(options)
    result = write_package(
        subset_of(options),
        options.out,
        rows_per_shard=options.rows_per_shard,
        title=options.title,
        name=options.name or options.push_to_hub,
        licence=options.licence,
        licence_name=options.licence_name,
        licence_link=options.licence_link,
        dataset_paths=roots_of(options),
        progress=progress_of(options),
    )
    size = f"{result.num_bytes / 1e6:,.1f} MB"
    print(f"{count(result.mixtures, 'mixture')} in {count(result.files, 'parquet file')}, {size}, in {result.folder}")
    push_if_asked(options, result.folder)
    return 0
