"""The raw-pixel reference: a few pixels of each image as its row, without a network."""

from __future__ import annotations

from featx.extraction.embedder import Embedder, function_embedder
from featx.inputs.image.raw_pixels import flatten_pixels, shrink_to


def pixel_embedder(size: int = 16) -> Embedder:
    """Make the embedder whose rows are the `size` x `size` RGB values of the shrunken image, in [0, 1]."""
    return function_embedder("raw pixels", shrink_to(size), flatten_pixels, size * size * 3, engine="pixels")
