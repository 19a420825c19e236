"""Cut a network at the layer where the embedding is taken, and pool that to one vector.

The network is traced into a graph with a node for every operation, named as torchvision's feature extraction
names them: by the path of the module and, for a function, its name (``features.18.2``, ``layer4.1.relu_1``,
``flatten``). The name of a module stands for the last node inside it.

The default layer is found from the graph, not from a table: the last linear layer or convolution is the
classifier (a squeezenet's is a convolution), and its input, before any dropout, is the layer. Where the
library itself computes an embedding, and that is another one (a network without a classifier, for example),
the layer ``"embedding"`` is taken: what the library computes. The layer ``"logits"`` is the output of the
whole network: the scores of the classes that it was trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.dry_run import DryRun
from featx.backbones.graph_layers import find_graph_tap, resolve_graph_layers
from featx.backbones.graph_network import GraphFeatures, GraphNetwork
from featx.backbones.hooks import EMBEDDING, LOGITS, EmbeddingNetwork, HookedFeatures
from featx.backbones.layer_rules import ADVICE, LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.pooling import POOLS, Tap
from featx.backbones.tracing import before_dropout, classifier_node, named_node, output_of, trace
from featx.errors import InputError, UnknownName
from featx.options import POOLINGS

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
    after : tuple of str
        Prefixes of the parameters that lie behind the layer, such as ``"fc."``.
    """

    module: nn.Module
    tap: Tap
    dim: int
    after: tuple[str, ...] = ()


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
    if pooling is not None and pooling not in POOLINGS:
        raise UnknownName("pooling", str(pooling), POOLINGS)
    run = DryRun(network.eval(), inputs, rules, name, resized)
    if isinstance(network, GraphNetwork):
        tap, dim = known or find_graph_tap(run, layer, pooling)
        return Cut(GraphFeatures(network, [tap]).eval(), tap, dim)
    if known is not None:
        layer = known[0].layer
    layer = None if layer is None else rules.own_name(network, layer)
    traced = _trace(network, rules, layer)
    is_default = layer in (None, EMBEDDING)
    if layer is None:
        layer = _default_layer(run, traced)
        if layer == EMBEDDING:
            traced = _trace(network, rules, layer)
    if traced is None:
        return _cut_by_hook(run, layer, pooling, known)
    graph, names = traced
    node = _find_node(graph, names, run, layer)
    stated = rules.stated_dim(network, classifier_node(graph, network)) if is_default else None
    module = _end_at(network, graph, node)
    if known is None:
        shape = run.shape(module, layer)
        resolved = EMBEDDING if layer == EMBEDDING else names[node]
        tap, dim = run.find_tap(
            resolved,
            pooling,
            shape,
            lambda: _larger_shapes(run, graph, {layer: node}).get(layer),
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
        module = _end_at(network, graph, node)
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
            layer: _find_node(graph, names, run, layer) for layer in layers if layer not in (None, EMBEDDING)
        }
        shapes = _record_shapes(run, graph, nodes)
    larger: dict[str, torch.Size | None] | None = None

    def find_larger(layer: str) -> torch.Size | None:
        nonlocal larger
        if larger is None:
            larger = _larger_shapes(run, graph, nodes)
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


class _ShapeRecorder(fx.Interpreter):
    """Run a graph, and record the shapes of what some of its nodes give."""

    def __init__(self, module: fx.GraphModule, wanted: set[fx.Node]) -> None:
        super().__init__(module)
        self.wanted, self.found = wanted, dict[fx.Node, torch.Size | None]()

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if n in self.wanted:
            self.found[n] = out.shape if isinstance(out, Tensor) else None
        return out


def _record_shapes(run: DryRun, graph: fx.Graph, nodes: dict[str, fx.Node]) -> dict[str, torch.Size | None]:
    """Return the shapes of what some nodes of a graph give for two inputs."""
    seen = _ShapeRecorder(fx.GraphModule(run.network, graph), set(nodes.values()))
    run.shape(seen.run, LOGITS)
    return {layer: seen.found[node] for layer, node in nodes.items()}


def _larger_shapes(run: DryRun, graph: fx.Graph, nodes: dict[str, fx.Node]) -> dict[str, torch.Size | None]:
    """Return the shapes for larger inputs; empty where neither this network nor a larger one runs on them."""
    seen = _ShapeRecorder(fx.GraphModule(run.network, graph), set(nodes.values()))
    if run.larger_shape(seen.run) is not None:
        return {layer: seen.found[node] for layer, node in nodes.items()}
    other = run.for_larger_inputs()
    traced = None if other is None else trace(other.network, run.rules)
    if other is None or traced is None:
        return {}
    graph, names = traced
    try:
        return _record_shapes(other, graph, {layer: named_node(names, layer, run.name) for layer in nodes})
    except InputError:
        return {}


