"""What the commands begin with; outside of the package, so that an interruption while that is imported is caught."""

from __future__ import annotations

import sys


def main(*first: str) -> int:
    """``hive-datasets``; returns the exit code. Arguments given here come before those of the command line."""
    try:
        from hive_datasets.cli.main import main as run

        return run([*first, *sys.argv[1:]])
    except KeyboardInterrupt:
        print("hive-datasets: interrupted", file=sys.stderr)
        return 130


def verify_sources() -> int:
    """``hive-verify-sources``: `verify`, by the name that it had first."""
    return main("verify")
