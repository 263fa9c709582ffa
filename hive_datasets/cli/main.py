"""``hive-datasets``: the command line's entry, one module a subcommand.

Exit codes: 0 done, 1 an error in the data or on the way to it, 2 a mistake in the command, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .._version import __version__
from ..errors import HiveError, SourceRootError
from . import browse, convert, curate, package, prepare, preview, render, stats
from .arguments import use_timeout
from .wording import plain_warnings


@plain_warnings("hive-datasets")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="hive-datasets", description="Tools for Hive's metadata and mixtures, and for curating audio of your own."
    )
    parser.add_argument("--version", action="version", version=f"hive-datasets {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (browse, stats, convert, prepare, render, preview, package, curate):
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
        print(f"hive-datasets: {error}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hive-datasets: interrupted; nothing half-written was left behind", file=sys.stderr)
        return 130
