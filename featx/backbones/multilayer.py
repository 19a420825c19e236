"""Compute several layers of one network in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from featx.backbones.backbone import Backbone
from featx.backbones.layers import cut_several, unused_prefixes
from featx.backbones.loading import one_at_a_time
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing


@dataclass
class MultiLayerBackbone:
    """A network cut at several layers, whose embeddings stand side by side; used like a `Backbone`.

    Parameters
    ----------
    members : sequence of Backbone
        They differ in layer or pooling, and in nothing else; an `InputError` refuses others.
    """

    members: Sequence[Backbone]
    _module: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.members = tuple(self.members)
        first = self.members[0]
        for other in self.members[1:]:
            same = (other.name, other.weights_sha256, other.preprocessing, other.seed)
            if same != (first.name, first.weights_sha256, first.preprocessing, first.seed):
                raise InputError(f"{first.name} and {other.name} are not layers of one network")
        if len({(member.layer, member.pooling) for member in self.members}) < len(self.members):
            raise InputError(f"{first.name}: a layer is asked for twice")

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.members[0].name

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the network."""
        return self.members[0].preprocessing

    @property
    def preparation(self) -> Preprocessing:
        """Preparation of the network's inputs."""
        return self.members[0].preparation

    @property
    def inputs(self) -> NetworkInput:
        """The step from prepared inputs to the network's tensors."""
        return self.members[0].inputs

    @property
    def kind(self) -> str:
        """Kind of input."""
        return self.members[0].kind

    @property
    def dim(self) -> int:
        """Length of all embeddings together."""
        return sum(member.dim for member in self.members)

    @property
    @one_at_a_time
    def module(self) -> nn.Module:
        """The network from a batch of `inputs` to (n, dim), built once: frozen and in eval mode."""
        if self._module is None:
            self._module = self._build().eval().requires_grad_(False)
        return self._module

    def _build(self) -> nn.Module:
        first = self.members[0]
        network = first.whole_network()
        taps = [(member.layer, member.pooling) for member in self.members]
        module = cut_several(network, taps, name=self.name, rules=first.architecture.rules)
        behind = unused_prefixes(network, module) if isinstance(module, fx.GraphModule) else ()
        first.fill(network, module, behind)
        return module

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_module": None}


def combine_layers(members: Sequence[Backbone]) -> Any:
    """Return one backbone that computes all members in one forward pass; a single one is returned as is."""
    return members[0] if len(members) == 1 else MultiLayerBackbone(members)


def columns_of(backbone: Any) -> list[slice]:
    """Return the columns of a row that hold the embedding of each layer."""
    members = getattr(backbone, "members", (backbone,))
    columns, start = [], 0
    for member in members:
        columns.append(slice(start, start + member.dim))
        start += member.dim
    return columns
