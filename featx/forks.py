"""Make forks safe: none happens while a thread of featx builds or computes, and the child starts clean.

A fork copies only the calling thread. Locks that other threads hold at that moment, also inside libraries,
stay held in the child for ever. So a fork waits until no other thread is inside `uninterrupted`, and locks
made with `fresh_in_child` are free in the child.

GNU OpenMP keeps a pool of threads for each thread that computed on several cores. A fork copies none of them,
and the child would wait for them for ever at its first large tensor. So the pool of the forking thread is
ended before the fork; parent and child make a new one when they need it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

__all__ = ["CUDA_LOST", "REMEDY", "cuda_is_lost", "fresh_in_child", "threads_here", "uninterrupted"]

#: Advice where a forked child cannot work.
REMEDY = (
    "start worker processes with the start method 'spawn' or 'forkserver', or with joblib's backend 'loky'"
)

#: Error message if `cuda_is_lost`.
CUDA_LOST = (
    f"this process was forked from one that had used CUDA, and cannot use it; {REMEDY}, or use device='cpu'"
)

#: Seconds that a fork waits for other threads at most; compiling a network takes longer.
_PATIENCE = 10.0

#: `omp_pause_soft` of OpenMP 5.0, section 3.1: end the threads, keep what was set.
_PAUSE_SOFT = 1

_Lock = TypeVar("_Lock")


class _Gate:
    """Which threads are at work, and how many wait to fork."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.inside: Counter[int] = Counter()  # calls under way, by thread
        self.forking = 0

    def quiet(self) -> bool:
        """Whether no other thread is at work."""
        return not self.inside.keys() - {threading.get_ident()}


_gate = _Gate()
#: The thread of a forked child whose OpenMP pool could not be ended.
_crippled: int | None = None
_pool_ended = True


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep other threads from forking until the body is done; a thread may enter it again inside."""
    gate, here = _gate, threading.get_ident()
    with gate.changed:
        if here not in gate.inside:
            gate.changed.wait_for(lambda: not gate.forking)
        gate.inside[here] += 1
    try:
        yield
    finally:
        with gate.changed:
            gate.inside[here] -= 1
            if not gate.inside[here]:
                del gate.inside[here]
                gate.changed.notify_all()


def fresh_in_child(lock: _Lock) -> _Lock:
    """Return the lock, which becomes free in every forked child; for locks that live as long as a module."""
    if hasattr(os, "register_at_fork"):
        # Private, and what the standard library does with its own locks (concurrent.futures, logging).
        os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]
    return lock


def threads_here(wanted: int) -> int:
    """Return how many OpenMP threads the calling thread may use: `wanted`, or 1 if more would hang."""
    return 1 if _crippled == threading.get_ident() else wanted


def cuda_is_lost() -> bool:
    """Whether this process was forked from one that had used CUDA, which a child cannot use."""
    torch = sys.modules.get("torch")
    forked = getattr(getattr(torch, "cuda", None), "_is_in_bad_fork", None)  # private, so may go
    return forked is not None and bool(forked())


def _before() -> None:
    global _pool_ended
    _gate.changed.acquire()  # until the fork is over
    _gate.forking += 1
    _gate.changed.wait_for(_gate.quiet, _PATIENCE)
    _pool_ended = _end_pools()


def _after_in_parent() -> None:
    _gate.forking -= 1
    _gate.changed.notify_all()
    _gate.changed.release()


def _after_in_child() -> None:
    global _gate, _crippled
    _gate = _Gate()
    _crippled = None
    if not _pool_ended and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
        _crippled = threading.get_ident()


def _end_pools() -> bool:
    """End the calling thread's pool in each loaded GNU OpenMP; return whether each could do that."""
    ended = True
    for path in _openmp_libraries():
        with contextlib.suppress(OSError):  # it is loaded, so it is found
            pause: Any = getattr(ctypes.CDLL(path), "omp_pause_resource_all", None)  # from GCC 9 on
            ended &= pause is not None and pause(_PAUSE_SOFT) == 0
    return ended


def _openmp_libraries() -> set[str]:
    """Return the files of GNU OpenMP in this process; other OpenMPs handle forks themselves."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            found = {os.fsdecode(line.split(None, 5)[5].strip()) for line in maps if b"/libgomp" in line}
    except OSError:  # not Linux, where nothing is built with it
        return set()
    return {path for path in found if os.path.exists(path)}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
