"""From files to rows, many at a time: read ahead, decode, resize, and through the network.

Images go in units of a few batches. Threads read files ahead and take their digests. On a CPU every worker
takes the next unit, decodes it and runs the network on it: no core waits for another. A device is fed by
this process's main thread, while the threads prepare the next units. Units come out in the order they went
in, whichever worker was faster, and only so many are under way that memory stays bounded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from featx.cache import Claims
from featx.errors import FeatxError, ImageError, InputError
from featx.extraction.chunks import Chunk, Item, read
from featx.extraction.processes import PreparedChunk, ProcessPool
from featx.forks import uninterrupted
from featx.inputs.image import FileImage, Preprocessing

#: Pixels that wait for the network, and files that were read ahead, in bytes each.
PIXELS_AHEAD = 64 * 2**20
FILES_AHEAD = 64 * 2**20

#: Threads that read files: they mostly wait, on a disk or a network for more than one file at a time.
READERS = 4

#: Waits for rows that a device computes.
Ticket = Callable[[], np.ndarray]

#: Images that a thread prepares in one go for a device, whose own batches are large.
_GRAIN = 16
#: Batches that a worker takes in one go: each handing over wakes a thread, and that is not free.
_BATCHES = 4
#: Batches that a device has at a time.
_IN_FLIGHT = 2
#: Units that wait to be one batch for a device, where most of them have nothing new for it.
_MOST_WAITING = 256

#: A device is fed by processes from this many cores on, and for this many images: they take seconds to start.
_CORES_FOR_PROCESSES = 4
_IMAGES_FOR_PROCESSES = 5_000


class Keeper(Protocol):
    """Knows which rows there are (`featx.extraction.row_store.RowStore`)."""

    claims: Claims

    def holds(self, digest: bytes) -> bool:
        """Whether there was a row when the disk was last looked at."""

    def refresh(self) -> None:
        """Look at the disk."""


class Pipeline:
    """Takes images through one or several networks, decoding each once.

    Parameters
    ----------
    images : sequence of sources
        See `featx.inputs.image.source`.
    preprocessing : Preprocessing
        The networks' own, alike for all.
    engines : sequence of Engine
        On one device.
    keepers : sequence of Keeper
        For each engine.
    threads : int
        That prepare images for a device; on a CPU the engine decides how many workers there are.

    Attributes
    ----------
    rest : list of Chunk
        What was finished and not yielded, when the run was ended.
    elsewhere : list of dict of int to bytes
        For each engine, positions and digests of images whose rows were left to others.
    """

    def __init__(
        self,
        images: Sequence[Any],
        preprocessing: Preprocessing,
        engines: Sequence[Any],
        keepers: Sequence[Keeper],
        threads: int,
    ) -> None:
        self._images, self._preprocessing = images, preprocessing
        self._engines, self._keepers = engines, keepers
        self._feeds_device = engines[0].workers == 0
        self.threads = max(engine.workers for engine in engines) or threads
        self.rest: list[Chunk] = []
        self.elsewhere: list[dict[int, bytes]] = [{} for _ in engines]
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._bytes_read = 0  # of files that are not decoded yet
        self._open: set[int] = set()  # units that are not decoded yet
        self._ending = False

    def run(self, todo: Sequence[int]) -> Generator[Chunk]:
        """Units with their rows, in the order of `todo`.

        When the iterator is closed or fails, no thread is left working, and `rest` has what was finished
        and not yielded.
        """
        if len(todo) == 1 and not self._feeds_device:
            yield self._alone(todo)
            return
        finished = self._fed(self._prepared(todo)) if self._feeds_device else self._prepared(todo)
        try:
            yield from finished
        finally:
            finished.close()

    def _prepared(self, todo: Sequence[int]) -> Generator[Chunk]:
        height, width = self._preprocessing.size
        sizes = self._unit_sizes(len(todo))
        unit_bytes = max(1, max(sizes, default=1) * height * width * 3)
        most = max(2 * self.threads + 2, min(PIXELS_AHEAD // unit_bytes, 16 * self.threads))
        waiting = iter(zip(accumulate(sizes, initial=0), sizes, strict=False))
        reading: deque[Future] = deque()
        working: deque[Future] = deque()
        workers = self._workers(todo, sizes, most)
        readers = ThreadPoolExecutor(max(READERS, self.threads), thread_name_prefix="featx-read")
        computing = ThreadPoolExecutor(
            self.threads if workers is None else 1,
            thread_name_prefix="featx-worker",
            initializer=self._enter,
        )

        def fill() -> None:
            while len(working) < most:
                start, size = next(waiting, (0, 0))
                if not size:
                    return
                positions = todo[start : start + size]
                if workers is not None:
                    chunk = workers.submit([self._images[i] for i in positions])
                    working.append(computing.submit(self._adopt, positions, chunk))
                    continue
                with self._lock:
                    self._open.add(start)
                read = readers.submit(self._read, positions, start)
                reading.append(read)
                working.append(computing.submit(self._work, read, start))

        try:
            fill()
            while working:
                unit = working[0].result()
                working.popleft()
                if reading:
                    reading.popleft()
                fill()
                yield unit
        finally:
            for future in (*working, *reading):
                future.cancel()
            with self._room:
                self._ending = True
                self._room.notify_all()
            for keeper in self._keepers:
                keeper.claims.hurry()
            if workers is not None:
                workers.close()
            readers.shutdown(wait=True, cancel_futures=True)
            computing.shutdown(wait=True, cancel_futures=True)
            for engine in self._engines:
                engine.leave()
            for future in working:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.rest.append(future.result())

    def _workers(self, todo: Sequence[int], sizes: Sequence[int], most: int) -> ProcessPool | None:
        """Processes that prepare images, where threads could not keep a device busy."""
        if (
            not self._feeds_device
            or self.threads < _CORES_FOR_PROCESSES
            or len(todo) < _IMAGES_FOR_PROCESSES
            or not all(isinstance(self._images[i], FileImage) for i in todo)
        ):
            return None
        batch: int = max(engine.batch_size for engine in self._engines)
        # Those under way, and those that wait to be a batch for the device.
        return ProcessPool(self.threads, self._preprocessing, max(sizes), most + -(-batch // max(sizes)) + 1)

    def _unit_sizes(self, images: int) -> list[int]:
        """Large units while there is much to do, and single batches towards the end."""
        batch: int = max(engine.batch_size for engine in self._engines)
        if self._feeds_device:
            batch = min(_GRAIN, batch)
            return [min(batch, images - start) for start in range(0, images, batch)]
        sizes = []
        while images > 0:
            large = images > 2 * _BATCHES * batch * self.threads
            sizes.append(min(batch * (_BATCHES if large else 1), images))
            images -= sizes[-1]
        return sizes

    def _enter(self) -> None:
        for engine in self._engines:
            engine.enter()

    def _alone(self, todo: Sequence[int]) -> Chunk:
        """A few images, computed in the calling thread: no other would make it faster."""
        self._enter()
        try:
            unit = self._read(todo)
            self._prepare(unit)
            self._forward(unit)
            return unit
        finally:
            for engine in self._engines:
                engine.leave()

    def _read(self, positions: Sequence[int], number: int = 0) -> Chunk:
        unit = Chunk([])
        for position in positions:
            with self._room:
                self._room.wait_for(lambda: self._may_read(number))
            began = time.perf_counter()
            item = read(self._images[position], position)
            unit.items.append(item)
            if item.content is not None:
                with self._lock:
                    self._bytes_read += item.content.nbytes
            unit.spend("read", began)
        return unit

    def _may_read(self, number: int) -> bool:
        """Whether there is room; what the workers need first is read in any case, as it makes room."""
        return self._bytes_read < FILES_AHEAD or self._ending or number <= min(self._open, default=number)

    def _work(self, read: Future, number: int) -> Chunk:
        unit: Chunk = read.result()
        self._prepare(unit)
        with self._room:
            self._open.discard(number)
            self._room.notify_all()
        self._forward(unit)
        return unit

    def _forward(self, unit: Chunk) -> None:
        """The rows of a unit, where its worker computes them."""
        if not self._feeds_device and unit.pixels is not None:
            began = time.perf_counter()
            for number, engine in enumerate(self._engines):
                pixels = unit.pixels_for(number)
                unit.rows.append(None if pixels is None else _checked(_through(engine, pixels), engine))
            unit.drop_pixels()
            unit.spend("forward", began)

    def _prepare(self, unit: Chunk) -> None:
        """Decode and resize what has no row yet."""
        pixels = np.empty((len(unit.items), *self._preprocessing.size, 3), np.uint8)
        lacking = [self._taken(unit, number) for number in range(len(self._engines))]
        now = time.perf_counter()  # waiting for others' claims is no decoding
        unit.wanted = [[] for _ in self._engines]
        for item in unit.items:
            content, item.content = item.content, None
            if content is None:
                continue
            with self._room:
                self._bytes_read -= content.nbytes
                self._room.notify_all()
            digest = content.digest
            if not any(digest in digests for digests in lacking):
                continue
            try:
                with content.decoding(self._preprocessing.reduction) as (decoded, size):
                    now = unit.spend("decode", now)
                    self._preprocessing(decoded, size, out=pixels[len(unit.digests)])
                    del decoded
            except ImageError as error:
                item.error = error
                now = unit.spend("decode", now)
                continue
            unit.add(digest, lacking)
            now = unit.spend("preprocess", now)
        self._give_up(lacking)
        if unit.digests:
            unit.pixels = pixels[: len(unit.digests)]

    def _adopt(self, positions: Sequence[int], prepared: Future[PreparedChunk]) -> Chunk:
        """What a process prepared, as far as it has no row yet."""
        chunk = prepared.result()
        found = zip(positions, chunk.images, strict=True)
        unit = Chunk(
            [Item(position, image.key, image.digest, error=image.error) for position, image in found]
        )
        unit.seconds |= chunk.seconds
        lacking = [self._taken(unit, number) for number in range(len(self._engines))]
        unit.wanted = [[] for _ in self._engines]
        places = []
        for image in chunk.images:
            digest = image.digest
            if digest is not None and image.error is None and any(digest in digests for digests in lacking):
                unit.add(digest, lacking)
                places.append(image.at)
        self._give_up(lacking)
        if len(places) == len(positions):
            unit.pixels, unit.free = chunk.pixels[: len(places)], chunk.free
            return unit
        if places:
            unit.pixels = chunk.pixels[places]
        chunk.free()
        return unit

    def _give_up(self, lacking: Sequence[set[bytes]]) -> None:
        """Claims on what could not be decoded: the same bytes may be refused under one file's name only."""
        for keeper, digests in zip(self._keepers, lacking, strict=True):
            keeper.claims.drop(digests)

    def _taken(self, unit: Chunk, number: int) -> set[bytes]:
        """The digests of a unit that this run is to compute for a network; the others are noted."""
        keeper = self._keepers[number]
        open_ = {
            item.position: item.digest
            for item in unit.items
            if item.error is None and item.digest is not None and not keeper.holds(item.digest)
        }
        digests = list(dict.fromkeys(open_.values()))
        with uninterrupted():
            free = keeper.claims.take(digests)
        taken = {digest for digest, is_free in zip(digests, free, strict=True) if is_free}
        if taken:  # of a run that has ended since the last look there are rows, and no claims
            keeper.refresh()
            known = {digest for digest in taken if keeper.holds(digest)}
            keeper.claims.drop(known)
            taken -= known
        others = {position: digest for position, digest in open_.items() if digest not in taken}
        if others:
            with self._lock:
                self.elsewhere[number].update(others)
        return taken

    def _fed(self, prepared: Generator[Chunk]) -> Generator[Chunk]:
        """Units with the rows that a device computed for them, several units in one batch."""
        flying: deque[tuple[list[Chunk], list[Ticket | None]]] = deque()
        landed: deque[Chunk] = deque()
        waiting: list[Chunk] = []
        count = 0  # images in `waiting`
        most = min(engine.batch_size for engine in self._engines)

        def launch() -> None:
            began = time.perf_counter()
            tickets: list[Ticket | None] = []
            for number, engine in enumerate(self._engines):
                parts = [part for unit in waiting if (part := unit.pixels_for(number)) is not None]
                tickets.append(engine.submit(parts) if parts else None)
            waiting[0].spend("forward", began)
            flying.append((list(waiting), tickets))
            for unit in waiting:
                unit.drop_pixels()
            waiting.clear()

        try:
            for unit in prepared:
                if waiting and (count + len(unit.digests) > most or len(waiting) >= _MOST_WAITING):
                    launch()
                    count = 0
                waiting.append(unit)
                count += len(unit.digests)
                if len(flying) > _IN_FLIGHT:
                    landed += self._landed(*flying.popleft())
                while landed:
                    yield landed.popleft()
            if waiting:
                launch()
            while flying or landed:
                if not landed:
                    landed += self._landed(*flying.popleft())
                yield landed.popleft()
        finally:
            prepared.close()
            self.rest += landed
            for flight in flying:
                # What a failing device still gives is kept; the error that ended the run is the one to tell.
                with contextlib.suppress(RuntimeError, FeatxError):
                    self.rest += self._landed(*flight)

    def _landed(self, units: list[Chunk], tickets: Sequence[Ticket | None]) -> list[Chunk]:
        """Wait for a batch, and give its rows to its units."""
        began = time.perf_counter()
        for number, (ticket, engine) in enumerate(zip(tickets, self._engines, strict=True)):
            rows = None if ticket is None else _checked(ticket(), engine)
            at = 0
            for unit in units:
                count = len(unit.wanted[number])
                unit.rows.append(rows[at : at + count] if rows is not None and count else None)
                at += count
        units[0].spend("forward", began)
        return units


def _through(engine: Any, pixels: np.ndarray) -> np.ndarray:
    """Rows of some pixels, a batch at a time."""
    batch = engine.batch_size
    if len(pixels) <= batch:
        rows: np.ndarray = engine(pixels)
        return rows
    return np.concatenate([engine(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])


def _checked(rows: np.ndarray, engine: Any) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the backbone gave non-finite values for {int((~finite).sum())} of {len(rows)} images "
            f"(precision {engine.precision}); use fp32 or other weights"
        )
    return rows
