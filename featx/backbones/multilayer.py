"""Several layers of one network, computed in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from featx.backbones.backbone import Backbone
from featx.backbones.layers import cut_several, unused
from featx.backbones.loading import one_at_a_time
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing


@dataclass
class MultiLayerBackbone:
    """A network cut at several layers, whose embeddings stand side by side; runs wherever a `Backbone` does.

    Parameters
    ----------
    members : sequence of Backbone
        Of one architecture, with the same weights and preprocessing.

    Raises
    ------
    InputError
        If they differ in more than layer and pooling, or two are the same.
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
        """Of the network."""
        return self.members[0].name

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the network."""
        return self.members[0].preprocessing

    @property
    def preparation(self) -> Preprocessing:
        """Of the network."""
        return self.members[0].preparation

    @property
    def inputs(self) -> NetworkInput:
        """Of the network."""
        return self.members[0].inputs

    @property
    def kind(self) -> str:
        """Of the network."""
        return self.members[0].kind

    @property
    def dim(self) -> int:
        """Of all embeddings together."""
        return sum(member.dim for member in self.members)

    @property
    @one_at_a_time
    def module(self) -> nn.Module:
        """The frozen network, built once: normalised float (n, 3, h, w) to (n, dim)."""
        if self._module is None:
            self._module = self._build().eval().requires_grad_(False)
        return self._module

    def _build(self) -> nn.Module:
        first = self.members[0]
        network = first.unfilled()
        taps = [(member.layer, member.pooling) for member in self.members]
        module = cut_several(network, taps, name=self.name, rules=first.architecture.rules)
        first.fill(network, module, unused(network, module) if isinstance(module, fx.GraphModule) else ())
        return module

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_module": None}


def combine_layers(members: Sequence[Backbone]) -> Any:
    """Return what computes all of them in one forward pass: of a single one the backbone itself."""
    return members[0] if len(members) == 1 else MultiLayerBackbone(members)


def columns_of(backbone: Any) -> list[slice]:
    """Return the columns of a row that hold the embedding of each layer; of a single layer, all."""
    members = getattr(backbone, "members", (backbone,))
    columns, start = [], 0
    for member in members:
        columns.append(slice(start, start + member.dim))
        start += member.dim
    return columns
