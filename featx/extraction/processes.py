"""Worker processes that read and prepare inputs, for devices that are faster than one Python interpreter.

Threads of one process share its interpreter lock, which limits them to a few thousand images a second on any
number of cores. Processes do not, and write prepared inputs into shared memory.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import numpy as np

from featx.errors import InputError, SourceError
from featx.extraction.chunks import Chunk, read_item
from featx.inputs import Preparation, Source

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other
    fcntl = None  # type: ignore[assignment]


class ProcessPool:
    """`count` processes that prepare chunks of at most `size` inputs whose shape does not vary.

    `chunks` of them may be under way or not yet released; submitting one more waits.
    """

    def __init__(self, count: int, preparation: Preparation, size: int, chunks: int) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self._preparation = preparation
        self._shape = (size, *preparation.shape)
        self._slot_bytes = int(np.prod(self._shape)) * preparation.dtype.itemsize
        self._file = _shared_file(self._slot_bytes * chunks)
        self._memory = mmap.mmap(self._file.fileno(), self._slot_bytes * chunks)
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(chunks):
            self._slots.put(slot)
        self._open: set[Future] = set()
        # loky does not import the main program again, so that it needs no guard.
        self._pool = ProcessPoolExecutor(
            count,
            initializer=_start_process,
            initargs=(preparation, _path(self._file), self._slot_bytes * chunks, count),
            env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    def submit(self, positions: Sequence[int], sources: Sequence[Source]) -> Future[Chunk]:
        """Read and prepare some sources; `prepared` has the items without an error until it is released."""
        slot = self._slots.get()
        start = slot * self._slot_bytes
        result: Future[Chunk] = Future()
        result.set_running_or_notify_cancel()

        def finish(done: Future) -> None:
            self._open.discard(done)
            try:
                chunk = done.result()
            except BrokenExecutor as error:
                self._slots.put(slot)
                kind = self._preparation.kind
                result.set_exception(
                    InputError(
                        f"a process that prepares {kind}s ended unexpectedly: memory may have run out, or a "
                        f"library crashed on one of the {kind}s {sources[0].id} ... {sources[-1].id}; "
                        f"n_jobs=1 prepares them in this process ({error})".replace("\n", " ")
                    )
                )
            except BaseException as error:
                self._slots.put(slot)
                result.set_exception(error)
            else:
                chunk.prepared = _view(self._memory, start, self._shape, self._preparation.dtype)
                chunk.release = lambda: self._slots.put(slot)
                result.set_result(chunk)

        work = self._pool.submit(_prepare_chunk, list(positions), list(sources), start, self._shape)
        self._open.add(work)
        work.add_done_callback(finish)
        return result

    def close(self) -> None:
        """End each process after the chunk that it is working on."""
        for work in list(self._open):
            work.cancel()
        self._pool.shutdown(wait=True)
        self._file.close()


def _shared_file(size: int) -> Any:
    """Return a file in memory if the system has such files; /dev/shm is too small in many containers."""
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("featx-prepared"), "r+b")
    else:
        file = tempfile.NamedTemporaryFile(prefix="featx-prepared-")  # noqa: SIM115  lives as long as the pool
    file.truncate(size)
    return file


def _path(file: Any) -> str:
    """Return the path at which another process of this user finds the file."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)


def _view(memory: mmap.mmap, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(memory, dtype, int(np.prod(shape)), start).reshape(shape)


# The functions below run in the worker processes.

_worker: tuple[Preparation, mmap.mmap] | None = None


def _start_process(preparation: Preparation, path: str, size: int, count: int) -> None:
    global _worker
    preparation.share_memory(count, lambda: _alone(path))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends them
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with open(path, "r+b") as file:
        _worker = preparation, mmap.mmap(file.fileno(), size)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Let one process in at a time; the lock is released when it dies."""
    with open(path, "rb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed run cannot end it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _prepare_chunk(positions: list[int], sources: list[Source], start: int, shape: tuple[int, ...]) -> Chunk:
    """Read and prepare sources, into shared memory from `start` on."""
    assert _worker is not None
    preparation, memory = _worker
    prepared = _view(memory, start, shape, preparation.dtype)
    chunk = Chunk([], seconds=dict.fromkeys(("read", *preparation.stages), 0.0))
    used, now = 0, time.perf_counter()

    def note(stage: str) -> None:
        nonlocal now
        now = chunk.spend(stage, now)

    for position, source in zip(positions, sources, strict=True):
        item = read_item(source, position)
        chunk.items.append(item)
        note("read")
        content, item.content = item.content, None
        if content is None:
            continue
        try:
            preparation.prepare(content, prepared[used], note)
        except SourceError as error:
            item.error = error
            note(preparation.stages[0])
            continue
        used += 1
    return chunk
