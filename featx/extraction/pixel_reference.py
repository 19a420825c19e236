"""The raw-pixel reference: a few pixels of each image as its row, without a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.cache import Space
from featx.extraction.embedder import FORMAT_VERSION, Embedder
from featx.inputs.image import Preprocessing


class PixelEngine:
    """Flattens prepared images in place of a network; see `featx.engines.Engine`."""

    name, device, precision, version, batch_size = "pixels", "cpu", "fp32", "1", 64

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1).astype(np.float32) / 255

    def enter(self) -> None:
        """Nothing to share."""

    def leave(self) -> None:
        """Nothing to undo."""


def pixel_embedder(size: int = 16) -> Embedder:
    """Make the embedder whose rows are the `size` x `size` RGB values of the squeezed image, in [0, 1]."""
    preparation = Preprocessing(resize=(size, size), crop=None)
    space = Space(
        {
            "format_version": FORMAT_VERSION,
            "backbone": {"architecture": "raw pixels"},
            "preprocessing": preparation.identity,
            "precision": "fp32",
            "dtype": "float32",
        }
    )

    def make_engine(inputs: int, threads: int | None) -> Any:
        from featx.machine import cores

        return PixelEngine(threads or cores())

    return Embedder((space,), (size * size * 3,), preparation, make_engine)
