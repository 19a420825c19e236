"""Check the layer that is taken by rule against what the library itself says of its network.

The rule takes the input of the last linear layer or convolution. That is the classifier's input only where
the network has a classifier, one alone, and nothing between it and the pooled embedding. Where the library
says otherwise, the network is refused by name: a wrong row must not enter a cache.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from featx.backbones.tracing import before_dropout, classifier_node, trace
from featx.errors import InputError

#: Children of a network of torchvision that are, or hold, its classifier.
_TORCHVISION_HEADS = ("fc", "classifier", "head", "heads")
_ADVICE = "name a layer with layer=, or use another network"


class _PooledByTimm(nn.Module):
    """A network of timm up to the embedding that timm itself gives."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        network: Any = self.network
        return network.forward_head(network.forward_features(x), pre_logits=True)


def require_classifier_input(
    network: nn.Module, graph: fx.Graph, names: dict[fx.Node, str], node: fx.Node, name: str, timm: bool
) -> None:
    """Refuse a network whose default layer is not what its library says.

    Parameters
    ----------
    network : torch.nn.Module
    graph, names
        As `featx.backbones.tracing.trace` gave them.
    node : torch.fx.Node
        The default layer, found by rule.
    name : str
        Of the network, for messages.
    timm : bool
        Whether the network is timm's; else it is torchvision's.

    Raises
    ------
    InputError
        Naming the network, the layer, and why it is not the right one.
    """
    if timm:
        _require_one_classifier(network, name)
        pooled = _pooled_name(network, name)
        found = names.get(before_dropout(network, node, flattened=True))
        if pooled != found:
            raise InputError(
                f"{name}: the layer found by rule, {names.get(node)!r}, is not the embedding that timm "
                f"gives, {pooled!r}; this network is not supported by default: {_ADVICE}"
            )
    else:
        classifier = classifier_node(graph, network)
        target = "" if classifier is None else str(classifier.target)
        if target.partition(".")[0] not in _TORCHVISION_HEADS:
            raise InputError(f"{name}: its last layer with weights, {target!r}, is no classifier; {_ADVICE}")


def require_hooked_head(network: nn.Module, head: str, name: str, timm: bool) -> None:
    """Refuse a network that cannot be traced and whose last linear layer `head` is no classifier.

    Raises
    ------
    InputError
    """
    if timm:
        raise InputError(
            f"{name}: this network cannot be traced, so its embedding cannot be found, and it is not "
            f"supported by default: {_ADVICE}"
        )
    if head.partition(".")[0] not in _TORCHVISION_HEADS:
        raise InputError(f"{name}: its last linear layer, {head!r}, is no classifier; {_ADVICE}")


def _require_one_classifier(network: nn.Module, name: str) -> None:
    if getattr(network, "num_classes", None) == 0:
        raise InputError(
            f"{name}: this network has no classifier, so its embedding cannot be found by rule, and it is "
            f"not supported by default: {_ADVICE}"
        )


def require_dim(
    network: nn.Module, classifier: fx.Node | None, dim: int, layer: str, name: str, timm: bool
) -> None:
    """Refuse a default layer whose embedding has another length than the library says.

    Raises
    ------
    InputError
    """
    if timm:
        stated = getattr(network, "head_hidden_size", None) or getattr(network, "num_features", None)
    else:
        module: Any = None if classifier is None else network.get_submodule(str(classifier.target))
        stated = getattr(module, "in_features", None) or getattr(module, "in_channels", None)
    if stated != dim:
        raise InputError(
            f"{name}: its default layer {layer!r} gives {dim} values, and the library says {stated}; this "
            f"network is not supported by default: {_ADVICE}"
        )


def _pooled_name(network: nn.Module, name: str) -> str | None:
    """Name of the node that timm's own pooled embedding is, in a graph of the whole network."""
    traced = trace(_PooledByTimm(network), True)
    if traced is None:
        raise InputError(f"{name}: the embedding that timm gives cannot be traced; {_ADVICE}")
    graph, names = traced
    (out,) = next(node for node in reversed(graph.nodes) if node.op == "output").args
    found = before_dropout(_PooledByTimm(network), out, flattened=True)
    pooled = names.get(found) if isinstance(found, fx.Node) else None
    return None if pooled is None else pooled.removeprefix("network.")
