"""Graphs that take audio: raw samples or frames of them, and how their layers are pooled.

Such a graph has one input of floats: samples (n, t), or frames (n, t, bands) or (n, bands, t), with any
number of axes of length 1 between. What it takes of samples stands in the JSON file beside it::

    {"kind": "clip", "rate": 16000, "features": "waveform", "scale": 32768, "window": 2.0, "hop": 1.0}

``features`` is ``"waveform"`` (the default), ``"kaldi:fbank"`` or ``"kaldi:mfcc"``, with ``bands`` values a
frame; ``scale`` multiplies samples from -1 to 1 (or the values of frames). A graph of one length states the
window itself. Where its shape does not tell which axis is which, ``"axes": ["bands", "frames"]`` names those
behind the first one. The other fields are those of `AudioPreparation`, and ``pooling`` is how the positions
of a layer become one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from featx.backbones.audio_settings import described_preparation
from featx.backbones.graphs.network import GraphInput, GraphLayerRules
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.pooling import Tap, embedding_dim
from featx.errors import InputError
from featx.inputs.audio import PADDING, AudioPreparation
from featx.inputs.audio.described import BANDS, FRAMES, ONE, SAMPLES, WAVEFORM, DescribedFrontEnd
from featx.options import POOLINGS_OF

#: What a graph that takes audio needs beside it, at least.
EXAMPLE = json.dumps({"kind": "clip", "rate": 16000, "features": "waveform"})


class AudioGraphInput(NamedTuple):
    """The one input of a graph of floats that is no image.

    Attributes
    ----------
    name, dtype : str
    dims : tuple of (int or None)
        Lengths of the axes behind the first one, None where any is taken.
    axes : tuple of str
        Their names; empty before a description tells them.
    """

    name: str
    dtype: str
    dims: tuple[int | None, ...]
    axes: tuple[str, ...] = ()

    @property
    def positions(self) -> int | None:
        """The samples or frames that the graph takes, None where it takes any number."""
        return self.dims[self.at]

    @property
    def at(self) -> int:
        """Which of the axes is that of the samples or frames."""
        return next(i for i, axis in enumerate(self.axes) if axis in (SAMPLES, FRAMES))

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of a prepared input that are not `ONE`, in the order of the graph."""
        return tuple(int(axis == BANDS) for axis in self.axes if axis != ONE)

    @property
    def ones(self) -> tuple[int, ...]:
        """Where the axes of length 1 stand."""
        return tuple(i for i, axis in enumerate(self.axes) if axis == ONE)

    def require(self, network: str, inputs: Any) -> None:
        """Do nothing: the preparation follows from the graph."""

    def rows(self, x: Tensor) -> Iterator[dict[str, np.ndarray]]:
        """Yield what the graph takes for each input of a batch, without what stands behind its end."""
        for values in x.detach().to("cpu").float().numpy():
            first = values if values.ndim == 1 else values[:, 0]
            kept = values[first > PADDING / 2].transpose(self.order)
            yield {
                self.name: np.ascontiguousarray(
                    np.expand_dims(kept, (0, *(i + 1 for i in self.ones))), self.dtype
                )
            }


