"""Resize an image and keep a window of it, computing little more than the window.

Antialiased bilinear resizing, which most weights were trained with, uses torch's kernel for uint8 images: the
algorithm is Pillow's, with integer weights of 15 bits in vector instructions. A pixel differs from Pillow's
by one level at most, in half the time. Pillow does the rest.
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

# Half the width of each filter in pixels of the coarser grid.
_SUPPORT = {Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0, Image.Resampling.LANCZOS: 3.0}

# Up to this many pixels, Pillow resizes the whole grid by nearest; the grid of a one-row picture can have
# billions.
_WHOLE_GRID = 2**24

# torch computes the whole grid; where that is more than this many windows, Pillow's boxes are faster.
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
    """Resize pixels, uint8 (h, w, 3), to `grid`, (width, height), and crop them to `window`.

    The window is (left, top, right, bottom) in the grid. Within one level of Pillow's result, very rarely
    two.
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
    """Return the pixels that hold the centres of the window's columns and rows."""
    left, top, right, bottom = window
    height, width = pixels.shape[:2]
    columns = ((np.arange(left, right) + 0.5) * (width / grid[0])).astype(np.int64)
    rows = ((np.arange(top, bottom) + 0.5) * (height / grid[1])).astype(np.int64)
    return pixels[np.minimum(rows, height - 1)[:, None], np.minimum(columns, width - 1)]


def _by_torch(pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    import torch

    if not pixels.flags.writeable:  # torch warns of tensors on read-only memory
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
    Pillow's ``resize(size, box=(b0, .., b1, ..))`` puts the centre of column x at ``b0 + (x + 1/2) (b1 - b0)
    / size``; with ``b0 = left w / w'`` and ``b1 = (left + size) w / w'`` the two agree, and so do the
    filters' scales. The support of a filter is clipped to the image, not to the box. Only the rounding of the
    box to single precision remains.

    Columns are resized before rows, in two calls: in one call, Pillow 13 may swap the order for a tall image
    and a small box, which changes the pixels, because each pass rounds and clips.
    """
    height, width = pixels.shape[:2]
    step_x, step_y = width / grid[0], height / grid[1]
    left, top, right, bottom = window
    # Rows that the vertical filter can reach, and one more for rounding.
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
