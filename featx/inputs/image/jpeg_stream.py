"""Check the segments and scans of a JPEG before a pixel is decoded.

The decoder itself warns of most damage (`featx.inputs.image.jpeg`). Found here is what it does not report: a
lost sector that left zeros in the data, a progressive picture that ends between two scans, and a file that
would keep it busy for minutes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from featx.inputs.image.exif import exif_orientation
from featx.inputs.image.structure import Container, Damaged, find_zeros

#: jpegtran and cjpeg take scripts of at most 100 scans; their own have 10, those of optimisers up to 20.
MAX_SCANS = 100

#: Each scan visits every block again, at about 1 ns a pixel: more than this would take over 2 s.
MAX_SCANNED_PIXELS = 2**31

_EOI = b"\xff\xd9"

# More zero bytes in a row than Huffman codes give (`_may_be_zeros` says why); 970 photographs had at most 5.
_ZEROS = 64

# Ends a scan: neither a stuffed 0xFF, nor a restart marker, nor a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

# Begins a segment: neither a stuffed 0xFF nor a fill byte.
_SEGMENT = re.compile(rb"\xff[^\x00\xff]")
_NO_MARKERS = (0x00, 0xFF)

_FRAMES = frozenset([*range(0xC0, 0xD0)]) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_PROGRESSIVE_FRAMES = frozenset([0xC2, 0xCA])


@dataclass
class _Frame:
    """The frame header, as far as it is needed."""

    marker: int
    size: tuple[int, int]
    components: tuple[int, ...]


@dataclass
class _Scan:
    """One scan: which components with which AC table, which coefficients and bits, and where its data lie."""

    components: list[tuple[int, int]]
    band: tuple[int, int]
    bits: tuple[int, int]
    start: int
    end: int


def unpack_jpeg(data: bytes) -> Container:
    """Take a JPEG apart and keep what changes pixels: of the application segments, JFIF and Adobe.

    Raises
    ------
    Damaged
        If its segments or scans are broken.
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
                frame = _frame(segment)
            if not (0xE1 <= marker <= 0xEF or marker == 0xFE) or marker == 0xEE:
                kept.append(_with_known_version(segment) if marker == 0xE0 else segment)
            at += 2 + length
    if frame is None:
        raise Damaged("damaged JPEG: a scan comes before the frame's header")
    head = b"".join(kept)
    scan, at = _scan_header(data, at, frame)
    body = b"".join([head, scan, memoryview(data)[at:]])
    zeros = _zeros_within(body, len(head))
    if _check_scans(body, len(head), frame, zeros):
        body, zeros = _without_padding(body, zeros), None
    # Every block of 8 x 8 takes at least one bit of Huffman code, and one component or two cover the picture.
    least = frame.size[0] * frame.size[1] // 1024 if frame.marker in _HUFFMAN_FRAMES else 0
    doubtful = zeros is not None and not body.startswith(_EOI, zeros[1])
    return Container("JPEG", body, orientation, frame.size, least=least, doubtful=doubtful)


def _next_segment(data: bytes, at: int) -> int:
    found = _SEGMENT.search(data, at)
    if found is None:
        raise IndexError
    return found.start()


def end_of_scans(data: bytes) -> int | None:
    """Return where the data of the last scan end in what `unpack_jpeg` gave.

    None where that proves nothing: an arithmetic coder leaves trailing zeros out.
    """
    at = 2
    while data[at + 1] != 0xDA:
        if data[at + 1] in _FRAMES and data[at + 1] not in _HUFFMAN_FRAMES:
            return None
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    *_, last = _scans(data, at, {})
    return last.end


def _frame(segment: bytes) -> _Frame:
    height, width, count = struct.unpack_from(">HHB", segment, 5)
    return _Frame(segment[1], (width, height), tuple(segment[10 + 3 * i] for i in range(count)))


def _with_known_version(segment: bytes) -> bytes:
    """Give JFIF a version that the decoder knows: its warning about another would hide a real one."""
    if segment[4:9] == b"JFIF\0" and segment[9:10] != b"\1":
        return segment[:9] + b"\1" + segment[10:]
    return segment


def _scan_header(data: bytes, at: int, frame: _Frame) -> tuple[bytes, int]:
    """Return the header of the scan at `at`, and where it ends.

    A sequential scan has all coefficients. Where its header says otherwise the decoder warns and goes on, so
    the header is put right.
    """
    (length,) = struct.unpack_from(">H", data, at + 2)
    end = at + 2 + length
    header = data[at:end]
    return (header[:-3] + b"\0\x3f\0" if frame.marker in (0xC0, 0xC1) else header), end


