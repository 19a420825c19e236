"""Show the progress of long work: a bar on a terminal or in a notebook, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from featx.terminal import printable, tell

#: Work that is expected to take fewer seconds begins without a word.
LONG = 10.0
#: Seconds between two plain lines if the output is no terminal; the lines of long work are rarer.
INTERVAL = 10.0
#: Seconds between two plain lines, as a share of the time so far.
_RARE = 0.15
#: Seconds between two looks at the state of the work.
_LOOK = 0.5
#: Parts of a bar whose end is estimated.
_PARTS = 1000
#: A bar of ten characters.
_BAR = "{bar:10}"


class Progress:
    """Shows the progress of `total` units of work on standard error. A context manager.

    On a terminal or in a notebook it is a tqdm bar with rate and time left; in a file or a pipe a plain line,
    10 s after the last one or later, so that logs stay readable. `label` says what is being done, such as
    ``"extracting"``.
    """

    def __init__(self, total: int, label: str, *, unit: str = "img", enabled: bool = True):
        self.total, self.label, self.unit = total, printable(label), unit
        self._done = 0
        self._lines = _RareLines()
        self._enabled = enabled and total > 0
        self._bar = open_bar(total=total, desc=label, unit=unit) if self._enabled else None

    def update(self, n: int = 1, note: str = "") -> None:
        """Add `n` finished units; `note` is shown after the rate."""
        self._done += n
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(printable(note), refresh=False)
            self._bar.update(n)
        elif self._enabled and self._lines.due():
            rate = self._done / self._lines.elapsed
            left = (self.total - self._done) / rate if rate else float("inf")
            tail = f", {note}" if note else ""
            tell(
                f"{self.label}: {self._done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, "
                f"{left:.0f} s left{tail}"
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info) -> None:
        if self._bar is not None:
            self._bar.close()


class Status:
    """Shows the state of work whose units take unequal time. A context manager.

    `describe` returns the share of the work that is done, from 0 to 1, and one line of text. It is called
    from another thread, on a terminal twice a second, so that the time left also falls during a long unit.
    """

    def __init__(self, describe: Callable[[], tuple[float, str]], *, enabled: bool = True):
        self._describe, self._enabled = describe, enabled
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Any = None

    def __enter__(self) -> Status:
        if self._enabled:
            self._bar = open_bar(total=_PARTS, bar_format=f"{{percentage:3.0f}} % |{_BAR}| {{desc}}")
            self._thread = threading.Thread(target=self._watch, name="featx-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
        if self._bar is not None:
            if kind is None:
                self._bar.n = _PARTS  # a widget that is closed before its end stays, in red
            self._bar.close()

    def _watch(self) -> None:
        lines = _RareLines()
        while True:
            if self._bar is not None:
                share, text = self._describe()
                self._bar.n = round(_PARTS * share)
                self._bar.set_description_str(printable(text))
            elif lines.due():
                tell(printable(self._describe()[1]))
            if self._over.wait(_LOOK):
                return


def open_bar(**options: Any) -> Any:
    """Return a tqdm bar for a terminal or a notebook; None where standard error is neither."""
    if _in_notebook():
        # Without ipywidgets, or with one that does not work, a notebook shows the bar as text.
        if importlib.util.find_spec("ipywidgets") is not None:
            from tqdm import notebook

            if notebook.IProgress is not None:
                # A widget has a width of its own.
                form = options.pop("bar_format", "").replace(_BAR, "{bar}")
                return notebook.tqdm(leave=False, bar_format=form or None, **options)
    elif sys.stderr is None or not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(file=sys.stderr, dynamic_ncols=True, leave=False, **options)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None
    with contextlib.suppress(Exception):  # it is somebody else's module
        shell = ipython.get_ipython() if ipython is not None else None
    # That of Google Colab is derived from it.
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def describe_seconds(seconds: float) -> str:
    """Return a time of work as a person would say it: ``"40 s"``, ``"4 min"``, ``"2 h 10 min"``."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 60:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(seconds / 300), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


class _RareLines:
    """Decides when the next plain line is due."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._start

    def due(self) -> bool:
        """Whether a line is due now; if so, the next one is due an interval later."""
        now = time.monotonic()
        if now - self._last < max(INTERVAL, _RARE * (now - self._start)):
            return False
        self._last = now
        return True
