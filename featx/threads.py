"""Limit the threads of numerical libraries: those of BLAS in the process, of OpenMP in the calling thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

R = TypeVar("R")

_lock = threading.Lock()
_known: tuple[int, ThreadpoolController] | None = None


@contextmanager
def limit_threads(limit: int | None) -> Iterator[None]:
    """Let BLAS and OpenMP use at most `limit` threads in the block; None changes nothing.

    OpenMP counts for each thread of Python on its own, so work that is handed to threads must be limited in
    each of them.
    """
    if limit is None:
        yield
        return
    controller = _controller()
    # All that a controller knows of is restored, so that of OpenMP must not know of BLAS.
    with controller.select(user_api="openmp").limit(limits=limit), _blas.limited(controller, limit):
        yield


class _BlasLimits:
    """The limits of BLAS, which counts for the whole process, by blocks of several threads.

    The block that was entered last counts, and what was before is restored when the last one is left. Blocks
    need not be left in reverse order: after an error in one thread, another may still compute.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[list[int]] = []
        self._before: dict[str, tuple[Any, int]] = {}

    @contextmanager
    def limited(self, controller: ThreadpoolController, limit: int) -> Iterator[None]:
        mine = [limit]
        with self._lock:
            for library in controller.lib_controllers:
                if library.user_api == "blas":
                    self._before.setdefault(library.filepath, (library, library.num_threads))
            self._active.append(mine)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                # By identity: equal limits are different blocks.
                self._active = [one for one in self._active if one is not mine]
                self._apply()

    def _apply(self) -> None:
        for library, before in self._before.values():
            # threadpoolctl 3.6 and later lets one thread alone set OpenBLAS, and does nothing in others.
            set_limit = getattr(library, "_real_set_num_threads", library.set_num_threads)
            set_limit(self._active[-1][0] if self._active else before)
        if not self._active:
            self._before.clear()


_blas = _BlasLimits()


def count_threads() -> int:
    """Return the number of threads that BLAS may use now; callers and the environment limit it."""
    # The version of a library is not asked for: that takes as long as a small fit.
    counts = [library.num_threads for library in _controller().lib_controllers]
    return max((count for count in counts if count), default=1)


def _controller() -> ThreadpoolController:
    """Return the controller of the loaded libraries.

    Looking for them takes milliseconds, as long as a small fit, so it is done again only after an import:
    nothing else loads a library.
    """
    global _known
    from threadpoolctl import ThreadpoolController

    with _lock:
        if _known is None or _known[0] != len(sys.modules):
            _known = len(sys.modules), ThreadpoolController()
        return _known[1]


def run_in_threads(work: Callable[..., R], calls: Sequence[tuple[Any, ...]], n_jobs: int) -> list[R]:
    """Call `work` with each tuple of arguments in `n_jobs` threads of Python.

    Each call has its share of the `n_jobs` threads for BLAS and OpenMP, one at least: more would compete for
    the same cores. Results are in the order of `calls`.
    """
    count = min(n_jobs, len(calls))
    share = max(1, n_jobs // max(1, len(calls)))

    def limited(args: tuple[Any, ...]) -> R:
        # The limit of OpenMP in the thread that waits does not apply in this one.
        with limit_threads(share):
            return work(*args)

    with limit_threads(share):
        if count < 2:
            return [work(*args) for args in calls]
        # joblib looks every 10 ms whether a call has ended: longer than a fit to few rows takes.
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(limited, calls))
