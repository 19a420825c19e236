"""What turns an image into a row: preprocessing, a way to run the network, and the space they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    backbone : Backbone, MultiLayerBackbone or None
    fallbacks : tuple of Embedder
        What takes its place where the parity check refuses its engine, or that cannot be built, in order.
    batch_size : int or "auto"
        As it was asked for.
    """

    spaces: tuple[Space, ...]
    dims: tuple[int, ...]
    preprocessing: Preprocessing
    make_engine: Callable[[int, int | None], Any]
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
        """The same with the scales that were found, in a space of its own."""
        import hashlib

        digest = hashlib.sha256(calibration).hexdigest()
        return _embedder(
            self.backbone,
            self.plan,
            dtype=self.dtype,
            batch_size=self.batch_size,
            calibration=(digest, calibration),
            fallbacks=self.fallbacks,
        )


def network_embedder(backbone: Any, run: Run = DEFAULT_RUN) -> Embedder:
    """Return the embedder of a backbone from `load_backbone`, or of a `MultiLayerBackbone`."""
    from featx.engines import fallbacks, resolve

    dtype, batch_size = run.dtype, run.batch_size
    check_options(
        engine=run.engine, device=run.device, precision=run.precision, batch_size=batch_size, dtype=dtype
    )
    plan = resolve(engine=run.engine, device=run.device, precision=run.precision)
    others = [_embedder(backbone, p, dtype=dtype, batch_size=batch_size) for p in fallbacks(plan)]
    for i in reversed(range(len(others))):
        others[i] = replace(others[i], fallbacks=tuple(others[i + 1 :]))
    return _embedder(backbone, plan, dtype=dtype, batch_size=batch_size, fallbacks=tuple(others))


def _embedder(
    backbone: Any,
    plan: Any,
    *,
    dtype: str,
    batch_size: int | str,
    calibration: tuple[str, bytes] | None = None,
    fallbacks: tuple[Embedder, ...] = (),
) -> Embedder:
    def make(images: int, threads: int | None) -> Any:
        from featx.engines import build_engine

        return build_engine(
            backbone,
            plan,
            batch_size=batch_size,
            images=images,
            threads=threads,
            calibration=None if calibration is None else calibration[1],
        )

    layers = getattr(backbone, "members", (backbone,))
    return Embedder(
        spaces=tuple(_space(layer, plan.precision, dtype, calibration) for layer in layers),
        dims=tuple(layer.dim for layer in layers),
        preprocessing=backbone.preprocessing,
        make_engine=make,
        dtype=dtype,
        plan=plan,
        backbone=backbone,
        fallbacks=fallbacks,
        batch_size=batch_size,
    )


def _space(layer: Any, precision: str, dtype: str, calibration: tuple[str, bytes] | None) -> Space:
    fields: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "backbone": layer.identity,
        "preprocessing": layer.preprocessing.to_dict() | {"decoder": DECODER},
        "precision": precision,
        "dtype": dtype,
    }
    if calibration is not None:
        fields["calibration"] = calibration[0]
    return Space(fields)


class _Flatten:
    """The engine of the raw-pixel floor."""

    name, device, precision, version = "pixels", "cpu", "fp32", "1"

    def __init__(self, workers: int) -> None:
        self.workers, self.batch_size = workers, 64

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
