"""From files to rows, many at a time: read ahead, decode, resize, and through the network.

Images go in units of a few batches. Threads read files ahead and take their digests. On a CPU every lane
takes the next unit, decodes it and runs the network on it: no core waits for another. A device is fed by
this process's main thread, while the threads prepare the next units. Units come out in the order they went
in, whichever lane was faster, and only so many are under way that memory stays bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from featx.errors import ImageError, InputError
from featx.extraction.embedder import Embedder

#: Pixels that wait for the network, and files that were read ahead, in bytes each.
PIXELS_AHEAD = 64 * 2**20
FILES_AHEAD = 64 * 2**20

#: Threads that read files: they mostly wait, on a disk or a network for more than one file at a time.
READERS = 4

#: Images that a thread prepares in one go for a device, whose own batches are large.
_GRAIN = 16
#: Batches that a lane takes in one go: each handing over wakes a thread, and that is not free.
_BATCHES = 4
#: Batches that a device has at a time.
_IN_FLIGHT = 2


@dataclass(slots=True)
class Item:
    """One image on its way."""

    position: int
    key: tuple | None = None
    digest: bytes | None = None
    content: Any = None
    error: ImageError | None = None


@dataclass(slots=True)
class Unit:
    """Images that go through the network together.

    Attributes
    ----------
    items : list of Item
        In order; some have no row: unreadable ones, and those whose row is known already.
    digests : list of bytes
        Of the images in `pixels`, and then in `rows`.
    pixels : ndarray of shape (b, h, w, 3), uint8, or None
    rows : ndarray of shape (b, dim), float32, or None
    seconds : dict
        What each stage took.
    """

    items: list[Item]
    digests: list[bytes] = field(default_factory=list)
    pixels: np.ndarray | None = None
    rows: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def spend(self, stage: str, began: float) -> float:
        """Note time since `began`; what it is now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - began
        return now


def identify(image: Any) -> Item:
    """Read an image for its digest, and keep nothing of its bytes."""
    item = read(image, -1)
    item.content = None
    return item


def read(image: Any, position: int) -> Item:
    """Read an image: its content, or why not."""
    item = Item(position)
    try:
        # The key is taken before the bytes: a file that changes in between gets a key of the past, which
        # will not match again, rather than a wrong digest under its new key.
        item.key = image.stat_key()
        item.content = image.read()
        item.digest = item.content.digest
    except ImageError as error:
        item.error = error
    return item


