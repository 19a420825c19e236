"""Estimate from an image file's header how much memory decoding takes, and whether its bytes can hold it.

Memory is stated in bytes per pixel. Pillow keeps a pixel in 1 (palette, grey, 1-bit), 2 (16-bit grey) or 4
bytes (all other modes), the RGB result takes 3, and each format's decoder has buffers of its own:

=====================  =================================================================================
JPEG                   none; 2 for each sample where it comes in several scans (progressive)
PNG, BMP               none (2 for BMP with run lengths)
GIF                    1
WebP                   12: two canvases and a copy as bytes
TIFF                   one strip or tile as stored, which may be the whole picture
PNM                    none; 330 for plain numbers, which become Python objects
AVIF, HEIC             12: the planes of the codec, and a copy in RGB
JPEG 2000              7 for each channel, which OpenJPEG keeps as whole numbers
=====================  =================================================================================

`OVERHEAD` and twice the file's size are added. Together that is at most 16 bytes per pixel, and 32
for JPEG 2000.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from PIL.ImageFile import ImageFile

from featx.inputs.image.containers import DEFLATE, PNG_CHANNELS

#: Bytes for the tile that is converted at a time, and for all that does not grow with the picture.
OVERHEAD = 16 * 2**20

#: Up to this many pixels a picture is decoded however few bytes it has: its decoder names the damage better.
UNCHECKED_PIXELS = 2**22

# Pixels per byte for formats without a bound. Encoders reach less: lossless libwebp, one colour, 26,000.
_UNBOUNDED = 2**16
# Most bytes that one compressed byte gives: LZW's codes of 12 bits stand for at most 4,095 bytes; PackBits
# repeats 128 with 2; zstd and LZMA have blocks of one repeated byte.
_LZW, _PACK_BITS, _REPEATED = 4095 * 8 / 12, 64, 2**15

_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}


@dataclass(frozen=True)
class Footprint:
    """How densely a picture is stored, and what memory decoding it takes.

    Attributes
    ----------
    densest : float
        Most pixels that one byte of the file can hold.
    decoder : float
        Bytes that the decoder needs for each stored pixel.
    picture : int
        Bytes of each decoded pixel before it is converted to RGB.
    buffers : int
        Further bytes, whatever the number of pixels.
    """

    densest: float
    decoder: float
    picture: int
    buffers: int = 0

    def fits(self, pixels: int, file_bytes: int) -> bool:
        """Whether `file_bytes` can hold `pixels`."""
        return pixels <= UNCHECKED_PIXELS + self.densest * file_bytes

    def peak(self, pixels: int, file_bytes: int, reduction: int = 1) -> int:
        """Return the most bytes of memory that decoding and resizing take, beside the file's own.

        `pixels` are those stored; each side is shrunk by `reduction` while it is decoded.
        """
        out = pixels / reduction**2
        decoding = self.decoder * pixels + self.picture * out
        # After decoding: the picture and its RGB, or the RGB and the copy of it that Pillow resizes.
        most = int(max(decoding, (self.picture + 3) * out, 7 * out))
        return most + self.buffers + 2 * file_bytes + OVERHEAD


def estimate_footprint(format: str, data: bytes, image: ImageFile | None = None) -> Footprint:
    """Return the footprint of a picture of which nothing is decoded yet.

    `format` is a name from `featx.inputs.image.containers.sniff`. TIFF and BMP need `image`, Pillow's reader,
    opened but not loaded.
    """
    if format == "JPEG":
        return _jpeg(data, 3 if image is None else _BYTES.get(image.mode, 4))
    if format == "WebP":
        # A block of 16 x 16 pixels of the lossy kind takes at least 1.6 bits for its modes.
        return Footprint(_UNBOUNDED if b"VP8L" in data else 2048, 12, 4)
    if format == "GIF":
        return Footprint(_LZW, 1, 1)
    if format in ("AVIF", "HEIC"):
        return Footprint(_UNBOUNDED, 12, 4)
    if format == "JPEG 2000":
        return Footprint(_UNBOUNDED, 7 * (4 if image is None else len(image.getbands())), 4)
    if format == "PNM":
        return Footprint(8, 330 if data[1:2] in b"123" else 0, 4)
    picture = 4 if image is None else _BYTES.get(image.mode, 4)
    if format == "PNG":
        return Footprint(DEFLATE * 8 / (data[24] * PNG_CHANNELS.get(data[25], 1) or 1), 0, picture)
    if format == "TIFF" and image is not None:
        return _tiff(image, picture)
    if format == "BMP" and image is not None and image.tile and image.tile[0][0] == "raw":
        return Footprint(8, 0, picture)
    return Footprint(_UNBOUNDED, 2, picture)


def read_gif_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a GIF in Pillow: its screen, enlarged to hold the first picture."""
    width = height = 0
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        while data[at : at + 1] == b"!":  # an extension: its kind, and blocks that begin with their length
            at += 2
            while length := data[at]:
                at += 1 + length
            at += 1
        if data[at : at + 1] == b",":
            left, top, w, h = struct.unpack_from("<HHHH", data, at + 1)
            width, height = max(width, left + w), max(height, top + h)
    except (IndexError, struct.error):  # cut off in its header: Pillow raises the error
        pass
    return width, height


def _jpeg(data: bytes, picture: int) -> Footprint:
    """Read the frame header, and whether the first scan holds all components."""
    at, kind, samples, components = 2, 0, 3.0, 3
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0x01, 0xFF) or 0xD0 <= data[at + 1] <= 0xD8:
            at += 1
            continue
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            kind, components = marker, data[at + 9]
            sides = [(s >> 4, s & 15) for s in data[at + 11 : at + 10 + 3 * components : 3]]
            densest = max((w for w, _ in sides), default=1) * max((h for _, h in sides), default=1)
            samples = sum(w * h for w, h in sides) / max(1, densest)
        elif marker == 0xDA:
            break
        at += 2 + length
    progressive, arithmetic = kind in (0xC2, 0xC6, 0xCA, 0xCE), kind >= 0xC9
    in_scans = progressive or (at + 4 < len(data) and data[at + 4] < components)
    # A block of 8 x 8 has two codes of one bit at least, a progressive one a single one; and the components
    # may have a half of the blocks that a full one would have.
    densest_code = _UNBOUNDED if arithmetic else 1024 if progressive else 512
    return Footprint(densest_code, 2 * samples if in_scans else 0, picture)


def _tiff(image: Any, picture: int) -> Footprint:
    tags = image.tag_v2
    width, height = image.size
    samples = tags.get(258, (1,))
    bits = max(1, sum(samples) if len(samples) > 1 else samples[0] * tags.get(277, 1))
    compression = tags.get(259, 1)
    densest = {
        1: 8 / bits,
        2: 8 * width,
        3: 8 * width,
        4: 8 * width,
        5: _LZW * 8 / bits,
        7: 1024,
        8: DEFLATE * 8 / bits,
        32773: _PACK_BITS * 8 / bits,
        32946: DEFLATE * 8 / bits,
    }.get(compression, _REPEATED * 8 / bits)
    if 322 in tags and 323 in tags:
        stored = int(tags[322]) * int(tags[323])
        # Pillow makes a picture of a tile when a tile is larger than the picture.
        beyond = max(0, stored - width * height) * (picture + 3)
    else:
        stored, beyond = width * min(height, int(tags.get(278, height))), 0
    # JPEG in TIFF is decoded to four bytes per pixel.
    buffer = stored * max(bits, 32 if compression in (6, 7) else 0) // 8 if compression != 1 else 0
    return Footprint(densest, 0, picture, 2 * buffer + beyond)
