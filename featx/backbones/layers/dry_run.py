"""Run a network on zeros to learn the shape of a layer's output, and from that how it is pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.layers.pooling import (
    OF_TOKENS,
    OVER_POSITIONS,
    Tap,
    embedding_dim,
    find_channels,
    usual_channels,
)
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError, reason_of


@dataclass(frozen=True)
class DryRun:
    """A network, on whichever device, and the inputs to run it on; `name` is for messages.

    `resized` builds the same network for other inputs, where it takes only inputs of its own size; None where
    that is not possible.
    """

    network: nn.Module
    inputs: NetworkInput
    rules: LayerRules
    name: str
    resized: Callable[[NetworkInput], nn.Module] | None = None

    def shape(self, module: Callable[[Tensor], Any], layer: str) -> torch.Size:
        """Return the shape of what `module` gives for two inputs; refuse what is not one row per input."""
        return self._shape(module, self.inputs, layer)

    def larger_shape(self, module: Callable[[Tensor], Any]) -> torch.Size | None:
        """Return the shape for enlarged inputs; None where the network does not run on them."""
        try:
            return self._shape(module, self.inputs.enlarged(), "")
        except InputError:
            return None

    def for_larger_inputs(self) -> DryRun | None:
        """Return a run of the same network, built for inputs of twice the size; None where it cannot be."""
        if self.resized is None:
            return None
        inputs = self.inputs.doubled()
        try:
            return replace(self, network=self.resized(inputs).eval(), inputs=inputs, resized=None)
        except Exception:  # code of any library; the channels then stay unknown
            return None

    def find_tap(
        self,
        layer: str,
        asked: str | None,
        shape: Sequence[int],
        find_larger: Callable[[], Sequence[int] | None],
        *,
        is_default: bool = False,
    ) -> tuple[Tap, int]:
        """Return how a layer of this shape is pooled, and the length of the embedding.

        `find_larger` returns the layer's shape for larger inputs. An `InputError` says that the pooling asked
        for does not make the layer a vector, or that it is not known which axis holds the channels; with
        `is_default`, where the library's own rule found the layer, they are where most networks have them.
        """
        if is_default and asked in OF_TOKENS and len(shape) == 2:
            raise InputError(
                f"{self.name}: its default layer {layer!r} is a vector, and pooling {asked!r} needs tokens; "
                f"name a layer that gives them with layer= ({self.rules.listing(self.name)})"
            )
        pooling = self._pooling(asked, shape, layer)
        channels, prefix = usual_channels(len(shape)), 0
        if pooling in OVER_POSITIONS:
            channels = self._channels(layer, shape, find_larger, is_default)
        if pooling in OF_TOKENS:
            prefix = self._prefix(layer, pooling, shape, channels)
        return Tap(layer, pooling, channels, prefix), embedding_dim(shape, pooling, channels)

    def _prefix(self, layer: str, pooling: str, shape: Sequence[int], channels: int) -> int:
        """Return how many tokens a layer has before those of patches; refuse one without those asked for."""
        prefix = self.rules.prefix_tokens(self.network)
        stated = self.rules.stated_tokens(self.network)
        all_tokens = len(shape) == 3 and channels == 2 and (not stated or shape[1] == max(stated))
        asked = "class or register tokens" if pooling == "patches" else "a class token"
        has_asked = prefix > 0 if pooling == "patches" else self.rules.has_class_token(self.network)
        if not (all_tokens and has_asked):
            raise InputError(
                f"{self.name}: layer {layer!r} gives {tuple(shape[1:])} per {self.inputs.kind} without "
                f"{asked}, as pooling {pooling!r} needs; use avg, max or none"
            )
        return prefix

    def _channels(
        self,
        layer: str,
        shape: Sequence[int],
        find_larger: Callable[[], Sequence[int] | None],
        is_default: bool,
    ) -> int:
        """Return the axis of a layer's channels; refuse the layer where it is not known."""
        usual = usual_channels(len(shape))
        shown = find_channels(shape, self.inputs.square, None, ()) if len(shape) == 4 else None
        if is_default or shown == usual:
            return shown or usual
        stated = self.rules.stated_tokens(self.network)
        larger = find_larger()
        found = find_channels(shape, self.inputs.square, larger, stated)
        long = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
        if found is None and self.inputs.kind == "clip" and len(long) == 1 and larger in (None, tuple(shape)):
            return long[0]  # one vector, and axes of length 1
        if found is None:
            raise InputError(
                f"{self.name}: layer {layer!r} gives {tuple(shape[1:])} per {self.inputs.kind}, and it is "
                "not known which axis holds the channels; use pooling='none', the default layer, or another "
                f"one ({self.rules.listing(self.name)})"
            )
        return found

    def _pooling(self, asked: str | None, shape: Sequence[int], layer: str) -> str:
        """Return how a layer of this shape is pooled; refuse a pooling that does not make it a vector."""
        if len(shape) == 2:
            return "identity"
        pooling = asked or self.rules.default_pooling or "avg"
        if pooling == "identity" or (pooling in OVER_POSITIONS and len(shape) > 4):
            offered = "none" if len(shape) > 4 else "avg, max or none"
            raise InputError(
                f"{self.name}: layer {layer!r} gives {tuple(shape[1:])} per {self.inputs.kind}, which "
                f"pooling {pooling!r} does not make a vector; use {offered}"
            )
        return pooling

    def _shape(self, module: Callable[[Tensor], Any], inputs: NetworkInput, layer: str) -> torch.Size:
        first = next(self.network.parameters(), None)
        # With two inputs, an output without one row per input shows.
        batch = inputs.example(2, "cpu" if first is None else first.device)
        try:
            with torch.inference_mode():
                out = module(batch)
        except Exception as error:  # code of any library, or made by tracing
            raise InputError(f"{self.name}: does not run on {inputs} ({reason_of(error)})") from error
        if not isinstance(out, Tensor) or out.dim() < 2 or len(out) != 2 or not out.is_floating_point():
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(
                f"{self.name}: layer {layer!r} gives no row of numbers per {inputs.kind} (for 2: {got})"
            )
        return out.shape
