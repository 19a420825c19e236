"""Image towers of the package open_clip, as ``open_clip:ARCH`` or ``open_clip:ARCH/TAG``.

The embedding is what the linear probes of the CLIP paper are trained on, the features before the projection
into the common space of images and texts (Radford et al. 2021, section 3.2). The layer ``"projection"`` is
the projected embedding, that of open_clip's `encode_image`. A tower without a projection of its own (a
ResNet, whose attention pooling ends in one, and SigLIP) has only this embedding, and both layers are the
same.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from featx.backbones.architectures import Architecture, BackboneSource, Pretrained, hash_settings
from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.hugging_face import HuggingFacePretrained, hash_in_cache
from featx.backbones.layers.rules import EmbeddingRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.zero_shot import EncodedTexts, encode_in_batches
from featx.errors import InputError, UnknownName, WeightsError
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_after_torchvision


def import_open_clip() -> ModuleType:
    """Import open_clip, after torchvision, which open_clip imports itself."""
    return import_after_torchvision("open_clip", "open-clip", "a backbone 'open_clip:ARCH'")


@dataclass(frozen=True)
class OpenClipPretrained(HuggingFacePretrained):
    """Weights of a tag on the Hugging Face hub."""

    def open(self, path: Path) -> Checkpoint:
        """Open the file, and check it where the Hugging Face cache has its sha256."""
        return open_checkpoint(path, sha256=hash_in_cache(path) or self.sha256)


class ImageTower(nn.Module):
    """The image tower of a model and, apart from it, its projection into the common space with texts.

    `prefix` begins the names that open_clip gives to the tensors of the projection.
    """

    def __init__(self, visual: Any, projection: nn.Module | None = None, prefix: str = "projection."):
        super().__init__()
        self.visual, self.prefix = visual, prefix
        self.projection = nn.Identity() if projection is None else projection

    @classmethod
    def split(cls, visual: Any) -> ImageTower:
        """Take the projection out of a tower of open_clip."""
        if isinstance(getattr(visual, "output_tokens", None), bool):
            visual.output_tokens = False  # CoCa's gives tokens beside the embedding
        if isinstance(getattr(visual, "proj", None), nn.Parameter):
            width, dim = visual.proj.shape
            linear = nn.Linear(width, dim, bias=False)
            linear.weight = nn.Parameter(visual.proj.detach().T.contiguous())
            visual.proj = None
            return cls(visual, linear, "visual.proj")
        if not hasattr(visual, "trunk"):
            return cls(visual)
        if len(visual.head):
            head, visual.head = visual.head, nn.Identity()
            return cls(visual, head, "visual.head.")
        classifier = visual.trunk.get_classifier()
        names = [name for name, module in visual.named_modules() if module is classifier]
        if not isinstance(classifier, nn.Linear) or not names:
            return cls(visual)
        visual.set_submodule(names[0], nn.Identity())
        return cls(visual, classifier, f"visual.{names[0]}.")

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.visual(x))


class OpenClipLayerRules(EmbeddingRules):
    """What is known of image towers: the embedding before the projection, and the class token."""

    def later_layers(self, network: Any) -> list[str]:
        """Return the projection, where it is not the embedding itself."""
        return [] if isinstance(network.projection, nn.Identity) else ["projection"]

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the features before the projection."""
        return network.visual(x)

    def prefix_tokens(self, network: Any) -> int:
        """Return how many tokens stand before those of patches; 0 where there is no class token."""
        if isinstance(getattr(network.visual, "class_embedding", None), nn.Parameter):
            return 1
        trunk = getattr(network.visual, "trunk", None)
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        return prefix if getattr(trunk, "cls_token", None) is not None else 0


