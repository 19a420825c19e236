"""The parser of the command line, which imports nothing heavy, so that ``--help`` is fast."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import featx
from featx.cli.commands import command_module, command_names
from featx.terminal import printable, tell


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors, like all errors of featx.

    `add` adds the arguments when the parser first runs, so that those of other commands are never made. Every
    command gets ``--quiet``, if `add` has not put it into a group.
    """

    def __init__(self, *args: Any, add: Callable[[Any], None] | None = None, **options: Any):
        super().__init__(*args, **options)
        self._add = add

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the arguments, then parse as `argparse` does."""
        add, self._add = self._add, None
        if add is not None:
            add(self)
        if self._subparsers is None and "--quiet" not in self._option_string_actions:
            from featx.cli.flags import add_quiet

            add_quiet(self)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown)}")
        return known, unknown

    def _nearest(self, unknown: list[str]) -> str:
        """Return the option that the first unknown one may stand for, as the end of an error."""
        import difflib

        wrong = next((word.partition("=")[0] for word in unknown if word.startswith("--")), "")
        near = functools.partial(difflib.get_close_matches, wrong, self._option_string_actions, n=1)
        others = [name for name in command_names() if wrong in _options_of(name)]
        if others and not near(cutoff=0.9):
            more = ", ..." if len(others) > 3 else ""
            return f"; {wrong} is an option of featx {', '.join(others[:3])}{more}"
        return "".join(f"; did you mean {name}?" for name in near(cutoff=0.7))

    def error(self, message: str) -> NoReturn:
        """Print the message on one line and exit with status 2."""
        from featx.places.urls import hide_secrets

        line = printable(hide_secrets(" ".join(message.split())))
        tell(f"{self.prog}: {line} (see {self.prog} --help)")
        sys.exit(2)


def _options_of(command: str) -> Collection[str]:
    parser = Parser()
    command_module(command).add(parser)
    return parser._option_string_actions


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command ``featx``."""
    parser = Parser(
        prog="featx",
        description="Extract once, iterate forever: cached embeddings, compared with fine-tuning.",
    )
    parser.add_argument("--version", action="version", version=f"featx {featx.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in command_names():
        module = command_module(name)
        commands.add_parser(name, help=module.HELP, add=module.add)
    return parser
