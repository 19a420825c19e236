"""Recognise the format of an image file, check its structure, and keep the part that decoding needs.

Metadata is dropped here, before Pillow sees the file; only the orientation is read. Otherwise a broken EXIF
block, a compressed comment or a private TIFF tag could raise or warn about an image whose pixels are sound,
and Python's warnings cannot be silenced in one thread alone.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from featx.inputs.image.boxes import sniff_boxes, unpack_heif, unpack_jpeg2000
from featx.inputs.image.exif import exif_orientation, png_text_orientation
from featx.inputs.image.jpeg_stream import unpack_jpeg
from featx.inputs.image.structure import Container, Damaged, find_lost_sectors, find_zeros
from featx.inputs.image.tiff import unpack_tiff

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Formats that are named in messages but not decoded: (offset, bytes, name).
_OTHERS = (
    (4, b"ftyp", "a video"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive; unzip it"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (257, b"ustar", "a tar archive; unpack it"),
    (0, b"\x1f\x8b", "gzip data; unpack it"),
    (0, b"BZh", "bzip2 data; unpack it"),
    (0, b"\xfd7zXZ\0", "xz data; unpack it"),
    (0, b"(\xb5/\xfd", "zstd data; unpack it"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"version https://git-lfs", "a Git LFS pointer whose file was not fetched"),
)


def sniff(data: bytes) -> str | None:
    """Return the format that the first bytes of a file show, or None."""
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
    # "BM" alone may begin a text: the size of the header that follows must be that of a bitmap.
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:
        return "BMP"
    if (format := sniff_boxes(data)) is not None:
        return format
    # So may "P1": a number must follow, with nothing but white space and comments between.
    return "PNM" if _PNM_HEADER.match(data, 0, 4096) else None


_PNM_HEADER = re.compile(rb"P[1-6](?:\s|#[^\r\n]*[\r\n])+\d")
_BMP_HEADERS = {struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124)}


def describe_data(data: bytes) -> str:
    """Say for a message what the bytes seem to be, which are no image of a known format."""
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
    # The last character may be cut and then replaced.
    if all(c.isprintable() or c in "\t\r\n" for c in text) and "\ufffd" not in text[:-1]:
        return f"text that begins with {text!r}"
    return f"data that begins with {data[:8].hex(' ')}"


def unpack(data: bytes, format: str) -> Container:
    """Take apart an image file of the `format` that `sniff` found; `Damaged` if its structure is broken."""
    try:
        return _READERS[format](data)
    except (struct.error, IndexError) as error:
        raise Damaged(f"truncated {format}: it ends inside its header") from error


#: Most bytes that deflate makes of one: two codes of one bit each copy 258.
DEFLATE = 1032

_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# A hostile file may hold thousands, each of which takes time to unpack; tools write one or two.
_PNG_MOST_PROFILES = 4
#: Channels of each colour type of PNG.
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(data: bytes) -> Container:
    """Keep critical chunks and transparency; leave out colour profiles, texts and animation."""
    kept, orientation, raw_orientation, profiles = [_PNG_SIGNATURE], None, None, 0
    size, least, ended = None, 0, False
    at = len(_PNG_SIGNATURE)
    whole = memoryview(data)
    while at + 8 <= len(data) and not ended:
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if not kind.isalpha():
            raise Damaged(f"damaged PNG: a chunk named {kind!r}")
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack_from(">IIBB", data, at + 8)
            size = width, height
            least = width * height * depth * PNG_CHANNELS.get(colours, 0) // (8 * DEFLATE)
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
            # Pillow checks only chunks before the first IDAT. An IEND is empty.
            if kind != b"IEND":
                if end > len(data):
                    raise Damaged("truncated PNG: the file ends before its image does")
                (checksum,) = struct.unpack_from(">I", data, end - 4)
                if zlib.crc32(whole[at + 4 : end - 4]) != checksum:
                    raise Damaged(f"damaged PNG: the checksum of a chunk {kind.decode('ascii')} is wrong")
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        elif kind in _PNG_TEXTS and raw_orientation is None and profiles < _PNG_MOST_PROFILES:
            raw_orientation = png_text_orientation(kind, data[at + 8 : end - 4])
            profiles += data.startswith(b"Raw profile type ", at + 8)
        elif kind == b"CgBI":
            raise Damaged("Apple's private PNG variant (CgBI), not a standard PNG")
        elif kind[:1].isupper():
            raise Damaged(f"damaged PNG: unknown critical chunk {kind.decode('ascii')}")
        at = end
        ended = kind == b"IEND"
    cut = not ended or at > len(data)
    return Container(b"".join(kept), orientation or raw_orientation or 1, size, cut, least)


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of the data of each chunk of a WebP, and of those within its frames.

    The last one may end beyond the file.
    """
    while at + 8 <= end:
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], at + 8, at + 8 + length
        # A frame of an animation holds chunks behind 16 bytes of its own.
        at += 24 if data[at : at + 4] == b"ANMF" else 8 + length + length % 2


