"""The pipeline from sources to rows: read ahead, prepare, and run the network, in chunks of a few batches.

Reader threads read sources ahead and take their digests. On a CPU, each worker thread prepares the next chunk
and runs the network on it, so that no core waits for another. On a device, the main thread runs the network
(`featx.extraction.forward.DeviceFeed`) while worker threads or processes prepare the next chunks. Chunks come
out in order. The number under way is limited, so that memory is bounded; where inputs differ in size, such as
recordings of any length, a chunk is computed in parts of some bytes.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import numpy as np

from featx.errors import SourceError
from featx.extraction.chunks import Chunk, Item, Parts, read_item
from featx.extraction.forward import DeviceFeed, compute_rows
from featx.extraction.pieces import varies
from featx.extraction.processes import ProcessPool
from featx.extraction.row_store import RowStore
from featx.forks import uninterrupted
from featx.inputs import DURATION, LONGER, SILENT, Preparation, Source
from featx.inputs.states import any_remote
from featx.places import stop_with

#: Bytes of prepared inputs that wait for the network, and of contents that are read ahead.
PREPARED_AHEAD = 64 * 2**20
READ_AHEAD = 64 * 2**20

#: Bytes of prepared inputs that make a part of a chunk, where inputs differ in size.
PART_BYTES = 16 * 2**20
#: Bytes of such parts that wait for a device; a worker that has more waits.
WAITING_BYTES = 256 * 2**20

#: Threads that read; they mostly wait for disks and networks.
READERS = 4
#: Threads that read from a network: they wait for one answer each.
REMOTE_READERS = 32

#: Inputs in a chunk for a device, whose batches are larger.
_GRAIN = 16
#: Batches in a chunk on a CPU: handing over each chunk wakes a thread, which takes time. Inputs of different
#: lengths are sorted within a chunk, so it has more of them: the fewer, the more of a batch is padding.
_BATCHES, _BATCHES_SORTED = 4, 64

#: Processes prepare for a device from this many cores and inputs on: they take seconds to start.
_CORES_FOR_PROCESSES = 4
_INPUTS_FOR_PROCESSES = 5_000


class Pipeline:
    """Prepares each input once for several engines on one device, and computes the rows that stores lack.

    `threads` prepare inputs for a device; on a CPU the engine decides how many workers there are.

    Attributes
    ----------
    rest : list of Chunk
        Chunks that were finished but not yielded when the run ended.
    elsewhere : list of list of int
        For each engine, positions of inputs whose rows another run computes.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        preparation: Preparation,
        engines: Sequence[Any],
        stores: Sequence[RowStore],
        threads: int,
    ) -> None:
        self._sources, self._preparation = sources, preparation
        self._engines, self._stores = engines, stores
        self._feeds_device = engines[0].workers == 0
        self.threads = max(engine.workers for engine in engines) or threads
        self.rest: list[Chunk] = []
        self.elsewhere: list[array[int]] = [array("q") for _ in engines]
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._bytes_read = 0  # of contents that are not prepared yet
        self._bytes_prepared = 0  # of inputs of different sizes that wait for the device
        self._open: set[int] = set()  # chunks that are not prepared yet
        self._ending = False
        self._stopped = threading.Event()  # ends waiting for a network
        self._fetchers: ThreadPoolExecutor | None = (
            None  # read from a network, several inputs of a chunk at once
        )
        self._under_way = 0  # inputs that they read now, and the mean bytes of those that they have read
        self._mean = 0.0

    def run(self, todo: Sequence[int] | np.ndarray) -> Generator[Chunk]:
        """Yield chunks with their rows, in the order of the positions `todo`.

        When the generator is closed or fails, all threads have ended, and `rest` has the chunks that were
        finished but not yielded.
        """
        todo = np.asarray(todo, dtype=np.int64)
        if len(todo) == 1 and not self._feeds_device:
            yield from self._compute_here(todo.tolist())
            return
        if not self._feeds_device:
            yield from self._prepared(todo)
            return
        feed = DeviceFeed(self._engines, self._preparation)
        try:
            yield from feed.run(self._prepared(todo))
        finally:
            self.rest += feed.rest

    def _prepared(self, todo: np.ndarray) -> Generator[Chunk]:
        """Yield prepared chunks; on a CPU, with their rows."""
        sizes = self._chunk_sizes(len(todo))
        chunk_bytes = max(1, max(sizes, default=1) * self._preparation.nbytes)
        most = max(2 * self.threads + 2, min(PREPARED_AHEAD // chunk_bytes, 16 * self.threads))
        waiting = iter(zip(accumulate(sizes, initial=0), sizes, strict=False))
        reading: deque[Future] = deque()
        working: deque[tuple[Future, Parts]] = deque()
        processes = self._processes(todo, sizes, most)
        if any_remote(self._sources, todo):
            self._fetchers = ThreadPoolExecutor(
                REMOTE_READERS, "featx-fetch", initializer=stop_with, initargs=(self._stopped,)
            )
        readers = ThreadPoolExecutor(max(READERS, self.threads), thread_name_prefix="featx-read")
        workers = ThreadPoolExecutor(
            self.threads if processes is None else 1,
            thread_name_prefix="featx-worker",
            initializer=self._enter,
        )

        def fill() -> None:
            while len(working) < most:
                start, size = next(waiting, (0, 0))
                if not size:
                    return
                positions, parts = todo[start : start + size].tolist(), Parts()
                if processes is not None:
                    chunk = processes.submit(positions, [self._sources[i] for i in positions])
                    working.append((parts.filled_by(workers, self._adopt(chunk)), parts))
                    continue
                with self._lock:
                    self._open.add(start)
                read = readers.submit(self._read, positions, start)
                reading.append(read)
                working.append((parts.filled_by(workers, self._work(read, start)), parts))

        try:
            fill()
            while working:
                done, parts = working[0]
                while (part := parts.get()) is not None:
                    yield part
                done.result()
                working.popleft()
                if reading:
                    reading.popleft()
                fill()
        finally:
            for future in (*(done for done, _ in working), *reading):
                future.cancel()
            with self._room:
                self._ending = True
                self._room.notify_all()
            for store in self._stores:
                store.claims.hurry()
            if processes is not None:
                processes.close()
            self._stopped.set()
            if self._fetchers is not None:
                self._fetchers.shutdown(wait=True, cancel_futures=True)
            readers.shutdown(wait=True, cancel_futures=True)
            workers.shutdown(wait=True, cancel_futures=True)
            self._leave()
            for _, parts in working:
                self.rest += parts.left()

    def _processes(self, todo: np.ndarray, sizes: Sequence[int], most: int) -> ProcessPool | None:
        """Start processes that prepare inputs, or return None if threads can keep the device busy."""
        if (
            not self._feeds_device
            or self.threads < _CORES_FOR_PROCESSES
            or len(todo) < _INPUTS_FOR_PROCESSES
            or varies(self._preparation)
            or not self._all_files(todo)
            or any_remote(self._sources, todo)  # a process would read one after the other
        ):
            return None
        batch: int = max(engine.batch_size for engine in self._engines)
        # Chunks under way, and those that wait to fill a batch for the device.
        return ProcessPool(self.threads, self._preparation, max(sizes), most + -(-batch // max(sizes)) + 1)

    def _all_files(self, todo: np.ndarray) -> bool:
        """Whether any process can read the sources; of compact ones, none is made for that."""
        known: bool | None = getattr(self._sources, "all_files", None)
        return all(self._sources[i].is_file for i in todo) if known is None else known

    def _chunk_sizes(self, count: int) -> list[int]:
        """Return the number of inputs in each chunk: some batches at first, single ones towards the end.

        Where lengths vary, chunks have a share of what is left, until a few batches are.
        """
        batch: int = max(engine.batch_size for engine in self._engines)
        if self._feeds_device:
            batch = min(_GRAIN, batch)
            return [min(batch, count - start) for start in range(0, count, batch)]
        sizes = []
        while count > 0:
            if varies(self._preparation):
                share = min(count // (2 * self.threads), _BATCHES_SORTED * batch)
                last = min(_BATCHES * batch, -(-count // self.threads))
                size = max(share, last, batch)
            else:
                large = count > 2 * _BATCHES * batch * self.threads
                size = batch * (_BATCHES if large else 1)
            sizes.append(min(size, count))
            count -= sizes[-1]
        return sizes

    def _enter(self) -> None:
        for engine in self._engines:
            engine.enter()

    def _leave(self) -> None:
        for engine in self._engines:
            engine.leave()

    def _compute_here(self, todo: Sequence[int]) -> Iterator[Chunk]:
        """Compute one chunk in this thread: starting others would not be faster."""
        self._enter()
        try:
            parts = list(self._compute(self._read(todo), 0))
        finally:
            self._leave()
        yield from parts

    def _read(self, positions: Sequence[int], number: int = 0) -> Chunk:
        chunk = Chunk([])
        if self._fetchers is not None:
            began = time.perf_counter()
            chunk.items = self._fetch_all(positions, number, self._fetchers)
            chunk.spend("read", began)
            return chunk
        for position in positions:
            with self._room:
                self._room.wait_for(lambda: self._may_read(number))
            began = time.perf_counter()
            item = read_item(self._sources[position], position)
            chunk.items.append(item)
            if item.content is not None:
                with self._lock:
                    self._bytes_read += item.content.nbytes
            chunk.spend("read", began)
        return chunk

    def _fetch_all(self, positions: Sequence[int], number: int, fetchers: ThreadPoolExecutor) -> list[Item]:
        """Read the inputs of a chunk, many at a time."""
        reading = []
        for position in positions:
            with self._room:
                self._room.wait_for(lambda: self._may_read(number))
                self._under_way += 1
            reading.append(fetchers.submit(self._fetch, position))
        return [read.result() for read in reading]

    def _fetch(self, position: int) -> Item:
        size = 0
        try:
            item = read_item(self._sources[position], position)
            size = 0 if item.content is None else item.content.nbytes
        finally:
            with self._room:
                self._under_way -= 1
                self._bytes_read += size
                self._mean += (size - self._mean) / 16
        return item

    def _may_read(self, number: int) -> bool:
        """Whether there is room to read; the chunk that workers need first is read in any case."""
        return (
            self._bytes_read + self._under_way * self._mean < READ_AHEAD
            or self._ending
            or number <= min(self._open, default=number)
        )

    def _work(self, read: Future, number: int) -> Iterator[Chunk]:
        """Prepare a chunk that is being read and, on a CPU, compute its rows; yield each part."""
        yield from self._compute(read.result(), number)

    def _compute(self, chunk: Chunk, number: int) -> Iterator[Chunk]:
        for part in self._prepare(chunk, number):
            if not self._feeds_device:
                compute_rows(part, self._engines, self._preparation)
            yield part

    def _prepare(self, chunk: Chunk, number: int) -> Iterator[Chunk]:
        """Prepare the inputs without a row, in one array if the shape does not vary, else in parts."""
        preparation = self._preparation
        shape, items = preparation.shape, chunk.items
        batch = None if varies(preparation) else np.empty((len(items), *shape), preparation.dtype)
        varied: list[np.ndarray] = []
        start = size = 0  # of the part, in items and bytes
        lacking = self._claim(chunk)
        now = time.perf_counter()  # waiting for claims does not count as preparing

        def note(stage: str, amount: float = 0.0) -> None:
            nonlocal now
            if stage == LONGER:
                chunk.longer += 1
            elif stage == DURATION:
                chunk.duration += amount
            elif stage == SILENT:
                chunk.silent.append(self._sources[item.position].id)
            else:
                now = chunk.spend(stage, now)

        for at, item in enumerate(items):
            if size >= PART_BYTES:
                chunk.items, chunk.prepared = items[start:at], varied
                yield self._hold(chunk, size, number)
                if self._ending:
                    return
                chunk = Chunk(items[at:], wanted=[[] for _ in self._engines])
                varied, start, size, now = [], at, 0, time.perf_counter()
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
                out = None if batch is None else batch[len(chunk.digests)]
                prepared = preparation.prepare(content, out, note)
            except SourceError as error:
                item.error = error
                note(preparation.stages[0])
                continue
            if batch is None:
                varied.append(prepared)
                size += prepared.nbytes
            chunk.add(digest, lacking)
        self._give_up(lacking)
        if chunk.digests:
            chunk.prepared = varied if batch is None else batch[: len(chunk.digests)]
        with self._room:
            self._open.discard(number)
            self._room.notify_all()
        yield self._hold(chunk, size, number)

    def _hold(self, part: Chunk, size: int, number: int) -> Chunk:
        """Return a part when those that wait for the device leave room; the next in order never waits."""
        if not (self._feeds_device and size):
            return part

        def free() -> None:
            with self._room:
                self._bytes_prepared -= size
                self._room.notify_all()

        with self._room:
            self._room.wait_for(
                lambda: (
                    self._bytes_prepared < WAITING_BYTES
                    or self._ending
                    or number <= min(self._open, default=number)
                )
            )
            self._bytes_prepared += size
        part.release = free
        return part

    def _adopt(self, prepared: Future[Chunk]) -> Iterator[Chunk]:
        """Keep only the inputs without a row, of a chunk that a process prepared."""
        chunk = prepared.result()
        lacking = self._claim(chunk)
        kept = []
        for at, item in enumerate(item for item in chunk.items if item.error is None):
            digest = item.digest
            if digest is not None and any(digest in digests for digests in lacking):
                chunk.add(digest, lacking)
                kept.append(at)
        self._give_up(lacking)
        array: Any = chunk.prepared
        if len(kept) == len(chunk.items):
            chunk.prepared = array[: len(kept)]
            yield chunk
            return
        some = array[kept] if kept else None
        chunk.drop_prepared()
        chunk.prepared = some
        yield chunk

    def _claim(self, chunk: Chunk) -> list[set[bytes]]:
        """Claim the missing rows of a chunk; return the digests to compute, for each network."""
        chunk.wanted = [[] for _ in self._engines]
        return [self._claim_for(number, chunk) for number in range(len(self._engines))]

    def _claim_for(self, number: int, chunk: Chunk) -> set[bytes]:
        """Claim rows for one network; record those that another run computes in `elsewhere`."""
        store = self._stores[number]
        digest_at = {
            item.position: item.digest
            for item in chunk.items
            if item.error is None and item.digest is not None
        }
        held = store.held(list(digest_at.values()))
        missing = {position: digest for position, digest in digest_at.items() if digest not in held}
        digests = list(dict.fromkeys(missing.values()))
        with uninterrupted():
            free = store.claims.take(digests)
        taken = {digest for digest, is_free in zip(digests, free, strict=True) if is_free}
        if taken:  # a run that ended since the last look left rows but no claims
            store.refresh()
            known = store.held(list(taken))
            store.claims.drop(known)
            taken -= known
        if len(taken) < len(missing):
            with self._lock:
                self.elsewhere[number].extend(p for p, digest in missing.items() if digest not in taken)
        return taken

    def _give_up(self, lacking: Sequence[set[bytes]]) -> None:
        """Drop claims on inputs that could not be prepared; their content may be accepted elsewhere."""
        for store, digests in zip(self._stores, lacking, strict=True):
            store.claims.drop(digests)
