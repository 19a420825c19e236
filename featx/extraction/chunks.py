"""Images on their way from files to rows, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.errors import ImageError


@dataclass(slots=True)
class Item:
    """One image on its way."""

    position: int
    key: tuple | None = None
    digest: bytes | None = None
    content: Any = None
    error: ImageError | None = None


@dataclass(slots=True)
class Chunk:
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
    free : callable, optional
        Gives the memory of `pixels` back, where it is shared.
    """

    items: list[Item]
    digests: list[bytes] = field(default_factory=list)
    pixels: np.ndarray | None = None
    wanted: list[list[int]] = field(default_factory=list)
    rows: list[np.ndarray | None] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    free: Callable[[], None] | None = None

    def drop_pixels(self) -> None:
        """Nobody needs them any longer."""
        self.pixels = None
        if self.free is not None:
            self.free()
            self.free = None

    def pixels_for(self, network: int) -> np.ndarray | None:
        """What a network is to compute."""
        wanted = self.wanted[network]
        if self.pixels is None or not wanted:
            return None
        return self.pixels if len(wanted) == len(self.pixels) else self.pixels[wanted]

    def add(self, digest: bytes, lacking: Sequence[set[bytes]]) -> None:
        """The next of `pixels`, for the networks that lack its row; they lack it no longer."""
        for wanted, digests in zip(self.wanted, lacking, strict=True):
            if digest in digests:
                digests.discard(digest)
                wanted.append(len(self.digests))
        self.digests.append(digest)

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
