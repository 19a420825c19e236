"""Read the layers of a network that cannot be traced, with forward hooks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.layers.pooling import Tap
from featx.backbones.layers.rules import LayerRules

#: Name of the layer that is the output of the classifier.
LOGITS = "logits"
#: Name of the layer that is the embedding which the library itself computes.
EMBEDDING = "embedding"

#: `now` has what hooks have seen in the calling thread, by layer; absent while no `HookedFeatures` runs.
_seen = threading.local()


class HookedFeatures(nn.Module):
    """A whole network, with hooks that read its layers; several threads may run it at once.

    A layer is the name of a module, whose output is taken (with the suffix ``":input"``, its input),
    `LOGITS`, or `EMBEDDING`, which `rules` compute. The rows of several layers stand side by side.
    """

    def __init__(self, network: nn.Module, taps: Sequence[Tap], rules: LayerRules | None = None):
        super().__init__()
        self.network, self.taps, self.rules = network, tuple(taps), rules or LayerRules()
        self._whole = [name for name in (LOGITS, EMBEDDING) if not hasattr(network, name)]
        for layer in dict.fromkeys(tap.layer for tap in self.taps):
            name, _, side = layer.partition(":")
            if name in self._whole:
                continue
            module = network.get_submodule(name)
            if side:
                module.register_forward_pre_hook(partial(_keep_input, layer))
            else:
                module.register_forward_hook(partial(_keep_output, layer))

    def forward(self, x: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}
        _seen.now = seen
        asked = {tap.layer for tap in self.taps}.intersection(self._whole)
        try:
            if EMBEDDING in asked:
                seen[EMBEDDING] = self.rules.embed(self.network, x)
            if asked != {EMBEDDING}:
                out = self.rules.run(self.network, x)
                if LOGITS in asked:
                    seen[LOGITS] = out
        finally:
            del _seen.now
        lacking = [tap.layer for tap in self.taps if tap.layer not in seen]
        if lacking:
            raise LookupError(f"no module {lacking[0]!r} is called when it runs; name another layer")
        rows = [self.rules.pool(self.network, tap, seen[tap.layer], x) for tap in self.taps]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)


def modules_before(features: HookedFeatures, x: Tensor) -> list[str]:
    """Return the modules, in order, that have given their output once the layer of `features` is known."""
    (tap,) = features.taps
    name, _, side = tap.layer.partition(":")
    done: list[str] = []
    ended = False

    def enter(module_name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal ended
        ended = ended or (bool(side) and module_name == name)

    def leave(module_name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal ended
        if not ended:
            done.append(module_name)
        ended = ended or module_name == name

    handles = []
    for module_name, module in features.network.named_modules():
        if module_name and not isinstance(module, torch.jit.ScriptModule):  # takes no hooks
            handles.append(module.register_forward_pre_hook(partial(enter, module_name)))
            handles.append(module.register_forward_hook(partial(leave, module_name)))
    try:
        with torch.inference_mode():
            features(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(done))


class EmbeddingNetwork(nn.Module):
    """A network up to the embedding that the library itself computes, as `rules` state it."""

    def __init__(self, network: nn.Module, rules: LayerRules):
        super().__init__()
        self.network, self.rules = network, rules

    def forward(self, x: Tensor) -> Tensor:
        return self.rules.embed(self.network, x)


# Hooks are plain functions, because copies and pickles of a network must carry them. They clone, because
# later modules may work in place.


def _keep_input(layer: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if (seen := getattr(_seen, "now", None)) is not None:
        seen[layer] = inputs[0].clone()


def _keep_output(layer: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if (seen := getattr(_seen, "now", None)) is not None:
        seen[layer] = _first_tensor(output).clone()


def _first_tensor(output: Any) -> Any:
    """Return the tensor that a module passes on where its output holds more, such as weights of attention."""
    while isinstance(output, (tuple, list, dict)) and output:
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output
