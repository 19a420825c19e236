"""What a file's bytes say before a pixel is decoded: format, upright or not, and the part that matters.

Metadata is taken out here, before Pillow sees the file: the orientation is read from it and the rest is
dropped. Otherwise a broken EXIF block, a compressed comment or a private TIFF tag could raise or warn about
an image whose pixels are sound, and Python's warnings cannot be silenced in one thread alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Suffixes of each format that is decoded.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
}

# Formats that are recognised only to be named: (offset, bytes, name).
_OTHERS = (
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypmsf1", "a HEIC image"),
    (4, b"ftyp", "a video"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"version https://git-lfs", "a Git LFS pointer whose file was not fetched"),
)


class Damaged(ValueError):
    """The container is broken; the text says how, such as ``"truncated TIFF: ..."``."""


@dataclass(frozen=True)
class Container:
    """An image file without its metadata.

    Attributes
    ----------
    format : str
        A key of `SUFFIXES`.
    data : bytes
        The file, without what is not needed to decode its pixels.
    orientation : int
        EXIF orientation, 1 (upright) to 8.
    size : (int, int) or None
        (width, height) where it must be known before Pillow opens the file.
    cut : bool
        Whether the file ends before its own structure says so.
    """

    format: str
    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    cut: bool = False


def sniff(data: bytes) -> str | None:
    """The format that the first bytes of a file show, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    # "BM" alone opens many a text; the size of the header that follows belongs to a bitmap.
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:
        return "BMP"
    return None


_BMP_HEADERS = {struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124)}


def what_else(data: bytes) -> str:
    """What bytes that are no image of a known format seem to be, for a message."""
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return name
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if b"<svg" in head:
        return "an SVG drawing"
    if not data.strip(b"\0"):
        return f"{len(data)} zero bytes"
    text = data[:24].decode("utf-8", "replace")
    # A character cut at the end is replaced, too, and the rest is still text.
    if all(c.isprintable() or c in "\t\r\n" for c in text) and "\ufffd" not in text[:-1]:
        return f"text that begins with {text!r}"
    return f"data that begins with {data[:8].hex(' ')}"


def unpack(data: bytes, format: str) -> Container:
    """Take an image file apart.

    Parameters
    ----------
    data : bytes
        A whole file.
    format : str
        What `sniff` says it is.

    Raises
    ------
    Damaged
        If the structure around the pixels is broken.
    """
    try:
        return _READERS[format](data)
    except (struct.error, IndexError) as error:
        raise Damaged(f"truncated {format}: it ends inside its header") from error