class OpenClipArchitecture(Architecture):
    """The image tower of one configuration of open_clip."""

    source = "open_clip"
    rules = OpenClipLayerRules()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration of the whole model."""
        return import_open_clip().get_model_config(self.name)

    @property
    def identity_name(self) -> str:
        """The name; of a configuration that the user added, with its hash."""
        folder = Path(str(import_open_clip().__file__)).parent / "model_configs"
        if (folder / f"{self.name}.json").is_file():
            return self.name
        return f"{self.name}#{hash_settings(self.config)}"

    def published(self) -> list[Pretrained]:
        """Return the weights of the tags that open_clip lists."""
        library = import_open_clip()
        weights: list[Pretrained] = []
        for tag in library.list_pretrained_tags_by_model(self.name):
            stated = library.get_pretrained_cfg(self.name, tag)
            options = {"quick_gelu": bool(stated.get("quick_gelu", False))}
            prepare, hub, url = self._preprocessing(stated), stated.get("hf_hub"), stated.get("url")
            if hub:
                hub_id, _, filename = str(hub).rpartition("/")
                files = _safe_alternatives(filename)
                weights.append(
                    OpenClipPretrained(
                        tag, files[0], None, prepare, options=options, hub_id=hub_id, hub_files=files
                    )
                )
            elif url:
                filename = str(url).rpartition("/")[2]
                weights.append(Pretrained(tag, filename, str(url), prepare, options=options))
        return weights

    def preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing of the first tag; of a configuration without tags, open_clip's default."""
        published = self.published()
        return published[0].preprocessing if published else self._preprocessing({})

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the tower for images of that size, with initial values."""
        size = None if inputs is None else (inputs.height, inputs.width)  # type: ignore[attr-defined]
        return self._build(size, pretrained)

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors of the image tower, with position embeddings for its image size."""
        from open_clip.convert import convert_state_dict
        from open_clip.model import resize_pos_embed

        tensors = convert_state_dict(network, dict(tensors))  # type: ignore[arg-type]
        resize_pos_embed(tensors, network)
        prefix: Any = network.prefix
        found: dict[str, Tensor] = {}
        for key, value in tensors.items():
            if key == prefix:  # a matrix that rows are multiplied by
                found["projection.weight"] = value.T.contiguous()
            elif key.startswith(prefix) and prefix.endswith("."):
                found["projection." + key.removeprefix(prefix)] = value
            elif key.startswith("visual."):
                found[key] = value
        visual: Any = network.visual
        if hasattr(visual, "trunk") and tuple(visual.image_size) != self._size:
            native = self._build(None, None)
            native.load_state_dict(found, strict=False)
            native.visual.set_input_size(visual.image_size)
            found = {key: value for key, value in native.state_dict().items() if key in found}
        return found

    def trained_from(self, pretrained: Pretrained) -> Architecture:
        """Return the configuration with the activation of these weights, which is in the identity so."""
        if self.uses_quick_gelu(pretrained) == self.uses_quick_gelu(None):
            return self
        quick = f"{self.name}-quickgelu"
        if quick not in import_open_clip().list_models():
            raise InputError(
                f"open_clip:{self.name}/{pretrained.name}: its weights have the activation quick_gelu, and "
                f"open_clip has no configuration {quick} for other weights like them"
            )
        return OpenClipArchitecture(quick)

    def has_texts(self) -> bool:
        """Return whether the text tower encodes texts alone; that of CoCa also writes captions."""
        return "multimodal_cfg" not in self.config

    def encode_texts(
        self, texts: Sequence[str], checkpoint: Checkpoint | None, pretrained: Pretrained | None
    ) -> EncodedTexts:
        """Encode texts with the text tower of the checkpoint and open_clip's tokenizer."""
        library = import_open_clip()
        from open_clip.model import _build_text_tower, convert_to_custom_text_state_dict

        assert checkpoint is not None
        tensors = convert_to_custom_text_state_dict(checkpoint.state_dict())
        settings = self.config["text_cfg"] | {"hf_model_pretrained": False, "output_tokens": False}
        tower: Any = _build_text_tower(self.config["embed_dim"], settings, self.uses_quick_gelu(pretrained))
        own = {k.removeprefix("text."): v for k, v in tensors.items() if k.startswith("text.")}
        missing = tower.load_state_dict(own, strict=False).missing_keys
        if missing:
            raise WeightsError(f"{checkpoint.path}: it lacks text.{missing[0]}")
        tokenizer, tower = library.get_tokenizer(self.name), tower.eval()
        vectors = encode_in_batches(lambda some: tower(tokenizer(some)), texts)
        scale, bias = tensors["logit_scale"], tensors.get("logit_bias")
        return EncodedTexts(vectors, float(scale.float().exp()), 0.0 if bias is None else float(bias))

    @property
    def _size(self) -> tuple[int, int]:
        size = self.config["vision_cfg"].get("image_size", 224)
        return tuple(size) if isinstance(size, (list, tuple)) else (size, size)  # type: ignore[return-value]

    def _build(self, size: tuple[int, int] | None, pretrained: Pretrained | None) -> Any:
        import_open_clip()
        from open_clip.model import _build_vision_tower

        settings = copy.deepcopy(self.config["vision_cfg"]) | {"timm_model_pretrained": False}
        other = size is not None and size != self._size
        if other and "timm_model_name" not in settings:
            assert size is not None
            # A ResNet takes squares only, and says so where its weights do not fit.
            settings["image_size"] = size[0] if isinstance(settings.get("layers"), list) else size
        quick = self.uses_quick_gelu(pretrained)
        visual: Any = _build_vision_tower(self.config["embed_dim"], settings, quick)
        if other and "timm_model_name" in settings:
            visual.set_input_size(size)
        return ImageTower.split(visual)

    def uses_quick_gelu(self, pretrained: Pretrained | None) -> bool:
        """Return whether the activation is the sigmoid approximation that OpenAI's models were trained with.

        A tag states what its weights were trained with, and its configuration may differ: open_clip warns
        then, and computes other embeddings.
        """
        stated = {} if pretrained is None else pretrained.options
        return bool(stated.get("quick_gelu", False) or self.config.get("quick_gelu", False))

    def _preprocessing(self, stated: dict[str, Any]) -> Preprocessing | None:
        """Return a tag's configuration as preprocessing; None where it pads, or crops to no square."""
        from open_clip.transform import PreprocessCfg

        default, (height, width) = PreprocessCfg(), self._size
        mode = stated.get("resize_mode", default.resize_mode)
        if mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
            return None
        method = stated.get("interpolation", default.interpolation)
        return Preprocessing(
            resize=height if mode == "shortest" else (height, width),
            crop=(height, width) if mode == "shortest" else None,
            interpolation="bicubic" if method == "random" else method,
            mean=tuple(stated.get("mean", default.mean)),  # type: ignore[arg-type]
            std=tuple(stated.get("std", default.std)),  # type: ignore[arg-type]
        )


