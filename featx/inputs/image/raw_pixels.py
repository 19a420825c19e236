"""Raw pixels as a row: what an image looks like to a classifier that sees no network."""

from __future__ import annotations

import numpy as np

from featx.inputs.image.preprocess import Preprocessing


def shrink_to(size: int) -> Preprocessing:
    """Return the preprocessing that squeezes a whole image into `size` x `size` pixels."""
    return Preprocessing(resize=(size, size), crop=None, interpolation="bilinear")


def flatten_pixels(batch: np.ndarray) -> np.ndarray:
    """Return pixels uint8 (b, h, w, 3) as rows in [0, 1], float32 (b, h * w * 3)."""
    return batch.reshape(len(batch), -1).astype(np.float32) / 255
