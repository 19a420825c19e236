"""The embedder: what turns an input into a row, and the space of that row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from featx.cache import Space
from featx.inputs import Preparation
from featx.options import DEFAULT_RUN, Run, check_options

if TYPE_CHECKING:
    from featx.engines import Plan

#: Version of everything in this package that changes a row. Part of every space.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Embedder:
    """Turns inputs into rows: a preparation, an engine, and the space of the rows.

    Attributes
    ----------
    spaces : tuple of Space
        Everything that changes the numbers, for each layer.
    dims : tuple of int
        Length of each layer's part of a row.
    preparation : Preparation
    make_engine : callable
        ``make_engine(inputs, threads)`` builds a `featx.engines.Engine` for that many inputs and cores; that
        of a network takes the keyword `batch_size`, in place of the one asked for.
    dtype : {"float32", "float16"}
        Dtype of the rows in the cache.
    plan : Plan or None
        How the network is run; None if there is no network.
    backbone : Backbone, MultiLayerBackbone or None
    fallbacks : tuple of Embedder
        Its replacements, in order, if its engine cannot be built or fails the parity check.
    batch_size : int or "auto"
        The batch size asked for.
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
    def about(self) -> dict[str, str]:
        """Facts about the network that change no number, such as the ``licence`` of its weights."""
        return getattr(self.backbone, "about", {})

    @property
    def needs_calibration(self) -> bool:
        """Whether the network must be calibrated on inputs before its space is known."""
        return self.plan is not None and self.plan.precision == "int8" and not self.calibration

    @property
    def calibration(self) -> str | None:
        """SHA-256 of the calibration of int8."""
        found: str | None = self.space.fields.get("calibration")
        return found

    def calibrated(self, calibration: bytes) -> Embedder:
        """Return this embedder with a calibration, in the space of that calibration."""
        import hashlib

        found = {"calibration": hashlib.sha256(calibration).hexdigest()}
        return replace(
            self,
            spaces=tuple(Space({**space.fields, **found}) for space in self.spaces),
            make_engine=partial(self.make_engine, calibration=calibration),
        )


def network_embedder(backbone: Any, run: Run = DEFAULT_RUN) -> Embedder:
    """Return the embedder of a backbone from `load_backbone`, or of a `MultiLayerBackbone`."""
    from featx.engines import plans_for, resolve

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
    for candidate in reversed(plans_for(backbone, plan)):

        def make(
            inputs: int,
            threads: int | None,
            calibration: bytes | None = None,
            batch_size: int | str = run.batch_size,
            candidate: Any = candidate,
        ) -> Any:  # it is sent to workers, with all that it names
            from featx.engines import build_engine

            return build_engine(
                backbone,
                candidate,
                batch_size=batch_size,
                images=inputs,
                threads=threads,
                calibration=calibration,
            )

        embedder = Embedder(
            spaces=tuple(_space(layer, candidate.precision, run.dtype) for layer in layers),
            dims=tuple(layer.row_dim for layer in layers),
            preparation=backbone.preprocessing,
            make_engine=make,
            dtype=run.dtype,
            plan=candidate,
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
