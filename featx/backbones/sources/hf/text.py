"""Text networks of transformers, as ``hf:NAME`` or ``hf:FOLDER``: BERT, RoBERTa, GPT-2 and others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from featx.backbones.architectures import Pretrained
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.sources.hf.architecture import HfArchitecture
from featx.backbones.sources.hf.kept_files import read_files
from featx.backbones.sources.hf.text_networks import TextLayerRules, build_text_network
from featx.backbones.sources.hf.tokenizer import HfTokenizer
from featx.backbones.text_input import TextInput
from featx.durable import file_stamp
from featx.errors import InputError
from featx.inputs.text import TextPreparation

#: Longest length where neither the tokenizer nor the configuration states one.
_LENGTH = 512


class HfTextArchitecture(HfArchitecture):
    """The text network of one folder, or of one repository of the Hugging Face hub."""

    input_type: ClassVar[Any] = TextInput
    rules: ClassVar[LayerRules] = TextLayerRules()

    @cached_property
    def tokenizer(self) -> HfTokenizer:
        """The tokenizer of the repository."""
        return HfTokenizer(self.repository, f"hf:{self.name}")

    def prepare_inputs(
        self, pretrained: Pretrained | None, settings: InputSettings, name: str
    ) -> TextPreparation:
        """Return the preparation of texts, with the settings that are given."""
        settings.require(self.input_type.kind, name)
        stated = TextPreparation(self.tokenizer, self._max_length())
        given = settings.preprocessing
        if isinstance(given, TextPreparation):
            given = given.to_dict()
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"{name}: preprocessing of texts must be a dict such as {{'max_length': 128}}, got "
                f"{type(given).__name__}"
            )
        return stated.changed({**(given or {}), **settings.of_texts})

    def files(self) -> dict[str, bytes]:
        """Return the files of its settings and its tokenizer."""
        return read_files(self.repository)

    def stamp(self) -> Any:
        """Return sizes, times and inodes of the tokenizer's files."""
        return [file_stamp(file) for file in self.tokenizer.files]

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network, with initial values; it takes texts of any length up to its own."""
        return self._build(self._checked_config(), None)

    def _build(self, config: Any, tensors: Collection[str] | None) -> nn.Module:
        return build_text_network(config, f"hf:{self.name}")

    def _max_length(self) -> int:
        """Return the most tokens that the network takes."""
        stated = self.config.get("max_position_embeddings") or self.config.get("n_positions") or _LENGTH
        return int(min(stated, _LENGTH))
