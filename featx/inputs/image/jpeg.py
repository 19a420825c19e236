"""Decode JPEG into an array, at a smaller scale where that is enough.

simplejpeg wraps the same libjpeg-turbo as Pillow, gives the same pixels without a copy through Pillow's own
image format, and raises what the decoder warns of, which Pillow hides. Pillow decodes the files that it does
not take (CMYK, odd sampling) and those with a harmless warning.

The decoder's warnings, and what they mean here:

=================================  ======================================================================
premature end of data segment      damaged: the data ran out and the rest was filled with grey, as in a cut
                                   file that was closed with an end marker.
bad Huffman or arithmetic code     damaged: no encoder writes such bits.
found marker ... instead of RST    damaged: an interval is lost, and the next ones are in the wrong place.
inconsistent progression           damaged: a scan refines what was not sent.
extraneous bytes before a marker   damaged before any marker but the last: a scan or interval was complete
                                   and data are left. Harmless before the end marker: cameras pad there,
                                   and published datasets (Oxford-IIIT Pet, Cats and Dogs) have such files.
                                   Damaged all the same if zeros in the data may have been a lost sector.
unsupported marker                 damaged: only noise looks like this.
Premature end of JPEG file         truncated: there is no end marker.
unknown JFIF revision, Adobe       harmless: these header fields change no pixel. Where possible,
transform code or SOS parameters   `featx.inputs.image.jpeg_stream` corrects them, as only the first warning
                                   of a file is raised.
=================================  ======================================================================

A JPEG is stored in blocks of 8 x 8 frequencies. Leaving out the high ones gives a picture of half, a quarter
or an eighth of the size in less time. For an image that is shrunk by more than that anyway, this changes
little: the remaining factor, at least `featx.inputs.image.preprocess.GAP`, still averages over the pixels.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from featx.inputs.image.jpeg_stream import end_of_scans
from featx.inputs.image.structure import Damaged

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow decodes
    simplejpeg = None

#: Takes (height, width) and returns the factor, 1, 2, 4 or 8, by which the decoder may shrink.
Reduce = Callable[[int, int], int]

_COLOURS = ("YCbCr", "Gray")
_INKS = ("CMYK", "YCCK")

# See the table above.
_DAMAGE = re.compile(
    r"premature end of data|bad (Huffman|arithmetic) code|instead of RST|Inconsistent progression"
    r"|extraneous bytes before marker 0x(?!d9)|Unsupported marker"
)


def decode_jpeg(
    data: bytes, factor: Callable[[int, int], int], *, doubtful: bool = False
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Return uint8 (ceil(h / f), ceil(w / f), 3) and the stored (h, w); None where Pillow must decode.

    `factor` returns f for the stored (h, w). `Damaged` if the decoder warns of damage; `doubtful` as in
    `featx.inputs.image.structure.Container`.
    """
    if simplejpeg is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _COLOURS:  # Pillow knows what Adobe's inks mean
            check_stream(data, doubtful)
            return None
        by = factor(height, width)
        if by == 1:
            return simplejpeg.decode_jpeg(data), (height, width)
        least = -(-height // by), -(-width // by)
        pixels = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1])
    except ValueError as error:
        refuse_damage(str(error), doubtful)
        return None
    return (pixels, (height, width)) if pixels.shape[:2] == least else None


def check_stream(data: bytes, doubtful: bool = False) -> None:
    """Raise `Damaged` when the decoder, run at 1/8 of the size, warns of damage."""
    if simplejpeg is None:
        return
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        simplejpeg.decode_jpeg(data, colorspace="CMYK" if colours in _INKS else "RGB", min_factor=8)
    except ValueError as error:
        refuse_damage(str(error), doubtful)


def refuse_damage(warning: str, doubtful: bool = False) -> None:
    """Raise `Damaged` if the decoder's warning means damage, by the table of this module."""
    text = warning.removeprefix("Corrupt JPEG data: ")
    if _DAMAGE.search(text) or (doubtful and "extraneous bytes" in text):
        raise Damaged(f"damaged JPEG: {text}")


def check_end(data: bytes, image: JpegImageFile, by: int) -> None:
    """Raise `Damaged` if the data end before `image`, which Pillow loaded from them at 1 / `by` of its size.

    Pillow fills the rest without a word. Bytes appended to cut data change the picture; bytes appended to
    complete data do not. So the picture is decoded once more with some appended. That concerns the few files
    that simplejpeg does not take (all, where it is not installed).
    """
    end = end_of_scans(data)
    if end is None:
        return
    with JpegImageFile(io.BytesIO(data[:end] + _MORE + data[end:])) as longer:
        if by > 1:
            longer.draft(None, (max(1, longer.width // by), max(1, longer.height // by)))
        for top in range(0, image.height, _ROWS):
            rows = 0, top, image.width, min(top + _ROWS, image.height)
            if longer.crop(rows).tobytes() != image.crop(rows).tobytes():
                raise Damaged("truncated JPEG: its data end before its image does")


# Rows that are compared at a time, so that neither picture is copied whole.
_ROWS = 256

# No marker, no zeros, and from its first bits on unlike the zeros that the decoder fills up with.
_MORE = bytes.fromhex("b5a6d9cb5a9d6cb3") * 8