def exif_orientation(exif: bytes) -> int:
    """Orientation in an EXIF block, 1 when it states none or is broken (as viewers show such an image)."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (ifd,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, ifd)
        for i in range(count):
            tag, kind = struct.unpack_from(order + "HH", exif, ifd + 2 + 12 * i)
            if tag == 0x0112 and kind in (3, 4):
                (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), exif, ifd + 10 + 12 * i)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _jpeg(data: bytes) -> Container:
    """Segments up to the first scan; of the application segments only JFIF and Adobe change pixels."""
    kept, orientation, seen_exif = [data[:2]], 1, False
    at = 2
    while True:
        if data[at] != 0xFF:  # stray bytes between segments are common and harmless
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1
        elif marker == 0xDA:
            break
        elif marker == 0xD9:
            raise Damaged("damaged JPEG: it holds no image data")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            segment = data[at : at + 2 + length]
            if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not seen_exif:
                orientation, seen_exif = exif_orientation(segment[4:]), True
            if not (0xE1 <= marker <= 0xEF or marker == 0xFE) or marker == 0xEE:
                kept.append(segment)
            at += 2 + length
    scan = data[at:]
    # A download that stopped in a preallocated file ends in zeros, which libjpeg decodes to grey in silence.
    if not scan.endswith(b"\xff\xd9") and b"\xff\xd9" not in scan:
        zeros = len(scan) - len(scan.rstrip(b"\0"))
        if zeros >= 32:
            raise Damaged(f"truncated JPEG: its last {zeros} bytes are zero")
    return Container("JPEG", b"".join([*kept, scan]), orientation)


def _png(data: bytes) -> Container:
    """Critical chunks and transparency; colour profiles, texts and animation are left out."""
    kept, orientation, ended = [_PNG_SIGNATURE], 1, False
    at = len(_PNG_SIGNATURE)
    while at + 8 <= len(data) and not ended:
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if not kind.isalpha():
            raise Damaged(f"damaged PNG: a chunk named {kind!r}")
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"):
            kept.append(data[at : at + 12 + length])
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        elif kind == b"CgBI":
            raise Damaged("Apple's private PNG variant (CgBI), not a standard PNG")
        elif kind[:1].isupper():
            raise Damaged(f"damaged PNG: unknown critical chunk {kind.decode('ascii')}")
        at += 12 + length
        ended = kind == b"IEND"
    return Container("PNG", b"".join(kept), orientation, cut=not ended or at > len(data))


def _webp(data: bytes) -> Container:
    """The size is needed early: libwebp allocates the canvas when it opens a file."""
    (riff,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if kind == b"VP8X":
        size = (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        w, h = struct.unpack_from("<HH", data, 26)
        size = w & 0x3FFF, h & 0x3FFF
    else:
        raise Damaged(f"damaged WebP: it begins with a chunk named {kind!r}")
    return Container("WebP", data, 1, size, cut=len(data) < riff + 8)


# Tags that say how the samples of a TIFF are stored; and those of them that have exactly one value.
_TIFF_SINGLE = frozenset([256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323])
_TIFF_TAGS = (
    _TIFF_SINGLE
    | frozenset(
        # bits, strips, colour map, tiles, inks, extra samples, sample format
        (258, 273, 279, 320, 324, 325, 332, 338, 339)
    )
    | frozenset(
        # JPEG tables (new and old), YCbCr, LERC
        (347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674)
    )
)
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}


def _tiff(data: bytes) -> Container:
    """Only the first page, with a directory of its own (appended) that holds only what decoding needs."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    # Classic: counts of 2, offsets of 4 and entries of 12 bytes. BigTIFF: 8, 8 and 20.
    head, count_code, code, entry_size = (8, "Q", "Q", 20) if big else (4, "H", "I", 12)
    (ifd,) = struct.unpack_from(order + code, data, head)
    (count,) = struct.unpack_from(order + count_code, data, ifd)
    first = ifd + struct.calcsize(count_code)
    if first + count * entry_size > len(data):
        raise Damaged("truncated TIFF: its directory lies beyond the end of the file")
    kept, orientation = {}, 1
    for at in range(first, first + count * entry_size, entry_size):
        tag, kind, n = struct.unpack_from(order + "HH" + code, data, at)
        value_at = at + 4 + struct.calcsize(code)
        if tag == 274 and kind == 3:
            (value,) = struct.unpack_from(order + "H", data, value_at)
            orientation = value if 1 <= value <= 8 else 1
        if tag not in _TIFF_TAGS:
            continue
        if kind not in _TIFF_BYTES or n == 0 or (tag in _TIFF_SINGLE and n != 1):
            raise Damaged(f"damaged TIFF: tag {tag} has {n} values of type {kind}")
        n_bytes = n * _TIFF_BYTES[kind]
        if n_bytes > struct.calcsize(code):
            (offset,) = struct.unpack_from(order + code, data, value_at)
            if offset + n_bytes > len(data):
                raise Damaged(f"truncated TIFF: tag {tag} lies beyond the end of the file")
        kept[tag] = data[at : at + entry_size]
    entries = [kept[tag] for tag in sorted(kept)]
    where = len(data) + len(data) % 2
    directory = (
        struct.pack(order + count_code, len(entries)) + b"".join(entries) + struct.pack(order + code, 0)
    )
    header = data[:head] + struct.pack(order + code, where)
    body = data[len(header) :] + b"\0" * (where - len(data))
    return Container("TIFF", header + body + directory, orientation)


def _as_it_is(format: str):
    return lambda data: Container(format, data)


_READERS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "TIFF": _tiff,
    "GIF": _as_it_is("GIF"),
    "BMP": _as_it_is("BMP"),
}
