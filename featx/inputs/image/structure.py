"""An image file taken apart (`Container`), the error for broken ones, and the search for lost sectors."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_ZERO = re.compile(rb"[^\0]")

#: Bytes of a disk sector. Lost or unwritten sectors of a file read as zeros.
SECTOR = 512


class Damaged(ValueError):
    """The container is broken; the text says how, such as ``"truncated TIFF: ..."``."""


@dataclass(frozen=True)
class Container:
    """An image file without its metadata.

    Attributes
    ----------
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
        allocated for its pixels.
    doubtful : bool
        Whether the data hold zeros that may be a flat area or a lost sector; it was a lost sector if the
        decoder has data left over in the end.
    """

    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    cut: bool = False
    least: int = 0
    doubtful: bool = False


def find_zeros(data: bytes, count: int, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Return start and end of the first run of at least `count` zero bytes, or None.

    The search jumps by up to `count` bytes: it takes microseconds for a photograph.
    """
    end = len(data) if end is None else end
    at = data.find(bytes(count), start, end)
    if at < 0:
        return None
    after = _NOT_ZERO.search(data, at, end)
    return at, end if after is None else after.start()


def find_lost_sectors(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Return start and end of the first zeros that fill whole sectors and little more, or None.

    Zeros that stand for a flat area begin and end anywhere.
    """
    while (zeros := find_zeros(data, SECTOR, start, end)) is not None:
        before, behind = -zeros[0] % SECTOR, zeros[1] % SECTOR
        # A neighbouring byte may be zero by chance.
        if before <= 3 and (behind <= 3 or zeros[1] == end):
            return zeros
        start = zeros[1]
    return None
