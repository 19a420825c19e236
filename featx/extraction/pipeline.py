"""From files to rows, many at a time: read ahead, decode, resize, and through the network.

Images go in units of a few batches. Threads read files ahead and take their digests. On a CPU every lane
takes the next unit, decodes it and runs the network on it: no core waits for another. A device is fed by
this process's main thread, while the threads prepare the next units. Units come out in the order they went
in, whichever lane was faster, and only so many are under way that memory stays bounded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from featx.cache import Claims
from featx.errors import FeatxError, ImageError, InputError
from featx.images import Preprocessing

#: Pixels that wait for the network, and files that were read ahead, in bytes each.
PIXELS_AHEAD = 64 * 2**20
FILES_AHEAD = 64 * 2**20

#: Threads that read files: they mostly wait, on a disk or a network for more than one file at a time.
READERS = 4

#: Waits for rows that a device computes.
Ticket = Callable[[], np.ndarray]

#: Images that a thread prepares in one go for a device, whose own batches are large.
_GRAIN = 16
#: Batches that a lane takes in one go: each handing over wakes a thread, and that is not free.
_BATCHES = 4
#: Batches that a device has at a time.
_IN_FLIGHT = 2
#: Units that wait to be one batch for a device, where most of them have nothing new for it.
_MOST_WAITING = 256


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
    """Images that go through the networks together.

    Attributes
    ----------
    items : list of Item
        In order; some have no row: unreadable ones, and those whose row is known already.
    digests : list of bytes
        Of the images in `pixels`.
    pixels : ndarray of shape (b, h, w, 3), uint8, or None
    wanted : list of list of int
        For each network, which of `pixels` it is to compute.
    rows : list of (ndarray of shape (len(wanted), dim), float32, or None)
        For each network.
    seconds : dict
        What each stage took.
    """

    items: list[Item]
    digests: list[bytes] = field(default_factory=list)
    pixels: np.ndarray | None = None
    wanted: list[list[int]] = field(default_factory=list)
    rows: list[np.ndarray | None] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def pixels_for(self, network: int) -> np.ndarray | None:
        """What a network is to compute."""
        wanted = self.wanted[network]
        if self.pixels is None or not wanted:
            return None
        return self.pixels if len(wanted) == len(self.pixels) else self.pixels[wanted]

    def rows_of(self, network: int) -> tuple[list[bytes], np.ndarray | None]:
        """What a network computed, with the digests of the images."""
        rows = self.rows[network] if self.rows else None
        return [self.digests[k] for k in self.wanted[network]] if rows is not None else [], rows

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


class Keeper(Protocol):
    """Knows which rows there are (`featx.extraction.shelf.Shelf`)."""

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
        See `featx.images.source`.
    preprocessing : Preprocessing
        The networks' own, alike for all.
    engines : sequence of Engine
        On one device.
    keepers : sequence of Keeper
        For each engine.
    threads : int
        That prepare images for a device; lanes are the engines' to say.

    Attributes
    ----------
    rest : list of Unit
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
        self._feeds_device = engines[0].lanes == 0
        self.threads = max(engine.lanes for engine in engines) or threads
        self.rest: list[Unit] = []
        self.elsewhere: list[dict[int, bytes]] = [{} for _ in engines]
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._bytes_read = 0  # of files that are not decoded yet
        self._open: set[int] = set()  # units that are not decoded yet
        self._ending = False

    def run(self, todo: Sequence[int]) -> Generator[Unit]:
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

    def _prepared(self, todo: Sequence[int]) -> Generator[Unit]:
        height, width = self._preprocessing.size
        sizes = self._unit_sizes(len(todo))
        unit_bytes = max(1, max(sizes, default=1) * height * width * 3)
        most = max(2 * self.threads + 2, min(PIXELS_AHEAD // unit_bytes, 16 * self.threads))
        waiting = iter(zip(accumulate(sizes, initial=0), sizes, strict=False))
        reading: deque[Future] = deque()
        working: deque[Future] = deque()
        readers = ThreadPoolExecutor(max(READERS, self.threads), thread_name_prefix="featx-read")
        lanes = ThreadPoolExecutor(self.threads, thread_name_prefix="featx-lane", initializer=self._enter)

        def fill() -> None:
            while len(working) < most:
                start, size = next(waiting, (0, 0))
                if not size:
                    return
                with self._lock:
                    self._open.add(start)
                read = readers.submit(self._read, todo[start : start + size], start)
                reading.append(read)
                working.append(lanes.submit(self._work, read, start))

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
            with self._room:
                self._ending = True
                self._room.notify_all()
            readers.shutdown(wait=True, cancel_futures=True)
            lanes.shutdown(wait=True, cancel_futures=True)
            for engine in self._engines:
                engine.leave()
            for future in working:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.rest.append(future.result())

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

    def _alone(self, todo: Sequence[int]) -> Unit:
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

    def _read(self, positions: Sequence[int], number: int = 0) -> Unit:
        unit = Unit([])
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
        """Whether there is room; what the lanes need first is read in any case, as it makes room."""
        return self._bytes_read < FILES_AHEAD or self._ending or number <= min(self._open, default=number)

    def _work(self, read: Future, number: int) -> Unit:
        unit: Unit = read.result()
        self._prepare(unit)
        with self._room:
            self._open.discard(number)
            self._room.notify_all()
        self._forward(unit)
        return unit

    def _forward(self, unit: Unit) -> None:
        """The rows of a unit, where its lane computes them."""
        if not self._feeds_device and unit.pixels is not None:
            began = time.perf_counter()
            for number, engine in enumerate(self._engines):
                pixels = unit.pixels_for(number)
                unit.rows.append(None if pixels is None else _checked(_through(engine, pixels), engine))
            unit.pixels = None
            unit.spend("forward", began)

    def _prepare(self, unit: Unit) -> None:
        """Decode and resize what has no row yet."""
        now = time.perf_counter()
        pixels = np.empty((len(unit.items), *self._preprocessing.size, 3), np.uint8)
        lacking = [self._taken(unit, number) for number in range(len(self._engines))]
        unit.wanted = [[] for _ in self._engines]
        for item in unit.items:
            content, item.content = item.content, None
            if content is None:
                continue
            with self._room:
                self._bytes_read -= content.nbytes
                self._room.notify_all()
            digest = content.digest
            takers = [number for number, digests in enumerate(lacking) if digest in digests]
            if not takers:
                continue
            try:
                decoded, size = content.pixels(self._preprocessing.reduction)
            except ImageError as error:
                item.error = error
                now = unit.spend("decode", now)
                continue
            now = unit.spend("decode", now)
            self._preprocessing(decoded, size, out=pixels[len(unit.digests)])
            for number in takers:
                lacking[number].discard(digest)
                unit.wanted[number].append(len(unit.digests))
            unit.digests.append(digest)
            now = unit.spend("preprocess", now)
        for number, digests in enumerate(lacking):
            # The same bytes may be refused under one file's name, and decoded under another's.
            self._keepers[number].claims.drop(digests)
        if unit.digests:
            unit.pixels = pixels[: len(unit.digests)]

    def _taken(self, unit: Unit, number: int) -> set[bytes]:
        """The digests of a unit that this run is to compute for a network; the others are noted."""
        keeper = self._keepers[number]
        open_ = {
            item.position: item.content.digest
            for item in unit.items
            if item.content is not None and not keeper.holds(item.content.digest)
        }
        digests = list(dict.fromkeys(open_.values()))
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

    def _fed(self, prepared: Generator[Unit]) -> Generator[Unit]:
        """Units with the rows that a device computed for them, several units in one batch."""
        flying: deque[tuple[list[Unit], list[Ticket | None]]] = deque()
        landed: deque[Unit] = deque()
        waiting: list[Unit] = []
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

    def _landed(self, units: list[Unit], tickets: Sequence[Ticket | None]) -> list[Unit]:
        """Wait for a batch, and give its rows to its units."""
        began = time.perf_counter()
        for number, (ticket, engine) in enumerate(zip(tickets, self._engines, strict=True)):
            rows = None if ticket is None else _checked(ticket(), engine)
            at = 0
            for unit in units:
                count = len(unit.wanted[number])
                unit.rows.append(rows[at : at + count] if rows is not None and count else None)
                at += count
        for unit in units:
            unit.pixels = None
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
