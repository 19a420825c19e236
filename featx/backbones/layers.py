"""Cut a network at the layer where the embedding is taken, and pool that to one vector.

The network is traced into a graph with a node for every operation, named as torchvision's feature extraction
names them: by the path of the module and, for a function, its name (``features.18.2``, ``layer4.1.relu_1``,
``flatten``). The name of a module stands for the last node inside it.

The default layer is found from the graph, not from a table: the last linear layer or convolution is the
classifier (a squeezenet's is a convolution), and its input, before any dropout, is the layer. The layer
``"logits"`` is the output of the whole network: the scores of the classes that it was trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.dry_run import DryRun
from featx.backbones.hooks import LOGITS, HookedFeatures
from featx.backbones.layer_rules import ADVICE, LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.pooling import AVERAGED, POOLS, POOLS_BETWEEN, embedding_dim
from featx.backbones.tracing import before_dropout, classifier_node, named_node, output_of, trace
from featx.errors import InputError, UnknownName
from featx.options import POOLINGS

_RULES = LayerRules()


@dataclass
class Cut:
    """A network cut at a layer.

    Attributes
    ----------
    module : torch.nn.Module
        From a batch of the network's inputs to (n, dim), in eval mode. Shares the parameters of the network.
    layer, pooling : str
        As resolved.
    dim : int
        Length of an embedding.
    after : tuple of str
        Prefixes of the parameters that lie behind the layer, such as ``"fc."``.
    """

    module: nn.Module
    layer: str
    pooling: str
    dim: int
    after: tuple[str, ...] = ()


def cut(
    network: nn.Module,
    inputs: NetworkInput,
    *,
    name: str,
    layer: str | None = None,
    pooling: str | None = None,
    dim: int | None = None,
    rules: LayerRules = _RULES,
) -> Cut:
    """Cut a network at a layer; it may live on the meta device.

    `name` is that of the network, for messages; `layer` and `pooling` are as in
    `featx.backbones.load_backbone`. With `pooling` and `dim` of an earlier cut, the network need not run to
    find them out.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise UnknownName("pooling", str(pooling), POOLINGS)
    run = DryRun(network.eval(), inputs, rules, name)
    traced = trace(network, rules)
    if traced is None:
        return _cut_by_hook(run, layer, pooling, dim)
    graph, names = traced
    node = _find_node(graph, names, network, rules, layer, name)
    stated = None
    if layer is None:
        rules.require_embedding(network, graph, names, node, name)
        stated = rules.stated_dim(network, classifier_node(graph, network))
    resolved = names[node]
    module = _end_at(network, graph, node)
    if dim is None or pooling is None:
        shape = run.shape(module, resolved)
        pooling = run.pooling(pooling, shape, resolved)
        dim = embedding_dim(shape, pooling)
        if layer is None and pooling != "none" and stated != dim:
            raise InputError(
                f"{name}: its default layer {resolved!r} gives {dim} values, and the library says {stated}; "
                f"this network is not supported by default: {ADVICE}"
            )
        elif layer is not None and pooling in AVERAGED and not run.shows_channels(shape):
            run.require_channels(shape, run.larger_shape(module), resolved)
    if pooling != "identity":
        with graph.inserting_after(node):
            node = graph.call_function(POOLS[pooling], (node,))
        module = _end_at(network, graph, node)
    return Cut(module.eval(), resolved, pooling, dim, unused_prefixes(network, module))


def resolve_layers(
    network: nn.Module,
    inputs: NetworkInput,
    layers: Sequence[str | None],
    *,
    name: str,
    pooling: str | None = None,
    rules: LayerRules = _RULES,
    strict: bool = True,
) -> list[tuple[str, str, int] | InputError]:
    """Return layer, pooling and length of the embedding of each of several layers, as `cut` finds them.

    The network is traced once and run once, for all of them, and is not changed. With ``strict=False``, a
    layer whose channels are not known has the error in its place.
    """
    run = DryRun(network.eval(), inputs, rules, name)
    traced = trace(network, rules)
    if traced is None:
        return [_resolve_by_hook(run, layer, pooling, strict) for layer in layers]
    graph, names = traced
    nodes = [_find_node(graph, names, network, rules, layer, name) for layer in layers]
    seen = _ShapeRecorder(fx.GraphModule(network, graph), set(nodes))
    run.shape(seen.run, LOGITS)
    shapes = [seen.found[node] for node in nodes]
    larger: list[torch.Size | None] = [None] * len(nodes)
    if not all(shape is None or run.shows_channels(shape) for shape in shapes):
        seen = _ShapeRecorder(fx.GraphModule(network, graph), set(nodes))
        if run.larger_shape(seen.run) is not None:
            larger = [seen.found[node] for node in nodes]
    found: list[tuple[str, str, int] | InputError] = []
    for layer, node, shape, larger_shape in zip(layers, nodes, shapes, larger, strict=True):
        resolved = names[node]
        if shape is None or len(shape) < 2 or shape[0] != 2:
            raise InputError(f"{name}: layer {resolved!r} gives no row of numbers per {inputs.kind}")
        how = run.pooling(pooling, shape, resolved)
        found.append((resolved, how, embedding_dim(shape, how)))
        if layer is not None and how in AVERAGED:
            try:
                run.require_channels(shape, larger_shape, layer)
            except InputError as error:
                if strict:
                    raise
                found[-1] = error
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


