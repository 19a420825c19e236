"""Find out how the tensors of a graph are pooled, from their shapes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from featx.backbones.graphs.network import GraphNetwork, LayerNeeded
from featx.backbones.layers.dry_run import DryRun
from featx.backbones.layers.pooling import Tap
from featx.errors import InputError


def find_graph_tap(run: DryRun, layer: str | None, pooling: str | None) -> tuple[Tap, int]:
    """Return how one layer, by default that of the network, is pooled, and the length of the embedding.

    A `LayerNeeded` says that the graph has no layer which could be taken without being asked for.
    """
    (found,) = resolve_graph_layers(run, [layer], pooling)
    return cast(tuple[Tap, int], found)


def resolve_graph_layers(
    run: DryRun, layers: Sequence[str | None], pooling: str | None, *, strict: bool = True
) -> list[tuple[Tap, int] | InputError]:
    """Return tap and length of the embedding of each of several layers; the graph runs once for all of them.

    With ``strict=False``, a layer whose channels are not known has the error in its place.
    """
    network = cast(GraphNetwork, run.network)
    network.graph.input.require(run.name, run.inputs)
    own = network.layer or network.graph.default
    names = [network.find(layer or own, run.name) for layer in layers]
    shapes = _Shapes(run, network)
    found: list[tuple[Tap, int] | InputError] = []
    for layer, name in zip(layers, names, strict=True):
        try:
            shape = shapes.of(name, names)
            network.tokens = shape[1] if len(shape) == 3 else None
            if layer is None and network.layer is None:
                found.append(_default_tap(run, pooling, shapes))
            else:
                found.append(_find_tap(run, name, pooling, shapes, names))
        except InputError as error:
            if strict:
                raise
            found.append(error)
    return found


def _find_tap(
    run: DryRun, name: str, pooling: str | None, shapes: _Shapes, names: Sequence[str]
) -> tuple[Tap, int]:
    shape = shapes.of(name, names)
    stated = run.rules.find_tap(run.network, name, pooling, shape, run.name)
    return stated or run.find_tap(name, pooling, shape, shapes.find_larger(name, names))


def _default_tap(run: DryRun, pooling: str | None, shapes: _Shapes) -> tuple[Tap, int]:
    """Return how the default layer is pooled; refuse a graph whose output is no vector: boxes, or a map."""
    graph = cast(GraphNetwork, run.network).graph
    name, output = graph.default, shapes.of(graph.output, [graph.output])
    try:
        if run.inputs.kind == "text" and name == "logits":
            raise InputError("its output 'logits' gives class scores")
        if run.inputs.kind == "image" and math.prod(output[1:]) > max(output[1:]):
            raise InputError(f"its output {graph.output!r} gives {tuple(output[1:])} per image, not a vector")
        return _find_tap(run, name, pooling, shapes, [name])
    except InputError as error:
        raise LayerNeeded(
            f"{run.name}: no default layer: {error}; name a tensor, {run.name}#TENSOR (featx backbones "
            f"{run.name} --layers lists some)",
            [candidate for candidate in graph.candidates if candidate != graph.output],
        ) from error


class _Shapes:
    """Shapes of tensors for two images, and for two larger ones where the graph runs on them."""

    def __init__(self, run: DryRun, network: GraphNetwork):
        self._run, self._network = run, network
        self._found: dict[str, torch.Size] = {}
        self._larger: dict[str, torch.Size] = {}
        self._together, self._tried_larger = True, False

    def of(self, name: str, names: Sequence[str]) -> torch.Size:
        """Return the shape of one tensor; all of `names` are computed together, or this one alone."""
        if name not in self._found and self._together and len(names) > 1:
            self._together = False
            with contextlib.suppress(InputError):  # one of them has no rows
                self._found |= self._measure(names)
        if name not in self._found:
            self._found |= self._measure([name])
        return self._found[name]

    def find_larger(self, name: str, names: Sequence[str]) -> Callable[[], torch.Size | None]:
        """Return what finds the shape for larger images."""

        def find() -> torch.Size | None:
            for wanted in (names, [name]):
                if name not in self._larger and (len(wanted) == 1 or not self._tried_larger):
                    self._tried_larger = True
                    with contextlib.suppress(InputError):
                        self._larger |= self._measure(wanted, larger=True)
            return self._larger.get(name)

        return find

    def _measure(self, names: Sequence[str], *, larger: bool = False) -> dict[str, torch.Size]:
        wanted, seen = tuple(dict.fromkeys(names)), dict[str, torch.Size]()
        self._network.session(wanted)  # what is wrong with the graph is said before what is with its images

        def record(x: Tensor) -> Tensor:
            found = self._network.run(x, wanted)
            seen.update({name: tensor.shape for name, tensor in zip(wanted, found, strict=True)})
            return found[0]

        if larger:
            self._run.larger_shape(record)
        else:
            self._run.shape(record, wanted[0])
        return seen
