"""What an engine is: the way a frozen backbone is executed on the device at hand."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from featx.backbones.spec import Backbone
from featx.errors import InputError


class Engine(Protocol):
    """Runs a backbone on batches of pixels.

    Attributes
    ----------
    name : str
        Of the engine.
    device : str
        Where it runs, such as ``"cpu"`` or ``"cuda:0"``.
    precision : {"fp32", "bf16", "fp16"}
        Of the arithmetic inside the network. Embeddings are float32 in any case.
    """

    name: str
    device: str
    precision: str

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Pixels to embeddings.

        Parameters
        ----------
        batch : ndarray of shape (b, h, w, 3), uint8
            Preprocessed images, not normalised.

        Returns
        -------
        ndarray of shape (b, dim), float32
            A row does not depend on the other images of its batch.
        """


def check_batch(batch: np.ndarray, backbone: Backbone) -> None:
    """Raise `InputError` unless `batch` is what this backbone's preprocessing gives."""
    height, width = backbone.preprocessing.size
    if (
        not isinstance(batch, np.ndarray)
        or batch.dtype != np.uint8
        or batch.ndim != 4
        or batch.shape[1:] != (height, width, 3)
    ):
        got = f"{batch.dtype} {batch.shape}" if isinstance(batch, np.ndarray) else f"a {type(batch).__name__}"
        raise InputError(
            f"{backbone.name}: expected a batch of pixels uint8 (b, {height}, {width}, 3), got {got}"
        )
