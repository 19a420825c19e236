"""Convert any of Pillow's modes to RGB, and lose nothing that a network could use.

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

A picture is converted and turned tile by tile, so that no step needs a second picture in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featx.errors import ImageError

#: Pixels that are converted at a time, so that what conversions need in between stays small.
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


def to_rgb(image: Image.Image, id: str, *, orientation: int = 1) -> Image.Image:
    """Convert `image` to RGB and turn it upright.

    Parameters
    ----------
    image : PIL image
        Of any mode; it is not changed.
    id : str
        For the error.
    orientation : int, default=1
        EXIF orientation of what is stored, 1 (upright) to 8.

    Raises
    ------
    ImageError
        If the mode has no defined RGB.
    """
    convert = _conversion(image, id)
    if convert is None and orientation not in UPRIGHT:
        return image
    out = Image.new("RGB", _upright_size(image.size, orientation))
    for box, part in _parts(image.size, _cut(image, convert), orientation):
        out.paste(part, box[:2])
    return out


def to_rgb_array(image: Image.Image, id: str, *, orientation: int = 1) -> np.ndarray:
    """Convert `image` as `to_rgb` does, into an array uint8 of shape (h, w, 3).

    Memory peaks at the image, 3 bytes a pixel for the result, and 16 MiB.
    """
    return _assembled(image.size, _cut(image, _conversion(image, id)), orientation)


def array_to_rgb(pixels: np.ndarray, *, orientation: int = 1) -> np.ndarray:
    """Convert pixels, uint8 (h, w) or (h, w, 1, 3 or 4), to RGB, upright and C-contiguous.

    Alpha is composited over white. What is RGB already is returned as it is.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == 3 and orientation not in UPRIGHT:
        return np.ascontiguousarray(pixels)

    def part(box: Box) -> Image.Image:
        left, top, right, bottom = box
        image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
        return over_white(image) if image.mode == "RGBA" else image.convert("RGB")

    return _assembled((pixels.shape[1], pixels.shape[0]), part, orientation)


def over_white(image: Image.Image) -> Image.Image:
    """Composite an RGBA image over white."""
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _conversion(image: Image.Image, id: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return the function that converts parts of `image` to RGB; None where they are RGB."""
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


def _cut(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image] | None
) -> Callable[[Box], Image.Image]:
    whole = (0, 0, *image.size)

    def part(box: Box) -> Image.Image:
        cut = image if box == whole else image.crop(box)
        return cut if convert is None else convert(cut)

    return part


def _assembled(size: tuple[int, int], part: Callable[[Box], Image.Image], orientation: int) -> np.ndarray:
    width, height = _upright_size(size, orientation)
    out = np.empty((height, width, 3), np.uint8)
    for (left, top, right, bottom), tile in _parts(size, part, orientation):
        out[top:bottom, left:right] = np.asarray(tile)
    return out


def _parts(
    size: tuple[int, int], part: Callable[[Box], Image.Image], orientation: int
) -> Iterator[tuple[Box, Image.Image]]:
    """Yield where each tile of the upright picture lies, and the tile."""
    turn = UPRIGHT.get(orientation)
    for box in _tiles(*size):
        tile = part(box)
        yield _turned(box, size, orientation), tile if turn is None else tile.transpose(turn)


def _tiles(width: int, height: int) -> Iterator[Box]:
    across = min(width, TILE)
    down = max(1, TILE // max(1, across))
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _turned(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return where a box of the stored picture lies in the upright one."""
    left, top, right, bottom = box
    if orientation in (2, 3, 7, 8):  # columns of the stored picture count from the other side
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):  # and rows
        top, bottom = size[1] - bottom, size[1] - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation >= 5 else size