class AudioGraphRules(GraphLayerRules):
    """How layers of a graph of audio are pooled: over all axes but that of the channels.

    `stated` is the pooling where none is asked for.
    """

    def __init__(self, stated: str | None = None):
        self.default_pooling = stated or "mean"

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int] | None:
        """Return how a layer is pooled whose operator states the axis of its channels; else None."""
        chosen = pooling or self.default_pooling
        channels = network.graph.channels_of(layer)
        positions = len(shape) > 2 and max(shape[2:]) > 1
        if channels is None or not positions or chosen not in ("mean", "mean+std", "max"):
            return None
        return Tap(layer, chosen, channels), embedding_dim(shape, chosen, channels)

    def prefix_tokens(self, network: Any) -> int:
        """Return 0: audio has no patches."""
        return 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return nothing: the number of positions is not known."""
        return ()


def audio_input(taken: GraphInput | AudioGraphInput) -> AudioGraphInput:
    """Return an input of floats as one of audio, also where its shape could be that of an image."""
    if isinstance(taken, AudioGraphInput):
        return taken
    size = taken.height, taken.width
    return AudioGraphInput(taken.name, taken.dtype, (3, *size) if taken.layout == "NCHW" else (*size, 3))


def read_audio_preparation(
    taken: AudioGraphInput, described: Mapping[str, Any] | None, settings: InputSettings, name: str
) -> tuple[AudioPreparation, AudioGraphInput, str | None]:
    """Return the preparation of clips for a graph, its input with names of the axes, and the stated pooling.

    `described` is the JSON file beside the graph, None where there is none; the option `preprocessing` may
    hold the same fields.
    """
    fields = {**(described or {}), **settings.of_kind("clip", name)}
    pooling = fields.pop("pooling", None)
    if pooling not in (None, *POOLINGS_OF["clip"]):
        raise InputError(f"{name}: pooling {pooling!r:.40}; expected one of {', '.join(POOLINGS_OF['clip'])}")
    try:
        prepare = described_preparation(fields, _front_end(taken, fields))
        front = prepare.front_end
        assert isinstance(front, DescribedFrontEnd)
        taken = taken._replace(axes=_axes(taken, front))
        return _fit(prepare, front, taken, "window" in fields), taken, pooling
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _front_end(taken: AudioGraphInput, fields: Mapping[str, Any]) -> DescribedFrontEnd:
    """Return the front end from which the description starts: with bands where the shape states them."""
    features = fields.get("features", WAVEFORM)
    sides = [side for side in taken.dims if side != 1]
    stated = [side for side in sides if side is not None]
    bands = None if features == WAVEFORM or (len(sides), len(stated)) != (2, 1) else stated[0]
    return DescribedFrontEnd(features, bands=fields.get("bands", bands))


def _axes(taken: AudioGraphInput, front: DescribedFrontEnd) -> tuple[str, ...]:
    """Return the names of the axes of a graph's input: those that are stated, or the only ones possible."""
    needed = (SAMPLES,) if front.bands is None else (FRAMES, BANDS)
    if front.axes is not None:
        found = [front.axes] if len(front.axes) == len(taken.dims) else []
    else:
        found = list(_orders(len(taken.dims), needed))
    length = {ONE: 1, BANDS: front.bands}
    fitting = [axes for axes in found if _fits(axes, taken.dims, length)]
    if len(fitting) > 1:  # an axis of that very length before one of any length
        exact = [
            sum(length.get(axis) == side for axis, side in zip(axes, taken.dims, strict=True))
            for axes in fitting
        ]
        fitting = [axes for axes, count in zip(fitting, exact, strict=True) if count == max(exact)]
    shape = ", ".join("any" if side is None else str(side) for side in taken.dims)
    if not fitting:
        what = "samples" if front.bands is None else f"frames of {front.bands} bands"
        raise InputError(f"its input {taken.name!r} (n, {shape}) does not take {what} ({front.features})")
    if len(fitting) > 1:
        raise InputError(
            f"its input {taken.name!r} (n, {shape}) does not tell its axes; name them, such as "
            f'"axes": {json.dumps(fitting[0])}'
        )
    return fitting[0]


def _orders(count: int, needed: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield all orders of the needed axes among `count`, the others of length 1."""
    if count < len(needed):
        return
    if not needed:
        yield (ONE,) * count
        return
    for axis in (*dict.fromkeys(needed), *([ONE] if count > len(needed) else [])):
        rest = [other for other in needed if other != axis]
        yield from ((axis, *behind) for behind in _orders(count - 1, rest))


def _fits(axes: Sequence[str], dims: Sequence[int | None], length: Mapping[str, int | None]) -> bool:
    return all(
        side in (None, length[axis]) if axis in length else side != 1
        for axis, side in zip(axes, dims, strict=True)
    )


def _fit(
    prepare: AudioPreparation, front: DescribedFrontEnd, taken: AudioGraphInput, stated: bool
) -> AudioPreparation:
    """Return the preparation with the window that a graph of one length takes."""
    if taken.positions is None:
        return prepare
    samples = front.samples_of(taken.positions)
    if stated and front.positions(prepare.samples) != taken.positions:
        raise InputError(
            f"takes {taken.positions:,} {taken.axes[taken.at]} at a time, {samples / front.rate:g} s, and "
            f"window is {prepare.window:g} s; leave window out"
        )
    window = prepare.window if stated else samples / front.rate
    return prepare.changed({"window": window, "pad": True})
