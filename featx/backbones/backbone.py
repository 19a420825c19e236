"""The backbone: an architecture, its weights, the layer where it is cut, and how its inputs are prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from featx.backbones.layers.blocks import (
    add_tables,
    group_layers,
    group_transformer,
    is_transformer,
    join_stem,
)
from featx.backbones.layers.cutting import Cut, cut
from featx.backbones.layers.hooks import HookedFeatures, modules_before
from featx.backbones.layers.pooling import Tap
from featx.backbones.loading import (
    fill,
    meta_network,
    one_at_a_time,
    random_network,
    uninitialised_network,
)
from featx.inputs.image.preprocess import Preprocessing

if TYPE_CHECKING:
    from featx.backbones.architectures import Architecture, Pretrained
    from featx.backbones.checkpoint import Checkpoint
    from featx.backbones.network_input import NetworkInput


@dataclass
class Backbone:
    """A network cut at a layer, as `featx.backbones.load_backbone` returns it; it is built when needed.

    Attributes
    ----------
    name : str
        ``"mobilenet_v2"``, or ``"timm:NAME"``; of a user's module, the label that it was given.
    weights_name : str or None
        Name of the published weights, or of the file they came from; ``"module"`` for those of a user's
        module; None for random ones.
    weights_sha256 : str
        Hash of the file; for random weights and a user's module, of the values.
    layer : str
        Node or module whose output is the embedding.
    pooling : {"avg", "max", "cls", "patches", "cls+patches", "none", "identity"}
        How positions become one vector; ``"identity"`` when the layer is a vector already.
    dim : int
        Length of an embedding, of one input of the network.
    tap : Tap
        Layer and pooling with what pooling must know of the layer's output.
    preprocessing : Preprocessing
        How images are prepared; `preparation` is the same under the name that fits any kind of input.
    architecture : Architecture
        How the network is built.
    pretrained : Pretrained or None
        The published weights; None for a user's own and for random ones.
    checkpoint : Checkpoint or None
        The file of weights; None for random ones and those of a user's module.
    seed : int
        Seed of random weights.
    """

    name: str
    weights_name: str | None
    weights_sha256: str
    tap: Tap
    dim: int
    preprocessing: Preprocessing
    architecture: Architecture = field(repr=False)
    pretrained: Pretrained | None = field(default=None, repr=False)
    checkpoint: Checkpoint | None = field(default=None, repr=False)
    seed: int = field(default=0, repr=False)
    _module: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def layer(self) -> str:
        """Node or module whose output is the embedding."""
        return self.tap.layer

    @property
    def pooling(self) -> str:
        """How positions become one vector."""
        return self.tap.pooling

    @property
    def trainable(self) -> bool:
        """Whether the network has gradients, so that it can be fine-tuned."""
        return self.architecture.trainable

    @property
    def about(self) -> dict[str, str]:
        """Facts about the weights that change no number: their ``licence``, where it is stated."""
        licence = None if self.pretrained is None else self.pretrained.licence
        return {} if licence is None else {"licence": licence}

    @property
    def preparation(self) -> Preprocessing:
        """How an input is prepared for the network: the same as `preprocessing`."""
        return self.preprocessing

    @property
    def row_dim(self) -> int:
        """Length of a row: `dim`, or several times that where rows of windows stand side by side."""
        return self.preparation.joined_dim(self.dim)

    @property
    def inputs(self) -> NetworkInput:
        """The step from prepared inputs to the network's tensors."""
        return self.architecture.input_type(self.preparation)

    @property
    def kind(self) -> str:
        """Kind of input, such as ``"image"``."""
        return self.architecture.input_type.kind

    @property
    def identity(self) -> dict[str, str]:
        """Everything that changes an embedding, except the preparation, as plain data.

        A user's weights are called ``"checkpoint"`` and not by the file's name, because a renamed file gives
        the same numbers; the sha256 tells files apart. A backbone without weights says ``"none"``.
        """
        if self.weights_name is None:
            weights = "random"
        elif self.pretrained is not None:
            weights = self.pretrained.name
        else:
            weights = self.weights_name if self.checkpoint is None else self.checkpoint.called
        return {
            "architecture": self.architecture.identity_name,
            "source": self.architecture.source,
            "weights": weights,
            "weights_sha256": self.weights_sha256,
            "layer": self.layer,
            "pooling": self.pooling,
            **self.architecture.identity,
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """Plain data from which ``load_backbone(**arguments)`` makes this backbone again.

        A user's file of weights is named by its path, which may differ on another machine. The arguments of a
        user's module lack the module, and say so by ``weights="module"``.
        """
        weights = None if self.checkpoint is not None else self.weights_name
        if self.pretrained is not None:
            weights = self.pretrained.name
        elif self.checkpoint is not None:
            weights = str(self.checkpoint.path)
        return {
            "name": self.name,
            "weights": weights,
            "layer": self.layer,
            "pooling": self.pooling,
            "preprocessing": self.preprocessing.to_dict(),
            "seed": self.seed,
        }

    @property
    @one_at_a_time
    def module(self) -> nn.Module:
        """The network from a batch of `inputs` to (n, dim), built once: frozen and in eval mode."""
        if self._module is None:
            self.keep(self.build())
        assert self._module is not None
        return self._module

    def keep(self, module: nn.Module) -> None:
        """Freeze a module that was cut already, and keep it as `module`."""
        self._module = module.eval().requires_grad_(False)

    @one_at_a_time
    def build(self) -> nn.Module:
        """Build a copy of the network that may be trained: in eval mode, with gradients on.

        The network was traced in eval mode. Modules such as BatchNorm, Dropout and stochastic depth follow
        ``train()``; functions that depend on the mode stay as in eval mode. A `WeightsError` says that the
        weights do not fit the architecture, or that their file has changed.
        """
        network = self.whole_network()
        part = self.cut(network)
        self.fill(network, part.module, part.behind)
        return part.module.requires_grad_(True)

    def whole_network(self) -> nn.Module:
        """Return the whole network, before `cut` and `fill`; random weights are in it already."""
        if self.checkpoint is None:
            return random_network(self.architecture, self.seed, self.inputs)
        return uninitialised_network(self.architecture, self.pretrained, self.inputs)

    def skeleton(self) -> nn.Module:
        """Return the whole network, to look at its layers; it has no values unless its weights are random."""
        if self.checkpoint is None:
            return random_network(self.architecture, self.seed, self.inputs)
        return meta_network(self.architecture, self.pretrained, self.inputs, pretrained_style=True)

    @cached_property
    def is_transformer(self) -> bool:
        """Whether the network is built as transformers are (`layers.blocks.is_transformer`)."""
        return is_transformer(self.skeleton())

    def cut(self, network: nn.Module) -> Cut:
        """Cut the whole network at the layer of this backbone."""
        return cut(
            network,
            self.inputs,
            name=self.name,
            known=(self.tap, self.dim),
            rules=self.architecture.rules,
        )

    def fill(self, network: nn.Module, module: nn.Module, behind: tuple[str, ...]) -> None:
        """Copy the weights into the whole network, from which `module` was cut; see `loading.fill`."""
        if self.checkpoint is not None:
            needed = set(module.state_dict()) if isinstance(module, fx.GraphModule) else None
            fill(
                network,
                self.checkpoint,
                self.architecture,
                pretrained=self.pretrained,
                needed=needed,
                behind=behind,
            )

    def blocks(self, module: nn.Module) -> list[list[str]]:
        """Return the blocks of `module` or of what `build` returned that have parameters, in order.

        Each block is a list of names, of modules or (class token, position embedding) of parameters. A
        convolution and the norm that follows it are one block; so is a stage of a ResNet (``layer1``), a
        child of ``features``, or a block of a transformer. The patch embedding of a transformer is its first
        block, with tokens and position embedding; of a network of audio, it is the convolutions at the input.
        The last norm belongs to the last block. Layers behind the embedding, which a network
        that is read by hooks has, belong to no block.
        """
        ran = None
        if isinstance(module, HookedFeatures):
            parameter = next(module.parameters())
            inputs = self.inputs.example(1, parameter.device)
            ran = [f"network.{name}" for name in modules_before(module, inputs)]
        if self.kind == "text":
            return add_tables(module, group_transformer(module, ran))
        if self.is_transformer:
            blocks = group_transformer(module, ran)
            return add_tables(module, join_stem(blocks)) if self.kind == "clip" else blocks
        return group_layers(module, ran)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_module": None}  # rebuilt from the file where it is unpickled