class OpenClipSource(BackboneSource):
    """All image towers of open_clip; see its ``list_pretrained``."""

    name = "open_clip"

    def names(self) -> Iterable[str]:
        """Return the configurations of open_clip; none where it is not installed."""
        return import_open_clip().list_models() if importlib.util.find_spec("open_clip") else []

    def architecture(self, name: str) -> OpenClipArchitecture:
        """Return the architecture of one configuration."""
        return OpenClipArchitecture(name)

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return architecture and tag of ``ARCH`` or ``ARCH/TAG``; None where there is no such ``ARCH``."""
        named, _, tag = name.partition("/")
        named, _, digest = named.partition("#")
        if named not in import_open_clip().list_models():
            return None
        architecture = OpenClipArchitecture(named)
        here = architecture.identity_name
        if digest and here != f"{named}#{digest}":
            raise InputError(f"open_clip:{name}: the configuration {named} is another one here ({here})")
        tags = [weights.name for weights in architecture.published()] if tag else []
        spelt = tag.lower().replace("-", "_")  # as open_clip reads tags
        if tag and spelt not in tags:
            raise UnknownName(f"weights of open_clip:{named}", tag, tags)
        return architecture, spelt or None


def _safe_alternatives(filename: str) -> tuple[str, ...]:
    """Return the names under which a file of weights is looked for, safetensors first."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    if filename in ("", HF_WEIGHTS_NAME):
        return HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    if filename.endswith((".bin", ".pth")):
        return filename[:-4] + ".safetensors", filename
    return (filename,)