def _webp(data: bytes) -> Container:
    """Check a WebP and find its size, which is needed early: opening it allocates the canvas."""
    (riff,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    size, orientation, least, seen = (0, 0), 1, 0, False
    if kind == b"VP8X":
        size = (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    elif kind not in (b"VP8L", b"VP8 "):
        raise Damaged(f"damaged WebP: it begins with a chunk named {kind!r}")
    for name, start, stop in _chunks(data, 12, min(len(data), riff + 8)):
        if name in (b"VP8 ", b"VP8L") and not seen:
            seen = True
            picture_size, least = _webp_picture(data, name, start, stop)
            size = picture_size if kind != b"VP8X" else size
        elif name == b"ALPH" and not seen and data[start] & 3 == 1:  # 0 is uncompressed
            _refuse_lost_sectors(data, start, min(stop, len(data)))
        elif name == b"EXIF":
            orientation = exif_orientation(data[start:stop])
    return Container(data, orientation, size, len(data) < riff + 8, least)


def _webp_picture(data: bytes, name: bytes, start: int, stop: int) -> tuple[tuple[int, int], int]:
    """Return the size of a picture and the fewest bytes that can hold it; refuse one with a lost sector.

    A lossy picture (RFC 6386) takes at least 1.6 bits for each macroblock of 16 x 16 pixels: its modes have
    fixed probabilities, of which the largest are 145/256 (luma) and 142/256 (chroma). Its encoder writes
    zeros only for macroblocks without any coefficient, less than a bit for each.
    """
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, start + 1)
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        _refuse_lost_sectors(data, start, min(stop, len(data)))
        return size, 0
    w, h = struct.unpack_from("<HH", data, start + 6)
    size = w & 0x3FFF, h & 0x3FFF
    macroblocks = -(-size[0] // 16) * -(-size[1] // 16)
    (tag,) = struct.unpack_from("<H", data, start)
    first_part = (tag | data[start + 2] << 16) >> 5
    if start + 10 + first_part > min(stop, len(data)):
        raise Damaged("truncated WebP: the file ends before its image does")
    _refuse_zeros(find_zeros(data, _WEBP_ZEROS + macroblocks // 8, start, min(stop, len(data))))
    return size, macroblocks // 5


# Fewest zero bytes in a row, or at the end, that a sound file does not have outside of flat areas.
_WEBP_ZEROS = 33


def _refuse_lost_sectors(data: bytes, start: int, stop: int) -> None:
    """Refuse lost sectors in lossless data, whose encoders may write flat areas as hundreds of zeros."""
    _refuse_zeros(find_lost_sectors(data, start, stop))
    _refuse_zeros(find_zeros(data, _WEBP_ZEROS, stop - _WEBP_ZEROS, stop))


def _refuse_zeros(zeros: tuple[int, int] | None) -> None:
    if zeros is not None:
        raise Damaged(f"damaged WebP: {zeros[1] - zeros[0]} zero bytes within its image data")


def _gif(data: bytes) -> Container:
    """Keep only the first picture, with its transparency and palettes."""
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept = [data[:at]]
    while (found := _GIF_BLOCK.search(data, at)) is not None:
        start, kind = found.start(), data[found.start()]
        if kind == 0x21:
            at = _after_sub_blocks(data, start + 2)
            if data[start + 1] == 0xF9:
                kept = [kept[0], data[start:at]]
        elif kind == 0x2C:
            flags = data[start + 9]
            at = start + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            at = _after_sub_blocks(data, at)
            return Container(b"".join([*kept, data[start:at], b";"]), cut=at > len(data))
        else:
            break
    raise Damaged("damaged GIF: it holds no picture")


# Other bytes between blocks are skipped, as viewers do.
_GIF_BLOCK = re.compile(b"[!,;]")


def _after_sub_blocks(data: bytes, at: int) -> int:
    """Return where a chain of sub-blocks ends; beyond the end of the file when the chain is cut off."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


# Pillow decodes run lengths in Python, at about 60 ns a pixel.
_MAX_RLE_PIXELS = 2**23


def _bmp(data: bytes) -> Container:
    """Keep all; refuse run lengths for a large picture, which would take minutes."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
        (compression,) = struct.unpack_from("<I", data, 30)
        if compression in (1, 2) and abs(width * height) > _MAX_RLE_PIXELS:
            raise Damaged(
                f"too large: {width} x {abs(height)} pixels of a run-length BMP, the limit is "
                f"{_MAX_RLE_PIXELS:,}; save it as PNG"
            )
    return Container(data)


_READERS: dict[str, Callable[[bytes], Container]] = {
    "JPEG": unpack_jpeg,
    "PNG": _png,
    "WebP": _webp,
    "TIFF": unpack_tiff,
    "GIF": _gif,
    "BMP": _bmp,
    "PNM": Container,
    "JPEG 2000": unpack_jpeg2000,
    "AVIF": lambda data: unpack_heif(data, "AVIF"),
    "HEIC": lambda data: unpack_heif(data, "HEIC"),
}
