"""From any of Pillow's modes to RGB, by rules that lose as little as a network could use.

==================  ====================================================================================
1, L                grey replicated into the three channels (1-bit: 0 and 255)
I;16 (any order)    16-bit grey scaled by 1/257 and rounded, never clipped; 12-bit TIFF by 255/4095
P                   its palette's colours
LA, RGBA, PA, ...   composited over white, also where a palette entry or a colour key is transparent:
                    dropping alpha would show whatever colour lies under transparent pixels
CMYK                Pillow's conversion (Adobe's inverted CMYK is turned back by its JPEG reader)
YCbCr, HSV, LAB     Pillow's conversion
I, F                refused: whole or floating numbers without a known range
==================  ====================================================================================

16-bit RGB has no mode in Pillow, whose readers keep its high byte (at most one level from rounding).
Colour profiles are not applied; neither are they in the training pipelines of common weights.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featx.errors import ImageError

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(
    image: Image.Image, id: str, *, full_scale: int | None = None, inverted: bool = False
) -> Image.Image:
    """`image` as RGB.

    Parameters
    ----------
    image : PIL image
        Of any mode; it is not changed.
    id : str
        For the error.
    full_scale : int, optional
        The value of white in an image of whole numbers; 65535 for mode I;16, unknown for mode I.
    inverted : bool, default=False
        Whether 0 is white in an image of whole numbers.

    Raises
    ------
    ImageError
        If the mode has no defined RGB.
    """
    mode = image.mode
    if mode in _SIXTEEN_BIT or (mode == "I" and full_scale is not None):
        return _from_whole_numbers(image, full_scale or 65535, inverted)
    if mode == "F":
        raise ImageError(id, "floating-point pixels without a known range; save it as 8- or 16-bit")
    if mode == "I":
        raise ImageError(id, "32-bit whole-number pixels without a known range; save it as 8- or 16-bit")
    if image.has_transparency_data:
        # Pillow converts premultiplied modes only to their plain ones.
        plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
        return over_white(plain.convert("RGBA"))
    return image if mode == "RGB" else image.convert("RGB")


def over_white(image: Image.Image) -> Image.Image:
    """An RGBA image composited over white."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _from_whole_numbers(image: Image.Image, full_scale: int, inverted: bool) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    grey = (np.clip(values, 0, full_scale) * 255 + full_scale // 2) // full_scale
    if inverted:
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
