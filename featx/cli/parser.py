"""The parser of the command line. It imports nothing heavy, so ``--help`` is immediate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import featx
from featx.cli.commands import command_module, command_names
from featx.terminal import printable, tell


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, like every other error of featx.

    Parameters
    ----------
    add : callable, optional
        Adds the arguments to this parser as soon as it has to parse some: those of the other commands are
        never made.
    *args, **options
        As for `argparse.ArgumentParser`.
    """

    def __init__(self, *args: Any, add: Callable[[Any], None] | None = None, **options: Any):
        super().__init__(*args, **options)
        self._add = add

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse.ArgumentParser.parse_known_args`."""
        add, self._add = self._add, None
        if add is not None:
            add(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        line = printable(" ".join(message.split()))
        tell(f"{self.prog}: {line} (see {self.prog} --help)")
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command ``featx``."""
    parser = Parser(
        prog="featx",
        description="Extract once, iterate forever: cached CNN embeddings, compared with fine-tuning.",
    )
    parser.add_argument("--version", action="version", version=f"featx {featx.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in command_names():
        module = command_module(name)
        commands.add_parser(name, help=module.HELP, add=module.add)
    return parser
