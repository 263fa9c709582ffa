"""``hive-datasets``: the command line's entry, one module a subcommand; exit codes are in `parser`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .._version import __version__
from ..errors import HiveError, SourceRootError
from . import browse, compare, convert, curate, evaluate, fetch, needs, package, prepare, preview, render, stats, verify
from .arguments import use_timeout
from .parser import make_parser
from .wording import name_options, plain_warnings

#: In the order in which they are needed.
_COMMANDS = (needs, fetch, verify, browse, stats, convert, prepare, render, preview, package, curate, evaluate, compare)


@plain_warnings("hive-datasets")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    description = "Tools for Hive's metadata and mixtures, and for curating audio of your own."
    parser = make_parser("hive-datasets", description, __version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for command in _COMMANDS:
        command.add_command(commands)
    options = parser.parse_args(arguments)
    use_timeout(options)
    if isinstance(sys.stdout, io.TextIOWrapper):  # labels may have what a terminal has not
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(options.run(options))
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except (HiveError, OSError) as error:
        hint = " Here: --dataset-paths." if isinstance(error, SourceRootError) and not error.configured else ""
        known = commands.choices[options.command]._option_string_actions
        print(f"hive-datasets: {name_options(str(error), known)}{hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"hive-datasets: interrupted; {options.left}", file=sys.stderr)
        return 130