def cut_several(
    network: nn.Module, taps: Sequence[Tap], *, name: str, rules: LayerRules = _RULES
) -> nn.Module:
    """Cut a network at several layers, each with its pooling as `cut` resolved them.

    The module returned computes the embeddings of all layers, side by side, in one forward pass.
    """
    network.eval()
    if isinstance(network, GraphNetwork):
        return GraphFeatures(network, taps).eval()
    traced = _trace(network, rules, EMBEDDING if any(tap.layer == EMBEDDING for tap in taps) else None)
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
    return _end_at(network, graph, joined).eval()


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


def _end_at(network: nn.Module, graph: fx.Graph, node: fx.Node) -> fx.GraphModule:
    """Return the module that computes `graph` up to `node`, with only the submodules that it calls."""
    for later in reversed(graph.nodes):
        if later is node:
            break
        graph.erase_node(later)
    graph.output(node)
    # Dead code is found through a module that owns the graph; a second module then leaves out the submodules
    # that only dead code called.
    fx.GraphModule(network, graph).graph.eliminate_dead_code()
    return fx.GraphModule(network, graph, class_name="Features")


def _trace(
    network: nn.Module, rules: LayerRules, layer: str | None
) -> tuple[fx.Graph, dict[fx.Node, str]] | None:
    """Trace a network, up to the embedding that the library computes where that is the layer."""
    if layer != EMBEDDING or hasattr(network, EMBEDDING):
        return trace(network, rules)
    whole = EmbeddingNetwork(network, rules)
    traced = trace(whole, rules, inside=network)
    if traced is None:
        return None
    graph, names = traced
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            path = str(node.target)
            if node.op == "get_attr" and not path.startswith("network."):
                # A constant that tracing put on `whole`; the network may have others of this name.
                setattr(network, f"_embedding{path}", getattr(whole, path))
                path = f"_embedding{path}"
            node.target = path.removeprefix("network.")
    return graph, {node: name.removeprefix("network.") for node, name in names.items()}


def _default_layer(run: DryRun, traced: tuple[fx.Graph, dict[fx.Node, str]] | None) -> str:
    """Return the input of the classifier, or `EMBEDDING` where that is not what the library gives."""
    network, rules, name = run.network, run.rules, run.name
    stated = rules.default_layer(network)
    if stated is not None:
        return stated
    try:
        if traced is None:
            heads = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
            if not heads:
                raise InputError(f"{name}: it cannot be traced and has no linear layer, so name a layer")
            rules.require_untraced_embedding(network, heads[-1], name)
            return f"{heads[-1]}:input"
        graph, names = traced
        classifier = classifier_node(graph, network)
        if classifier is None:
            raise InputError(f"{name}: no linear layer or convolution found, so name a layer")
        node = before_dropout(network, classifier.args[0])
        rules.require_embedding(network, graph, names, node, name)
        return names[node]
    except InputError:
        if rules.has_embedding(network):
            return EMBEDDING
        raise


def _find_node(graph: fx.Graph, names: dict[fx.Node, str], run: DryRun, layer: str) -> fx.Node:
    """Return the node whose output is the layer."""
    own = hasattr(run.network, layer) if layer in (LOGITS, EMBEDDING) else True
    if own:
        return named_node(names, layer, run.name)
    if layer == EMBEDDING:
        return output_of(graph)
    _require_classifier(run.network, run.rules, run.name)
    out = output_of(graph)
    if not isinstance(out, fx.Node) or out not in names:
        raise InputError(f"{run.name}: layer {LOGITS!r}: its output is not a tensor; name a layer")
    return out


def _require_classifier(network: nn.Module, rules: LayerRules, name: str) -> None:
    if not rules.has_classifier(network):
        raise InputError(f"{name}: layer {LOGITS!r}: this network has no classifier")


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
        _require_classifier(network, rules, name)
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
        known = run.find_tap(layer, pooling, shape, find_larger, is_default=is_default)
    head, _, side = layer.partition(":")
    if side and isinstance(network.get_submodule(head), nn.Linear):
        network.set_submodule(head, nn.Identity())  # so that no classifier is run or trained for nothing
    module = HookedFeatures(network, [known[0]], rules).eval()
    return Cut(module, *known, (f"{head}.",) if side else ())


def _channels(tap: Tap, dim: int) -> int:
    """Return how many channels an embedding pools."""
    return dim // 2 if tap.pooling == "cls+patches" else dim
