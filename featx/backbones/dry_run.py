"""Run a network on zeros to learn the shape of a layer's output, and from that how it is pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.channels import channels_known
from featx.backbones.layer_rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError, reason_of


@dataclass(frozen=True)
class DryRun:
    """A network and the inputs to run it on.

    Parameters
    ----------
    network : torch.nn.Module
        Decides the device.
    inputs : NetworkInput
    rules : LayerRules
        What the network's library says of its layers.
    name : str
        Of the network, for messages.
    """

    network: nn.Module
    inputs: NetworkInput
    rules: LayerRules
    name: str

    def shape(self, module: Callable[[Tensor], Any], layer: str) -> torch.Size:
        """Return the shape of what `module` gives for two inputs.

        Raises
        ------
        InputError
            It does not run, or gives no row of numbers for each input.
        """
        return self._shape(module, self.inputs, layer)

    def larger_shape(self, module: Callable[[Tensor], Any]) -> torch.Size | None:
        """Return the shape for enlarged inputs; None where the network does not run on them."""
        try:
            return self._shape(module, self.inputs.enlarged(), "")
        except InputError:
            return None

    def obvious(self, shape: Sequence[int]) -> bool:
        """Return whether a map of square inputs shows its channels without another run."""
        return len(shape) == 4 and channels_known(shape, self.inputs.square, None, ())

    def require_channels(self, shape: Sequence[int], larger: Sequence[int] | None, layer: str) -> None:
        """Refuse a layer of which it is not known which axis holds the channels."""
        if not channels_known(shape, self.inputs.square, larger, self.rules.stated_tokens(self.network)):
            raise InputError(
                f"{self.name}: layer {layer!r} gives {tuple(shape[1:])} per {self.inputs.kind}, of which the "
                "axis of the channels is not known to be where pooling expects it, (c, h, w) or (tokens, c); "
                "use pooling='none', the default layer, or another one (featx backbones "
                f"{self.name} --layers)"
            )

    def pooling(self, asked: str | None, shape: Sequence[int], layer: str) -> str:
        """Return how a layer of this shape is pooled; refuse what does not make it a vector."""
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
        # Two inputs, so that a number which is not one per input shows.
        batch = inputs.example(2, "cpu" if first is None else first.device)
        try:
            with torch.inference_mode():
                out = module(batch)
        except Exception as error:  # any library's code, and what tracing made of it
            raise InputError(f"{self.name}: does not run on {inputs} ({reason_of(error)})") from error
        if not isinstance(out, Tensor) or out.dim() < 2 or len(out) != 2 or not out.is_floating_point():
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(
                f"{self.name}: layer {layer!r} gives no row of numbers per {inputs.kind} (for 2: {got})"
            )
        return out.shape


def embedding_dim(shape: Sequence[int], pooling: str) -> int:
    """Return the length of an embedding that pooling makes of a layer's output."""
    if pooling == "none":
        return math.prod(shape[1:])
    return shape[2] if len(shape) == 3 else shape[1]