def _zeros_within(data: bytes, first: int) -> tuple[int, int] | None:
    """Return where more zeros lie than an encoder writes, if they do; refuse a file that ends in them."""
    zeros = find_zeros(data, _ZEROS, first)
    if zeros is not None and data.find(_EOI, first, zeros[0]) >= 0:
        zeros = None  # behind the end of the picture anything may stand
    # A download that stopped in a preallocated file ends in zeros, which libjpeg decodes to grey in silence.
    if zeros is None and not data.endswith(_EOI) and data.find(_EOI, first) < 0:
        tail = len(data) - len(data.rstrip(b"\0"))
        zeros = (len(data) - tail, len(data)) if tail >= 32 else None
    if zeros is not None and zeros[1] == len(data):
        raise Damaged(f"truncated JPEG: its last {zeros[1] - zeros[0]} bytes are zero")
    return zeros


def _without_padding(data: bytes, zeros: tuple[int, int] | None) -> bytes:
    """Remove zeros before the end marker, where cameras pad; refuse zeros elsewhere.

    Without the padding the decoder warns of an incomplete picture, and not of a complete one.
    """
    start, end = zeros or (0, 0)
    if not data.startswith(_EOI, end):
        raise Damaged(f"damaged JPEG: {end - start} zero bytes within its image data")
    return data[:start] + data[end:]


def _check_scans(data: bytes, first: int, frame: _Frame, zeros: tuple[int, int] | None) -> bool:
    """Refuse scans that are too many or do not fit together; return whether the zeros are no part of them."""
    # A sequential picture nearly always has one scan for all components: there is nothing to walk over.
    several = frame.marker in _PROGRESSIVE_FRAMES or data[first + 4] < len(frame.components)
    if not several and zeros is None:
        return False
    lost, tables = False, _huffman_tables(data, 2, first)
    sent: dict[tuple[int, int], int] = {}
    for number, scan in enumerate(_scans(data, first, tables), 1):
        if number > MAX_SCANS or number * frame.size[0] * frame.size[1] > MAX_SCANNED_PIXELS:
            raise Damaged(f"too slow to decode: a JPEG of {number} or more scans; save it again")
        if zeros is not None and scan.start <= zeros[0] < scan.end:
            lost = not _may_be_zeros(scan, tables, frame)
        if several:
            _send(scan, sent, frame)
    if several:
        _check_complete(sent, frame)
    return lost


def _huffman_tables(
    data: bytes, start: int, end: int, tables: dict[int, int] | None = None
) -> dict[int, int]:
    """Return for each table (16 and more: AC) the symbol of its first code, which is all zero bits."""
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


def _scans(data: bytes, at: int, tables: dict[int, int]) -> Iterator[_Scan]:
    """Walk over the scans up to the end marker; `tables` follows what is redefined between them."""
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
        _huffman_tables(data, at, after, tables)
        found = _MARKER.search(data, after)
        if found is None:
            return
        at = found.start()


def _may_be_zeros(scan: _Scan, tables: dict[int, int], frame: _Frame) -> bool:
    """Whether an encoder may write many zero bytes in a row into a scan.

    The code of zero bits stands for the commonest symbol of a table. Where that is "end of block" for every
    component, zeros are a flat area and prove nothing; the correction bits of a refining scan and the
    differences of a scan of DC alone may be zero, too. Where it is a coefficient, 64 bytes of zeros
    would be dozens of equal coefficients in a row, block after block: no picture has them.
    """
    arithmetic_or_lossless = frame.marker not in _HUFFMAN_FRAMES
    progressive = frame.marker in _PROGRESSIVE_FRAMES
    if arithmetic_or_lossless or (progressive and (scan.band[0] == 0 or scan.bits[0] > 0)):
        return True
    symbols = [tables.get(16 + table, 0) for _, table in scan.components]
    # Low bits 0: end of one block, or (progressive) of many. 0xF0 is a run of 16 zero coefficients.
    return all(s == 0 or (progressive and s & 15 == 0 and s != 0xF0) for s in symbols)


def _send(scan: _Scan, sent: dict[tuple[int, int], int], frame: _Frame) -> None:
    """Note which bit of which coefficients a scan brings; each comes once, from high to low."""
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
    """Refuse a picture that ends between two scans: what was begun must be there to the last bit."""
    if any((component, 0) not in sent for component in frame.components) or any(sent.values()):
        raise Damaged("truncated JPEG: it ends before the last of its scans")
