"""Trace a network into a graph whose nodes have names that users can type."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

from featx.backbones.loading import ThreadLocalTracing, one_at_a_time
from featx.errors import UnknownName
from featx.vision import import_torchvision

if TYPE_CHECKING:
    from featx.backbones.layers.rules import LayerRules

# What tracing arbitrary forward code raises when it branches on values or unpacks them.
_UNTRACEABLE = (TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError)

_NUMBERED = re.compile(r"(.+)_([0-9]+)")

WEIGHTED = (nn.Linear, nn.Conv2d)
WEIGHTED_FUNCTIONS = (nn.functional.linear, nn.functional.conv2d)  # timm's own Linear is traced into
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Identity)
DROPOUT_FUNCTIONS = (nn.functional.dropout, torch.dropout)


class TabledNames:
    """Mixin for torchvision's `NodePathTracer` that looks up names of nodes and parameters in tables.

    Torchvision goes through all earlier names for each node, and torch through all parameters for each that
    is read: seconds in a network of some thousand nodes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last: dict[str, int] = {}
        self._parameters: dict[int, str] = {}

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        own: Any = self
        self._parameters = {id(value): name for name, value in own.root.named_parameters()}
        return super().create_args_for_root(*args, **kwargs)  # type: ignore[misc]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        name = self._parameters.get(id(attr_val)) if isinstance(attr_val, nn.Parameter) else None
        if name is None:
            return super().getattr(attr, attr_val, parameter_proxy_cache)  # type: ignore[misc]
        if name not in parameter_proxy_cache:
            own: Any = self
            parameter_proxy_cache[name] = own.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def _get_node_qualname(self, module_qualname: str, node: fx.Node) -> str:
        name = module_qualname
        if node.op != "call_module":
            name = f"{name}.{node}" if name else str(node)
        if numbered := _NUMBERED.fullmatch(name):
            name = numbered[1]
        if name in self._last:
            name = f"{name}_{self._last[name] + 1}"
        self._last[name] = 0
        if numbered := _NUMBERED.fullmatch(name):
            self._last[numbered[1]] = int(numbered[2])
        return name


@one_at_a_time
def trace(
    network: nn.Module, rules: LayerRules, *, inside: nn.Module | None = None
) -> tuple[fx.Graph, dict[fx.Node, str]] | None:
    """Return the graph of a network and the name of each node; None when it cannot be traced.

    What `rules` names as untraced stays one node. `inside` is a network of which `network` calls methods.
    """
    if not rules.traceable:
        return None
    torchvision = import_torchvision()
    from torchvision.models.feature_extraction import NodePathTracer
    from torchvision.ops.misc import FrozenBatchNorm2d
    from torchvision.ops.stochastic_depth import StochasticDepth

    modules, functions = rules.untraced()

    class Tracer(TabledNames, ThreadLocalTracing, NodePathTracer):
        pass

    tracer = Tracer(
        autowrap_modules=(math, torchvision.ops),
        autowrap_functions=tuple(functions),
        leaf_modules=[StochasticDepth, FrozenBatchNorm2d, *modules],
    )
    if inside is not None:
        # Functions are wrapped in the modules that define what is called; of methods, tracing does not know.
        defined = [sys.modules.get(known.__module__) for known in type(inside).__mro__]
        # The module of an entry of torch.hub is no longer there.
        getattr(tracer, "_autowrap_search", []).extend(filter(None, defined))
    try:
        graph = tracer.trace(network)
    except _UNTRACEABLE:
        return None
    finally:
        _forget_traced(network)
    names = {node: name for node, name in tracer.node_to_qualname.items() if node.op != "placeholder"}
    return graph, names


def _forget_traced(network: nn.Module) -> None:
    """Empty the caches of modules that hold what they computed while they were traced."""
    for module in network.modules():
        for kept in vars(module).values():
            if isinstance(kept, dict) and any(isinstance(value, fx.Proxy) for value in kept.values()):
                kept.clear()


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
