"""Trace a network into a graph whose nodes have names that users can type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

from featx.backbones.loading import ThreadLocalTracing, one_at_a_time
from featx.errors import UnknownName
from featx.vision import import_torchvision

if TYPE_CHECKING:
    from featx.backbones.layer_rules import LayerRules

# What tracing arbitrary forward code raises when it branches on values or unpacks them.
_UNTRACEABLE = (TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError)

WEIGHTED = (nn.Linear, nn.Conv2d)
WEIGHTED_FUNCTIONS = (nn.functional.linear, nn.functional.conv2d)  # timm's own Linear is traced into
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Identity)
DROPOUT_FUNCTIONS = (nn.functional.dropout, torch.dropout)


@one_at_a_time
def trace(network: nn.Module, rules: LayerRules) -> tuple[fx.Graph, dict[fx.Node, str]] | None:
    """Return the graph of a network and the name of each node; None when it cannot be traced.

    What `rules` names as untraced stays one node.
    """
    if not rules.traceable:
        return None
    torchvision = import_torchvision()
    from torchvision.models.feature_extraction import NodePathTracer
    from torchvision.ops.misc import FrozenBatchNorm2d
    from torchvision.ops.stochastic_depth import StochasticDepth

    modules, functions = rules.untraced()

    class Tracer(ThreadLocalTracing, NodePathTracer):
        pass

    tracer = Tracer(
        autowrap_modules=(math, torchvision.ops),
        autowrap_functions=tuple(functions),
        leaf_modules=[StochasticDepth, FrozenBatchNorm2d, *modules],
    )
    try:
        graph = tracer.trace(network)
    except _UNTRACEABLE:
        return None
    names = {node: name for node, name in tracer.node_to_qualname.items() if node.op != "placeholder"}
    return graph, names


def is_call(network: nn.Module, node: fx.Node, modules: tuple[type, ...], functions: tuple[Any, ...]) -> bool:
    """Return whether a node calls a module of one of these types, or one of these functions."""
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), modules)
    return node.op == "call_function" and node.target in functions


def output_of(graph: fx.Graph) -> Any:
    """Return what a graph gives: a node, where that is one tensor."""
    return next(node for node in reversed(graph.nodes) if node.op == "output").args[0]


def named_node(names: dict[fx.Node, str], layer: str, network: str) -> fx.Node:
    """Return the node of that name, or the last one inside the module of that name."""
    exact = [node for node, known in names.items() if known == layer]
    inside = [node for node, known in names.items() if known.startswith(f"{layer}.")]
    if not layer or not (exact or inside):
        raise UnknownName(f"layer of {network}", layer, _with_modules(names.values()))
    return (exact or inside)[-1]


def _with_modules(names: Iterable[str]) -> list[str]:
    """Return the names of nodes and of the modules around them."""
    paths = (known.split(".") for known in names)
    return list(dict.fromkeys(".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)))


def classifier_node(graph: fx.Graph, network: nn.Module) -> fx.Node | None:
    """Return the last linear layer or convolution of a graph."""
    for node in reversed(graph.nodes):
        if is_call(network, node, WEIGHTED, WEIGHTED_FUNCTIONS):
            return node
    return None


def before_dropout(network: nn.Module, node: Any, *, flattened: bool = False) -> Any:
    """Return the node whose values `node` passes on in eval mode, skipping dropout.

    With `flattened`, also skip operations that only change the shape.
    """
    modules = (*DROPOUTS, nn.Flatten) if flattened else DROPOUTS
    functions = (*DROPOUT_FUNCTIONS, torch.flatten) if flattened else DROPOUT_FUNCTIONS
    while isinstance(node, fx.Node):
        method = flattened and node.op == "call_method" and node.target == "flatten"
        if not method and not is_call(network, node, modules, functions):
            break
        node = node.args[0]
    return node