def cut_several(
    network: nn.Module, taps: Sequence[tuple[str, str]], *, name: str, rules: LayerRules = _RULES
) -> nn.Module:
    """Cut a network at several layers, each with its pooling as `cut` resolved them.

    The module returned computes the embeddings of all layers, side by side, in one forward pass.
    """
    network.eval()
    traced = trace(network, rules)
    if traced is None:
        return HookedFeatures(network, taps).eval()
    graph, names = traced
    rows = []
    for layer, pooling in taps:
        node = named_node(names, layer, name)
        with graph.inserting_after(node):
            rows.append(graph.call_function(POOLS_BETWEEN[pooling], (node,)))
    last = [node for node in graph.nodes if node in rows][-1]
    with graph.inserting_after(last):
        joined = graph.call_function(torch.cat, (rows, 1))
    return _end_at(network, graph, joined).eval()


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


def _find_node(
    graph: fx.Graph,
    names: dict[fx.Node, str],
    network: nn.Module,
    rules: LayerRules,
    layer: str | None,
    name: str,
) -> fx.Node:
    """Return the node whose output is the layer: by default the input of the classifier."""
    if layer is None:
        classifier = classifier_node(graph, network)
        if classifier is None:
            raise InputError(f"{name}: no linear layer or convolution found, so name a layer")
        found: fx.Node = before_dropout(network, classifier.args[0])
        return found
    if layer == LOGITS and not hasattr(network, LOGITS):
        _require_classifier(network, rules, name)
        out = output_of(graph)
        if not isinstance(out, fx.Node) or out not in names:
            raise InputError(f"{name}: layer {LOGITS!r}: its output is not a tensor; name a layer")
        return out
    return named_node(names, layer, name)


def _require_classifier(network: nn.Module, rules: LayerRules, name: str) -> None:
    if not rules.has_classifier(network):
        raise InputError(f"{name}: layer {LOGITS!r}: this network has no classifier")


def _cut_by_hook(run: DryRun, layer: str | None, pooling: str | None, dim: int | None) -> Cut:
    """Cut a network that cannot be traced; its classifier may be taken off."""
    network, name, rules = run.network, run.name, run.rules
    modules = dict(network.named_modules())
    del modules[""]
    if layer is None:
        heads = [n for n, m in modules.items() if isinstance(m, nn.Linear)]
        if not heads:
            raise InputError(f"{name}: it cannot be traced and has no linear layer, so name a layer")
        layer = f"{heads[-1]}:input"
        rules.require_untraced_embedding(network, heads[-1], name)
    elif layer == LOGITS and not hasattr(network, LOGITS):
        _require_classifier(network, rules, name)
    elif layer.removesuffix(":input") not in modules:
        raise UnknownName(f"layer of {name}", layer, list(modules))
    if dim is None or pooling is None:
        # On a copy, because the hooks stay.
        whole = HookedFeatures(copy.deepcopy(network), [(layer, "identity")])
        shape = run.shape(whole, layer)
        pooling = run.pooling(pooling, shape, layer)
        dim = embedding_dim(shape, pooling)
        if pooling in AVERAGED and not run.shows_channels(shape):
            run.require_channels(shape, run.larger_shape(whole), layer)
    head, _, side = layer.partition(":")
    if side and isinstance(network.get_submodule(head), nn.Linear):
        network.set_submodule(head, nn.Identity())  # so that no classifier is run or trained for nothing
    module = HookedFeatures(network, [(layer, pooling)]).eval()
    return Cut(module, layer, pooling, dim, (f"{head}.",) if side else ())


def _resolve_by_hook(
    run: DryRun, layer: str | None, pooling: str | None, strict: bool
) -> tuple[str, str, int] | InputError:
    # Cutting may take the classifier off, so each layer is cut from a copy.
    run = replace(run, network=copy.deepcopy(run.network))
    try:
        part = _cut_by_hook(run, layer, pooling, None)
    except InputError as error:
        if strict:
            raise
        return error
    return part.layer, part.pooling, part.dim
