"""Text networks of transformers, as ``hf:NAME`` or ``hf:FOLDER``: BERT, RoBERTa, GPT-2 and others.

A folder of sentence-transformers gives the rows that its own pipeline gives; see `pipeline`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from featx.backbones.architectures import Pretrained, hash_settings
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.sources.hf.architecture import HfArchitecture
from featx.backbones.sources.hf.kept_files import read_files
from featx.backbones.sources.hf.networks import read_config
from featx.backbones.sources.hf.pipeline import (
    PREFIX,
    PipelineSettings,
    Step,
    list_settings,
    read_pipeline,
    with_steps,
)
from featx.backbones.sources.hf.repository import HfPretrained
from featx.backbones.sources.hf.text_networks import (
    TextLayerRules,
    TokenFacts,
    build_text_network,
    most_tokens,
    require_masked,
)
from featx.backbones.sources.hf.text_pooling import Pipeline
from featx.backbones.sources.hf.tokenizer import HfTokenizer
from featx.backbones.text_input import TextInput
from featx.durable import file_stamp
from featx.errors import InputError
from featx.inputs.text import TextPreparation
from featx.options.checks import MOST_TOKENS

#: Most tokens by default, unless a sentence-transformers folder states others.
_LENGTH = 512


@dataclass(frozen=True)
class HfTextPretrained(HfPretrained):
    """The weights of a repository, with those of the steps behind its pooling."""

    steps: tuple[Step, ...] = ()

    def open(self, path: Path) -> Checkpoint:
        """Open the file, or all that an index names, and those of the steps."""
        return with_steps(super().open(path), self.repository, self.steps)


class HfTextArchitecture(HfArchitecture):
    """The text network of one folder, or of one repository of the Hugging Face hub."""

    input_type: ClassVar[Any] = TextInput
    rules: ClassVar[LayerRules] = TextLayerRules()

    @cached_property
    def tokenizer(self) -> HfTokenizer:
        """The tokenizer of the repository."""
        lower_case = self.pipeline is not None and self.pipeline.lower_case
        return HfTokenizer(self.repository, f"hf:{self.name}", lower_case=lower_case)

    @cached_property
    def pipeline(self) -> PipelineSettings | None:
        """The pipeline of a sentence-transformers folder; None where there is none."""
        return read_pipeline(self.repository, f"hf:{self.name}")

    @property
    def identity(self) -> dict[str, str]:
        """The settings of the pipeline; its tensors are among the weights."""
        return {} if self.pipeline is None else {PREFIX: hash_settings(self.pipeline.identity)}

    def published(self) -> list[Pretrained]:
        """Return the weights of the repository, with those of its pipeline."""
        steps = () if self.pipeline is None else tuple(self.pipeline.weighted)
        return [HfTextPretrained(**{**vars(found), "steps": steps}) for found in super().published()]

    def prepare_inputs(
        self, pretrained: Pretrained | None, settings: InputSettings, name: str
    ) -> TextPreparation:
        """Return the preparation of texts, with the settings that are given."""
        settings.require(self.input_type.kind, name)
        most = most_tokens(read_config(self.config, name))
        prefix = "" if self.pipeline is None else self.pipeline.prefix
        stated = TextPreparation(self.tokenizer, self._max_length(most), prefix)
        prepare = stated.changed(settings.of_kind("text", name))
        if most is not None and prepare.max_length > most:
            raise InputError(
                f"{name}: max_length={prepare.max_length} is more than the {most} tokens that the network has"
                " positions for"
            )
        leaves_out = self.pipeline is not None and not self.pipeline.include_prompt
        if leaves_out and prepare.prefix and prepare.long == "mean":
            raise InputError(
                f"{name}: long='mean' does not go with its pooling, which leaves out the tokens of the "
                "prefix: only the first piece of a text has them; use long='cut' or prefix=''"
            )
        return prepare

    def kept_files(self) -> dict[str, bytes]:
        """Return the files of its settings and its tokenizer."""
        return read_files(self.repository)

    def stamp(self) -> Any:
        """Return sizes, times and inodes of the files of the tokenizer and of the pipeline."""
        settings = [] if self.pipeline is None else list_settings(self.repository)
        return [file_stamp(file) for file in (*self.tokenizer.files, *settings)]

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network, with initial values; it takes texts of any length up to its own."""
        config = self._checked_config()
        network: Any = self._build(config, None)
        network.token_facts = self._token_facts(network)
        if inputs is not None:
            inputs.preparation.require_place(f"hf:{self.name}")  # type: ignore[attr-defined]
        if self.pipeline is not None:
            prefix = "" if inputs is None else inputs.preparation.prefix  # type: ignore[attr-defined]
            length = self.tokenizer.count(prefix) if prefix else 0
            dim = config.hidden_size
            network.add_module(PREFIX, Pipeline(self.pipeline, dim, length, f"hf:{self.name}"))
        if not pretrained_style and network.device.type != "meta":
            require_masked(network, f"hf:{self.name}")
        return network  # type: ignore[no-any-return]

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors of a file under the names of `network`, as transformers converts them."""
        behind = {key: value for key, value in tensors.items() if key.startswith(f"{PREFIX}.")}
        of_network = {key: value for key, value in tensors.items() if key not in behind}
        return {**super().convert(of_network, network, label), **behind}

    def check_values(self, network: nn.Module) -> None:
        """Refuse a network in which padding changes the rows of texts."""
        require_masked(network, f"hf:{self.name}")

    def _build(self, config: Any, tensors: Collection[str] | None) -> nn.Module:
        return build_text_network(config, f"hf:{self.name}")

    def _max_length(self, most: int | None) -> int:
        """Return the most tokens of a text by default; the network has positions for `most`."""
        own = None if self.pipeline is None else self.pipeline.max_length
        if own is None:
            settings = self.repository.read_optional_json("tokenizer_config.json") or {}
            stated = settings.get("model_max_length")
            # A pipeline's own length may be stated here alone. 10**30 stands for none.
            longest = _LENGTH if self.pipeline is None else MOST_TOKENS
            is_length = isinstance(stated, (int, float)) and 4 <= stated < MOST_TOKENS
            own = min(int(stated), longest) if is_length else _LENGTH  # type: ignore[arg-type]
        return own if most is None else min(own, most)

    def _token_facts(self, network: Any) -> TokenFacts:
        """Return what the network is to know of its tokens; refuse a vocabulary that it has no rows for."""
        embeddings = network.get_input_embeddings()
        rows = getattr(embeddings, "num_embeddings", None)
        if rows is not None and self.tokenizer.most > rows:
            raise InputError(
                f"hf:{self.name}: its tokenizer has {self.tokenizer.most} tokens, and its network has "
                f"embeddings of {rows}: they do not belong together"
            )
        padding = getattr(network.config, "pad_token_id", None)
        if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= padding < (rows or 1):
            padding = 0
        return TokenFacts(padding, self.tokenizer.special.cls)
