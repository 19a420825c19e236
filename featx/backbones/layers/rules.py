"""Check the default layer, which is found by rule, against what the library says of its networks.

The rule takes the input of the last linear layer or convolution. That is the embedding only where the network
has exactly one classifier, and nothing between it and the pooled features. Where the library says otherwise,
the embedding that the library itself computes is taken; where it computes none, the network is refused by
name: no wrong row may enter a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from featx.backbones.layers.pooling import POOLS, Tap
from featx.backbones.layers.tracing import classifier_node
from featx.errors import InputError

ADVICE = "name a layer with layer=, or use another network"


class LayerRules:
    """Rules for torchvision's networks and others built alike; a source with other rules has a subclass."""

    #: Children of a network that are or contain its classifier.
    heads: tuple[str, ...] = ("fc", "classifier", "head", "heads")
    #: Whether networks are traced; the layers of others are the modules of the network, read by hooks.
    traceable: bool = True
    #: The pooling of positions where none is asked for; None for the average of maps, ``"avg"``.
    default_pooling: str | None = None
    #: Whether the embedding that the library computes has its channels where most networks have them.
    states_channels: bool = True

    def listing(self, name: str) -> str:
        """Say how the layers of the network of that name are listed."""
        return f"featx backbones {name} --layers"

    def untraced(self) -> tuple[list[type[nn.Module]], list[Any]]:
        """Return the modules and functions that tracing leaves whole, as one node each."""
        return [], []

    def own_name(self, network: Any, layer: str) -> str:
        """Return the name that the network gives to a layer, which may have one in all networks of a kind.

        The layer ``"projection"`` of a network like CLIP is the image embedding in the space of texts.
        """
        return layer

    def has_classifier(self, network: nn.Module) -> bool:
        """Return whether the network ends in class scores."""
        return True

    def require_embedding(
        self, network: nn.Module, graph: fx.Graph, names: dict[fx.Node, str], node: fx.Node, name: str
    ) -> None:
        """Refuse a network unless `node`, found by rule, gives its embedding.

        `graph` and `names` are those of `featx.backbones.layers.tracing.trace`. The `InputError` states the
        network, the layer, and why it is not the right one.
        """
        classifier = classifier_node(graph, network)
        target = "" if classifier is None else str(classifier.target)
        if target.partition(".")[0] not in self.heads:
            raise InputError(
                f"{name}: its last layer with weights, {target!r}, is not the classifier; {ADVICE}"
            )

    def require_untraced_embedding(self, network: nn.Module, head: str, name: str) -> None:
        """Refuse a network that cannot be traced, unless its last linear layer, `head`, is its classifier."""
        if head.partition(".")[0] not in self.heads:
            raise InputError(f"{name}: its last linear layer, {head!r}, is not the classifier; {ADVICE}")

    def stated_dim(self, network: nn.Module, classifier: fx.Node | None) -> int | None:
        """Return the length of an embedding according to the library."""
        module: Any = None if classifier is None else network.get_submodule(str(classifier.target))
        return getattr(module, "in_features", None) or getattr(module, "in_channels", None)

    def default_layer(self, network: nn.Module) -> str | None:
        """Return the layer of the embedding, where the source states one by name."""
        return None

    def later_layers(self, network: nn.Module) -> list[str]:
        """Return layers that come after the default one and are worth trying, in order; not the logits."""
        return []

    def has_embedding(self, network: nn.Module) -> bool:
        """Return whether the library itself computes an embedding, and `embed` does as it does."""
        return False

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the embedding that the library itself computes of a batch: (n, dim) or with positions."""
        raise NotImplementedError

    def run(self, network: Any, x: Tensor) -> Any:
        """Run the whole network on a batch of its inputs."""
        return network(x)

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int] | None:
        """Return how a layer of this shape is pooled and the length of the embedding.

        None, the default, leaves it to `DryRun.find_tap`. `name` is that of the network, for messages.
        """
        return None

    def pool(self, network: Any, tap: Tap, output: Tensor, x: Tensor) -> Tensor:
        """Return one row (n, dim) for each input in the batch `x`, of the output of the layer of `tap`."""
        return POOLS[tap.pooling](output, tap.channels, tap.prefix)

    def prefix_tokens(self, network: Any) -> int:
        """Return how many tokens (class, registers) stand before those of patches."""
        return 1 if isinstance(getattr(network, "class_token", None), nn.Parameter) else 0

    def has_class_token(self, network: Any) -> bool:
        """Return whether the first of the tokens before those of patches is that of the class."""
        return self.prefix_tokens(network) > 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return the numbers of tokens that its layers may have, as the network states them."""
        length = getattr(network, "seq_length", None)
        return (length,) if isinstance(length, int) else ()


class EmbeddingRules(LayerRules):
    """Rules of networks that are built without a classifier: `embed` gives the embedding, hooks read layers.

    A subclass must define `embed`.
    """

    traceable = False

    def default_layer(self, network: nn.Module) -> str:
        """Return the layer that `embed` computes."""
        return "embedding"

    def has_classifier(self, network: nn.Module) -> bool:
        """Return False."""
        return False

    def has_embedding(self, network: nn.Module) -> bool:
        """Return True."""
        return True
