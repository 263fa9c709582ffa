"""The command line's parser: what each command's help says, and what is offered for what is not known."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

import shtab

#: What every command ends with.
EXIT_CODES = {
    0: "done",
    1: "done, but something was left out, lacking or found",
    2: "not done: a mistake in the command, or an error",
    130: "interrupted",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors offer the nearest of what there is."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; but a command refuses what it does not know itself, since it knows what there is."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """End, with what was wrong, and what may have been meant."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if choice:
            message += _offer(choice[1], re.findall(r"[^', ]+", choice[2]))
        elif unknown:
            message += _offer(unknown[1], self._option_string_actions)
        super().error(message)


def make_parser(program: str, description: str, version: str) -> Parser:
    """The parser of a program with commands."""
    parser = Parser(
        prog=program, description=description, epilog=_describe_codes(), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{program} {version}")
    shtab.add_argument_to(parser, "--print-completion", help="print a script that completes commands in a shell")
    return parser


def add_parser(
    commands: Any,
    name: str,
    summary: str,
    description: str,
    examples: Sequence[str],
    left: str = "nothing half-written was left behind",
) -> Parser:
    """Add a command, with its exit codes and examples in its help, and what all commands have.

    Args:
        commands: what `add_subparsers` made.
        name: what it is called by.
        summary: a line for the list of commands.
        description: what it does.
        examples: command lines, without the program's name and the command's.
        left: what an interruption leaves, which is said then.
    """
    program = commands._prog_prefix
    lines = "\n".join(f"  {program} {name} {example}" for example in examples)
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{lines}\n\n{_describe_codes()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(left=left)
    return parser


def _describe_codes() -> str:
    return "exit codes:\n" + "\n".join(f"  {code:<4}{meaning}" for code, meaning in EXIT_CODES.items())


def _offer(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f". Did you mean {close[0]}?" if close else ""
