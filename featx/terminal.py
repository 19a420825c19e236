"""Text for a terminal: whatever a file, a class or an id is called, it moves no cursor and hides no text."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from typing import Any

#: Characters that join letters of Persian, Hindi or an emoji: invisible, harmless, and part of real names.
_JOINERS = "\u200c\u200d"
#: Control characters, invisible marks (those that turn the direction of writing among them), lone halves of
#: surrogate pairs (bytes of a file name that is no text), and separators of lines.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """Return `text` as one line that a terminal shows and does not obey.

    Control characters, marks of writing direction, line ends and undecodable bytes are written as escapes
    (``\\x1b``, ``\\u202e``); everything else stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, line by line: its line feeds are kept."""
    return "\n".join(map(printable, text.split("\n")))


def say(text: str) -> None:
    """Print text of one or several lines on standard output, none of which a terminal obeys.

    Its line feeds are kept; a name in it that may hold one must have gone through `printable`.
    """
    print(printable_lines(text))


def tell(text: str) -> None:
    """Print text on standard error, as `say` does; what cannot be written there is lost.

    There is no other place to say it, and no work is given up for want of a message.
    """
    if sys.stderr is not None:  # as it is where it was closed when the process began
        with contextlib.suppress(OSError, ValueError):
            print(printable_lines(text), file=sys.stderr, flush=True)


def json_line(value: Any) -> str:
    """Return `value` as JSON on one line, in which what `printable` escapes is escaped as JSON does.

    Whoever parses it gets every name back exactly.
    """
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if _escaped(c) != c else c for c in text)


def _escaped(c: str) -> str:
    if c in _JOINERS or unicodedata.category(c) not in _ESCAPED:
        return c
    return c.encode("unicode_escape").decode()
