"""Resize a whole image and keep a window of it, computing little more than the window.

Bilinear resizing with antialiasing, which most weights were trained with, is done by torch's kernel for
uint8 images: the algorithm is Pillow's, with integer weights of 15 bits in vector instructions, so a pixel
differs from Pillow's by one level at most, and it takes half the time. Everything else is Pillow's own.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from featx.errors import UnknownName

#: Interpolations by name.
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Half the width of each filter, in pixels of the coarser grid.
_SUPPORT = {Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0, Image.Resampling.LANCZOS: 3.0}

# Nearest is done over the whole grid, as Pillow rounds, up to as many pixels; a grid that a picture of one
# row stretches to can have billions.
_WHOLE_GRID = 2**24

# torch computes the whole grid; where that is this much more than the window, Pillow's boxes are faster.
_WASTE = 3.0

Window = tuple[int, int, int, int]


def find_resampling(name: str) -> Image.Resampling:
    """Return Pillow's filter for the interpolation `name`; `UnknownName` when there is none."""
    if not isinstance(name, str) or name not in RESAMPLING:
        raise UnknownName("interpolation", name, RESAMPLING)
    return RESAMPLING[name]


def resize_window(
    pixels: np.ndarray, grid: tuple[int, int], window: Window, interpolation: str
) -> np.ndarray:
    """Return what resizing to `grid` and then cropping to `window` gives.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 3), uint8
    grid : (int, int)
        (width, height) of the whole resized image.
    window : (int, int, int, int)
        (left, top, right, bottom) of what is kept of it.
    interpolation : str
        A key of `RESAMPLING`.

    Returns
    -------
    ndarray of shape (bottom - top, right - left, 3), uint8
        Within one level of Pillow's result, very rarely two.
    """
    left, top, right, bottom = window
    if grid == (pixels.shape[1], pixels.shape[0]):
        return pixels[top:bottom, left:right]
    kept = (right - left) * (bottom - top)
    if interpolation == "bilinear" and grid[0] * grid[1] <= _WASTE * kept:
        return _by_torch(pixels, grid)[top:bottom, left:right]
    method = RESAMPLING[interpolation]
    if interpolation == "nearest" and grid[0] * grid[1] > _WHOLE_GRID:
        return _nearest(pixels, grid, window)
    if interpolation == "nearest" or kept == grid[0] * grid[1]:
        # Nearest picks single pixels: a rounded box would pick a neighbour, not a close value.
        return np.asarray(Image.fromarray(pixels).resize(grid, method).crop(window))
    return np.asarray(_by_boxes(pixels, grid, window, method))


def _nearest(pixels: np.ndarray, grid: tuple[int, int], window: Window) -> np.ndarray:
    """Return the pixels in which the centres of the window's columns and rows lie."""
    left, top, right, bottom = window
    height, width = pixels.shape[:2]
    columns = ((np.arange(left, right) + 0.5) * (width / grid[0])).astype(np.int64)
    rows = ((np.arange(top, bottom) + 0.5) * (height / grid[1])).astype(np.int64)
    return pixels[np.minimum(rows, height - 1)[:, None], np.minimum(columns, width - 1)]


def _by_torch(pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    import torch

    if not pixels.flags.writeable:  # torch warns of tensors on memory that must not be written
        pixels = pixels.copy()
    image = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)  # channels last: half the time
    size = grid[1], grid[0]
    try:
        resized = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError("resizing an image") from error
        raise
    return resized[0].permute(1, 2, 0).numpy()


def _by_boxes(
    pixels: np.ndarray, grid: tuple[int, int], window: Window, method: Image.Resampling
) -> Image.Image:
    """Resize in two passes of Pillow, over the part of the image that the window needs.

    Let the resized grid have ``w'`` columns of which the window keeps those from ``left``. Column x of the
    window is column ``left + x`` of the grid, whose centre lies at ``(left + x + 1/2) w / w'`` in the image.
    Pillow's ``resize(size, box=(b0, .., b1, ..))`` puts the centre of column x at
    ``b0 + (x + 1/2) (b1 - b0) / size``; with ``b0 = left w / w'`` and ``b1 = (left + size) w / w'`` the two
    agree, and so do the filters' scales; and the support of a filter is clipped to the image, not to the
    box. What remains is the rounding of the box to single precision.

    Columns are resized before rows, in two calls: left to itself, Pillow 13 may turn the order round for a
    tall image and a small box, and as each pass rounds and clips, that changes the pixels.
    """
    height, width = pixels.shape[:2]
    step_x, step_y = width / grid[0], height / grid[1]
    left, top, right, bottom = window
    # The rows that the vertical filter can reach, and one to spare for rounding.
    reach = _SUPPORT[method] * max(step_y, 1.0) + 1.0
    first = max(0, math.floor(top * step_y - reach))
    last = min(height, math.ceil(bottom * step_y + reach))
    narrow = Image.fromarray(pixels[first:last]).resize(
        (right - left, last - first),
        method,
        box=(left * step_x, 0, min(right * step_x, width), last - first),
    )
    return narrow.resize(
        (right - left, bottom - top),
        method,
        box=(0, top * step_y - first, right - left, min(bottom * step_y, last) - first),
    )
