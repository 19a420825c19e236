"""A network of the user's own, given as a `torch.nn.Module`: `load_module`.

The backbone holds a copy of the module, so that later changes of the module change no embedding. Without a
name of a file or of published weights, its identity is what it computes: the sha256 of its values, and that
of its graph or code (`featx.backbones.own.identity`). The label that users give it is not part of it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.architectures import Architecture, Pretrained
from featx.backbones.audio_input import AudioInput
from featx.backbones.audio_settings import describes_audio, module_preparation
from featx.backbones.backbone import Backbone
from featx.backbones.given_preprocessing import given_preprocessing
from featx.backbones.image_input import ImageInput
from featx.backbones.input_settings import NO_SETTINGS, InputSettings
from featx.backbones.layers.cutting import LOGITS, cut
from featx.backbones.layers.hooks import EMBEDDING
from featx.backbones.layers.rules import LayerRules
from featx.backbones.loading import one_at_a_time, values_sha256
from featx.backbones.own.checks import ModuleChecks
from featx.backbones.own.copying import copy_module, copy_sharing_parameters, unwrapped
from featx.backbones.own.identity import graph_sha256
from featx.backbones.own.pickling import pack_module
from featx.backbones.own.rules import AudioModuleRules, ModuleLayerRules
from featx.backbones.sources.timm import TimmLayerRules, timm_preprocessing
from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing

#: Name of the source in identities, and of the weights.
SOURCE = "module"


class Enclosed(nn.Module):
    """A module around one that has a child or attribute called ``embedding``.

    featx calls what the whole network returns by that name; the child is then ``network.embedding``.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """Return what the module returns."""
        return self.network(x)


class ModuleArchitecture(Architecture):
    """A module of the user's, with its values; `build` copies it."""

    source = SOURCE

    def __init__(self, network: nn.Module, kind: str, rules: LayerRules, graph: str):
        super().__init__(kind)
        self._network, self._graph = network, graph
        self.rules = rules  # type: ignore[misc]  # of one network, where a library has rules for all

    @property
    def identity(self) -> dict[str, str]:
        """The sha256 of the graph or code."""
        return {"graph_sha256": self._graph}

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Return a copy of the module, in eval mode."""
        return copy.deepcopy(self._network)

    def __eq__(self, other: object) -> bool:
        return self is other  # its name is that of a class, which many networks share

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleArchitecture:
        return self  # nothing changes it

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_network": pack_module(self._network)}


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class, without the wrappers of parallel and compiled modules."""
    return type(unwrapped(module)).__name__


def module_key(module: nn.Module) -> tuple[str, str, str]:
    """Return a key that is equal for equal modules: the name of the class, and hashes of values and code."""
    original = unwrapped(module)
    try:
        return class_name(module), values_sha256(original), graph_sha256(original, None)
    except InputError as error:
        raise InputError(f"{class_name(module)}: {error}") from error


