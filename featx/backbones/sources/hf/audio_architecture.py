"""Audio networks of transformers, as ``hf:NAME`` or ``hf:FOLDER``: Whisper, wav2vec 2.0 and others."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featx.backbones.architectures import Pretrained
from featx.backbones.audio_input import AudioInput
from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.sources.hf import ctranslate2
from featx.backbones.sources.hf.architecture import HfArchitecture
from featx.backbones.sources.hf.audio_families import FAMILIES
from featx.backbones.sources.hf.audio_family import AudioFamily, PlainLayerRules
from featx.backbones.sources.hf.ctranslate2 import MODEL_FILE, states_ctranslate2
from featx.backbones.sources.hf.networks import quiet, read_config
from featx.backbones.sources.hf.repository import WEIGHTS_FILES, HfPretrained
from featx.durable import file_stamp
from featx.errors import InputError, WeightsError, as_one_error
from featx.inputs.audio import PADDING, AudioPreparation

#: The settings of an extractor, and where newer folders have them.
_EXTRACTOR = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"
#: Largest change of a state by padding, as a share of the largest value.
_SAME = 1e-3


@dataclass(frozen=True)
class HfAudioPretrained(HfPretrained):
    """The weights of a repository, in the format of transformers or that of CTranslate2."""

    files: ClassVar[tuple[str, ...]] = (*WEIGHTS_FILES, MODEL_FILE)

    def open(self, path: Path) -> Checkpoint:
        """Open the file, or all that an index names, and check the sha256 that is stated for it."""
        if path.name != MODEL_FILE:
            return super().open(path)
        opened = open_checkpoint(path, sha256=self.repository.stated_sha256(path))
        return ctranslate2.CTranslate2Checkpoint(opened.path, opened.sha256)

    def tensor_names(self) -> frozenset[str]:
        """Return the names of the tensors, as the files have them."""
        path = self.find()
        if path is None or path.name != MODEL_FILE:
            return super().tensor_names()
        return frozenset(ctranslate2.list_names(path))


class HfAudioArchitecture(HfArchitecture):
    """The audio network of one folder, or of one repository of the Hugging Face hub."""

    input_type: ClassVar[Any] = AudioInput
    pretrained_type: ClassVar[type[HfPretrained]] = HfAudioPretrained

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of its ``config.json``; of CTranslate2's format, what the weights say of it."""
        if not self._of_ctranslate2:
            return self._stated_config
        path = self.repository.fetch(
            MODEL_FILE,
            make_error=lambda reason: WeightsError(
                f"hf:{self.name}: its {MODEL_FILE} is not on this machine and could not be downloaded "
                f"({reason}){self.repository.advice}"
            ),
        )
        return ctranslate2.read_config(path)

    @cached_property
    def _stated_config(self) -> dict[str, Any]:
        return self.repository.read_json("config.json")

    @property
    def _of_ctranslate2(self) -> bool:
        return states_ctranslate2(self._stated_config)

    @cached_property
    def family(self) -> AudioFamily:
        """How networks of its type are built and fed; `InputError` where that is not known."""
        model_type = str(self.config.get("model_type"))
        if model_type not in FAMILIES:
            raise InputError(
                f"hf:{self.name}: what a network of audio of type {model_type!r:.60} takes and gives is not "
                f"known; known are {', '.join(FAMILIES)}"
            )
        return FAMILIES[model_type]

    @property
    def rules(self) -> LayerRules:  # type: ignore[override]
        """What is known of the layers of its family."""
        return self.family.rules_for(self.config)

    def prepare_inputs(
        self, pretrained: Pretrained | None, settings: InputSettings, name: str
    ) -> AudioPreparation:
        """Return the preparation of clips, with the settings that are given."""
        settings.require(self.input_type.kind, name)
        config = read_config(self.config, name)
        stated = self.family.prepare(config, self._extractor(name), name)
        prepare = stated.changed(settings.of_kind("clip", name))
        longest = self.family.longest(config, prepare)
        if longest is not None and prepare.window > longest:
            raise InputError(
                f"{name}: window={prepare.window:g} is more than the {longest:g} seconds that the network "
                "takes"
            )
        return replace(prepare, longest=longest)

    def kept_files(self) -> dict[str, bytes]:
        """Return its configuration and the settings of its extractor."""
        kept = {"config.json": self.config, _EXTRACTOR: self._extractor(f"hf:{self.name}")}
        return {name: json.dumps(content).encode() for name, content in kept.items()}

    def stamp(self) -> Any:
        """Return size, time and inode of the settings of its extractor."""
        return [file_stamp(path) for name in (_EXTRACTOR, _PROCESSOR) if (path := self.repository.find(name))]

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network, with initial values; it takes windows of any length up to its own."""
        return self._build(self._checked_config(), self._tensors if pretrained_style else None)

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors of a file under the names of `network`, without those of a decoder or a head."""
        config = read_config(self.config, f"hf:{self.name}")
        return self.family.convert(tensors, network, config, label)

    @torch.inference_mode()
    def check_values(self, network: nn.Module) -> None:
        """Refuse a network in which padding changes the states of a window, though it is masked."""
        window = self.family.trial(read_config(self.config, f"hf:{self.name}"))
        rules: Any = self.rules
        if window is None or isinstance(rules, PlainLayerRules):
            return
        alone = rules.run(network.eval(), window)
        behind = torch.full_like(window, PADDING)[:, : window.shape[1] // 2]
        padded = rules.run(network, torch.cat([window, behind], 1))[:, : alone.shape[1]]
        if not (padded - alone).abs().max() <= _SAME * alone.abs().max():
            raise InputError(
                f"hf:{self.name}: in this network of type {self.config.get('model_type')!r} what stands "
                "behind a clip in a batch changes its row; take another one"
            )

    def _build(self, config: Any, tensors: Collection[str] | None) -> nn.Module:
        name = f"hf:{self.name}"
        cannot = as_one_error(
            lambda why: InputError(f"{name}: no network can be built of its config ({why})")
        )
        with quiet() as transformers, cannot:
            network = self.family.build(config, transformers, tensors)
            for module in network.modules():
                if isinstance(module, transformers.PreTrainedModel):
                    module.loss_function = None
        return network.float()

    def _extractor(self, name: str) -> dict[str, Any]:
        """Return the settings of the extractor that feeds the network; `InputError` where there are none."""
        found = self.repository.read_optional_json(_EXTRACTOR)
        if found is None:
            found = (self.repository.read_optional_json(_PROCESSOR) or {}).get("feature_extractor")
        if found is None and self._of_ctranslate2:
            return {"feature_size": self.config["num_mel_bins"]}  # as faster-whisper takes it
        if not isinstance(found, dict):
            raise InputError(
                f"{name}: no {_EXTRACTOR} is with it, which says what the network takes of audio; put the "
                "one of the model there"
            )
        return found
