"""``hive-datasets compare``: which of two evaluated separators is better."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..evaluation import compare_evaluations
from ..evaluation.page import write_comparison_page
from ..evaluation.report import format_comparison, format_votes
from ..evaluation.votes import count_votes
from .arguments import add_format
from .parser import add_parser

_DESCRIPTION = """\
Compares two evaluations on the targets that both have scored: differences with intervals, and a sign test.

--out writes a page with both beside each other, to look and listen; --blind hides on it which is which, and takes
votes, which the page saves to a file and --votes counts."""

_EXAMPLES = ["scores/mixture scores/mine", "scores/old scores/new --out old-new --blind", "A B --votes votes.json"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "compare", "say which of two separators is better", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("a", metavar="A", type=Path, help="the folder of an evaluation")
    parser.add_argument("b", metavar="B", type=Path, help="that of another")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, help="where to write a page")
    parser.add_argument("--blind", action="store_true", help="the page hides which is which, and takes votes")
    parser.add_argument(
        "--votes", metavar="FILE", type=Path, nargs="+", action="extend", default=[], help="count what such pages saved"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, and say which is better."""
    if options.blind and options.out is None:
        raise argparse.ArgumentTypeError("--blind is of the page that --out writes")
    found = compare_evaluations(options.a, options.b)
    votes = count_votes(options.votes, found) if options.votes else None
    if options.format == "json":
        told = found.to_dict() | ({} if votes is None else {"votes": votes.to_dict()})
        print(json.dumps(told, indent=2))
    else:
        print(format_comparison(found) + ("" if votes is None else f"\n\n{format_votes(votes)}"))
    if options.out is not None:
        page = write_comparison_page(found, options.out, options.blind)
        print(f"to look and listen: {page}", file=sys.stderr)
    return 1 if found.only_a or found.only_b or not found.is_same_data else 0
