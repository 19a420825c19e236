"""Check the segments and scans of a JPEG before a pixel is decoded.

The decoder warns of most damage (`featx.inputs.image.jpeg`). This module finds what it does not report: a
lost sector that left zeros in the data, a progressive picture that ends between two scans, and a file that
would take minutes to decode.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from featx.inputs.image.exif import exif_orientation
from featx.inputs.image.structure import Container, Damaged, find_zeros

#: Scans of one picture. jpegtran and cjpeg accept at most 100; pictures have 10, optimised ones up to 20.
MAX_SCANS = 100

#: Pixels times scans: each scan visits every block again, at about 1 ns per pixel, so that this takes 2 s.
MAX_SCANNED_PIXELS = 2**31

_EOI = b"\xff\xd9"

# Zero bytes in a row that Huffman codes do not give (`_may_be_zeros`); 970 photographs had at most 5.
_ZEROS = 64

# What ends a scan: 0xFF that is neither stuffed, nor a restart marker, nor a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

# What begins a segment: 0xFF that is neither stuffed nor a fill byte.
_SEGMENT = re.compile(rb"\xff[^\x00\xff]")
_NO_MARKERS = (0x00, 0xFF)

_FRAMES = frozenset([*range(0xC0, 0xD0)]) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_PROGRESSIVE_FRAMES = frozenset([0xC2, 0xCA])


@dataclass
class _Frame:
    """The fields of a frame header that are needed here."""

    marker: int
    size: tuple[int, int]
    components: tuple[int, ...]


@dataclass
class _Scan:
    """One scan: components with their AC tables, first and last coefficient, high and low bit, data range."""

    components: list[tuple[int, int]]
    band: tuple[int, int]
    bits: tuple[int, int]
    start: int
    end: int


def unpack_jpeg(data: bytes) -> Container:
    """Take a JPEG apart; of the application segments keep JFIF and Adobe, which change pixels.

    `Damaged` if its segments or scans are broken.
    """
    kept, orientation, seen_exif, frame = [data[:2]], 1, False, None
    at = 2
    while True:
        if data[at] != 0xFF or data[at + 1] in _NO_MARKERS:
            at = _next_segment(data, at)  # stray bytes between segments are common and harmless
        marker = data[at + 1]
        if marker == 0xDA:
            break
        elif marker == 0xD9:
            raise Damaged("damaged JPEG: it holds no image data")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            length = data[at + 2] << 8 | data[at + 3]
            segment = data[at : at + 2 + length]
            if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not seen_exif:
                orientation, seen_exif = exif_orientation(segment[4:]), True
            if marker in _FRAMES:
                frame = _read_frame(segment)
            if not (0xE1 <= marker <= 0xEF or marker == 0xFE) or marker == 0xEE:
                kept.append(_set_known_version(segment) if marker == 0xE0 else segment)
            at += 2 + length
    if frame is None:
        raise Damaged("damaged JPEG: a scan comes before the frame's header")
    head = b"".join(kept)
    scan, at = _read_scan_header(data, at, frame)
    body = b"".join([head, scan, memoryview(data)[at:]])
    zeros = _find_long_zeros(body, len(head))
    if _check_scans(body, len(head), frame, zeros):
        body, zeros = _remove_padding(body, zeros), None
    # Every block of 8 x 8 takes at least one bit of Huffman code, and one component or two cover the picture.
    least = frame.size[0] * frame.size[1] // 1024 if frame.marker in _HUFFMAN_FRAMES else 0
    doubtful = zeros is not None and not body.startswith(_EOI, zeros[1])
    return Container(body, orientation, frame.size, least=least, doubtful=doubtful)


def _next_segment(data: bytes, at: int) -> int:
    """Return where the next segment begins; `IndexError` if there is none."""
    found = _SEGMENT.search(data, at)
    if found is None:
        raise IndexError
    return found.start()


def end_of_scans(data: bytes) -> int | None:
    """Return where the last scan's data end in what `unpack_jpeg` returned.

    None for arithmetic coding, which leaves out trailing zeros, so that the end proves nothing.
    """
    at = 2
    while data[at + 1] != 0xDA:
        if data[at + 1] in _FRAMES and data[at + 1] not in _HUFFMAN_FRAMES:
            return None
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    *_, last = _walk_scans(data, at, {})
    return last.end


def _read_frame(segment: bytes) -> _Frame:
    height, width, count = struct.unpack_from(">HHB", segment, 5)
    return _Frame(segment[1], (width, height), tuple(segment[10 + 3 * i] for i in range(count)))


def _set_known_version(segment: bytes) -> bytes:
    """Set a JFIF version that the decoder knows: its warning of another would hide a warning of damage."""
    if segment[4:9] == b"JFIF\0" and segment[9:10] != b"\1":
        return segment[:9] + b"\1" + segment[10:]
    return segment


def _read_scan_header(data: bytes, at: int, frame: _Frame) -> tuple[bytes, int]:
    """Return the header of the scan at `at`, and where it ends.

    A sequential scan has all coefficients. The decoder ignores a header that says otherwise, with a warning;
    so the header is corrected.
    """
    (length,) = struct.unpack_from(">H", data, at + 2)
    end = at + 2 + length
    header = data[at:end]
    return (header[:-3] + b"\0\x3f\0" if frame.marker in (0xC0, 0xC1) else header), end


def _find_long_zeros(data: bytes, first: int) -> tuple[int, int] | None:
    """Return start and end of zeros that encoders seldom write, or None; refuse a file that ends in them."""
    zeros = find_zeros(data, _ZEROS, first)
    if zeros is not None and data.find(_EOI, first, zeros[0]) >= 0:
        zeros = None  # anything may follow the end of the picture
    # A download that stopped in a preallocated file ends in zeros, which libjpeg decodes to grey in silence.
    if zeros is None and not data.endswith(_EOI) and data.find(_EOI, first) < 0:
        tail = len(data) - len(data.rstrip(b"\0"))
        zeros = (len(data) - tail, len(data)) if tail >= 32 else None
    if zeros is not None and zeros[1] == len(data):
        raise Damaged(f"truncated JPEG: its last {zeros[1] - zeros[0]} bytes are zero")
    return zeros


def _remove_padding(data: bytes, zeros: tuple[int, int] | None) -> bytes:
    """Remove zeros before the end marker, where cameras pad; refuse zeros elsewhere.

    Without the padding, the decoder warns only if the picture is incomplete.
    """
    start, end = zeros or (0, 0)
    if not data.startswith(_EOI, end):
        raise Damaged(f"damaged JPEG: {end - start} zero bytes within its image data")
    return data[:start] + data[end:]


def _check_scans(data: bytes, first: int, frame: _Frame, zeros: tuple[int, int] | None) -> bool:
    """Refuse too many scans, and scans that do not fit together; return whether the zeros cannot be data."""
    # A sequential picture nearly always has one scan with all components, which needs no check.
    several = frame.marker in _PROGRESSIVE_FRAMES or data[first + 4] < len(frame.components)
    if not several and zeros is None:
        return False
    lost, tables = False, _read_huffman_tables(data, 2, first)
    sent: dict[tuple[int, int], int] = {}
    for number, scan in enumerate(_walk_scans(data, first, tables), 1):
        if number > MAX_SCANS or number * frame.size[0] * frame.size[1] > MAX_SCANNED_PIXELS:
            raise Damaged(f"too slow to decode: a JPEG of {number} or more scans; save it again")
        if zeros is not None and scan.start <= zeros[0] < scan.end:
            lost = not _may_be_zeros(scan, tables, frame)
        if several:
            _record_scan(scan, sent, frame)
    if several:
        _check_complete(sent, frame)
    return lost


def _read_huffman_tables(
    data: bytes, start: int, end: int, tables: dict[int, int] | None = None
) -> dict[int, int]:
    """Return the symbol of the first code, which is all zero bits, by table (AC tables from 16 on)."""
    tables = {} if tables is None else tables
    at = start
    while at + 4 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xC4:
            table, last = at + 4, at + 2 + length
            while table + 17 < last:
                tables[data[table]] = data[table + 17]
                table += 17 + sum(data[table + 1 : table + 17])
        at += 2 + length
    return tables


def _walk_scans(data: bytes, at: int, tables: dict[int, int]) -> Iterator[_Scan]:
    """Yield the scans up to the end marker; update `tables`, which may be redefined between them."""
    while data[at + 1] != 0xD9:
        (length,) = struct.unpack_from(">H", data, at + 2)
        after = at + 2 + length
        if data[at + 1] == 0xDA:
            count = data[at + 4]
            components = [(data[at + 5 + 2 * i], data[at + 6 + 2 * i] & 15) for i in range(count)]
            band = at + 5 + 2 * count
            first, last, bits = data[band], data[band + 1], data[band + 2]
            end = _MARKER.search(data, after)
            stop = len(data) if end is None else end.start()
            yield _Scan(components, (first, last), (bits >> 4, bits & 15), after, stop)
            if end is None:
                return
            at = stop
            continue
        _read_huffman_tables(data, at, after, tables)
        found = _MARKER.search(data, after)
        if found is None:
            return
        at = found.start()


def _may_be_zeros(scan: _Scan, tables: dict[int, int], frame: _Frame) -> bool:
    """Whether an encoder may write many zero bytes in a row into a scan.

    The code of zero bits is the commonest symbol of a table. If that is "end of block" for every component,
    zeros are a flat area and prove nothing. The correction bits of a refining scan and the differences of a
    DC scan may be zero, too. If it is a coefficient, 64 zero bytes would be dozens of equal coefficients in
    a row, block after block: no picture has them.
    """
    arithmetic_or_lossless = frame.marker not in _HUFFMAN_FRAMES
    progressive = frame.marker in _PROGRESSIVE_FRAMES
    if arithmetic_or_lossless or (progressive and (scan.band[0] == 0 or scan.bits[0] > 0)):
        return True
    symbols = [tables.get(16 + table, 0) for _, table in scan.components]
    # Low bits 0: end of one block or, progressive, of many; but 0xF0 is a run of 16 zero coefficients.
    return all(s == 0 or (progressive and s & 15 == 0 and s != 0xF0) for s in symbols)


def _record_scan(scan: _Scan, sent: dict[tuple[int, int], int], frame: _Frame) -> None:
    """Record the lowest bit sent of each coefficient; refuse bits that come twice or out of order."""
    first, last = scan.band
    high, low = scan.bits
    if frame.marker not in _PROGRESSIVE_FRAMES:
        first, last, high, low = 0, 0, 0, 0
    for component, _ in scan.components:
        for coefficient in range(first, min(last, 63) + 1):
            before = sent.get((component, coefficient), 0 if high == 0 else -1)
            if before != high or (high == 0 and (component, coefficient) in sent):
                raise Damaged("damaged JPEG: its scans do not fit together")
            sent[component, coefficient] = low


def _check_complete(sent: dict[tuple[int, int], int], frame: _Frame) -> None:
    """Refuse a picture that ends between two scans: each coefficient that was begun needs its last bit."""
    if any((component, 0) not in sent for component in frame.components) or any(sent.values()):
        raise Damaged("truncated JPEG: it ends before the last of its scans")
