"""``hive-datasets browse``: listen to mixtures in a web browser."""

from __future__ import annotations

import argparse
import contextlib
import sys
import webbrowser
from typing import Any

from ..browsing import BrowseServer, Collection
from ..errors import HiveError, describe
from ..export.samples import check_roots
from ..mixing import Mixer
from ..utils.pictures import can_draw
from ..utils.progress import count_items
from .arguments import add_rendering, add_subset, parse_port, progress_of, rendering_of, subset_of
from .parser import add_parser
from .wording import count

#: Mixtures that are browsed unless more are asked for.
_LIMIT = 10_000
_PORT = 8770

_DESCRIPTION = f"""\
Opens a page on which mixtures and their sources can be heard, seen, filtered, soloed and muted.

Sound is rendered when it is played. The first {_LIMIT:,} mixtures are listed; --limit takes more or fewer, at 1 KB of
memory each. Ctrl-C ends it."""

_EXAMPLES = ["--demo", "METADATA --dataset-paths PATHS --split test --label Dog Rain"]


def add_command(commands: Any) -> None:
    """Add the subcommand to `main`'s parser."""
    parser = add_parser(commands, "browse", "listen to mixtures in a web browser", _DESCRIPTION, _EXAMPLES)
    add_subset(parser)
    add_rendering(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets others hear too (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=parse_port, default=_PORT, help=f"0 for any that is free (default: {_PORT})")
    parser.add_argument("--no-open", action="store_true", help="do not open a web browser")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    mixer = Mixer(**rendering_of(options))
    check_roots(mixer)
    subset = subset_of(options, limit=_LIMIT)
    progress = progress_of(options)
    with progress("reading metadata", "mixtures", None) as advance:
        collection = Collection(count_items(subset.tables(mixer), advance))
    is_cut = options.limit is None and len(collection) == _LIMIT
    note = f"The first {_LIMIT:,} mixtures; --limit lists more." if is_cut else ""
    if not can_draw():
        print("hive-datasets: no pictures: pip install 'hive-datasets[plot]'", file=sys.stderr)
    server = _start_server(collection, mixer, options, note)
    print(f"{count(len(collection), 'mixture')} at {server.url}", flush=True)
    if not options.quiet:
        print("Ctrl-C ends it.", file=sys.stderr, flush=True)
    if not options.no_open:
        webbrowser.open(server.url)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


def _start_server(collection: Collection, mixer: Mixer, options: argparse.Namespace, note: str) -> BrowseServer:
    try:
        return BrowseServer(collection, mixer, options.host, options.port, note)
    except (OSError, ValueError) as error:
        place = f"{options.host}, port {options.port}"
        raise HiveError(
            f"{place} cannot be listened at: {describe(error)}. --port 0 takes any port that is free"
        ) from None
