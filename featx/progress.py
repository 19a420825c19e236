"""Show the progress of long work: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time

from featx.terminal import printable, tell

#: Seconds between two plain lines if the output is no terminal.
INTERVAL = 10.0


class Progress:
    """Shows the progress of `total` units of work on standard error. A context manager.

    On a terminal it is a tqdm bar with rate and time left; in a file or a pipe one line every 10 s, so that
    logs stay readable. `label` says what is being done, such as ``"extracting"``.
    """

    def __init__(self, total: int, label: str, *, unit: str = "img", enabled: bool = True):
        self.total, self.label, self.unit = total, printable(label), unit
        self._done = 0
        self._start = self._last = time.monotonic()
        self._enabled = enabled and total > 0
        self._bar = None
        if self._enabled and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=label, unit=unit, file=sys.stderr, dynamic_ncols=True, leave=False
            )

    def update(self, n: int = 1, note: str = "") -> None:
        """Add `n` finished units; `note` is shown after the rate."""
        self._done += n
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(printable(note), refresh=False)
            self._bar.update(n)
        elif self._enabled and time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            rate = self._done / (self._last - self._start)
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
