"""The parser of the command line. It imports nothing heavy, so that ``--help`` is immediate."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

import featx
from featx.cli.commands import command_module, command_names
from featx.terminal import printable, tell


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, like every other error of featx."""

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
        module.add(commands.add_parser(name, help=module.HELP))
    return parser
