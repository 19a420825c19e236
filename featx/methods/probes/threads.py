"""Limit the threads of the processor's libraries (BLAS, OpenMP)."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


def limit_threads(most: int | None) -> AbstractContextManager[object]:
    """Return a context in which each library uses at most `most` threads; None leaves them as they are.

    As `threadpoolctl.threadpool_limits`, which looks for the loaded libraries each time, for some
    milliseconds: as long as fitting a probe to few rows.
    """
    return _controller("torch" in sys.modules).limit(limits=most)


@lru_cache
def _controller(with_torch: bool) -> ThreadpoolController:
    # Importing torch loads more libraries.
    return ThreadpoolController()
