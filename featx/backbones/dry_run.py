"""Run a network on zeros to learn the shape of a layer's output, and from that how it is pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.layer_rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.pooling import channels_known
from featx.errors import InputError, reason_of


@dataclass(frozen=True)
class DryRun:
    """A network, on whichever device, and the inputs to run it on; `name` is for messages."""

    network: nn.Module
    inputs: NetworkInput
    rules: LayerRules
    name: str

    def shape(self, module: Callable[[Tensor], Any], layer: str) -> torch.Size:
        """Return the shape of what `module` gives for two inputs; refuse what is not one row per input."""
        return self._shape(module, self.inputs, layer)

    def larger_shape(self, module: Callable[[Tensor], Any]) -> torch.Size | None:
        """Return the shape for enlarged inputs; None where the network does not run on them."""
        try:
            return self._shape(module, self.inputs.enlarged(), "")
        except InputError:
            return None

    def shows_channels(self, shape: Sequence[int]) -> bool:
        """Return whether the shape of a map alone shows where its channels are."""
        return len(shape) == 4 and channels_known(shape, self.inputs.square, None, ())

    def require_channels(self, shape: Sequence[int], larger: Sequence[int] | None, layer: str) -> None:
        """Refuse a layer unless its channels are known to be where pooling expects them."""
        if not channels_known(shape, self.inputs.square, larger, self.rules.stated_tokens(self.network)):
            raise InputError(
                f"{self.name}: layer {layer!r} gives {tuple(shape[1:])} per {self.inputs.kind}, and it is "
                "not known which axis holds the channels; pooling expects (c, h, w) or (tokens, c); use "
                f"pooling='none', the default layer, or another one (featx backbones {self.name} --layers)"
            )

    def pooling(self, asked: str | None, shape: Sequence[int], layer: str) -> str:
        """Return how a layer of this shape is pooled; refuse a pooling that does not make it a vector."""
        if len(shape) == 2:
            return "identity"
        pooling = asked or "avg"
        if pooling == "identity" or (pooling in ("avg", "max") and len(shape) > 4):
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
