"""Fold batch norms into the convolutions before them.

In eval mode a batch norm is y = g (x - m) / s + b with s = sqrt(v + eps), and x = W * u + c a convolution.
So y = (g / s) W * u + (g / s) (c - m) + b is one convolution with other values. This saves a pass over memory
for each layer; a small network on a CPU spends most of its time on these.

Weights that a norm makes of a direction and a length (Salimans and Kingma, "Weight normalization", 2016), as
in wav2vec 2.0, are made once and not at each call.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrizations, parametrize

_WEIGHT_NORM = parametrizations._WeightNorm


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Return a frozen copy in eval mode; where the network is traced, its batch norms are folded.

    Weight norms are folded too.
    """
    duplicate = copy.deepcopy(module).eval().requires_grad_(False)
    if not isinstance(duplicate, fx.GraphModule):
        _fold_weight_norms(duplicate)
        return duplicate
    for node in list(duplicate.graph.nodes):
        if node.op == "call_module" and isinstance(duplicate.get_submodule(node.target), nn.BatchNorm2d):
            _fold(duplicate, node)
    duplicate.graph.lint()
    duplicate.delete_all_unused_submodules()
    duplicate.recompile()
    _fold_weight_norms(duplicate)
    return duplicate


def _fold_weight_norms(module: nn.Module) -> None:
    """Put the weights themselves in place of their directions and lengths, in a copy of a network."""
    layers: list[Any] = list(module.modules())
    for layer in layers:
        chains = getattr(layer, "parametrizations", {})
        if list(chains) != ["weight"] or not all(isinstance(one, _WEIGHT_NORM) for one in chains["weight"]):
            continue
        weight = layer.weight.detach()
        # Not with torch's function: it changes the class, which a copy shares with its original.
        plain = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        layer.__class__ = plain
        layer.weight = nn.Parameter(weight, requires_grad=False)


def _fold(module: fx.GraphModule, node: fx.Node) -> None:
    before = node.args[0]
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return
    convolution = module.get_submodule(str(before.target))
    norm = module.get_submodule(str(node.target))
    if not isinstance(convolution, nn.Conv2d) or convolution.padding_mode != "zeros":
        return
    if not (is_plain(convolution) and is_plain(norm)):
        return
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        return  # without running statistics it depends on the batch
    if _calls(module, before.target) > 1 or _calls(module, node.target) > 1:
        return  # used twice in the network
    _scale(convolution, norm)
    # In timm, a norm and the activation after it are one module.
    rest = [
        getattr(norm, name) for name in ("drop", "act") if isinstance(getattr(norm, name, None), nn.Module)
    ]
    if rest:
        module.set_submodule(str(node.target), nn.Sequential(*rest).eval())
    else:
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)


def is_plain(module: nn.Module) -> bool:
    """Return whether a layer computes what its class does, with its own weight: no hook, no other forward."""
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return not hooked and not hasattr(module, "parametrizations")


def _calls(module: fx.GraphModule, target: object) -> int:
    return sum(node.op == "call_module" and node.target == target for node in module.graph.nodes)


def _scale(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Scale the convolution, in double precision: in single, a variance near eps would cost digits."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gain = torch.ones_like(mean) if norm.weight is None else norm.weight.double()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.double()
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.double()
    scale = gain / torch.sqrt(variance + norm.eps)
    dtype = convolution.weight.dtype
    convolution.weight = nn.Parameter(
        (convolution.weight.double() * scale[:, None, None, None]).to(dtype), requires_grad=False
    )
    convolution.bias = nn.Parameter(((bias - mean) * scale + shift).to(dtype), requires_grad=False)
