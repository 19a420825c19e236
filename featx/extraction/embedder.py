"""What turns an image into a row: preprocessing, a way to run the network, and the space they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache import Space
from featx.inputs.image import DECODER, Preprocessing
from featx.options import DEFAULT_RUN, Run, check_options

if TYPE_CHECKING:
    from featx.engines import Plan

#: Version of everything in this package that changes a row. Part of every space.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Embedder:
    """What turns a uint8 image into a row, and the space in which that row lives.

    Attributes
    ----------
    spaces : tuple of Space
        Everything that changes the number; one for each layer of the network.
    dims : tuple of int
        Length of the embedding of each layer. They stand side by side in a row.
    preprocessing : Preprocessing
        RGB image to uint8 pixels (h, w, 3).
    make_engine : callable
        ``make_engine(images, threads)`` builds, when it is needed, what `featx.engines.Engine` describes,
        for so many images and cores.
    dtype : str
        ``"float32"`` or ``"float16"``: in which the rows are kept.
    plan : Plan or None
        How the network is run; None for the raw-pixel floor, whose rows are no forward passes.
    backbone : Backbone, JointBackbone or None
    fallbacks : tuple of Embedder
        What takes its place where the parity check refuses its engine, or that cannot be built, in order.
    batch_size : int or "auto"
        As it was asked for.
    """

    spaces: tuple[Space, ...]
    dims: tuple[int, ...]
    preprocessing: Preprocessing
    make_engine: Callable[..., Any]
    dtype: str = "float32"
    plan: Plan | None = None
    backbone: Any = None
    fallbacks: tuple[Embedder, ...] = ()
    batch_size: int | str = "auto"

    @property
    def space(self) -> Space:
        """The space of the embedding; of the first where there are several."""
        return self.spaces[0]

    @property
    def dim(self) -> int:
        """Length of a row."""
        return sum(self.dims)

    @property
    def is_network(self) -> bool:
        """False for the raw-pixel floor."""
        return self.plan is not None

    @property
    def needs_calibration(self) -> bool:
        """Whether its space is not known before the network has been calibrated on images."""
        return self.plan is not None and self.plan.precision == "int8" and not self.calibration

    @property
    def calibration(self) -> str | None:
        """The SHA-256 of the calibration that its rows are made with."""
        found: str | None = self.space.fields.get("calibration")
        return found

    def calibrated(self, calibration: bytes) -> Embedder:
        """Return the same embedder with the scales that were found, in a space of its own."""
        import hashlib

        found = {"calibration": hashlib.sha256(calibration).hexdigest()}
        return replace(
            self,
            spaces=tuple(Space({**space.fields, **found}) for space in self.spaces),
            make_engine=partial(self.make_engine, calibration=calibration),
        )


def network_embedder(backbone: Any, run: Run = DEFAULT_RUN) -> Embedder:
    """Return the embedder of a frozen `backbone`: what `load_backbone` returned, or a `JointBackbone`."""
    from featx.engines import fallbacks, resolve

    check_options(
        engine=run.engine,
        device=run.device,
        precision=run.precision,
        batch_size=run.batch_size,
        dtype=run.dtype,
    )
    layers = getattr(backbone, "members", (backbone,))
    plan = resolve(engine=run.engine, device=run.device, precision=run.precision)
    embedders: list[Embedder] = []
    for way in reversed([plan, *fallbacks(plan)]):

        def make(images: int, threads: int | None, calibration: bytes | None = None, way: Any = way) -> Any:
            from featx.engines import build_engine

            return build_engine(
                backbone,
                way,
                batch_size=run.batch_size,
                images=images,
                threads=threads,
                calibration=calibration,
            )

        embedder = Embedder(
            spaces=tuple(_space(layer, way.precision, run.dtype) for layer in layers),
            dims=tuple(layer.dim for layer in layers),
            preprocessing=backbone.preprocessing,
            make_engine=make,
            dtype=run.dtype,
            plan=way,
            backbone=backbone,
            fallbacks=tuple(embedders),
            batch_size=run.batch_size,
        )
        embedders.insert(0, embedder)
    return embedders[0]


def _space(layer: Any, precision: str, dtype: str) -> Space:
    return Space(
        {
            "format_version": FORMAT_VERSION,
            "backbone": layer.identity,
            "preprocessing": layer.preprocessing.to_dict() | {"decoder": DECODER},
            "precision": precision,
            "dtype": dtype,
        }
    )


class _Flatten:
    """The engine of the raw-pixel floor."""

    name, device, precision, version = "pixels", "cpu", "fp32", "1"

    def __init__(self, lanes: int) -> None:
        self.lanes, self.batch_size = lanes, 64

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1).astype(np.float32) / 255

    def enter(self) -> None:
        """Nothing to share."""

    def leave(self) -> None:
        """Nothing to undo."""


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

    def make(images: int, threads: int | None) -> Any:
        from featx.machine import cores

        return _Flatten(threads or cores())

    return Embedder((space,), (size * size * 3,), preprocessing, make)
