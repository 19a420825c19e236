"""The memory budget that the threads share that decode large pictures.

A thread says how many bytes it needs and waits until others have given back enough. Threads are served in
the order in which they came, so that small pictures do not overtake a large one for ever. A picture that
needs more than the whole budget is decoded alone. The processes of one run have an equal part of the budget
each; only one of them at a time decodes a picture that needs more than its part.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator

from featx.machine import free_memory

# Bytes that are worth trimming: that takes milliseconds, decoding this much a tenth of a second.
_WORTH_TRIMMING = 64 * 2**20

#: Why decoding failed where memory ran out.
OUT_OF_MEMORY = "needs more memory than there is; shrink it, or decode fewer images at a time (n_jobs)"

#: Bounds of the budget in bytes, a quarter of the free memory. The lower one keeps several threads at work
#: where little is free.
LARGEST_BUDGET = 2 * 2**30
SMALLEST_BUDGET = 128 * 2**20


class Budget:
    """Bytes that threads take and give back, first come first served.

    Parameters
    ----------
    size : int, optional
        By default a quarter of the memory that is free when it is first needed, between 128 MiB and 2 GiB.
    """

    def __init__(self, size: int | None = None) -> None:
        self._size = size
        self._gate: Callable[[], contextlib.AbstractContextManager] | None = None
        self._start()
        if hasattr(os, "register_at_fork"):
            # In a child no other thread lives on that could give back what it took.
            os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._holders: dict[object, int] = {}
        self._queue: deque[object] = deque()
        self._mine = threading.local()

    @property
    def size(self) -> int:
        """Bytes in all."""
        if self._size is None:
            free = free_memory()
            quarter = LARGEST_BUDGET if free is None else free // 4
            self._size = max(SMALLEST_BUDGET, min(LARGEST_BUDGET, quarter))
        return self._size

    @property
    def used(self) -> int:
        """Bytes that are taken at present."""
        return sum(self._holders.values())

    def share(self, processes: int, gate: Callable[[], contextlib.AbstractContextManager]) -> None:
        """Keep to an equal share of the budget; `gate` returns a context that one process is in at a time."""
        self._size, self._gate = max(1, self.size // processes), gate

    def hold(self) -> Hold:
        """Return a context manager that gives back all its bytes at the end."""
        return Hold(self)

    @contextlib.contextmanager
    def _taken(self, n_bytes: int) -> Iterator[None]:
        # A thread that holds some does not wait for more: it could wait for itself.
        nested = getattr(self._mine, "depth", 0) > 0
        gate = self._gate if n_bytes > self.size and not nested else None
        holder = object()
        with contextlib.nullcontext() if gate is None else gate():
            self._mine.depth = getattr(self._mine, "depth", 0) + 1
            try:
                self._take(holder, n_bytes, wait=not nested)
                yield
            finally:
                self._mine.depth = max(0, getattr(self._mine, "depth", 0) - 1)
                if n_bytes >= _WORTH_TRIMMING:
                    _trim()
                with self._changed:
                    self._holders.pop(holder, None)
                    self._changed.notify_all()

    def _take(self, holder: object, n_bytes: int, *, wait: bool) -> None:
        size = self.size
        with self._changed:
            if wait and (self._queue or not self._fits(n_bytes, size)):
                self._queue.append(holder)
                try:
                    while self._queue[0] is not holder or not self._fits(n_bytes, size):
                        self._changed.wait()
                finally:  # also after Ctrl-C the others must go on
                    self._queue.remove(holder)
                    self._changed.notify_all()
            self._holders[holder] = n_bytes

    def _fits(self, n_bytes: int, size: int) -> bool:
        return not self._holders or self.used + n_bytes <= size


def _trim() -> None:
    """Give freed memory back to the system, where the C library keeps it: glibc up to 64 MiB a thread."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        import ctypes

        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (ImportError, OSError, AttributeError, TypeError):  # not glibc
        return None


class Hold:
    """The bytes that one decoding has taken of a budget."""

    __slots__ = ("_budget", "_n_bytes", "_stack")

    def __init__(self, budget: Budget) -> None:
        self._budget, self._n_bytes = budget, 0
        self._stack: contextlib.ExitStack | None = None  # most pictures take nothing

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stack is not None:
            self._stack.close()

    def need(self, n_bytes: int) -> None:
        """Take bytes until `n_bytes` are held, before allocating them; the first call waits for them."""
        if n_bytes > self._n_bytes:
            self._stack = self._stack or contextlib.ExitStack()
            self._stack.enter_context(self._budget._taken(n_bytes - self._n_bytes))
            self._n_bytes = n_bytes


#: The budget of this process.
DECODING = Budget()


def is_out_of_memory(error: BaseException, n_bytes: int) -> bool:
    """Whether a decoder that needs about `n_bytes` failed because there was no memory.

    Decoders seldom say so: libwebp fails as it does for damaged data. So allocating that much is tried.
    """
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return True
    try:
        mmap.mmap(-1, max(1, n_bytes)).close()
    except (OSError, MemoryError):
        return True
    return False


def format_mb(n_bytes: int) -> str:
    """Format a number of bytes for a message."""
    return f"{n_bytes / 1e6:,.0f} MB"