@one_at_a_time
def load_module(
    module: nn.Module,
    *,
    layer: str | None = None,
    pooling: str | None = None,
    settings: InputSettings = NO_SETTINGS,
    name: str | None = None,
) -> Backbone:
    """Load a backbone from a module of the user's, which is neither changed nor moved.

    Parameters
    ----------
    module : torch.nn.Module
        From images (n, 3, h, w), samples (n, t) or frames of them (n, t, bands) to a tensor.
    settings : InputSettings
        How inputs are prepared.
    layer, pooling, name
        As for `featx.backbones.load_backbone`.

    Raises
    ------
    InputError
        The module cannot be copied, does not run on such images, returns no row of numbers for each, or gives
        one image different rows in two runs or in two batches.
    """
    original = unwrapped(module)
    label = class_name(module) if name is None else name
    prepare: Any
    inputs: AudioInput | ImageInput
    if describes_audio(settings.preprocessing):
        settings.require("clip", label)
        prepare = module_preparation(settings, label)
        inputs = AudioInput(prepare)
    else:
        settings.require("image", label)
        prepare = given_preprocessing(settings.preprocessing, label)
        prepare = prepare or _carried_preprocessing(original, label)
        if settings.image_size is not None:
            prepare = prepare.with_size(settings.image_size)
        inputs = ImageInput(prepare)
    if isinstance(original, torch.jit.ScriptModule) and layer not in (None, EMBEDDING, LOGITS):
        raise InputError(
            f"{label}: a scripted or traced module has no layer {layer!r} that can be read, only what it "
            "returns; give the module from before torch.jit"
        )
    network = copy_module(original, label)
    sha256 = values_sha256(network)
    checks = ModuleChecks(copy_sharing_parameters(network), inputs, label)
    graph = checks.graph()
    rules: LayerRules
    if type(original).__module__.partition(".")[0] == "timm" and isinstance(inputs, ImageInput):
        if layer in (None, EMBEDDING):
            checks.require_tensor()
        rules = TimmLayerRules()
        rules.traceable = graph is not None
    else:
        has_head = checks.ends_in_classifier(graph)
        if layer in (None, EMBEDDING) and not has_head:
            checks.require_tensor()
        if layer is None and not has_head:
            _warn_of_scores(checks, graph, label)
        traced = graph is not None
        if isinstance(inputs, AudioInput):
            checks.require_any_length()
            rules = AudioModuleRules(has_head, traced)
        else:
            rules = ModuleLayerRules(has_head, traced, prepare.size)
    try:
        identity = graph_sha256(checks.network, graph)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if hasattr(network, EMBEDDING) and not isinstance(rules, TimmLayerRules):
        network = Enclosed(network).eval()
    architecture = ModuleArchitecture(network, type(original).__name__, rules, identity)
    architecture.input_type = type(inputs)  # type: ignore[misc]
    part = cut(
        copy_sharing_parameters(network),
        inputs,
        name=label,
        layer=layer,
        pooling=pooling,
        rules=rules,
    )
    returned = part.tap.layer == EMBEDDING and isinstance(rules, ModuleLayerRules)
    checks.require_stable_rows(copy_sharing_parameters(part.module), part.tap, returned)
    backbone = Backbone(
        name=label,
        weights_name=SOURCE,
        weights_sha256=sha256,
        tap=part.tap,
        dim=part.dim,
        preprocessing=prepare,
        architecture=architecture,
    )
    backbone.keep(part.module)
    return backbone


def _warn_of_scores(checks: ModuleChecks, graph: fx.Graph | None, label: str) -> None:
    """Warn where the rows are the output of a last linear layer, which may be a classifier."""
    last = checks.narrowing_output(graph)
    if last is None:
        return
    name, before, given, returned = last
    of = "of the module from before torch.jit " if isinstance(checks.network, torch.jit.ScriptModule) else ""
    warnings.warn(
        f"{label}: its embedding is what it returns, the {returned} outputs of its last linear layer "
        f"{name!r}; if they are class scores, layer={before!r} {of}"
        f"takes the {given} values before it; if they are meant, layer='{EMBEDDING}' says so",
        stacklevel=2,
    )


def _carried_preprocessing(module: nn.Module, label: str) -> Preprocessing:
    """Return the preprocessing of the timm configuration that a module carries."""
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    needed = {"input_size", "mean", "std", "interpolation", "crop_pct"}
    if isinstance(config, Mapping) and needed <= set(config):
        stated = timm_preprocessing(SimpleNamespace(**{"crop_mode": "center", **config}))
        if stated is not None:
            return stated
    raise InputError(
        f"{label}: say how images are prepared for this module: preprocessing=featx.Preprocessing() resizes "
        "to 256, crops 224 x 224 and has ImageNet's mean and std; torchvision's weights state theirs as "
        "WEIGHTS.transforms(); of audio, preprocessing={'kind': 'clip', 'rate': 16000} gives it samples"
    )
