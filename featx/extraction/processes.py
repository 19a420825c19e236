"""Processes that read, decode and resize images, for machines whose network is faster than one interpreter.

Threads of one process share its interpreter lock: beyond a few thousand images a second they wait for it and
not for the images, however many cores there are. Processes do not, and hand their pixels over in memory that
both sides see.
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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.errors import ImageError, InputError
from featx.inputs.image import Preprocessing
from featx.inputs.image.budget import DECODING

try:
    import fcntl
except ImportError:  # not on Windows; each process then keeps to its own part of the budget
    fcntl = None  # type: ignore[assignment]


@dataclass(slots=True)
class PreparedInput:
    """One image: what it is, and its pixels in row `at` of the slot, or why it has none."""

    key: tuple | None
    digest: bytes | None
    error: ImageError | None
    at: int


@dataclass(slots=True)
class PreparedChunk:
    """What a process made of some images.

    Attributes
    ----------
    images : list of PreparedInput
    pixels : ndarray of shape (n, h, w, 3), uint8
        Valid until the chunk is freed.
    seconds : dict
        What each stage took.
    """

    images: list[PreparedInput]
    seconds: dict[str, float]
    pixels: np.ndarray = field(repr=False)
    _free: Any = field(repr=False)

    def free(self) -> None:
        """Its memory may be used for other images."""
        self._free()


class ProcessPool:
    """A pool of such processes.

    Parameters
    ----------
    count : int
        Processes.
    preprocessing : Preprocessing
    images : int
        In a chunk, at most.
    chunks : int
        That may be under way or not yet freed at a time; asking for one more waits.
    """

    def __init__(self, count: int, preprocessing: Preprocessing, images: int, chunks: int) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self._shape = (images, *preprocessing.size, 3)
        self._slot_bytes = int(np.prod(self._shape))
        self._file = _shared_file(self._slot_bytes * chunks)
        self._memory = mmap.mmap(self._file.fileno(), self._slot_bytes * chunks)
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(chunks):
            self._slots.put(slot)
        self._open: set[Future] = set()
        # A process started this way runs nothing of the program that uses featx, guarded or not.
        self._pool = ProcessPoolExecutor(
            count,
            initializer=_begin,
            initargs=(preprocessing, _path(self._file), self._slot_bytes * chunks, count),
            env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    def submit(self, images: Sequence[Any]) -> Future[PreparedChunk]:
        """Prepare some images; the future's chunk is to be freed."""
        slot = self._slots.get()
        start = slot * self._slot_bytes
        result: Future[PreparedChunk] = Future()
        result.set_running_or_notify_cancel()

        def finish(done: Future) -> None:
            self._open.discard(done)
            try:
                found, seconds = done.result()
            except BrokenExecutor as error:
                self._slots.put(slot)
                result.set_exception(
                    InputError(
                        "a process that decodes images ended unexpectedly: memory may have run out, or the "
                        f"decoder crashed on one of the images {images[0].id} ... {images[-1].id}; n_jobs=1 "
                        f"decodes in this process ({error})".replace("\n", " ")
                    )
                )
            except BaseException as error:
                self._slots.put(slot)
                result.set_exception(error)
            else:
                pixels = np.frombuffer(self._memory, np.uint8, self._slot_bytes, start).reshape(self._shape)
                result.set_result(PreparedChunk(found, seconds, pixels, lambda: self._slots.put(slot)))

        work = self._pool.submit(_prepare, list(images), start, self._shape)
        self._open.add(work)
        work.add_done_callback(finish)
        return result

    def close(self) -> None:
        """End the processes, each after the chunk that it has in hand."""
        for work in list(self._open):
            work.cancel()
        self._pool.shutdown(wait=True)
        self._file.close()


def _shared_file(size: int) -> Any:
    """A file that is memory only where the system has such; /dev/shm is too small in many containers."""
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("featx-pixels"), "r+b")
    else:
        file = tempfile.NamedTemporaryFile(prefix="featx-pixels-")  # noqa: SIM115  lives as long as the pool
    file.truncate(size)
    return file


def _path(file: Any) -> str:
    """Where another process of this user finds the file."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)


# What follows runs in the processes.

_here: tuple[Preprocessing, mmap.mmap] | None = None


def _begin(preprocessing: Preprocessing, path: str, size: int, count: int) -> None:
    global _here
    DECODING.share(count, lambda: _alone(path))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run ends its processes itself
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with open(path, "r+b") as file:
        _here = preprocessing, mmap.mmap(file.fileno(), size)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Only one process is in it at a time; one that dies lets the next in."""
    with open(path, "rb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with(parent: int) -> None:
    """A run that was killed can tell its processes nothing."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _prepare(
    images: list[Any], start: int, shape: tuple[int, ...]
) -> tuple[list[PreparedInput], dict[str, float]]:
    assert _here is not None
    preprocessing, memory = _here
    pixels = np.frombuffer(memory, np.uint8, int(np.prod(shape)), start).reshape(shape)
    found: list[PreparedInput] = []
    seconds = dict.fromkeys(("read", "decode", "preprocess"), 0.0)
    used = 0
    for image in images:
        began = time.perf_counter()
        item = PreparedInput(None, None, None, -1)
        found.append(item)
        try:
            # The key before the bytes, as a file may change in between.
            item.key = image.stat_key()
            content = image.read()
            item.digest = content.digest
            read = time.perf_counter()
            with content.decoding(preprocessing.reduction) as (decoded, size):
                done = time.perf_counter()
                preprocessing(decoded, size, out=pixels[used])
                del decoded
        except ImageError as error:
            item.error = error
            continue
        item.at = used
        used += 1
        seconds["read"] += read - began
        seconds["decode"] += done - read
        seconds["preprocess"] += time.perf_counter() - done
    return found, seconds
