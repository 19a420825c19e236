"""Convert any of Pillow's modes to RGB.

==================  ====================================================================================
1, L                grey replicated into the three channels (1-bit: 0 and 255)
I;16 (any order)    16-bit grey scaled by 1/257 and rounded, never clipped; 12-bit TIFF by 255/4095
P                   its palette's colours
LA, RGBA, PA, ...   composited over white, also where a palette entry or a colour key is transparent:
                    dropping alpha would show the arbitrary colour of transparent pixels
CMYK                Pillow's conversion (Adobe's inverted CMYK is turned back by its JPEG reader)
YCbCr, HSV, LAB     Pillow's conversion
I, F                refused: whole or floating numbers without a known range
==================  ====================================================================================

16-bit RGB has no mode in Pillow, whose readers keep its high byte (at most one level from rounding).
Colour profiles are not applied; training pipelines of common weights do not apply them either.

A picture is converted and turned upright tile by tile, so that no step needs a second picture in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featx.errors import ImageError

#: Pixels that are converted at a time, so that intermediate copies stay small.
TILE = 2**18

#: How a stored picture is turned upright, by EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

#: (left, top, right, bottom)
Box = tuple[int, int, int, int]


def to_rgb_array(image: Image.Image, id: str, *, orientation: int = 1) -> np.ndarray:
    """Return `image`, of any mode, as upright RGB, uint8 (h, w, 3).

    `orientation` is the EXIF orientation of the stored image, 1 (upright) to 8. `ImageError`, naming `id`, if
    the mode has no defined RGB. Memory peaks at the image, 3 bytes per pixel for the result, and 16 MiB.
    """
    convert = _find_conversion(image, id)
    whole = (0, 0, *image.size)

    def cut(box: Box) -> Image.Image:
        tile = image if box == whole else image.crop(box)
        return tile if convert is None else convert(tile)

    return _assemble(image.size, cut, orientation)


def array_to_rgb(pixels: np.ndarray, *, orientation: int = 1) -> np.ndarray:
    """Return pixels, uint8 (h, w) or (h, w, 1, 3 or 4), as upright RGB, C-contiguous.

    Alpha is composited over white. Upright RGB is returned as it is.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == 3 and orientation not in UPRIGHT:
        return np.ascontiguousarray(pixels)

    def cut(box: Box) -> Image.Image:
        left, top, right, bottom = box
        image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
        return over_white(image) if image.mode == "RGBA" else image.convert("RGB")

    return _assemble((pixels.shape[1], pixels.shape[0]), cut, orientation)


def over_white(image: Image.Image) -> Image.Image:
    """Composite an RGBA image over white."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _find_conversion(image: Image.Image, id: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return the function that converts tiles of `image` to RGB; None if they are RGB."""
    mode = image.mode
    full_scale, inverted = _number_range(image)
    if full_scale is not None:
        return _from_whole_numbers(full_scale, inverted, image.info.get("transparency"))
    if mode == "F":
        raise ImageError(id, "floating-point pixels without a known range; save it as 8- or 16-bit")
    if mode == "I":
        raise ImageError(id, "32-bit whole-number pixels without a known range; save it as 8- or 16-bit")
    if image.has_transparency_data:
        # Pillow converts premultiplied modes only to their plain ones.
        plain = {"La": "LA", "RGBa": "RGBA"}.get(mode, mode)
        return lambda part: over_white(part.convert(plain).convert("RGBA"))
    return None if mode == "RGB" else lambda part: part.convert("RGB")


def _number_range(image: Image.Image) -> tuple[int | None, bool]:
    """Return the value of white in an image of whole numbers, None if unknown, and whether 0 is white."""
    if image.mode not in (*_SIXTEEN_BIT, "I"):
        return None, False
    if isinstance(image, TiffImageFile):
        twelve_bit = image.tag_v2.get(258) == (12,)
        full_scale = None if image.mode == "I" else 4095 if twelve_bit else 65535
        return full_scale, image.tag_v2.get(262) == 0
    if isinstance(image, PngImageFile) or image.mode != "I":
        return 65535, False
    return None, False


def _from_whole_numbers(full_scale: int, inverted: bool, key: object) -> Callable[[Image.Image], Image.Image]:
    values = np.arange(full_scale + 1, dtype=np.int64)
    levels = ((values * 255 + full_scale // 2) // full_scale).astype(np.uint8)
    if inverted:
        levels = 255 - levels
    if isinstance(key, int) and 0 <= key <= full_scale:
        levels[key] = 255

    def convert(part: Image.Image) -> Image.Image:
        return Image.fromarray(levels[np.clip(np.asarray(part), 0, full_scale)]).convert("RGB")

    return convert


def _assemble(size: tuple[int, int], cut: Callable[[Box], Image.Image], orientation: int) -> np.ndarray:
    """Return the upright picture, uint8 (h, w, 3), from the RGB tiles that `cut` returns."""
    width, height = size if orientation < 5 else size[::-1]
    out = np.empty((height, width, 3), np.uint8)
    turn = UPRIGHT.get(orientation)
    for box in _tiles(*size):
        tile = cut(box)
        left, top, right, bottom = _turn_box(box, size, orientation)
        out[top:bottom, left:right] = np.asarray(tile if turn is None else tile.transpose(turn))
    return out


def _tiles(width: int, height: int) -> Iterator[Box]:
    across = min(width, TILE)
    down = max(1, TILE // max(1, across))
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _turn_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return where a box of the stored picture lies in the upright one."""
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):  # columns count from the other side
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):  # and rows
        top, bottom = size[1] - bottom, size[1] - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)
