"""What turns an image into a row: preprocessing, a way to run the network, and the space they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache import Space
from featx.errors import InputError, UnknownName
from featx.images import DECODER, Preprocessing

#: Version of everything in this package that changes a row. Part of every space.
FORMAT_VERSION = 1

#: In which rows can be kept.
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Embedder:
    """What turns a uint8 image into a row, and the space in which that row lives.

    Attributes
    ----------
    space : Space
        Everything that changes the number.
    dim : int
        Length of a row.
    preprocessing : Preprocessing
        RGB image to uint8 pixels (h, w, 3).
    make_engine : callable
        Builds, when it is needed, the function from uint8 (b, h, w, 3) to float32 (b, dim).
    batch_size : int
        Images per call of that function.
    is_network : bool
        False for the raw-pixel floor, whose rows are no forward passes.
    dtype : str
        ``"float32"`` or ``"float16"``: in which the rows are kept.
    """

    space: Space
    dim: int
    preprocessing: Preprocessing
    make_engine: Callable[[], Callable[[np.ndarray], np.ndarray]]
    batch_size: int = 32
    is_network: bool = True
    dtype: str = "float32"


def network_embedder(
    backbone: Any,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | str = "auto",
    dtype: str = "float32",
) -> Embedder:
    """The embedder of a frozen `backbone` (see `featx.backbones.load_backbone`)."""
    from featx.engines import make_engine, resolve

    if dtype not in DTYPES:
        raise UnknownName("dtype", str(dtype), DTYPES)
    plan = resolve(engine=engine, device=device, precision=precision)
    space = Space(
        {
            "format_version": FORMAT_VERSION,
            "backbone": backbone.identity,
            "preprocessing": backbone.preprocessing.to_dict() | {"decoder": DECODER},
            "precision": plan.precision,
            "dtype": dtype,
        }
    )
    return Embedder(
        space=space,
        dim=backbone.dim,
        preprocessing=backbone.preprocessing,
        make_engine=lambda: make_engine(
            backbone, engine=plan.engine, device=plan.device, precision=plan.precision
        ),
        batch_size=_batch_size(batch_size, plan.device),
        dtype=dtype,
    )


def pixel_embedder(size: int = 16) -> Embedder:
    """The floor that sees no network: the image shrunk to `size` x `size` RGB values in [0, 1]."""
    preprocessing = Preprocessing(resize=(size, size), crop=None, interpolation="bilinear")
    space = Space(
        {
            "format_version": FORMAT_VERSION,
            "backbone": {"architecture": "raw pixels"},
            "preprocessing": preprocessing.to_dict() | {"decoder": DECODER},
            "precision": "fp32",
            "dtype": "float32",
        }
    )

    def flatten(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1).astype(np.float32) / 255

    return Embedder(space, size * size * 3, preprocessing, lambda: flatten, batch_size=256, is_network=False)


def _batch_size(batch_size: int | str, device: str) -> int:
    if batch_size == "auto":
        return 32 if device == "cpu" else 128
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InputError(f"batch_size must be 'auto' or a positive integer, got {batch_size!r}")
    return batch_size
