"""The embedder: what turns an input into a row, and the space in which that row lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache import Space
from featx.inputs import Preparation
from featx.options import DEFAULT_RUN, Run, check_options

if TYPE_CHECKING:
    from featx.engines import Plan

#: Version of everything in this package that changes a row. Part of every space.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Embedder:
    """What turns an input into a row: a preparation, an engine, and the space of the rows.

    Attributes
    ----------
    spaces : tuple of Space
        Everything that changes the numbers, for each layer of the network.
    dims : tuple of int
        Length of the embedding of each layer. They stand side by side in a row.
    preparation : Preparation
    make_engine : callable
        ``make_engine(inputs, threads)`` builds a `featx.engines.Engine` for so many inputs and cores.
    dtype : {"float32", "float16"}
        Dtype in which the rows are kept.
    plan : Plan or None
        How the network is run; None where there is no network, so that rows are no forward passes.
    backbone : Backbone, MultiLayerBackbone or None
    fallbacks : tuple of Embedder
        What takes its place, in order, where its engine cannot be built or fails the parity check.
    batch_size : int or "auto"
        As it was asked for.
    """

    spaces: tuple[Space, ...]
    dims: tuple[int, ...]
    preparation: Preparation
    make_engine: Callable[..., Any]
    dtype: str = "float32"
    plan: Plan | None = None
    backbone: Any = None
    fallbacks: tuple[Embedder, ...] = ()
    batch_size: int | str = "auto"

    @property
    def space(self) -> Space:
        """The space of the first layer."""
        return self.spaces[0]

    @property
    def dim(self) -> int:
        """Length of a row."""
        return sum(self.dims)

    @property
    def is_network(self) -> bool:
        """Whether a network computes the rows."""
        return self.plan is not None

    @property
    def needs_calibration(self) -> bool:
        """Whether the network must be calibrated on inputs before its space is known."""
        return self.plan is not None and self.plan.precision == "int8" and not self.calibration

    @property
    def calibration(self) -> str | None:
        """SHA-256 of the calibration that the rows are computed with, in int8."""
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
    """Return the embedder of a backbone from `load_backbone`, or of a `MultiLayerBackbone`."""
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

        def make(inputs: int, threads: int | None, calibration: bytes | None = None, way: Any = way) -> Any:
            from featx.engines import build_engine

            return build_engine(
                backbone,
                way,
                batch_size=run.batch_size,
                images=inputs,
                threads=threads,
                calibration=calibration,
            )

        embedder = Embedder(
            spaces=tuple(_space(layer, way.precision, run.dtype) for layer in layers),
            dims=tuple(layer.dim for layer in layers),
            preparation=backbone.preprocessing,
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
            "preprocessing": layer.preprocessing.identity,
            "precision": precision,
            "dtype": dtype,
        }
    )


class FunctionEngine:
    """Runs a function of a batch in place of a network; see `featx.engines.Engine`."""

    device, precision, version, batch_size = "cpu", "fp32", "1", 64

    def __init__(self, name: str, function: Callable[[np.ndarray], np.ndarray], workers: int) -> None:
        self.name, self._function, self.workers = name, function, workers

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self._function(batch)

    def enter(self) -> None:
        """Nothing to share."""

    def leave(self) -> None:
        """Nothing to undo."""


def function_embedder(
    name: str,
    preparation: Preparation,
    function: Callable[[np.ndarray], np.ndarray],
    dim: int,
    *,
    engine: str,
) -> Embedder:
    """Make the embedder of a plain function, a reference that networks are compared with.

    Parameters
    ----------
    name : str
        Stands for the architecture in the space.
    preparation : Preparation
    function : callable
        Takes a batch of prepared inputs and returns rows, float32 (b, `dim`).
    dim : int
    engine : str
        Name of the engine in profiles.
    """
    space = Space(
        {
            "format_version": FORMAT_VERSION,
            "backbone": {"architecture": name},
            "preprocessing": preparation.identity,
            "precision": "fp32",
            "dtype": "float32",
        }
    )

    def make(inputs: int, threads: int | None) -> Any:
        from featx.machine import cores

        return FunctionEngine(engine, function, threads or cores())

    return Embedder((space,), (dim,), preparation, make)
