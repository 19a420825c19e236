"""Keep a library in C from writing to the error stream, where its messages would disturb a user's screen."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Any

from featx.forks import fresh_in_child

_lock = fresh_in_child(threading.Lock())
_inside = 0
_real: int | None = None
_nowhere: int | None = None


def _error_stream() -> Any:
    """Return C's variable ``stderr``; None where it has another name."""
    try:
        return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    except (ValueError, OSError, TypeError):
        return None


@contextlib.contextmanager
def silent_in_c() -> Iterator[None]:
    """Let C code print nothing to its error stream in the body, in any thread.

    mpg123 prints a line for each damaged frame, and libsndfile has no option for that. Python writes to the
    descriptor and not to C's stream, so its messages are not lost.
    """
    global _inside, _real, _nowhere
    stream = _error_stream()
    if stream is None:
        yield
        return
    with _lock:
        if _nowhere is None:
            opening = ctypes.CDLL(None).fopen
            opening.restype = ctypes.c_void_p
            _nowhere = opening(os.devnull.encode(), b"w")
        if not _inside and _nowhere:
            _real, stream.value = stream.value, _nowhere
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _real is not None:
                stream.value = _real


def _restore() -> None:
    """Give a forked child its error stream back: the threads that would do it are not there."""
    global _inside
    stream = _error_stream()
    if stream is not None and _real is not None:
        if stream.value == _nowhere:
            stream.value = _real
        _inside = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore)
