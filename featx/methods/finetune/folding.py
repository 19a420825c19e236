"""Make a network faster without changing its result: fold BatchNorm, cut the frozen part off.

With its statistics fixed, a BatchNorm after a convolution is an affine map per channel, and the pair is
one convolution:

    BN(W * x) = (g W) * x + (b - g m),    g = gamma / sqrt(var + eps),    m = running mean.

`FoldedConv` works out g W from the original parameters in every forward pass, which costs as much as
the weights are large, and never touches an activation. Autograd sees the same function of W, gamma and
beta, so training is the same as with the two layers apart, and the memory and time of the BatchNorm's
activations are gone: MobileNetV2 trains 1.6 times as fast on a CPU.

`split_frozen` cuts the network where the trained part begins. What lies below is a pure function of the
image: it is folded for good, runs without gradients, and its output may be kept for images that come
again unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.backbones.loading import ThreadLocalTracing, copy_to_meta, one_at_a_time

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

    So it is with grouped convolutions of a stride: 75 against 8 ms for 96 channels at 48 x 48 and batch 32
    (torch 2.13, avx512_bf16), where the four of MobileNetV2 were half of a step.
    """
    return x.device.type == "cpu" and conv.groups > 1 and max(conv.stride) > 1


def trace(module: nn.Module, sample: torch.Tensor) -> fx.GraphModule | None:
    """Return the module as a graph that shares its parameters, or None when it cannot be traced.

    A trace that computes something else on `sample` (n, 3, h, w) counts as untraceable: a branch on a
    Python value would be frozen into the graph.
    """
    try:
        if isinstance(module, fx.GraphModule):
            graph = fx.GraphModule(module, copy.deepcopy(module.graph))
        else:
            graph = _symbolic_trace(module)
            with torch.no_grad():
                module(sample)  # one that keeps count of its calls is then ahead of its trace
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

    Pairs that are frozen altogether become one plain convolution. The modules that the graph was traced
    from keep their layers and their parameters.
    """
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
class Split:
    """A network in two parts: ``whole(x) == after(before(x))``.

    `before` maps a batch to a tuple of tensors with the batch first, without a trained parameter;
    `after` maps that tuple to the features (n, d). `cuts` says whether anything was cut off.
    """

    before: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    after: Callable[[tuple[torch.Tensor, ...]], torch.Tensor]
    cuts: bool


def whole(network: nn.Module) -> Split:
    """Return the split that cuts nothing off."""
    return Split(lambda x: (x,), lambda parts: network(parts[0]), cuts=False)


def split_frozen(graph: fx.GraphModule, sample: torch.Tensor) -> Split:
    """Cut a graph between its frozen lower part and the part that holds trained parameters.

    Parameters
    ----------
    graph : torch.fx.GraphModule
        With `requires_grad` set on what is trained.
    sample : torch.Tensor of shape (2, 3, h, w)
        Tells whether what crosses the cut has the batch as its first axis.

    Returns
    -------
    Split
        `whole(graph)` when there is nothing to cut off, or when something else than batches of tensors
        (a size read from a tensor, say) would cross the cut.
    """
    nodes = list(graph.graph.nodes)
    live: set[fx.Node] = set()
    for node in nodes:
        if node.op == "output" or _trains(graph, node) or any(n in live for n in node.all_input_nodes):
            live.add(node)
    crossing = [
        node
        for node in nodes
        if node not in live and node.op != "get_attr" and any(user in live for user in node.users)
    ]
    if all(node.op == "placeholder" for node in crossing):
        return whole(graph)

    lower, upper = fx.Graph(), fx.Graph()
    below: dict[fx.Node, fx.Node] = {}
    above: dict[fx.Node, fx.Node] = {}
    for node in crossing:
        above[node] = upper.placeholder(node.name)
    for node in nodes:
        if node not in live:
            below[node] = lower.node_copy(node, lambda n: below[n])
        if node in live or (node.op == "get_attr" and any(user in live for user in node.users)):
            above[node] = upper.node_copy(node, lambda n: above[n])
    lower.output(tuple(below[node] for node in crossing))
    before, after = fx.GraphModule(graph, lower), fx.GraphModule(graph, upper)

    split = Split(before, lambda parts: after(*parts), cuts=True)
    return split if _holds(split, graph, sample) else whole(graph)


@torch.no_grad()
def _holds(split: Split, graph: fx.GraphModule, sample: torch.Tensor) -> bool:
    """Check that only batches cross the cut, unchanged by the upper part, and that results agree."""
    parts = split.before(sample)
    if not all(isinstance(p, torch.Tensor) and p.ndim and len(p) == len(sample) for p in parts):
        return False
    versions = [part._version for part in parts]  # counts in-place operations
    found = split.after(parts)
    kept = versions == [part._version for part in parts]
    return kept and torch.allclose(found, graph(sample), rtol=1e-3, atol=1e-5)


def _trains(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(p.requires_grad for p in graph.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        value = graph
        for name in str(node.target).split("."):
            value = getattr(value, name)
        return isinstance(value, torch.Tensor) and value.requires_grad
    return False
