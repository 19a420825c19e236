"""Load backbones by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from featx.backbones.architectures import Architecture, BackboneSource, Pretrained
from featx.backbones.backbone import Backbone
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.cutting import Cut, cut
from featx.backbones.layers.pooling import Tap
from featx.backbones.loading import (
    fill,
    meta_network,
    one_at_a_time,
    random_network,
    uninitialised_network,
    values_sha256,
)
from featx.backbones.own.module import load_module
from featx.backbones.sources import find_architecture
from featx.backbones.sources.hub import HubEntry
from featx.backbones.torch_hub.network import load_hub_network
from featx.backbones.tuned import TunedBackbone, fill_values
from featx.backbones.values import TUNED
from featx.backbones.weights import choose_weights
from featx.errors import InputError, UnknownName, WeightsError
from featx.options import checked


@checked()
@one_at_a_time
def load_backbone(
    backbone: str | nn.Module | None = None,
    *,
    name: str | None = None,
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    preprocessing: Any = None,
    image_size: int | None = None,
    max_length: int | None = None,
    long: str | None = None,
    prefix: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    join: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
) -> Backbone:
    """Load a backbone by name, or make one from a module of your own.

    For a name, the weights are found and checked now, and the network is built when it is needed. A module is
    copied and not changed; the copy runs in eval mode and in fp32 or less, whatever mode, device and dtype
    the module has.

    Parameters
    ----------
    backbone : str or torch.nn.Module
        A classification network of torchvision; ``"timm:NAME"`` or ``"timm:NAME.TAG"``; a network of images
        or texts of transformers, ``"hf:NAME"`` or ``"hf:FOLDER"``; a graph file,
        ``"onnx:FILE"`` or ``"onnx:FILE#TENSOR"`` (see `featx.backbones.graphs.files`); or ``"PREFIX:NAME"``
        of another source (see `featx.backbones.sources`). Or your own network, from images (n, 3, h, w) to a
        tensor.
    name : str, optional
        Label of your own network in results; by default the name of its class. Two networks with the same
        values, layer and preprocessing share their cached embeddings, whatever their labels.
    weights : str, path, enum member or None, default="default"
        ``"default"``: the library's default weights; where these are not on this machine and an installed
        package carries other published weights, those. Else the name of published weights
        (``"IMAGENET1K_V1"``), or the path of a state dict of this architecture, whose classifier may have any
        number of classes; a tag in the name then states the preprocessing. None: random weights.
    layer : str, optional
        Node or module whose output is the embedding, or ``"logits"`` for the class scores of the network;
        by default the input of the classifier, or what the library itself gives as embedding
        (``"embedding"``). The default for your own network is ``"embedding"``, what it returns, unless it
        returns the output of a linear layer or convolution inside a child called ``fc``, ``classifier``,
        ``head`` or ``heads``: then the input of that layer. `Backbone.layer` says which was taken.
    pooling : str, optional
        How a layer with positions becomes one vector. Of images: ``"avg"`` (the default), ``"max"``,
        ``"cls"``, ``"patches"``, ``"cls+patches"``, ``"none"`` or ``"identity"``. Of the tokens of a vision
        transformer, ``"cls"`` is the class token, ``"patches"`` the average of the others without registers.
        Of the tokens of a text: ``"mean"`` (the default), ``"cls"``, ``"last"`` or ``"max"``, without
        padding; ``"pipeline"`` is the default where a folder of sentence-transformers states its own.
    preprocessing : Preprocessing, dict or torchvision transforms, optional
        Replaces the one that the weights carry. Your own network needs it, unless timm has built it: a
        `featx.Preprocessing`, or ``WEIGHTS.transforms()`` of torchvision's weights. Of texts: a dict of
        `max_length`, `prefix` and `long`.
    image_size : int, optional
        Another resolution of images: the shortest side is resized to it, then the central square is taken.
    max_length : int, optional
        Most tokens of a text, special tokens included; by default as the network states.
    long : {"cut", "mean"}, optional
        Texts with more tokens are cut off (the default), or split into pieces whose rows are averaged,
        weighted by their tokens.
    prefix : str, optional
        Stands before every text, such as ``"query: "``; by default as the network states.
    window : float, optional
        Seconds of audio that the network takes at a time; by default as the network states. A longer clip is
        taken apart into windows, the last of which ends with the clip.
    hop : float, optional
        Seconds from the start of one window to the start of the next; by default, a window.
    join : str, optional
        How the rows of the windows of a clip become one row: ``"mean"`` (the default), ``"max"``, or
        ``"concat:K"``: K windows, spread evenly over the clip, side by side.
    seed : int, default=0
        Of random weights. A network of your own has its own weights; `weights` and `seed` are refused.
    trust_code : bool, default=False
        Consent to run the Python code that a backbone comes with, such as ``hub:REPO:ENTRY``. Without
        it, nothing of that code is downloaded, listed or imported.

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
        The layer gives no row of numbers, the network does not run at this image size, takes another kind of
        input than an option is for, or comes with code and `trust_code` is not given. A network of your own
        cannot be copied, comes without `preprocessing`, or gives one image different rows in two runs or in
        two batches.

    Notes
    -----
    The identity of your own network, under which its embeddings are cached, is the sha256 of the names and
    values of its tensors, and that of its graph. Where it cannot be traced, the bytecode of its
    classes and of the functions that they use is hashed instead; code of installed packages is
    identified by their version. So after any change of a value or of what is computed, images go through the
    network again. A pickle of the backbone holds the whole network.

    Examples
    --------
    >>> load_backbone("resnet18", weights=None, layer="layer3", image_size=64).dim
    256

    >>> import torch
    >>> from featx import Preprocessing
    >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1))
    >>> backbone = load_backbone(encoder, preprocessing=Preprocessing(), image_size=64, name="tiny")
    >>> backbone.name, backbone.layer, backbone.dim
    ('tiny', 'embedding', 8)
    """
    settings = InputSettings(preprocessing, image_size, max_length, long, prefix, window, hop, join)
    if isinstance(backbone, nn.Module):
        given = [key for key, value in (("weights", weights), ("seed", seed)) if value not in ("default", 0)]
        if given:
            raise InputError(
                f"{given[0]}: a network of your own has its own weights; load others into the module with "
                "load_state_dict"
            )
        return load_module(
            backbone,
            layer=layer,
            pooling=pooling,
            settings=settings,
            name=name,
        )
    if backbone is not None and name is not None:
        raise InputError(
            f"name: {name!r} is a label for a network of your own; leave it out with {backbone!r}"
        )
    name = name if backbone is None else backbone
    source, architecture, tag = _find_architecture(name, weights, trust_code)
    if isinstance(architecture, HubEntry):
        return load_hub_network(
            architecture,
            weights=weights,
            seed=seed,
            layer=layer,
            pooling=pooling,
            settings=settings,
        )
    pretrained, checkpoint = _choose_weights(source, architecture, tag, weights)
    tagged = pretrained
    if tag is not None and checkpoint is not None and pretrained is None:
        # A file of the user's, under a name with a tag: it was trained from the weights of that tag.
        tagged = _published_as(tag, architecture, source)
        architecture = architecture.trained_from(tagged)
    name = source.prefix + architecture.name
    prepare = architecture.prepare_inputs(tagged, settings, name)
    inputs = architecture.input_type(prepare)
    facts = source.facts.get(architecture.name)
    standard = layer is None and pooling is None and settings == InputSettings()
    built: nn.Module | None = None
    part: Cut | None = None
    if checkpoint is None:
        built = random_network(architecture, seed, inputs)
        sha256, weights_name = values_sha256(built), None
    else:
        sha256, weights_name = checkpoint.sha256, pretrained.name if pretrained else checkpoint.path.name
    if built is None and standard and facts is not None:
        tap, dim = Tap(facts.layer, facts.pooling), facts.dim
    else:
        build = partial(meta_network, architecture, pretrained, pretrained_style=True)
        part = cut(
            build(inputs) if built is None else built,
            inputs,
            name=name,
            layer=layer,
            pooling=pooling,
            rules=architecture.rules,
            resized=build,
        )
        tap, dim = part.tap, part.dim
    loaded = Backbone(
        name=name,
        weights_name=weights_name,
        weights_sha256=sha256,
        tap=tap,
        dim=dim,
        preprocessing=prepare,
        architecture=architecture,
        pretrained=pretrained,
        checkpoint=checkpoint,
        seed=seed,
    )
    if built is not None and part is not None:
        loaded.keep(part.module)  # built already, to hash its values
    return loaded


@one_at_a_time
def load_tuned(
    values: Mapping[str, np.ndarray],
    *,
    name: str,
    weights: str | None,
    layer: str,
    pooling: str,
    preprocessing: Any,
    seed: int = 0,
    trust_code: bool = False,
) -> TunedBackbone:
    """Load a fine-tuned backbone from its values, without the weights that the training began with.

    Parameters
    ----------
    values : mapping of str to ndarray
        As `featx.backbones.values_of` returned them.
    name, weights, layer, pooling, preprocessing, seed
        `Backbone.arguments` of the backbone before the training. The file of `weights` is looked for only
        where the network cannot be built without it.
    trust_code : bool, default=False
        As for `load_backbone`.

    Raises
    ------
    ModelMismatch
        The installed library builds another network.
    InputError
        The network has no gradients, so it was not trained.
    """
    source, architecture, _ = _find_architecture(name, weights, trust_code)
    if not architecture.trainable:
        raise InputError(f"{name}: this network has no gradients, so it cannot have been fine-tuned")
    if isinstance(architecture, HubEntry):
        untuned = load_backbone(
            name,
            weights=weights,
            layer=layer,
            pooling=pooling,
            preprocessing=preprocessing,
            seed=seed,
            trust_code=trust_code,
        )
        return TunedBackbone.of(untuned, values)
    published = {} if weights is None else {known.name: known for known in architecture.published()}
    pretrained = published.get(str(weights))
    name = source.prefix + architecture.name
    prepare = architecture.prepare_inputs(pretrained, InputSettings(preprocessing), name)
    inputs = architecture.input_type(prepare)
    pretrained_style = weights is not None
    build = partial(meta_network, architecture, pretrained, pretrained_style=pretrained_style)
    part = cut(
        build(inputs),
        inputs,
        name=name,
        layer=layer,
        pooling=pooling,
        rules=architecture.rules,
        resized=build,
    )
    fill_values(part.module, values, name)  # on the meta device: a check
    untuned = Backbone(
        name=name,
        weights_name=TUNED,
        weights_sha256="",
        tap=part.tap,
        dim=part.dim,
        preprocessing=prepare,
        architecture=architecture,
        pretrained=pretrained,
        seed=seed,
    )
    return TunedBackbone.of(untuned, values, "pretrained" if pretrained_style else "scratch")


def load_classifier(name: str, *, weights: Any = "default", trust_code: bool = False) -> nn.Module:
    """Load the whole network with its own classifier, frozen.

    Parameters
    ----------
    name, weights, trust_code
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
    source, architecture, tag = _find_architecture(name, weights, trust_code)
    pretrained, checkpoint = _choose_weights(source, architecture, tag, weights)
    if checkpoint is None:
        raise WeightsError(f"{name}: a classifier needs trained weights, got weights=None")
    network = uninitialised_network(architecture, pretrained)
    fill(network, checkpoint, architecture, pretrained=pretrained)
    return network.eval().requires_grad_(False)


