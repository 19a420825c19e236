"""End threads that wait for a network as soon as nobody needs any more what they read."""

from __future__ import annotations

import threading
import time

_here = threading.local()


def stop_with(stopped: threading.Event) -> None:
    """Let this thread wait for remote places only until `stopped` is set; for pools of readers."""
    _here.stopped = stopped


def is_stopped() -> bool:
    """Whether nobody needs any more what this thread reads."""
    stopped = getattr(_here, "stopped", None)
    return stopped is not None and stopped.is_set()


def pause(seconds: float) -> None:
    """Wait; `CancelledError` as soon as the thread is stopped."""
    stopped = getattr(_here, "stopped", None)
    if stopped is None:
        time.sleep(seconds)  # Ctrl-C ends it
    elif stopped.wait(seconds):
        from concurrent.futures import CancelledError  # slow to import

        raise CancelledError
