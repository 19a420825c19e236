"""``featx inspect``: show what is in a features file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from featx.terminal import say

HELP = "show what is in a features file"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = "Shows what is in a features file."
    parser.add_argument("file", metavar="F.h5", help="a file of featx extract")


def run(args: Namespace) -> None:
    """Print what is in the file."""
    from featx.data.features import describe

    say(describe(args.file))
