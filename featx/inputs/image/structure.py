"""What taking an image file apart gives, a `Container` or `Damaged`; and the search for lost sectors."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_ZERO = re.compile(rb"[^\0]")

#: A sector of a disk. A lost or never written part of a file reads as zeros, in multiples of it.
SECTOR = 512


class Damaged(ValueError):
    """The container is broken; the text says how, such as ``"truncated TIFF: ..."``."""


@dataclass(frozen=True)
class Container:
    """An image file without its metadata.

    Attributes
    ----------
    format : str
        A key of `featx.inputs.image.file_names.SUFFIXES`.
    data : bytes
        The file, without what is not needed to decode its pixels.
    orientation : int
        EXIF orientation, 1 (upright) to 8.
    size : (int, int) or None
        (width, height) where it must be known before the picture is opened.
    cut : bool
        Whether the file ends before its own structure says so.
    least : int
        Fewest bytes that can hold a picture of this size. A file with fewer is refused before memory is
        taken for its pixels.
    doubtful : bool
        Whether zeros lie in its data that may be a flat area or a lost sector: a decoder that has data left
        over in the end was misled by them.
    """

    format: str
    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    cut: bool = False
    least: int = 0
    doubtful: bool = False


def find_zeros(data: bytes, count: int, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Return start and end of the first run of at least `count` zero bytes, or None.

    The search jumps by up to `count` bytes at a time: it takes microseconds for a photograph.
    """
    end = len(data) if end is None else end
    at = data.find(bytes(count), start, end)
    if at < 0:
        return None
    after = _NOT_ZERO.search(data, at, end)
    return at, end if after is None else after.start()


def find_lost_sectors(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Return start and end of the first zeros that fill whole sectors of the file and little more, or None.

    For data in which zeros may be a flat area, which begins and ends anywhere.
    """
    while (zeros := find_zeros(data, SECTOR, start, end)) is not None:
        before, behind = -zeros[0] % SECTOR, zeros[1] % SECTOR
        # A neighbouring byte may be zero by chance.
        if before <= 3 and (behind <= 3 or zeros[1] == end):
            return zeros
        start = zeros[1]
    return None
