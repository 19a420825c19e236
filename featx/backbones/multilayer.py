"""Several layers of one network: list them, load a backbone at each, and compute them in one forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

from torch import fx, nn

from featx.backbones.backbone import Backbone
from featx.backbones.graphs.network import GraphNetwork, LayerNeeded
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.blocks import group_layers, group_transformer
from featx.backbones.layers.cutting import (
    LOGITS,
    cut_several,
    modules_behind,
    resolve_layers,
    unused_prefixes,
)
from featx.backbones.layers.hooks import HookedFeatures, modules_before
from featx.backbones.layers.pooling import Tap
from featx.backbones.loading import meta_network, one_at_a_time
from featx.backbones.network_input import NetworkInput
from featx.backbones.registry import load_backbone
from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing
from featx.options import checked


@dataclass(frozen=True)
class LayerInfo:
    """A layer of a network.

    Attributes
    ----------
    name : str
        What to give as `layer`.
    dim : int
        Length of the embedding: the channels, where the layer has positions to average.
    depth : int
        Place in the order of computation, from 1.
    is_default : bool
        Whether this layer is taken when none is named.
    """

    name: str
    dim: int
    depth: int
    is_default: bool


@checked()
def list_layers(
    name: str | nn.Module | Backbone,
    *,
    weights: Any = "default",
    preprocessing: Any = None,
    image_size: int | None = None,
    max_length: int | None = None,
    long: str | None = None,
    prefix: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    join: str | None = None,
    trust_code: bool = False,
) -> list[LayerInfo]:
    """List the candidate layers of a backbone: the output of each block, the default layer, the logits.

    A detector has its maps after the default layer instead of logits.

    Parameters
    ----------
    name : str, torch.nn.Module or Backbone
        A name or a network of your own, as for `load_backbone`, or a loaded backbone.
    weights, preprocessing, image_size, max_length, long, prefix, window, hop, join, trust_code
        As for `load_backbone`; without effect on a loaded backbone.

    Returns
    -------
    list of LayerInfo
        In the order of computation. A network without a classifier has no ``"logits"``. Any other node or
        module of the network can be taken, too; these are worth trying. A warning names the blocks that are
        left out because it is not known which axis of their output holds the channels.
    """
    settings = InputSettings(preprocessing, image_size, max_length, long, prefix, window, hop, join)
    base, has_default = _load_any_layer(name, settings, weights=weights, trust_code=trust_code)
    rules, network = base.architecture.rules, base.skeleton()
    asked = [*_candidates(base, has_default), *rules.later_layers(network)]
    if has_default and rules.has_classifier(network):
        asked.append(LOGITS)
    return [
        LayerInfo(layer or tap.layer, dim, depth, layer is None)
        for depth, (layer, (tap, dim)) in enumerate(_usable(base, asked), 1)
    ]


@checked()
@one_at_a_time
def load_layers(
    name: str | nn.Module | Backbone,
    layers: str | Sequence[str | None] = "all",
    *,
    weights: Any = "default",
    pooling: str | None = None,
    preprocessing: Any = None,
    image_size: int | None = None,
    max_length: int | None = None,
    long: str | None = None,
    prefix: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    join: str | None = None,
    trust_code: bool = False,
) -> list[Backbone]:
    """Load a backbone cut at each of several layers; `combine_layers` computes them in one forward pass.

    Parameters
    ----------
    name : str, torch.nn.Module or Backbone
        A name, a network of your own, or a loaded backbone, whose weights and size are kept.
    layers : "all" or sequence of str or None, default="all"
        ``"all"``: those of `list_layers` without the logits. None stands for the default layer, or for that
        of the loaded backbone.
    weights, pooling, preprocessing, image_size, max_length, long, prefix, window, hop, join, trust_code
        As for `load_backbone`; `pooling` is for layers that have positions.

    Returns
    -------
    list of Backbone
        In the order asked for; a layer that is named twice is loaded once.
    """
    settings = InputSettings(preprocessing, image_size, max_length, long, prefix, window, hop, join)
    base, has_default = _load_any_layer(name, settings, weights=weights, trust_code=trust_code)
    if isinstance(layers, str) and layers == "all":
        asked = _candidates(base, has_default)
        found = dict(_usable(base, [layer for layer in asked if layer is not None], pooling))
        asked = [layer for layer in asked if layer is None or layer in found]
    else:
        asked = [layers] if isinstance(layers, str) else list(layers)
        others = [layer for layer in asked if layer is not None]
        found = dict(zip(others, _resolved(base, others, pooling), strict=True)) if others else {}
    cuts: dict[Tap, Backbone] = {}
    for layer in asked:
        tap, dim = (base.tap, base.dim) if layer is None else found[layer]
        cuts.setdefault(tap, base if layer is None else replace(base, tap=tap, dim=dim))
    return list(cuts.values())


def has_logits(backbone: Backbone) -> bool:
    """Return whether the network has a classifier of its own."""
    return backbone.architecture.rules.has_classifier(backbone.skeleton())


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
            same = (other.name, other.weights_sha256, other.preprocessing.identity, other.seed)
            if same != (first.name, first.weights_sha256, first.preprocessing.identity, first.seed):
                raise InputError(f"{first.name} and {other.name} are not layers of one network")
        if len({member.tap for member in self.members}) < len(self.members):
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
    def about(self) -> dict[str, str]:
        """Facts about the weights that change no number."""
        return self.members[0].about

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
    def is_transformer(self) -> bool:
        """Whether the network is built as transformers are."""
        return self.members[0].is_transformer

    @property
    def dim(self) -> int:
        """Length of all embeddings together."""
        return sum(member.dim for member in self.members)

    @property
    def row_dim(self) -> int:
        """Length of a row, of all layers together."""
        return sum(member.row_dim for member in self.members)

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
        taps = [member.tap for member in self.members]
        module = cut_several(network, taps, name=self.name, rules=first.architecture.rules)
        behind = unused_prefixes(network, module) if isinstance(module, fx.GraphModule) else ()
        first.fill(network, module, behind)
        return module

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_module": None}


def combine_layers(members: Sequence[Backbone]) -> Any:
    """Return one backbone that computes all members in one forward pass; a single one is returned as is."""
    return members[0] if len(members) == 1 else MultiLayerBackbone(members)


def columns_of(backbone: Any, *, joined: bool = True) -> list[slice]:
    """Return the columns of a row that hold each layer.

    With `joined`, of the row of a whole input; else of the row that the network gives for one window.
    """
    members = getattr(backbone, "members", (backbone,))
    ends = list(accumulate((m.row_dim if joined else m.dim for m in members), initial=0))
    return [slice(*pair) for pair in pairwise(ends)]


def _resolved(
    base: Backbone, layers: Sequence[str | None], pooling: str | None = None, *, strict: bool = True
) -> list[Any]:
    return resolve_layers(
        base.skeleton(),
        base.inputs,
        layers,
        name=base.name,
        pooling=pooling,
        rules=base.architecture.rules,
        resized=partial(meta_network, base.architecture, base.pretrained, pretrained_style=True),
        strict=strict,
    )


def _usable(
    base: Backbone, layers: Sequence[str | None], pooling: str | None = None
) -> list[tuple[Any, tuple[Tap, int]]]:
    """Resolve the layers that can be pooled, and warn of the others by name."""
    found = list(zip(layers, _resolved(base, layers, pooling, strict=False), strict=True)) if layers else []
    left_out = [str(layer) for layer, told in found if isinstance(told, InputError)]
    if left_out:
        warnings.warn(
            f"{base.name}: {len(left_out)} of its layers are left out, since it is not known which axis of "
            f"their output holds the channels: {', '.join(left_out)}; pooling='none' takes one whole",
            stacklevel=4,
        )
    return [(layer, told) for layer, told in found if not isinstance(told, InputError)]


def _load_any_layer(name: Any, settings: InputSettings, **how: Any) -> tuple[Backbone, bool]:
    """Load a backbone cut at its default layer, or anywhere where it has none; say whether it has."""
    if isinstance(name, Backbone):
        return name, True
    how |= vars(settings)
    try:
        return load_backbone(name, **how), True
    except LayerNeeded as error:
        layer = error.known[0]
    return load_backbone(name, **how, layer=layer, pooling="none"), False


def _candidates(base: Backbone, has_default: bool = True) -> list[str | None]:
    """Return the last module of each block before the layer of `base`, then None for that layer.

    Of a network without a default layer, return all that are worth trying.
    """
    network = base.skeleton()
    if isinstance(network, GraphNetwork):
        candidates = network.graph.candidates
        if not has_default:
            return [candidate for candidate in candidates if candidate != network.graph.output]
        order = {tensor: place for place, tensor in enumerate(network.graph.tensors)}
        return [*(c for c in candidates if order[c] < order[base.layer]), None]
    module = base.cut(network).module
    if base.kind == "text":
        grouped = group_transformer(module)
    elif base.kind == "clip" and base.is_transformer:
        grouped = _without_stem(module, group_transformer(module))
    else:
        grouped = group_layers(module)
    blocks = [block[-1] for block in grouped]
    if isinstance(module, HookedFeatures):
        parameter = next(network.parameters(), None)
        device = "cpu" if parameter is None else parameter.device
        ran = modules_before(module, base.inputs.example(1, device))
        blocks = [block.removeprefix("network.") for block in blocks]
        if base.kind == "text":  # tables of tokens and positions, which look at no text as a whole
            tables = {name for name, part in network.named_modules() if isinstance(part, nn.Embedding)}
            blocks = [block for block in blocks if block not in tables]
        blocks = sorted((block for block in blocks if block in ran), key=ran.index)
    elif isinstance(module, fx.GraphModule):
        # A block that is cut in two ends behind the layer.
        behind = modules_behind(network, module, base.architecture.rules)
        blocks = [block for block in blocks if not any(name.startswith(f"{block}.") for name in behind)]
    return [*blocks, None]


def _without_stem(module: nn.Module, blocks: list[list[str]]) -> list[list[str]]:
    """Return the blocks that stand in lists, without what is before them, whose channels come first."""
    lists = {name for name, part in module.named_modules() if isinstance(part, nn.ModuleList)}
    listed = [block for block in blocks if any(name.rpartition(".")[0] in lists for name in block)]
    return listed or blocks
