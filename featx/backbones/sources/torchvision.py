"""The classification networks of torchvision."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from featx.backbones.architectures import Architecture, Pretrained
from featx.backbones.sources.source import BackboneSource
from featx.backbones.sources.torchvision_facts import FACTS
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_torchvision

# Since names of modules may hold no dot, torchvision reads "norm.1" in DenseNet's files as "norm1".
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")


class TorchvisionArchitecture(Architecture):
    """One network of `torchvision.models`."""

    source = "torchvision"

    def __init__(self, name: str):
        super().__init__(name)
        self.extras = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}.get(name, ())

    def published(self) -> list[Pretrained]:
        """Return the members of the weights enum, the default first."""
        enum = import_torchvision().models.get_model_weights(self.name)
        members = sorted(enum, key=lambda member: member is not enum.DEFAULT)
        return [self._pretrained(member) for member in members]

    def _pretrained(self, member: Any) -> Pretrained:
        options: dict[str, Any] = {}
        if self.name.startswith("vit_"):  # its position embedding has the size of the image it was trained on
            options["image_size"] = member.meta["min_size"][0]
        accuracy = member.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
        return Pretrained(
            name=member.name,
            filename=member.url.rsplit("/", 1)[-1],
            url=member.url,
            preprocessing=_preprocessing(member.transforms()),
            options=options,
            top1=accuracy,
        )

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Return the network with fresh values."""
        options = dict(pretrained.options) if pretrained is not None else {}
        if self.extras:
            # Auxiliary classifiers serve only training from scratch. The published weights were trained with
            # another normalisation, to which these networks convert their input.
            options |= {"aux_logits": False, "init_weights": False, "transform_input": pretrained_style}
        return import_torchvision().models.get_model(self.name, weights=None, **options)

    def rename(self, key: str) -> str:
        """Return the current name of a tensor to which old files give another."""
        old = _OLD_DENSENET.match(key)
        return old.group(1) + old.group(2) if old else key


class TorchvisionSource(BackboneSource):
    """The classification networks of the installed torchvision."""

    name = "torchvision"
    prefix = ""
    facts = FACTS

    def names(self) -> list[str]:
        """Return the classification networks; `torchvision.models` has detectors and others, too."""
        models = import_torchvision().models
        return models.list_models(module=models)

    def architecture(self, name: str) -> TorchvisionArchitecture:
        """Return one network."""
        return TorchvisionArchitecture(name)


def _preprocessing(preset: Any) -> Preprocessing:
    """Return the preset of a weights enum as data."""
    crop = preset.crop_size[0]
    return Preprocessing(
        resize=preset.resize_size[0],
        crop=(crop, crop),
        interpolation=preset.interpolation.value,
        antialias=True,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
