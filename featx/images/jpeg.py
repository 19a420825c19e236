"""JPEG, the format that most photographs come in, decoded straight into an array, smaller where that will do.

simplejpeg wraps the same libjpeg-turbo that Pillow brings, and gives the same pixels without a copy through
Pillow's own image format. Whatever it does not take (CMYK, a stream with an irregularity) is left to Pillow,
which knows what is harmless.

A JPEG is stored in blocks of 8 x 8 frequencies, and a picture of half, a quarter or an eighth of the size can
be had by leaving out the high ones, for a part of the time. Where an image is to be shrunk by more than that
anyway, this changes little: the remaining shrinking, by a factor of at least `featx.images.preprocess.GAP`,
still averages over the pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow decodes
    simplejpeg = None

#: Given (height, width), by which of 1, 2, 4, 8 the decoder may shrink.
Reduce = Callable[[int, int], int]

_COLOURS = ("YCbCr", "Gray")


def jpeg_pixels(data: bytes, factor: Callable[[int, int], int]) -> tuple[np.ndarray, tuple[int, int]] | None:
    """RGB pixels of a JPEG, or None where Pillow must decide.

    Parameters
    ----------
    data : bytes
        The whole file.
    factor : callable
        Given the stored (height, width), by which of 1, 2, 4, 8 it is shrunk, sides rounded up.

    Returns
    -------
    pixels : ndarray of shape (ceil(h / factor), ceil(w / factor), 3), uint8
    size : (int, int)
        The stored (height, width).
    """
    if simplejpeg is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _COLOURS:
            return None
        by = factor(height, width)
        if by == 1:
            return simplejpeg.decode_jpeg(data), (height, width)
        least = -(-height // by), -(-width // by)
        pixels = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1])
    except (ValueError, MemoryError):
        return None
    return (pixels, (height, width)) if pixels.shape[:2] == least else None
