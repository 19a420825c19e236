"""Read the layers of a network that cannot be traced, with forward hooks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.pooling import POOLS

#: Name of the layer that is the output of the classifier.
LOGITS = "logits"

#: `now` has what hooks have seen in the calling thread, by layer; absent while no `HookedFeatures` runs.
_seen = threading.local()


class HookedFeatures(nn.Module):
    """A whole network, with hooks that read its layers; several threads may run it at once.

    `taps` has layer and pooling of each embedding. A layer is the name of a module, whose output is taken
    (with the suffix ``":input"``, its input), or `LOGITS`. The rows of several layers stand side by side.
    """

    def __init__(self, network: nn.Module, taps: Sequence[tuple[str, str]]):
        super().__init__()
        self.network, self.taps = network, tuple(taps)
        for layer in dict.fromkeys(layer for layer, _ in self.taps):
            name, _, side = layer.partition(":")
            whole = name == LOGITS and not hasattr(network, LOGITS)
            module = network if whole else network.get_submodule(name)
            if side:
                module.register_forward_pre_hook(partial(_keep_input, layer))
            else:
                module.register_forward_hook(partial(_keep_output, layer))

    def forward(self, x: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}
        _seen.now = seen
        try:
            self.network(x)
        finally:
            del _seen.now
        rows = [POOLS[how](seen[layer]) if how in POOLS else seen[layer] for layer, how in self.taps]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)


# Hooks are plain functions, so that copies and pickles of a network carry them. They clone, because later
# modules may work in place.


def _keep_input(layer: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if (seen := getattr(_seen, "now", None)) is not None:
        seen[layer] = inputs[0].clone()


def _keep_output(layer: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if (seen := getattr(_seen, "now", None)) is not None:
        seen[layer] = output.clone()
