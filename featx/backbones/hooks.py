"""Read layers of a network that cannot be traced by forward hooks, while it runs as it is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.pooling import POOLS

#: The layer that is the output of the classifier, in every network that has one.
LOGITS = "logits"

#: In the calling thread, what the hooks of `HookedFeatures` have seen, by layer; absent while none runs.
_hearing = threading.local()


class HookedFeatures(nn.Module):
    """A network that cannot be traced, run as it is, and hooks that read its layers.

    Any number of threads may run it at once: the hooks are registered when it is made, and stay.

    Parameters
    ----------
    network : torch.nn.Module
        The whole network.
    taps : sequence of (str, str)
        For each layer: the name of a module, whose output is taken (with the suffix ``":input"`` its input),
        or `LOGITS`; and one of `POOLINGS`. The rows of several layers stand side by side.
    """

    def __init__(self, network: nn.Module, taps: Sequence[tuple[str, str]]):
        super().__init__()
        self.network, self.taps = network, tuple(taps)
        for layer in dict.fromkeys(layer for layer, _ in self.taps):
            name, _, side = layer.partition(":")
            whole = name == LOGITS and not hasattr(network, LOGITS)
            module = network if whole else network.get_submodule(name)
            if side:
                module.register_forward_pre_hook(partial(_hear_input, layer))
            else:
                module.register_forward_hook(partial(_hear_output, layer))

    def forward(self, x: Tensor) -> Tensor:
        heard: dict[str, Tensor] = {}
        _hearing.now = heard
        try:
            self.network(x)
        finally:
            del _hearing.now
        rows = [POOLS[how](heard[layer]) if how in POOLS else heard[layer] for layer, how in self.taps]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)


# Plain functions, so that copies and pickles of a network carry its hooks. Tensors are cloned, because later
# modules may work in place.


def _hear_input(layer: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if (heard := getattr(_hearing, "now", None)) is not None:
        heard[layer] = inputs[0].clone()


def _hear_output(layer: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if (heard := getattr(_hearing, "now", None)) is not None:
        heard[layer] = output.clone()
