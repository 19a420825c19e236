"""Cut a network at the layer where the embedding is taken, and pool that to one vector.

The network is traced into a graph with a node for every operation, named as torchvision's feature extraction
names them: by the path of the module and, for a function, its name (``features.18.2``, ``layer4.1.relu_1``,
``flatten``). The name of a module stands for the last node inside it.

The default layer is found from the graph, not from a table: the last linear layer or convolution is the
classifier (a squeezenet's is a convolution), and its input, before any dropout, is the layer. Where the
library computes an embedding of its own that differs from this one (in a network without a classifier, for
example), the layer ``"embedding"`` is taken: what the library computes. The layer ``"logits"`` is the output
of the whole network: the scores of the classes that it was trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import fx, nn

from featx.backbones.graphs.layers import find_graph_tap, resolve_graph_layers
from featx.backbones.graphs.network import GraphFeatures, GraphNetwork
from featx.backbones.layers.dry_run import DryRun
from featx.backbones.layers.finding import (
    default_layer,
    end_at,
    find_node,
    larger_shapes,
    record_shapes,
    require_classifier,
    trace_up_to,
)
from featx.backbones.layers.hooks import EMBEDDING, LOGITS, HookedFeatures
from featx.backbones.layers.pooling import POOLS, Tap
from featx.backbones.layers.rules import ADVICE, LayerRules
from featx.backbones.layers.tracing import classifier_node, named_node, output_of, trace
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError, UnknownName
from featx.options import POOLINGS_OF

_RULES = LayerRules()

#: Builds the same network for other inputs, on the meta device.
Resized = Callable[[NetworkInput], nn.Module]


@dataclass
class Cut:
    """A network cut at a layer.

    Attributes
    ----------
    module : torch.nn.Module
        From a batch of the network's inputs to (n, dim), in eval mode. Shares the parameters of the network.
    tap : Tap
        Layer and pooling, as resolved.
    dim : int
        Length of an embedding.
    behind : tuple of str
        Prefixes of the parameters that lie behind the layer, such as ``"fc."``.
    """

    module: nn.Module
    tap: Tap
    dim: int
    behind: tuple[str, ...] = ()


def cut(
    network: nn.Module,
    inputs: NetworkInput,
    *,
    name: str,
    layer: str | None = None,
    pooling: str | None = None,
    known: tuple[Tap, int] | None = None,
    rules: LayerRules = _RULES,
    resized: Resized | None = None,
) -> Cut:
    """Cut a network at a layer; it may live on the meta device.

    `name` is that of the network, for messages; `layer` and `pooling` are as in
    `featx.backbones.load_backbone`. With tap and length of an earlier cut, `known`, the network need not run
    to find them out. `resized` builds the network for other inputs, which may tell where its channels are.
    """
    known_poolings = POOLINGS_OF[inputs.kind]
    if pooling is not None and pooling not in known_poolings:
        raise UnknownName(f"pooling of {inputs.kind}s", str(pooling), known_poolings)
    run = DryRun(network.eval(), inputs, rules, name, resized)
    if isinstance(network, GraphNetwork):
        tap, dim = known or find_graph_tap(run, layer, pooling)
        return Cut(GraphFeatures(network, [tap], rules).eval(), tap, dim)
    if known is not None:
        layer = known[0].layer
    layer = None if layer is None else rules.own_name(network, layer)
    traced = trace_up_to(network, rules, layer)
    is_default = layer in (None, EMBEDDING)
    if layer is None:
        layer = default_layer(run, traced)
        if layer == EMBEDDING:
            traced = trace_up_to(network, rules, layer)
    if traced is None:
        return _cut_by_hook(run, layer, pooling, known)
    graph, names = traced
    node = find_node(graph, names, run, layer)
    stated = rules.stated_dim(network, classifier_node(graph, network)) if is_default else None
    module = end_at(network, graph, node)
    if known is None:
        shape = run.shape(module, layer)
        resolved = EMBEDDING if layer == EMBEDDING else names[node]
        tap, dim = run.find_tap(
            resolved,
            pooling,
            shape,
            lambda: larger_shapes(run, graph, {layer: node}).get(layer),
            is_default=is_default and rules.states_channels,
        )
        if is_default and tap.pooling != "none" and stated is not None and stated != _channels(tap, dim):
            raise InputError(
                f"{name}: its default layer {resolved!r} gives {dim} values, and the library says {stated}; "
                f"this network is not supported by default: {ADVICE}"
            )
        known = tap, dim
    tap, dim = known
    if tap.pooling != "identity":
        with graph.inserting_after(node):
            node = graph.call_function(POOLS[tap.pooling], (node, tap.channels, tap.prefix))
        module = end_at(network, graph, node)
    return Cut(module.eval(), tap, dim, unused_prefixes(network, module))


def resolve_layers(
    network: nn.Module,
    inputs: NetworkInput,
    layers: Sequence[str | None],
    *,
    name: str,
    pooling: str | None = None,
    rules: LayerRules = _RULES,
    resized: Resized | None = None,
    strict: bool = True,
) -> list[tuple[Tap, int] | InputError]:
    """Return tap and length of the embedding of each of several layers, as `cut` finds them.

    The network is traced once and run once, for all of them, and is not changed. With ``strict=False``, a
    layer whose channels are not known has the error in its place.
    """
    run = DryRun(network.eval(), inputs, rules, name, resized)
    if isinstance(network, GraphNetwork):
        return resolve_graph_layers(run, layers, pooling, strict=strict)
    layers = [None if layer is None else rules.own_name(network, layer) for layer in layers]
    traced = trace(network, rules)
    nodes: dict[str, fx.Node] = {}
    shapes: dict[str, torch.Size | None] = {}
    if traced is not None:
        graph, names = traced
        nodes = {
            layer: find_node(graph, names, run, layer) for layer in layers if layer not in (None, EMBEDDING)
        }
        shapes = record_shapes(run, graph, nodes)
    larger: dict[str, torch.Size | None] | None = None

    def find_larger(layer: str) -> torch.Size | None:
        nonlocal larger
        if larger is None:
            larger = larger_shapes(run, graph, nodes)
        return larger.get(layer)

    found: list[tuple[Tap, int] | InputError] = []
    for layer in layers:
        try:
            if layer in nodes:
                resolved, shape = names[nodes[layer]], shapes[layer]
                if shape is None or len(shape) < 2 or shape[0] != 2:
                    raise InputError(f"{name}: layer {resolved!r} gives no row of numbers per {inputs.kind}")
                found.append(run.find_tap(resolved, pooling, shape, partial(find_larger, layer)))
            else:
                # Cutting may take the classifier off, so each layer is cut from a copy.
                alone = copy.deepcopy(network)
                part = cut(
                    alone, inputs, name=name, layer=layer, pooling=pooling, rules=rules, resized=resized
                )
                found.append((part.tap, part.dim))
        except InputError as error:
            if strict:
                raise
            found.append(error)
    return found


def cut_several(
    network: nn.Module, taps: Sequence[Tap], *, name: str, rules: LayerRules = _RULES
) -> nn.Module:
    """Cut a network at several layers, each with its pooling as `cut` resolved them.

    The module returned computes the embeddings of all layers, side by side, in one forward pass.
    """
    network.eval()
    if isinstance(network, GraphNetwork):
        return GraphFeatures(network, taps, rules).eval()
    traced = trace_up_to(network, rules, EMBEDDING if any(tap.layer == EMBEDDING for tap in taps) else None)
    if traced is None:
        return HookedFeatures(network, taps, rules).eval()
    graph, names = traced
    nodes = [
        output_of(graph) if tap.layer == EMBEDDING else named_node(names, tap.layer, name) for tap in taps
    ]
    rows = []
    for tap, node in zip(taps, nodes, strict=True):
        with graph.inserting_after(node):
            rows.append(graph.call_function(POOLS[tap.pooling], (node, tap.channels, tap.prefix)))
    last = [node for node in graph.nodes if node in rows][-1]
    with graph.inserting_after(last):
        joined = graph.call_function(torch.cat, (rows, 1))
    return end_at(network, graph, joined).eval()


def modules_behind(network: nn.Module, module: fx.GraphModule, rules: LayerRules) -> set[str]:
    """Return the modules and parameters that the whole network uses, and `module`, cut from it, does not."""
    traced = trace(network, rules)
    if traced is None:
        return set()
    whole = fx.GraphModule(network, traced[0])
    whole.graph.eliminate_dead_code()
    used, of_cut = (
        {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
        for graph in (whole.graph, module.graph)
    )
    return used - of_cut


def unused_prefixes(network: nn.Module, module: nn.Module) -> tuple[str, ...]:
    """Return the largest modules of `network` with parameters of which `module` has none, as ``"fc."``."""
    used = set(module.state_dict())
    prefixes: list[str] = []
    for name, child in network.named_modules():
        below = any(name.startswith(prefix) for prefix in prefixes)
        own = [f"{name}.{key}" for key in child.state_dict()]
        if name and own and not below and not used.intersection(own):
            prefixes.append(f"{name}.")
    return tuple(prefixes)


def _cut_by_hook(run: DryRun, layer: str, pooling: str | None, known: tuple[Tap, int] | None) -> Cut:
    """Cut a network that cannot be traced; its classifier may be taken off."""
    network, name, rules = run.network, run.name, run.rules
    whole = layer in (LOGITS, EMBEDDING) and not hasattr(network, layer)
    if not whole:
        modules = dict(network.named_modules())
        del modules[""]
        if layer.removesuffix(":input") not in modules:
            raise UnknownName(f"layer of {name}", layer, list(modules))
    elif layer == LOGITS:
        require_classifier(network, rules, name)
    elif not rules.has_embedding(network):
        raise InputError(f"{name}: layer {EMBEDDING!r}: its library computes no embedding; name a layer")
    if known is None:
        # On a copy, because the hooks stay.
        hooked = HookedFeatures(copy.deepcopy(network), [Tap(layer, "identity")], rules)
        shape = run.shape(hooked, layer)

        def find_larger() -> torch.Size | None:
            larger = run.larger_shape(hooked)
            other = run.for_larger_inputs() if larger is None else None
            if other is None:
                return larger
            try:
                return other.shape(HookedFeatures(other.network, [Tap(layer, "identity")], rules), layer)
            except InputError:  # it was not built for them after all
                return None

        is_default = layer == EMBEDDING and rules.states_channels
        known = rules.find_tap(network, layer, pooling, shape, name) or run.find_tap(
            layer, pooling, shape, find_larger, is_default=is_default
        )
    head, _, side = layer.partition(":")
    if side and isinstance(network.get_submodule(head), nn.Linear):
        network.set_submodule(head, nn.Identity())  # so that no classifier is run or trained for nothing
    module = HookedFeatures(network, [known[0]], rules).eval()
    return Cut(module, *known, (f"{head}.",) if side else ())


def _channels(tap: Tap, dim: int) -> int:
    """Return how many channels an embedding pools."""
    return dim // 2 if tap.pooling == "cls+patches" else dim
