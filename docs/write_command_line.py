"""Write docs/reference/command-line.rst from the parsers of the commands.

python docs/write_command_line.py
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from featx.cli.commands import command_module, command_names
from featx.cli.parser import Parser, build_parser

PAGE = Path(__file__).parent / "reference" / "command-line.rst"
HEAD = """\
.. Written by docs/write_command_line.py; do not edit.

Command line
============

What ``featx COMMAND --help`` says. The exit status is 0 when a command is done, 2 when the input is bad or
the output cannot be written, 130 after Ctrl-C, 1 after an internal error, and 3 when ``featx cache verify``
found damage.
"""


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command (``cache gc`` after ``cache``) with its complete parser."""
    for name in command_names():
        parser = Parser(prog=f"featx {name}")
        command_module(name).add(parser)
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{name} {word}", below) for word, below in action.choices.items())


def help_text(parser: argparse.ArgumentParser) -> str:
    """Return the help of a parser as an indented literal block, whatever the width of the terminal."""
    parser.formatter_class = partial(argparse.HelpFormatter, width=98)  # type: ignore[assignment]
    lines = parser.format_help().rstrip().splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines)


def page() -> str:
    """Return the text of the page."""
    sections = [HEAD, f"::\n\n{help_text(build_parser())}\n"]
    for name, parser in parsers():
        title = f"featx {name}"
        sections.append(f"{title}\n{'-' * len(title)}\n\n::\n\n{help_text(parser)}\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
