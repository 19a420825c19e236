"""Text for a terminal: whatever a file, a class or an id is called, it moves no cursor and hides no text."""

from __future__ import annotations

import unicodedata

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


def _escaped(c: str) -> str:
    if c in _JOINERS or unicodedata.category(c) not in _ESCAPED:
        return c
    return c.encode("unicode_escape").decode()
