"""Take out the first page of a TIFF, and check its compressed strips for damage before Pillow reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from featx.inputs.image.jpeg import check_stream
from featx.inputs.image.jpeg_stream import unpack_jpeg
from featx.inputs.image.structure import SECTOR, Container, Damaged, find_zeros

# Tags with exactly one value, and all tags, that say how the samples of a TIFF are stored.
_SINGLE_VALUED = frozenset([256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323])
_TAGS = _SINGLE_VALUED | {
    # bits, strips, colour map, tiles, inks, extra samples, sample format
    *(258, 273, 279, 320, 324, 325, 332, 338, 339),
    # JPEG tables (new and old), YCbCr, LERC
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674),
}
# A directory with more entries, or a tag with more values (strips, tiles), is damaged.
_MOST_ENTRIES = 2**12
_MOST_VALUES = 2**20
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}


def unpack_tiff(data: bytes) -> Container:
    """Give a TIFF a new directory, appended, with only what decoding the first page needs.

    `Damaged` if the directory or compressed data are broken.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    # Classic: counts of 2, offsets of 4 and entries of 12 bytes. BigTIFF: 8, 8 and 20.
    head, count_code, code, entry_size = (8, "Q", "Q", 20) if big else (4, "H", "I", 12)
    (ifd,) = struct.unpack_from(order + code, data, head)
    if ifd > len(data):
        raise Damaged("truncated TIFF: its directory lies beyond the end of the file")
    (count,) = struct.unpack_from(order + count_code, data, ifd)
    first = ifd + struct.calcsize(count_code)
    if ifd + count * entry_size > len(data):
        raise Damaged("truncated TIFF: its directory lies beyond the end of the file")
    if count > _MOST_ENTRIES:
        raise Damaged(f"damaged TIFF: a directory of {count:,} entries")
    kept, values, orientation = {}, {}, 1
    for at in range(first, first + count * entry_size, entry_size):
        tag, kind, n = struct.unpack_from(order + "HH" + code, data, at)
        value_at = at + 4 + struct.calcsize(code)
        if tag == 274 and kind == 3:
            (value,) = struct.unpack_from(order + "H", data, value_at)
            orientation = value if 1 <= value <= 8 else 1
        if tag not in _TAGS:
            continue
        if kind not in _TYPE_BYTES or not 0 < n <= _MOST_VALUES or (tag in _SINGLE_VALUED and n != 1):
            raise Damaged(f"damaged TIFF: tag {tag} has {n} values of type {kind}")
        n_bytes = n * _TYPE_BYTES[kind]
        if n_bytes > struct.calcsize(code):
            (offset,) = struct.unpack_from(order + code, data, value_at)
            if offset + n_bytes > len(data):
                raise Damaged(f"truncated TIFF: tag {tag} lies beyond the end of the file")
        else:
            offset = value_at
        kept[tag] = data[at : at + entry_size]
        values[tag] = (kind, n, offset)
    _check_strips(data, order, values)
    entries = [kept[tag] for tag in sorted(kept)]
    where = len(data) + len(data) % 2
    directory = (
        struct.pack(order + count_code, len(entries)) + b"".join(entries) + struct.pack(order + code, 0)
    )
    header = data[:head] + struct.pack(order + code, where)
    body = data[len(header) :] + b"\0" * (where - len(data))
    return Container(header + body + directory, orientation)


_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_LZW, _JPEG, _PACKBITS, _DEFLATE = 5, 7, 32773, (8, 32946)

# Pixels of the largest picture whose strips are checked; `featx.inputs.image.MAX_PIXELS` is less.
_MOST_CHECKED = 2**28
# Bytes that are unpacked for their checksum, at about 2 ns each; later ones are not checked.
_MOST_DEFLATED = 2**29
# A strip of more pixels is left to libtiff, which compares its size with the picture's.
_MOST_JPEG_PIXELS = 2**24


def _check_strips(data: bytes, order: str, values: dict[int, tuple[int, int, int]]) -> None:
    """Refuse strips or tiles whose data contradict their compression.

    libtiff stops at the last pixel, before the checksum of a deflate stream, and hides the JPEG decoder's
    warnings. LZW and packbits have no checksum but never write a sector of zeros: LZW does not send its first
    code twice in a row, and runs of packbits begin with their length; a writer that does not compress sends
    at most some 290 zero bytes.
    """

    def numbers(tag: int) -> tuple[int, ...]:
        kind, count, at = values.get(tag, (0, 0, 0))
        return struct.unpack_from(f"{order}{count}{_INTEGERS[kind]}", data, at) if kind in _INTEGERS else ()

    compression = (numbers(259) or (1,))[0]
    width, height = (numbers(256) or (0,))[0], (numbers(257) or (0,))[0]
    if width * height > _MOST_CHECKED:  # refused later, for its size
        return
    if compression == 1 and numbers(284) in ((), (1,)) and numbers(262) != (6,):
        _check_raw_strips(len(data), width, height, numbers)
    if compression not in (_LZW, _JPEG, _PACKBITS, *_DEFLATE):
        return
    _, size, at = values.get(347, (7, 0, 0))
    tables = data[at : at + size]
    bytes_left, deflated_left = len(data), _MOST_DEFLATED
    for offset, size in zip(numbers(273) or numbers(324), numbers(279) or numbers(325), strict=False):
        end = min(offset + size, len(data))
        if end <= offset:  # never written, or beyond the end: libtiff decides
            continue
        # Strips that share their bytes could take hours.
        bytes_left -= end - offset
        if bytes_left < 0 or deflated_left < 0:
            return
        if compression in _DEFLATE:
            deflated_left -= _check_deflate(data[offset:end], deflated_left)
        elif compression == _JPEG:
            _check_jpeg(tables[:-2] + data[offset + 2 : end] if tables else data[offset:end])
        elif (zeros := find_zeros(data, SECTOR, offset, end)) is not None:
            raise Damaged(f"damaged TIFF: {zeros[1] - zeros[0]} zero bytes within its image data")


def _check_raw_strips(
    file_size: int, width: int, height: int, numbers: Callable[[int], tuple[int, ...]]
) -> None:
    """Refuse strips that end beyond the file: the appended directory would be read as pixels."""
    bits, samples = (numbers(258) or (1,))[0], (numbers(277) or (1,))[0]
    rows_of_strip = (numbers(278) or (height,))[0]
    row = -(-width * bits * samples // 8)
    for i, offset in enumerate(numbers(273)):
        rows = min(rows_of_strip, height - i * rows_of_strip)
        if offset + rows * row > file_size:
            raise Damaged("truncated TIFF: the file ends before its image does")


def _check_deflate(strip: bytes, most: int) -> int:
    """Decompress a strip piece by piece, which checks its checksum; return its size.

    A stream without its end is left to libtiff, which knows whether pixels are missing.
    """
    stream, rest, size = zlib.decompressobj(), strip, 0
    while rest and not stream.eof:
        size += len(stream.decompress(rest, 2**20))
        rest = stream.unconsumed_tail
        if size > most:
            return size
    return size


def _check_jpeg(strip: bytes) -> None:
    try:
        container = unpack_jpeg(strip)
        width, height = container.size or (0, 0)
        if width * height <= _MOST_JPEG_PIXELS and container.least <= len(strip):
            check_stream(container.data, container.doubtful)
    except Damaged as error:
        raise Damaged(f"damaged TIFF: a strip of it is a {error}") from error
