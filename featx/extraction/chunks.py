"""Inputs on their way from a source to a row, in chunks of a few batches."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from featx.errors import SourceError
from featx.inputs import Content, Source

#: Prepared inputs: one array where all have the same shape, else a list of arrays.
Prepared = np.ndarray | list[np.ndarray]


@dataclass(slots=True)
class Item:
    """One input of a chunk."""

    position: int
    key: tuple | None = None
    digest: bytes | None = None
    content: Content | None = None
    error: SourceError | None = None


@dataclass(slots=True)
class Chunk:
    """Inputs that go through the networks together, in order.

    Attributes
    ----------
    items : list of Item
        Unreadable ones and those that have a row already get none.
    digests : list of bytes
        Digests of the inputs in `prepared`.
    prepared : ndarray of shape (b, *shape), list of b arrays, or None
        None if no network needs them (any more).
    wanted : list of list of int
        For each network, the indices in `prepared` of the rows to compute.
    rows : list of (ndarray of shape (len(wanted), dim), float32, or None)
        For each network.
    seconds : dict
        Seconds of each stage.
    release : callable, optional
        Gives back the memory of `prepared`, if it is shared with another process.
    longer : int
        Inputs in `prepared` that are longer than the network takes.
    silent : list of str
        Ids of those in which there is nothing to be heard.
    duration : float
        Seconds of all of them, where they have a duration.
    """

    items: list[Item]
    digests: list[bytes] = field(default_factory=list)
    prepared: Prepared | None = None
    wanted: list[list[int]] = field(default_factory=list)
    rows: list[np.ndarray | None] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    release: Callable[[], None] | None = None
    longer: int = 0
    silent: list[str] = field(default_factory=list)
    duration: float = 0.0

    def drop_prepared(self) -> None:
        """Free the prepared inputs."""
        self.prepared = None
        if self.release is not None:
            self.release()
            self.release = None

    def prepared_for(self, network: int) -> Prepared | None:
        """Return the prepared inputs of the rows that a network is to compute, None if there are none."""
        wanted, prepared = self.wanted[network], self.prepared
        if prepared is None or not wanted:
            return None
        if len(wanted) == len(prepared):
            return prepared
        return prepared[wanted] if isinstance(prepared, np.ndarray) else [prepared[i] for i in wanted]

    def add(self, digest: bytes, lacking: Sequence[set[bytes]]) -> None:
        """Add the next prepared input, for each network whose `lacking` has it; remove it there."""
        for wanted, digests in zip(self.wanted, lacking, strict=True):
            if digest in digests:
                digests.discard(digest)
                wanted.append(len(self.digests))
        self.digests.append(digest)

    def rows_of(self, network: int) -> tuple[list[bytes], np.ndarray | None]:
        """Return the digests and rows that a network computed."""
        rows = self.rows[network] if self.rows else None
        return [self.digests[k] for k in self.wanted[network]] if rows is not None else [], rows

    def spend(self, stage: str, began: float) -> float:
        """Add the time since `began` to a stage; return the present time."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - began
        return now


def read_item(source: Source, position: int) -> Item:
    """Read a source: its content, or the error."""
    item = Item(position)
    try:
        # The key is taken before the content: a file that changes in between then has an outdated key, which
        # matches nothing, instead of a wrong digest under its new key.
        item.key = source.stat_key()
        item.content = source.read()
        item.digest = item.content.digest
        if "://" in item.key[0] if item.key is not None else source.is_file and _has_url(source):
            item.key = source.stat_key()  # what came from a URL also says of which state it is
    except SourceError as error:
        item.error = error
    return item


def _has_url(source: Source) -> bool:
    return getattr(getattr(source, "place", None), "url", None) is not None


def identify(source: Source) -> Item:
    """Read a source for its digest; do not keep the content."""
    item = read_item(source, -1)
    item.content = None
    return item


class Parts:
    """The parts of a chunk, handed from the thread that computes them to the one that takes them."""

    def __init__(self) -> None:
        self._parts: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()

    def filled_by(self, workers: ThreadPoolExecutor, parts: Iterator[Chunk]) -> Future:
        """Let a thread take the parts that the iterator yields until it ends or fails."""

        def fill() -> None:
            for part in parts:
                self._parts.put(part)

        done = workers.submit(fill)
        done.add_done_callback(lambda _: self._parts.put(None))  # also if no thread can start
        return done

    def get(self) -> Chunk | None:
        """Wait for the next part; None at the end."""
        return self._parts.get()

    def left(self) -> Iterator[Chunk]:
        """Yield the parts that nobody has taken, without waiting."""
        while not self._parts.empty():
            part = self._parts.get()
            if part is not None:
                yield part
