"""Find a layer in a traced network: the node whose output it is, and the shape of what that gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.layers.dry_run import DryRun
from featx.backbones.layers.hooks import EMBEDDING, LOGITS, EmbeddingNetwork
from featx.backbones.layers.rules import LayerRules
from featx.backbones.layers.tracing import before_dropout, classifier_node, named_node, output_of, trace
from featx.errors import InputError


def trace_up_to(
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


def default_layer(run: DryRun, traced: tuple[fx.Graph, dict[fx.Node, str]] | None) -> str:
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


def find_node(graph: fx.Graph, names: dict[fx.Node, str], run: DryRun, layer: str) -> fx.Node:
    """Return the node whose output is the layer."""
    own = hasattr(run.network, layer) if layer in (LOGITS, EMBEDDING) else True
    if own:
        return named_node(names, layer, run.name)
    if layer == EMBEDDING:
        return output_of(graph)
    require_classifier(run.network, run.rules, run.name)
    out = output_of(graph)
    if not isinstance(out, fx.Node) or out not in names:
        raise InputError(f"{run.name}: layer {LOGITS!r}: its output is not a tensor; name a layer")
    return out


def require_classifier(network: nn.Module, rules: LayerRules, name: str) -> None:
    """Refuse the layer `LOGITS` of a network that has no classifier."""
    if not rules.has_classifier(network):
        raise InputError(f"{name}: layer {LOGITS!r}: this network has no classifier")


def end_at(network: nn.Module, graph: fx.Graph, node: fx.Node) -> fx.GraphModule:
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


def record_shapes(run: DryRun, graph: fx.Graph, nodes: dict[str, fx.Node]) -> dict[str, torch.Size | None]:
    """Return the shapes of what some nodes of a graph give for two inputs."""
    seen = _ShapeRecorder(fx.GraphModule(run.network, graph), set(nodes.values()))
    run.shape(seen.run, LOGITS)
    return {layer: seen.found[node] for layer, node in nodes.items()}


def larger_shapes(run: DryRun, graph: fx.Graph, nodes: dict[str, fx.Node]) -> dict[str, torch.Size | None]:
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
        return record_shapes(other, graph, {layer: named_node(names, layer, run.name) for layer in nodes})
    except InputError:
        return {}
