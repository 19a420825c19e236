"""Check AVIF, HEIC and JPEG 2000 files, which consist of boxes: where they end, and the size of the picture.

A box is its length (4 bytes, big-endian), its name (4 bytes) and its content (ISO/IEC 14496-12). A length of
1 stands for 8 further bytes with the length, and 0 for "to the end of the file". JPEG 2000 also comes without
boxes, as a bare codestream (ISO/IEC 15444-1, Annex A).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from featx.inputs.image.structure import Container, Damaged, find_lost_sectors

#: The first bytes of a JPEG 2000 file with boxes, and of a bare codestream (the markers SOC and SIZ).
JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"

#: Brands in the first box of pictures, and of sequences whose first picture is taken.
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_SOT, _EOC = b"\xff\x90", b"\xff\xd9"


def sniff_boxes(data: bytes) -> str | None:
    """Return AVIF, HEIC or JPEG 2000 if the first bytes of a file show it, else None."""
    if data.startswith((JP2_SIGNATURE, CODESTREAM)):
        return "JPEG 2000"
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data))
    # The major brand, its version, and the brands that it is compatible with.
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def unpack_heif(data: bytes, format: str) -> Container:
    """Check an AVIF or HEIC file; the largest picture in it, of which others are parts, gives the size."""
    cut, size = False, (0, 0)
    for name, start, stop in _boxes(data, 0, len(data)):
        cut = cut or stop > len(data)
        if name == b"meta":
            sizes = _extents(data, start + 4, min(stop, len(data)))
            size = max(sizes, key=lambda s: s[0] * s[1], default=size)
        elif name == b"mdat":
            _refuse_lost_sectors(data, start, min(stop, len(data)), format)
    if cut:
        raise Damaged(f"truncated {format}: the file ends before its image does")
    if not size[0] * size[1]:
        raise Damaged(f"damaged {format}: it states no size of a picture")
    return Container(data, size=size)


def unpack_jpeg2000(data: bytes) -> Container:
    """Check a JPEG 2000 file; OpenJPEG itself decodes a truncated one as far as it goes, without an error."""
    start = 0
    if data.startswith(JP2_SIGNATURE):
        found = [start for name, start, _ in _boxes(data, 0, len(data)) if name == b"jp2c"]
        if not found:
            raise Damaged("truncated JPEG 2000: the file ends before its image does")
        start = found[0]
    if data[start : start + 4] != CODESTREAM:
        raise Damaged("damaged JPEG 2000: it holds no codestream")
    right, bottom, left, top, width, height, x, y = struct.unpack_from(">8I", data, start + 8)
    if not width or not height:
        raise Damaged("damaged JPEG 2000: tiles without a size")
    lacking = -(-max(0, right - x) // width) * -(-max(0, bottom - y) // height)
    parts: dict[int, int] = {}  # of each tile, how many more it must have: the number may not be stated
    at = data.find(_SOT, start)
    while data[at : at + 2] == _SOT and at >= 0:
        tile, length, part, n_parts = struct.unpack_from(">HIBB", data, at + 4)
        lacking -= tile not in parts
        parts[tile] = max(0, n_parts - part - 1)
        if length == 0:  # the last tile part, up to the marker that ends the codestream
            at = data.rfind(_EOC)
        elif length < 14:
            raise Damaged("damaged JPEG 2000: a tile of no length")
        else:
            at += length
    if at < 0 or data[at : at + 2] != _EOC:
        kind = "truncated" if at < 0 or at >= len(data) - 1 else "damaged"
        why = "the file ends before its image does" if kind == "truncated" else "a tile has no end"
        raise Damaged(f"{kind} JPEG 2000: {why}")
    # What is missing would come out black.
    if lacking > 0 or any(parts.values()):
        raise Damaged("damaged JPEG 2000: a tile, or a part of one, is missing")
    _refuse_lost_sectors(data, start, at, "JPEG 2000")
    return Container(data, size=(max(0, right - left), max(0, bottom - top)))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of the content of each box between two places; the last may end beyond."""
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if length == 0 else at + length
        if stop < at + head:
            raise Damaged(f"damaged file: a box named {name!r} of {length} bytes")
        yield name, at + head, stop
        at = stop


def _extents(data: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    """Return the sizes that the properties of pictures state: ``ispe`` in ``ipco`` in ``iprp``."""
    sizes = []
    for name, inner, end in _boxes(data, start, stop):
        if name in (b"iprp", b"ipco"):
            sizes += _extents(data, inner, min(end, stop))
        elif name == b"ispe":
            sizes.append(struct.unpack_from(">II", data, inner + 4))
    return sizes


def _refuse_lost_sectors(data: bytes, start: int, stop: int, format: str) -> None:
    zeros = find_lost_sectors(data, start, stop)
    if zeros is not None:
        raise Damaged(f"damaged {format}: {zeros[1] - zeros[0]} zero bytes within its image data")