class Pipeline:
    """Takes images through an engine.

    Parameters
    ----------
    images : sequence of sources
        See `featx.images.source`.
    embedder : Embedder
    engine : Engine
    known : callable
        Whether a digest has a row already.
    threads : int
        That prepare images for a device; lanes are the engine's to say.
    """

    def __init__(
        self,
        images: Sequence[Any],
        embedder: Embedder,
        engine: Any,
        known: Callable[[bytes], bool],
        threads: int,
    ) -> None:
        self._images, self._embedder, self._engine, self._known = images, embedder, engine, known
        self._preprocessing = embedder.preprocessing
        self._feeds_device = engine.lanes == 0
        self.threads = engine.lanes or threads
        self.rest: list[Unit] = []
        self._claimed: set[bytes] = set()
        self._lock = threading.Lock()
        self._bytes_read = 0  # of files that are not decoded yet

    def run(self, todo: Sequence[int]) -> Generator[Unit]:
        """Units with their rows, in the order of `todo`.

        When the iterator is closed or fails, no thread is left working, and `rest` has what was finished
        and not yielded.
        """
        finished = self._fed(self._prepared(todo)) if self._feeds_device else self._prepared(todo)
        try:
            yield from finished
        finally:
            finished.close()

    def _prepared(self, todo: Sequence[int]) -> Generator[Unit]:
        height, width = self._preprocessing.size
        sizes = self._unit_sizes(len(todo))
        unit_bytes = max(1, max(sizes, default=1) * height * width * 3)
        most = max(2 * self.threads + 2, min(PIXELS_AHEAD // unit_bytes, 16 * self.threads))
        waiting = iter(zip(accumulate(sizes, initial=0), sizes, strict=False))
        reading: deque[Future] = deque()
        working: deque[Future] = deque()
        readers = ThreadPoolExecutor(max(READERS, self.threads), thread_name_prefix="featx-read")
        lanes = ThreadPoolExecutor(
            self.threads, thread_name_prefix="featx-lane", initializer=self._engine.enter
        )

        def fill() -> None:
            while len(working) < most and (not working or self._bytes_read < FILES_AHEAD):
                start, size = next(waiting, (0, 0))
                if not size:
                    return
                read = readers.submit(self._read, todo[start : start + size])
                reading.append(read)
                working.append(lanes.submit(self._work, read))

        try:
            fill()
            while working:
                unit = working[0].result()
                working.popleft()
                reading.popleft()
                fill()
                yield unit
        finally:
            for future in (*working, *reading):
                future.cancel()
            readers.shutdown(wait=True, cancel_futures=True)
            lanes.shutdown(wait=True, cancel_futures=True)
            self._engine.leave()
            for future in working:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.rest.append(future.result())

    def _unit_sizes(self, images: int) -> list[int]:
        """Large units while there is much to do, and single batches towards the end."""
        batch: int = self._engine.batch_size
        if self._feeds_device:
            batch = min(_GRAIN, batch)
            return [min(batch, images - start) for start in range(0, images, batch)]
        sizes = []
        while images > 0:
            large = images > 2 * _BATCHES * batch * self.threads
            sizes.append(min(batch * (_BATCHES if large else 1), images))
            images -= sizes[-1]
        return sizes

    def _through(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of some pixels, a batch at a time."""
        batch = self._engine.batch_size
        if len(pixels) <= batch:
            rows: np.ndarray = self._engine(pixels)
            return rows
        return np.concatenate([self._engine(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])

    def _read(self, positions: Sequence[int]) -> Unit:
        began = time.perf_counter()
        unit = Unit([read(self._images[position], position) for position in positions])
        with self._lock:
            self._bytes_read += sum(item.content.nbytes for item in unit.items if item.content is not None)
        unit.spend("read", began)
        return unit

    def _work(self, read: Future) -> Unit:
        unit: Unit = read.result()
        self._prepare(unit)
        if not self._feeds_device and unit.pixels is not None:
            began = time.perf_counter()
            unit.rows = self._checked(self._through(unit.pixels))
            unit.pixels = None
            unit.spend("forward", began)
        return unit

    def _prepare(self, unit: Unit) -> None:
        """Decode and resize what has no row yet."""
        now = time.perf_counter()
        pixels = np.empty((len(unit.items), *self._preprocessing.size, 3), np.uint8)
        for item in unit.items:
            content, item.content = item.content, None
            if content is None:
                continue
            with self._lock:
                self._bytes_read -= content.nbytes
            digest = content.digest
            if digest in self._claimed or self._known(digest):
                continue
            try:
                decoded, size = content.pixels(self._preprocessing.reduction)
            except ImageError as error:
                item.error = error
                now = unit.spend("decode", now)
                continue
            now = unit.spend("decode", now)
            # Only what can be decoded is claimed: the same bytes may be refused under another file's name.
            with self._lock:
                if digest in self._claimed:
                    continue
                self._claimed.add(digest)
            self._preprocessing(decoded, size, out=pixels[len(unit.digests)])
            unit.digests.append(digest)
            now = unit.spend("preprocess", now)
        if unit.digests:
            unit.pixels = pixels[: len(unit.digests)]

    def _fed(self, prepared: Generator[Unit]) -> Generator[Unit]:
        """Units with the rows that a device computed for them, several units in one batch."""
        flying: deque[tuple[list[Unit], Callable[[], np.ndarray]]] = deque()
        waiting: list[Unit] = []

        def launch() -> None:
            parts = [unit.pixels for unit in waiting if unit.pixels is not None]
            began = time.perf_counter()
            ticket = self._engine.submit(parts) if parts else (lambda: np.empty((0, self._embedder.dim)))
            waiting[0].spend("forward", began)
            flying.append((list(waiting), ticket))
            waiting.clear()

        def land() -> list[Unit]:
            units, ticket = flying.popleft()
            began = time.perf_counter()
            rows = ticket()
            units[0].spend("forward", began)
            at = 0
            for unit in units:
                if unit.pixels is not None:
                    unit.rows = self._checked(rows[at : at + len(unit.digests)])
                    at += len(unit.digests)
                    unit.pixels = None
            return units

        try:
            for unit in prepared:
                count = sum(len(other.digests) for other in waiting)
                if waiting and count + len(unit.digests) > self._engine.batch_size:
                    launch()
                waiting.append(unit)
                while len(flying) > _IN_FLIGHT:
                    yield from land()
            if waiting:
                launch()
            while flying:
                yield from land()
        finally:
            prepared.close()
            while flying:
                self.rest += land()

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise InputError(
                f"the backbone gave non-finite values for {int((~finite).sum())} of {len(rows)} images "
                f"(precision {self._engine.precision}); use fp32 or other weights"
            )
        return rows
