"""The classification networks of torchvision."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.given_preprocessing import torchvision_preprocessing
from featx.backbones.network_input import NetworkInput
from featx.errors import InputError, WeightsError, as_one_error, reason_of
from featx.vision import import_torchvision

# DenseNet's files have "norm.1" where its modules are called "norm1".
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")

#: Height and width of the images for which torchvision builds a network unless it is told another size.
_USUAL = 224

#: By network: default layer, pooling, length of an embedding, and parameters with the classifier, as
#: `featx.backbones.layers.cutting.cut` finds them (tests compare the two). Building all would take seconds.
FACTS = {
    "alexnet": Facts("classifier.5", "identity", 4096, 61_100_840),
    "convnext_base": Facts("classifier.1", "identity", 1024, 88_591_464),
    "convnext_large": Facts("classifier.1", "identity", 1536, 197_767_336),
    "convnext_small": Facts("classifier.1", "identity", 768, 50_223_688),
    "convnext_tiny": Facts("classifier.1", "identity", 768, 28_589_128),
    "densenet121": Facts("flatten", "identity", 1024, 7_978_856),
    "densenet161": Facts("flatten", "identity", 2208, 28_681_000),
    "densenet169": Facts("flatten", "identity", 1664, 14_149_480),
    "densenet201": Facts("flatten", "identity", 1920, 20_013_928),
    "efficientnet_b0": Facts("flatten", "identity", 1280, 5_288_548),
    "efficientnet_b1": Facts("flatten", "identity", 1280, 7_794_184),
    "efficientnet_b2": Facts("flatten", "identity", 1408, 9_109_994),
    "efficientnet_b3": Facts("flatten", "identity", 1536, 12_233_232),
    "efficientnet_b4": Facts("flatten", "identity", 1792, 19_341_616),
    "efficientnet_b5": Facts("flatten", "identity", 2048, 30_389_784),
    "efficientnet_b6": Facts("flatten", "identity", 2304, 43_040_704),
    "efficientnet_b7": Facts("flatten", "identity", 2560, 66_347_960),
    "efficientnet_v2_l": Facts("flatten", "identity", 1280, 118_515_272),
    "efficientnet_v2_m": Facts("flatten", "identity", 1280, 54_139_356),
    "efficientnet_v2_s": Facts("flatten", "identity", 1280, 21_458_488),
    "googlenet": Facts("flatten", "identity", 1024, 6_624_904),
    "inception_v3": Facts("flatten", "identity", 2048, 23_834_568),
    "maxvit_t": Facts("classifier.4", "identity", 512, 30_919_624),
    "mnasnet0_5": Facts("mean", "identity", 1280, 2_218_512),
    "mnasnet0_75": Facts("mean", "identity", 1280, 3_170_208),
    "mnasnet1_0": Facts("mean", "identity", 1280, 4_383_312),
    "mnasnet1_3": Facts("mean", "identity", 1280, 6_282_256),
    "mobilenet_v2": Facts("flatten", "identity", 1280, 3_504_872),
    "mobilenet_v3_large": Facts("classifier.1", "identity", 1280, 5_483_032),
    "mobilenet_v3_small": Facts("classifier.1", "identity", 1024, 2_542_856),
    "regnet_x_16gf": Facts("flatten", "identity", 2048, 54_278_536),
    "regnet_x_1_6gf": Facts("flatten", "identity", 912, 9_190_136),
    "regnet_x_32gf": Facts("flatten", "identity", 2520, 107_811_560),
    "regnet_x_3_2gf": Facts("flatten", "identity", 1008, 15_296_552),
    "regnet_x_400mf": Facts("flatten", "identity", 400, 5_495_976),
    "regnet_x_800mf": Facts("flatten", "identity", 672, 7_259_656),
    "regnet_x_8gf": Facts("flatten", "identity", 1920, 39_572_648),
    "regnet_y_128gf": Facts("flatten", "identity", 7392, 644_812_894),
    "regnet_y_16gf": Facts("flatten", "identity", 3024, 83_590_140),
    "regnet_y_1_6gf": Facts("flatten", "identity", 888, 11_202_430),
    "regnet_y_32gf": Facts("flatten", "identity", 3712, 145_046_770),
    "regnet_y_3_2gf": Facts("flatten", "identity", 1512, 19_436_338),
    "regnet_y_400mf": Facts("flatten", "identity", 440, 4_344_144),
    "regnet_y_800mf": Facts("flatten", "identity", 784, 6_432_512),
    "regnet_y_8gf": Facts("flatten", "identity", 2016, 39_381_472),
    "resnet101": Facts("flatten", "identity", 2048, 44_549_160),
    "resnet152": Facts("flatten", "identity", 2048, 60_192_808),
    "resnet18": Facts("flatten", "identity", 512, 11_689_512),
    "resnet34": Facts("flatten", "identity", 512, 21_797_672),
    "resnet50": Facts("flatten", "identity", 2048, 25_557_032),
    "resnext101_32x8d": Facts("flatten", "identity", 2048, 88_791_336),
    "resnext101_64x4d": Facts("flatten", "identity", 2048, 83_455_272),
    "resnext50_32x4d": Facts("flatten", "identity", 2048, 25_028_904),
    "shufflenet_v2_x0_5": Facts("mean", "identity", 1024, 1_366_792),
    "shufflenet_v2_x1_0": Facts("mean", "identity", 1024, 2_278_604),
    "shufflenet_v2_x1_5": Facts("mean", "identity", 1024, 3_503_624),
    "shufflenet_v2_x2_0": Facts("mean", "identity", 2048, 7_393_996),
    "squeezenet1_0": Facts("features.12.cat", "avg", 512, 1_248_424),
    "squeezenet1_1": Facts("features.12.cat", "avg", 512, 1_235_496),
    "swin_b": Facts("flatten", "identity", 1024, 87_768_224),
    "swin_s": Facts("flatten", "identity", 768, 49_606_258),
    "swin_t": Facts("flatten", "identity", 768, 28_288_354),
    "swin_v2_b": Facts("flatten", "identity", 1024, 87_930_848),
    "swin_v2_s": Facts("flatten", "identity", 768, 49_737_442),
    "swin_v2_t": Facts("flatten", "identity", 768, 28_351_570),
    "vgg11": Facts("classifier.4", "identity", 4096, 132_863_336),
    "vgg11_bn": Facts("classifier.4", "identity", 4096, 132_868_840),
    "vgg13": Facts("classifier.4", "identity", 4096, 133_047_848),
    "vgg13_bn": Facts("classifier.4", "identity", 4096, 133_053_736),
    "vgg16": Facts("classifier.4", "identity", 4096, 138_357_544),
    "vgg16_bn": Facts("classifier.4", "identity", 4096, 138_365_992),
    "vgg19": Facts("classifier.4", "identity", 4096, 143_667_240),
    "vgg19_bn": Facts("classifier.4", "identity", 4096, 143_678_248),
    "vit_b_16": Facts("getitem_5", "identity", 768, 86_567_656),
    "vit_b_32": Facts("getitem_5", "identity", 768, 88_224_232),
    "vit_h_14": Facts("getitem_5", "identity", 1280, 633_470_440),
    "vit_l_16": Facts("getitem_5", "identity", 1024, 304_326_632),
    "vit_l_32": Facts("getitem_5", "identity", 1024, 306_535_400),
    "wide_resnet101_2": Facts("flatten", "identity", 2048, 126_886_696),
    "wide_resnet50_2": Facts("flatten", "identity", 2048, 68_883_240),
}


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
        if self.name.startswith("vit_"):  # its position embedding has the size of the training images
            options["image_size"] = member.meta["min_size"][0]
        accuracy = member.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
        return Pretrained(
            name=member.name,
            filename=member.url.rsplit("/", 1)[-1],
            url=member.url,
            preprocessing=torchvision_preprocessing(member.transforms()),
            options=options,
            top1=accuracy,
            licence=member.meta.get("license"),
        )

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Build the network, with initial values."""
        options = dict(pretrained.options) if pretrained is not None else {}
        if self.extras:
            # Auxiliary classifiers serve only training from scratch. The published weights were trained with
            # another normalisation, to which these networks convert their input.
            options |= {"aux_logits": False, "init_weights": False, "transform_input": pretrained_style}
        return import_torchvision().models.get_model(self.name, weights=None, **options)

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network as `build` does; a transformer with a size of its own, for that of the inputs."""
        option = {"vit": "image_size", "maxvit": "input_size"}.get(self.name.partition("_")[0])
        given = dict(pretrained.options) if pretrained is not None else {}
        size = None if inputs is None else tuple(inputs.example(1, "meta").shape[2:])
        if size is None or option is None or size == (given.get(option, _USUAL),) * 2:
            return self.build(pretrained, pretrained_style=pretrained_style)
        given[option] = size[0] if option == "image_size" else size
        try:
            return import_torchvision().models.get_model(self.name, weights=None, **given)
        except (ValueError, AssertionError) as error:  # patches or windows that do not divide the image
            raise InputError(f"{self.name}: cannot be built for {inputs} ({reason_of(error)})") from error

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors under their current names; resample embeddings of positions."""
        tensors = super().convert(tensors, network, label)
        own: Any = network
        place = "encoder.pos_embedding"
        if not self.name.startswith("vit_") or place not in tensors:
            return tensors
        from torchvision.models.vision_transformer import interpolate_embeddings

        with as_one_error(lambda reason: WeightsError(f"{label}: {place} cannot be resampled ({reason})")):
            return dict(interpolate_embeddings(own.image_size, own.patch_size, OrderedDict(tensors)))

    def rename(self, key: str) -> str:
        """Return the current name of a tensor of a DenseNet."""
        old = _OLD_DENSENET.match(key)
        return old.group(1) + old.group(2) if old else key


class TorchvisionSource(BackboneSource):
    """The classification networks of the installed torchvision."""

    name = "torchvision"
    prefix = ""
    facts = FACTS

    def names(self) -> list[str]:
        """Return the classification networks; `torchvision.models` also has others, such as detectors."""
        models = import_torchvision().models
        return models.list_models(module=models)

    def architecture(self, name: str) -> TorchvisionArchitecture:
        """Return the architecture of one network."""
        return TorchvisionArchitecture(name)
