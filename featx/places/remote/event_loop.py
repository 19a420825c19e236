"""Run requests on the event loop of fsspec, from any thread, so that waiting for them can be ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from featx.places.stopping import is_stopped

_T = TypeVar("_T")
#: Seconds between looks whether the result is still wanted.
_LOOK = 0.2


def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that fsspec's loop runs.

    On Ctrl-C, and where the thread's pool is stopped (`stop_with`), the request is given up.
    """
    from fsspec.asyn import get_loop

    future = asyncio.run_coroutine_threadsafe(coroutine, get_loop())
    try:
        while True:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():  # the coroutine's own
                    raise
                if is_stopped():
                    raise CancelledError from None
    finally:
        future.cancel()


def run_here(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits for something")
