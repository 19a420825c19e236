"""What is known of the layers of a module whose library is not known."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from featx.backbones.layers.rules import LayerRules
from featx.errors import InputError


class ModuleLayerRules(LayerRules):
    """Rules for a module whose library is not known.

    Its default layer is what it returns. Only where its last layer with weights is in a child named as
    classifiers are (`heads`), and the module returns the output of that layer, the input of that layer is the
    default.

    Parameters
    ----------
    has_head : bool
        Whether the module ends in a classifier.
    traceable : bool
        Whether the traced graph computes what the module does.
    size : tuple of int
        Height and width of the images.
    """

    states_channels = False

    def __init__(self, has_head: bool, traceable: bool, size: tuple[int, int]):
        self.has_head, self.traceable, self.size = has_head, traceable, size

    def listing(self, name: str) -> str:
        """Say how the layers are listed."""
        return "featx.backbones.list_layers"

    def has_classifier(self, network: nn.Module) -> bool:
        """Return whether the module ends in a classifier."""
        return self.has_head

    def require_embedding(
        self, network: nn.Module, graph: fx.Graph, names: dict[fx.Node, str], node: fx.Node, name: str
    ) -> None:
        """Refuse the input of the last layer where that layer is no classifier."""
        self.require_untraced_embedding(network, "", name)

    def require_untraced_embedding(self, network: nn.Module, head: str, name: str) -> None:
        """Refuse the input of the last layer where that layer is no classifier."""
        if not self.has_head:
            raise InputError(f"{name}: it does not end in a classifier")

    def stated_dim(self, network: nn.Module, classifier: fx.Node | None) -> int | None:
        """Return None: nothing is stated."""
        return None

    def has_embedding(self, network: nn.Module) -> bool:
        """Return True: what the module returns is an embedding."""
        return True

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return what the module returns."""
        out: Tensor = network(x)
        return out

    def prefix_tokens(self, network: Any) -> int:
        """Return the number of class and register tokens that the module holds as parameters."""
        for name, _ in network.named_parameters():
            parent, _, last = name.rpartition(".")
            if last in ("cls_token", "class_token", "class_embedding"):
                registers: Any = getattr(network.get_submodule(parent), "register_tokens", None)
                known = isinstance(registers, Tensor) and registers.dim() == 3
                return 1 + (int(registers.shape[1]) if known else 0)
        return 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return the number of patches, and of patches with prefix tokens."""
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                (high, wide), stride = self.size, module.stride
                if module.kernel_size != stride or max(module.kernel_size) < 2:
                    return ()
                patches = (high // int(stride[0])) * (wide // int(stride[1]))
                return tuple(sorted({patches, patches + self.prefix_tokens(network)}))
        return ()


class AudioModuleRules(ModuleLayerRules):
    """The same for a module that takes audio; arguments as there."""

    default_pooling = "mean"

    def __init__(self, has_head: bool, traceable: bool):
        super().__init__(has_head, traceable, (0, 0))

    def prefix_tokens(self, network: Any) -> int:
        """Return 0: audio has no patches."""
        return 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return nothing: the number of positions is not known."""
        return ()