def _find_architecture(
    name: Any, weights: Any, trust_code: bool
) -> tuple[BackboneSource, Architecture, str | None]:
    """Return the source of a backbone, its architecture, and the tag of weights in its name.

    An `InputError` says that it would run code, to which the user has not consented.
    """
    if not isinstance(name, str):
        raise InputError(f"backbone: expected a name such as 'mobilenet_v2', got {type(name).__name__}")
    source, architecture, tag = find_architecture(name)
    if isinstance(architecture, HubEntry):
        architecture = architecture.at(weights)
    if architecture.runs_code and not trust_code:
        raise InputError(
            f"{name}: this backbone runs {architecture.code()}, with all that your account may do; if you "
            "trust it, give trust_code=True (--trust-code)"
        )
    return source, architecture, tag


def _choose_weights(
    source: BackboneSource, architecture: Architecture, tag: str | None, weights: Any
) -> tuple[Pretrained | None, Checkpoint | None]:
    """Return the published weights of an architecture, those of `tag` by default, and their file."""
    if tag is not None and isinstance(weights, str) and weights == "default":
        weights = tag
    return choose_weights(architecture, source.prefix + architecture.name, weights)


def _published_as(tag: str, architecture: Architecture, source: BackboneSource) -> Pretrained:
    published = {pretrained.name: pretrained for pretrained in architecture.published()}
    if tag not in published:
        raise UnknownName(f"weights of {source.prefix}{architecture.name}", tag, published)
    return published[tag]
