"""Pretrained networks cut at a layer: where they and their weights come from, and what they compute.

>>> from featx.backbones import load_backbone
>>> backbone = load_backbone("resnet18", weights=None)  # random weights, only ever on request
>>> backbone.layer, backbone.dim
('flatten', 512)
"""

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.backbone import Backbone
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.layer_rules import LayerRules
from featx.backbones.multilayer import (
    LayerInfo,
    MultiLayerBackbone,
    columns_of,
    combine_layers,
    has_logits,
    list_layers,
    load_layers,
)
from featx.backbones.own_module import module_key
from featx.backbones.registry import BackboneInfo, list_backbones, load_backbone, load_classifier

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
    "columns_of",
    "combine_layers",
    "has_logits",
    "list_backbones",
    "list_layers",
    "load_backbone",
    "load_classifier",
    "load_layers",
    "module_key",
]
