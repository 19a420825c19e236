"""Read the orientation that a picture's metadata states; the rest of the metadata is ignored.

It is read where viewers read it: EXIF in JPEG, WebP and PNG (``eXIf``, and the hexadecimal profile that
ImageMagick wrote before that chunk existed) and the tag of TIFF. XMP is not looked at, as in browsers.
"""

from __future__ import annotations

import struct
import zlib

# EXIF has at most 64 kB, its hexadecimal text with line ends a little more than twice that.
_MOST_TEXT = 2**18


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 if it states none or is broken, as in viewers."""
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


def png_text_orientation(kind: bytes, body: bytes) -> int | None:
    """Return the orientation in a text chunk (tEXt, zTXt, iTXt) of a PNG, None if it is no EXIF profile.

    An EXIF profile is a text of its name, its length and its bytes in hexadecimal.
    """
    keyword, _, rest = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return None
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        text = zlib.decompressobj().decompress(rest, _MOST_TEXT) if packed else rest[:_MOST_TEXT]
        _, _, digits = text.split(maxsplit=2)
        exif = bytes.fromhex(digits.decode("ascii"))
    except (zlib.error, ValueError):
        return None
    # An APP1 profile is EXIF or XMP.
    return exif_orientation(exif) if exif.startswith((b"Exif\0\0", b"II*\0", b"MM\0*")) else None
