"""The detectors of torchvision, as ``detection:NAME``: the network below their heads gives the embedding.

A detector is built whole, so that its published file fits, and cut inside its backbone: no proposal network,
no head and no operator of detection runs. The layers are those of the detector, such as
``backbone.body.layer4``, and ``fpn`` (``maps`` for an SSD): the maps that the heads see. ``fpn.0`` is the
finest of them, the others follow as torchvision names them (``fpn.1`` ... ``fpn.pool`` or ``fpn.p7``);
``fpn`` is the averages of all of them, side by side. The default is the last map of the body, as in the
classification network that it was made of: the maps of a pyramid have fewer channels, made for finding boxes.

Images are prepared with the detector's own normalisation, at its own size. An SSD squeezes every image to
300 or 320 pixels. The others take the shortest side to 800 pixels (320: the network that has it in its name)
and keep the rest of the image; here the central square is kept, since rows need images of one size. 800
pixels take 13 times as long as 224; `image_size` changes it.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.layers.rules import LayerRules
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_torchvision

# Files from before torchvision 0.13 have no norm beside the convolutions of the pyramid.
_OLD_PYRAMID = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")

#: Side of the images where it is not 800 pixels.
_SIDES = {"fasterrcnn_mobilenet_v3_large_320_fpn": 320}
#: Size and normalisation of the networks that squeeze every image to a square.
_SQUEEZED: dict[str, tuple[int, tuple[float, float, float], float]] = {
    "ssd300_vgg16": (300, (0.48235, 0.45882, 0.40784), 1 / 255),
    "ssdlite320_mobilenet_v3_large": (320, (0.5, 0.5, 0.5), 0.5),
}
#: Name of the default weights of all detectors.
_COCO = "COCO_V1"
#: The batch norms of these weights add nothing to the variance.
_WITHOUT_EPS = (
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)

#: As `featx.backbones.layers.cutting.cut` finds them (tests compare the two); parameters with all heads.
FACTS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": Facts("backbone.body.16.2", "avg", 960, 19_410_754),
    "fasterrcnn_mobilenet_v3_large_fpn": Facts("backbone.body.16.2", "avg", 960, 19_410_754),
    "fasterrcnn_resnet50_fpn": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 41_808_406),
    "fasterrcnn_resnet50_fpn_v2": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 43_712_278),
    "fcos_resnet50_fpn": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 32_322_720),
    "keypointrcnn_resnet50_fpn": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 59_190_378),
    "maskrcnn_resnet50_fpn": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 44_454_513),
    "maskrcnn_resnet50_fpn_v2": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 46_359_409),
    "retinanet_resnet50_fpn": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 34_068_119),
    "retinanet_resnet50_fpn_v2": Facts("backbone.body.layer4.2.relu_2", "avg", 2048, 38_198_935),
    "ssd300_vgg16": Facts("backbone.extra.0.7.4", "avg", 1024, 35_641_826),
    "ssdlite320_mobilenet_v3_large": Facts("backbone.features.1.3.2", "avg", 480, 3_440_060),
}


class Maps(nn.Module):
    """The maps that the heads of a detector see, each an output of a child; together, their averages."""

    def __init__(self, names: list[str]):
        super().__init__()
        for name in names:
            self.add_module(name, nn.Identity())

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        return torch.cat([child(maps[name]).mean((2, 3)) for name, child in self.named_children()], 1)


class DetectorBackbone(nn.Module):
    """A detector of which only the backbone runs; its tensors have the names that the detector gives them."""

    def __init__(self, detector: Any):
        super().__init__()
        for name, child in detector.named_children():
            self.add_module(name, child)
        pyramid = getattr(detector.backbone, "fpn", None)
        self.last_map = _last_map(detector.backbone)
        self.maps_name = "maps" if pyramid is None else "fpn"
        self.add_module(self.maps_name, Maps(_map_names(detector.backbone)))

    def forward(self, x: Tensor) -> Tensor:
        averages: Tensor = self.get_submodule(self.maps_name)(self.get_submodule("backbone")(x))
        return averages


def _last_map(backbone: Any) -> str:
    """Return the layer that ends the classification network inside a detector."""
    if hasattr(backbone, "body"):
        return f"backbone.body.{list(backbone.body)[-1]}"
    # An SSD of VGG16 has its last layers, made convolutions, at the head of what it adds to it.
    return "backbone.extra.0" if hasattr(backbone, "scale_weight") else "backbone.features.1"


def _map_names(backbone: Any) -> list[str]:
    """Return how torchvision names the maps that a detector's backbone gives, from the finest on."""
    if not hasattr(backbone, "fpn"):
        inside = 1 if hasattr(backbone, "scale_weight") else len(backbone.features)
        return [str(level) for level in range(inside + len(backbone.extra))]
    names = list(backbone.body.return_layers.values())
    return names + (["p6", "p7"] if hasattr(backbone.fpn.extra_blocks, "p7") else ["pool"])


class DetectorLayerRules(LayerRules):
    """The layers of a detector: it has no classifier of images."""

    def has_classifier(self, network: nn.Module) -> bool:
        """Return False: the heads score boxes."""
        return False

    def default_layer(self, network: Any) -> str | None:
        """Return the last map of the body."""
        return network.last_map

    def later_layers(self, network: Any) -> list[str]:
        """Return the maps that the heads see, then all of them together."""
        name = network.maps_name
        return [*(f"{name}.{level}" for level in _map_names(network.backbone)), name]

    def stated_dim(self, network: nn.Module, classifier: fx.Node | None) -> int | None:
        """Return None: torchvision states no length."""
        return None


class DetectorArchitecture(Architecture):
    """One detector of `torchvision.models.detection`."""

    source = "detection"
    rules = DetectorLayerRules()

    def published(self) -> list[Pretrained]:
        """Return the members of the weights enum, the default first."""
        enum = import_torchvision().models.get_model_weights(self.name)
        members = sorted(enum, key=lambda member: member is not enum.DEFAULT)
        return [
            Pretrained(
                name=member.name,
                filename=member.url.rsplit("/", 1)[-1],
                url=member.url,
                preprocessing=self.preprocessing(),
            )
            for member in members
        ]

    def preprocessing(self) -> Preprocessing:
        """Return the detector's own normalisation, at its own size."""
        if self.name in _SQUEEZED:
            side, mean, std = _SQUEEZED[self.name]
            return Preprocessing(resize=(side, side), crop=None, mean=mean, std=(std, std, std))
        side = _SIDES.get(self.name, 800)
        return Preprocessing(resize=side, crop=(side, side))

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Build the detector, with initial values: nothing is downloaded for its backbone."""
        detector = import_torchvision().models.get_model(self.name, weights=None, weights_backbone=None)
        # A user's own file is most often the default one, trained further.
        weights = _COCO if pretrained is None else pretrained.name
        if pretrained_style and self.name in _WITHOUT_EPS and weights == _COCO:
            for module in detector.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = 0.0
        return DetectorBackbone(detector)

    def rename(self, key: str) -> str:
        """Return the current name of a tensor of a pyramid."""
        return _OLD_PYRAMID.sub(r"\1.0.\2", key)


class DetectionSource(BackboneSource):
    """The detectors of the installed torchvision."""

    name = "detection"
    facts = FACTS

    def names(self) -> list[str]:
        """Return all detectors."""
        models = import_torchvision().models
        return models.list_models(module=models.detection)

    def architecture(self, name: str) -> DetectorArchitecture:
        """Return the architecture of one detector."""
        return DetectorArchitecture(name)
