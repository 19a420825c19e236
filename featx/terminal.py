"""Print text safely: no name of a file, class or id can move a terminal's cursor or hide text."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from typing import Any

#: Characters that join letters of Persian, Hindi or an emoji: invisible, harmless, and part of real names.
_JOINERS = "\u200c\u200d"
#: Control characters, invisible marks (also those of writing direction), lone surrogates (bytes of a file
#: name that is no text), and line separators.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: Texts that `tell` has printed on a terminal.
_TOLD: set[str] = set()


def printable(text: str) -> str:
    """Return `text` as one line without characters that control a terminal.

    Control characters, direction marks, line ends and undecodable bytes are written as escapes (``\\x1b``,
    ``\\u202e``); all other characters stay.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, line by line: its line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def say(text: str) -> None:
    """Print text of one or several lines on standard output, without characters that control a terminal.

    Line feeds stay: a name that may hold one must go through `printable` first.
    """
    print(printable_lines(text))


def tell(text: str) -> None:
    """Print text on standard error, as `say` does; where that fails the text is lost, and work goes on.

    A bar of tqdm makes way for it.
    """
    if sys.stderr is not None:  # None if it was closed when the process began
        with contextlib.suppress(OSError, ValueError), _bars_aside():
            print(printable_lines(text), file=sys.stderr, flush=True)
            if sys.stderr.isatty():
                _TOLD.add(text)


def is_on_screen(text: str) -> bool:
    """Whether a person who reads standard output on a terminal has been told this already."""
    return text in _TOLD and sys.stdout.isatty()


def tell_always(text: str) -> None:
    """Print text on standard error as `tell` does, also within `silent`: for what was lost or left out."""
    with contextlib.redirect_stderr(getattr(sys.stderr, "loud", sys.stderr)):
        tell(text)


@contextlib.contextmanager
def silent(quiet: bool = True) -> Iterator[None]:
    """Discard what is printed on standard error in the block, by any package, except by `tell_always`."""
    if not quiet or sys.stderr is None:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        nowhere.loud = sys.stderr  # type: ignore[attr-defined]
        with contextlib.redirect_stderr(nowhere):
            yield


def _bars_aside() -> contextlib.AbstractContextManager[None]:
    """Remove the bars from the screen in the block, and draw them again after it."""
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    if not getattr(bars, "_instances", None):
        return contextlib.nullcontext()
    return bars.external_write_mode(file=sys.stderr)  # type: ignore[union-attr]


def terminal_width() -> int | None:
    """Return the characters in a line of the terminal on standard output; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def in_lines(text: str, width: int | None) -> str:
    """Return text whose lines break between words at `width` characters; as it is if that is None."""
    if width is None:
        return text
    lines = (
        textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join("\n".join(broken) for broken in lines)


def json_line(value: Any) -> str:
    """Return `value` as JSON on one line, with JSON's escapes for what `printable` escapes."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(c)[1:-1] if _escaped(c) != c else c for c in text)


def _escaped(c: str) -> str:
    if c in _JOINERS or unicodedata.category(c) not in _ESCAPED:
        return c
    return c.encode("unicode_escape").decode()
