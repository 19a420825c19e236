"""Image networks of transformers, as ``hf:NAME`` (on the Hugging Face hub) or ``hf:FOLDER``.

Any network that takes images and nothing else: DINOv2 and DINOv3, SigLIP, the image tower of CLIP, BEiT, ViT,
DeiT, Swin, ConvNeXt, ResNet and others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from featx.backbones.architectures import Architecture, Pretrained, hash_settings
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.sources.hf.networks import (
    TOWERS,
    HfLayerRules,
    build_network,
    convert_tensors,
    fit_to_size,
    read_config,
    require_size,
    resize_config,
)
from featx.backbones.sources.hf.preprocessing import read_preprocessing
from featx.backbones.sources.hf.repository import HfPretrained, Repository
from featx.backbones.sources.hf.texts import encode_texts, find_tokenizer
from featx.backbones.zero_shot import EncodedTexts
from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing

#: Settings that change no embedding.
_WITHOUT_EFFECT = {
    *("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "auto_map"),
    *("id2label", "label2id", "problem_type", "finetuning_task"),
}


class HfArchitecture(Architecture):
    """The network of one folder, or of one repository of the Hugging Face hub."""

    source = "hf"
    rules: ClassVar[LayerRules] = HfLayerRules()
    #: Where its weights are.
    pretrained_type: ClassVar[type[HfPretrained]] = HfPretrained
    _checked = False

    @cached_property
    def repository(self) -> Repository:
        """Where its files are."""
        return Repository(self.name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of its ``config.json``."""
        return self.repository.read_json("config.json")

    @property
    def identity_name(self) -> str:
        """Name on the Hugging Face hub, or type of a network in a folder, and a hash of its configuration."""
        effective = {key: value for key, value in self.config.items() if key not in _WITHOUT_EFFECT}
        named = self.config.get("model_type") if self.repository.folder is not None else self.name
        return f"{named}#{hash_settings(effective)}"

    def published(self) -> list[Pretrained]:
        """Return the weights of the repository, which have one name, in whichever files they are."""
        kind = self.pretrained_type
        if self.repository.find(*kind.files) is None:
            if self.repository.folder is not None:
                return []
            # Says in one line that the repository cannot be reached, before its weights are looked for.
            self.repository.read_json("config.json")
        licence = self.repository.licence()
        return [kind("pretrained", kind.files[0], None, None, licence=licence, repository=self.repository)]

    def preprocessing_of(self, pretrained: Pretrained | None) -> Preprocessing:
        """Return the preprocessing of the repository's image processor; refuse by name what it cannot be."""
        model_type = str(self.config.get("model_type"))  # first of all: without a config, nothing is here
        content = self.repository.read_optional_json("preprocessor_config.json")
        if content is None:
            whole = self.repository.read_optional_json("processor_config.json") or {}
            content = whole.get("image_processor")
        if not isinstance(content, dict):
            read_config(self.config, f"hf:{self.name}")  # says it of a type that transformers does not know
            raise InputError(
                f"hf:{self.name}: no preprocessor_config.json is with it; put the one of the model there, or "
                "give preprocessing= in Python"
            )
        return read_preprocessing(content, model_type, f"hf:{self.name}")

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network for images of that size, with initial values."""
        tensors = self._tensors if pretrained_style else None
        config = self._checked_config()
        if inputs is None:
            return self._build(config, tensors)
        size = inputs.height, inputs.width  # type: ignore[attr-defined]
        resize_config(config, *size)
        network = self._build(config, tensors)
        fit_to_size(network, *size)
        return network

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors of a file under the names of `network`, as transformers converts them."""
        image_size = getattr(read_config(self.config, f"hf:{self.name}"), "image_size", None)
        return convert_tensors(tensors, network, image_size, label)

    def has_texts(self) -> bool:
        """Return whether the configuration has a text tower, and a tokenizer is in the repository."""
        towers = self.config.get("model_type") in TOWERS and "text_config" in self.config
        return towers and find_tokenizer(self.repository) is not None

    def encode_texts(
        self, texts: Sequence[str], checkpoint: Checkpoint | None, pretrained: Pretrained | None
    ) -> EncodedTexts:
        """Encode texts with the text tower of the checkpoint and the repository's tokenizer."""
        folder = find_tokenizer(self.repository)
        assert checkpoint is not None
        assert folder is not None
        return encode_texts(
            read_config(self.config, f"hf:{self.name}"), checkpoint.state_dict(), folder, texts
        )

    def _build(self, config: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the network of a configuration; `tensors` are the names of those in its weights."""
        return build_network(config, tensors, f"hf:{self.name}")

    def _checked_config(self) -> Any:
        """Return the configuration, which asks for no more than the weights hold."""
        config = read_config(self.config, f"hf:{self.name}")
        if not self._checked:
            published = self.published()
            nbytes = published[0].nbytes() if published else None  # type: ignore[attr-defined]
            tensors = None if self._tensors is None else len(self._tensors)
            require_size(config, tensors, nbytes, f"hf:{self.name}", lambda: self._build(config, None))
            self._checked = True
        return config

    @cached_property
    def _tensors(self) -> frozenset[str] | None:
        """Names of the tensors in the repository's weights; None where it has none."""
        published = self.published()
        return published[0].tensor_names() if published else None  # type: ignore[attr-defined]
