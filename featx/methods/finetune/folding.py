"""Make training faster without changing its result: fold BatchNorm, cut the frozen part off.

With fixed statistics, a BatchNorm after a convolution is an affine map per channel, and the pair is one
convolution:

    BN(W * x) = (g W) * x + (b - g m),    g = gamma / sqrt(var + eps),    m = running mean.

`FoldedConv` computes g W from the original parameters in every forward pass: its cost depends on the size of
the weights, not of the activations. Autograd sees the same function of W, gamma and beta, so training is the
same as with two layers, without the memory and time of the BatchNorm's activations: MobileNetV2 trains 1.6
times as fast on a CPU.

`cut_frozen_part` cuts the network where the trained part begins. The part below is a pure function of the
image: it is folded for good, runs without gradients, and its output may be stored for images that come again
unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.backbones.loading import ThreadLocalTracing, copy_to_meta, one_at_a_time
from featx.engines.folding import is_plain
from featx.methods.finetune.activations import Parts

#: What torch.fx raises on networks whose Python cannot be traced (branches on values, unknown types).
_UNTRACEABLE = (
    fx.proxy.TraceError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class FoldedConv(nn.Module):
    """Run a convolution and the BatchNorm behind it as one convolution; both keep their parameters."""

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d):
        super().__init__()
        self.conv, self.bn = conv, bn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, bn = self.conv, self.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        bias = bn.bias - bn.running_mean * gain
        if conv.bias is not None:
            bias = bias + conv.bias * gain
        weight = conv.weight * gain[:, None, None, None]
        if x.dtype == torch.bfloat16 and _is_slow_in_bf16(conv, x):
            with torch.autocast("cpu", enabled=False):
                return conv._conv_forward(x.float(), weight, bias).to(x.dtype)
        return conv._conv_forward(x, weight, bias)


def _is_slow_in_bf16(conv: nn.Conv2d, x: torch.Tensor) -> bool:
    """Tell whether oneDNN takes ten times as long for this gradient in bfloat16 as in float32.

    Grouped convolutions with a stride take 75 instead of 8 ms for 96 channels at 48 x 48 and batch 32 (torch
    2.13, avx512_bf16); the four of MobileNetV2 were half of a step.
    """
    return x.device.type == "cpu" and conv.groups > 1 and max(conv.stride) > 1


def trace(module: nn.Module, sample: torch.Tensor) -> fx.GraphModule | None:
    """Return the module as a graph that shares its parameters, or None when it cannot be traced.

    A graph that computes something else on `sample` (n, 3, h, w) is discarded: tracing may have fixed a
    branch on a Python value.
    """
    try:
        if isinstance(module, fx.GraphModule):
            graph = fx.GraphModule(module, copy.deepcopy(module.graph))
        else:
            graph = _symbolic_trace(module)
            with torch.no_grad():
                module(sample)  # a module that counts its calls now differs from its graph
        with torch.no_grad():
            same = torch.allclose(graph(sample), module(sample), rtol=1e-3, atol=1e-5)
    except _UNTRACEABLE:
        return None
    return graph.eval() if same else None


class _Tracer(ThreadLocalTracing, fx.Tracer):
    pass


@one_at_a_time
def _symbolic_trace(module: nn.Module) -> fx.GraphModule:
    # The graph of a copy, as other threads may be running the module itself.
    return fx.GraphModule(module, _Tracer().trace(copy_to_meta(module)))


def fold(graph: fx.GraphModule) -> fx.GraphModule:
    """Fold every BatchNorm that directly follows a convolution, in place.

    Pairs without trained parameters become one plain convolution. The modules that the graph was traced from
    keep their layers and parameters.
    """
    # `featx.engines.folding` folds a frozen network in double precision. Here trained pairs keep their
    # parameters, and frozen pairs are folded in single precision, as `FoldedConv` does.
    modules = dict(graph.named_modules())
    calls: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or calls[str(node.target)] > 1:
            continue
        bn, source = modules[str(node.target)], node.args[0] if node.args else None
        if not _is_foldable_bn(bn) or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        conv = modules[str(source.target)]
        if type(conv) is not nn.Conv2d or len(source.users) != 1 or calls[str(source.target)] > 1:
            continue
        if not (is_plain(conv) and is_plain(bn)):
            continue
        parent, _, name = str(source.target).rpartition(".")
        setattr(graph.get_submodule(parent), name, _folded(conv, bn))
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _is_foldable_bn(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.affine and module.running_var is not None


def _folded(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Module:
    if any(p.requires_grad for layer in (conv, bn) for p in layer.parameters()):
        return FoldedConv(conv, bn)
    return fuse_conv_bn_eval(conv, bn).requires_grad_(False)


@dataclass
class CutNetwork:
    """A network in two parts: ``network(x) == upper(lower(x))``.

    `lower` has no trained parameter; `upper` returns the features (n, d). `is_cut` is False if `lower` only
    passes the batch on.
    """

    lower: Callable[[torch.Tensor], Parts]
    upper: Callable[[Parts], torch.Tensor]
    is_cut: bool


def uncut(network: nn.Module) -> CutNetwork:
    """Return the network with an empty lower part."""
    return CutNetwork(lambda x: (x,), lambda parts: network(parts[0]), is_cut=False)


def cut_frozen_part(graph: fx.GraphModule, sample: torch.Tensor) -> CutNetwork:
    """Cut a graph below the first trained parameters, those with `requires_grad`.

    The result is uncut if nothing is frozen, or if anything but tensors with the batch first (for example a
    size read from a tensor) would cross the cut; `sample` (2, 3, h, w) shows that.
    """
    nodes = list(graph.graph.nodes)
    live: set[fx.Node] = set()  # nodes that depend on trained parameters
    for node in nodes:
        if node.op == "output" or _has_trained(graph, node) or any(n in live for n in node.all_input_nodes):
            live.add(node)
    crossing = [
        node
        for node in nodes
        if node not in live and node.op != "get_attr" and any(user in live for user in node.users)
    ]
    if all(node.op == "placeholder" for node in crossing):
        return uncut(graph)

    lower_graph, upper_graph = fx.Graph(), fx.Graph()
    below: dict[fx.Node, fx.Node] = {}
    above: dict[fx.Node, fx.Node] = {}
    for node in crossing:
        above[node] = upper_graph.placeholder(node.name)
    for node in nodes:
        if node not in live:
            below[node] = lower_graph.node_copy(node, lambda n: below[n])
        if node in live or (node.op == "get_attr" and any(user in live for user in node.users)):
            above[node] = upper_graph.node_copy(node, lambda n: above[n])
    lower_graph.output(tuple(below[node] for node in crossing))
    lower, upper = fx.GraphModule(graph, lower_graph), fx.GraphModule(graph, upper_graph)

    cut = CutNetwork(lower, lambda parts: upper(*parts), is_cut=True)
    return cut if _is_exact(cut, graph, sample) else uncut(graph)


@torch.no_grad()
def _is_exact(cut: CutNetwork, graph: fx.GraphModule, sample: torch.Tensor) -> bool:
    """Check that only batches cross the cut, unchanged by the upper part, and that results agree."""
    parts = cut.lower(sample)
    if not all(isinstance(p, torch.Tensor) and p.ndim and len(p) == len(sample) for p in parts):
        return False
    versions = [part._version for part in parts]  # counts in-place operations
    found = cut.upper(parts)
    unchanged = versions == [part._version for part in parts]
    return unchanged and torch.allclose(found, graph(sample), rtol=1e-3, atol=1e-5)


def _has_trained(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(p.requires_grad for p in graph.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        value = graph
        for name in str(node.target).split("."):
            value = getattr(value, name)
        return isinstance(value, torch.Tensor) and value.requires_grad
    return False
