"""Pretrained networks cut at a layer: where they and their weights come from, and what they compute.

>>> from featx.backbones import load_backbone
>>> backbone = load_backbone("resnet18", weights=None)  # random weights, only ever on request
>>> backbone.layer, backbone.dim
('flatten', 512)

Names are loaded on first use: listing backbones imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.lazy import load_on_use

_HOME = {
    "Architecture": "architectures",
    "Backbone": "backbone",
    "BackboneInfo": "catalogue",
    "BackboneSource": "architectures",
    "Checkpoint": "checkpoint",
    "Facts": "architectures",
    "LayerInfo": "multilayer",
    "LayerRules": "layers.rules",
    "MultiLayerBackbone": "multilayer",
    "Pretrained": "architectures",
    "TunedBackbone": "tuned",
    "columns_of": "multilayer",
    "combine_layers": "multilayer",
    "has_logits": "multilayer",
    "hash_values": "values",
    "list_backbones": "catalogue",
    "list_layers": "multilayer",
    "load_backbone": "registry",
    "load_classifier": "registry",
    "load_layers": "multilayer",
    "load_tuned": "registry",
    "module_key": "own.module",
    "values_of": "tuned",
}

__all__ = [
    "Architecture",
    "Backbone",
    "BackboneInfo",
    "BackboneSource",
    "Checkpoint",
    "Facts",
    "LayerInfo",
    "LayerRules",
    "MultiLayerBackbone",
    "Pretrained",
    "TunedBackbone",
    "columns_of",
    "combine_layers",
    "has_logits",
    "hash_values",
    "list_backbones",
    "list_layers",
    "load_backbone",
    "load_classifier",
    "load_layers",
    "load_tuned",
    "module_key",
    "values_of",
]

if TYPE_CHECKING:
    from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
    from featx.backbones.backbone import Backbone
    from featx.backbones.catalogue import BackboneInfo, list_backbones
    from featx.backbones.checkpoint import Checkpoint
    from featx.backbones.layers.rules import LayerRules
    from featx.backbones.multilayer import (
        LayerInfo,
        MultiLayerBackbone,
        columns_of,
        combine_layers,
        has_logits,
        list_layers,
        load_layers,
    )
    from featx.backbones.own.module import module_key
    from featx.backbones.registry import load_backbone, load_classifier, load_tuned
    from featx.backbones.tuned import TunedBackbone, values_of
    from featx.backbones.values import hash_values


__getattr__ = load_on_use(__name__, _HOME)
