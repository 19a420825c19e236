"""Rows without a network: mean and standard deviation over time of Kaldi's filter banks or coefficients.

``kaldi:fbank`` and ``kaldi:mfcc`` have no weights. A network must beat them to be worth its time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.audio_input import AudioInput, without_padding
from featx.backbones.audio_layers import AudioLayerRules
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation
from featx.inputs.audio.kaldi import KaldiFrames

#: What the weights of a network without any are called.
NONE = "none"
_FRAMES = {"fbank": KaldiFrames("fbank", 80), "mfcc": KaldiFrames("mfcc", 13)}


class NoWeights(Checkpoint):
    """In place of a file of weights, where there are none."""

    called = NONE

    def state_dict(self) -> dict[str, Tensor]:
        """Return no tensors."""
        return {}


class KaldiLayerRules(AudioLayerRules):
    """The frames themselves are the states."""

    default_pooling = "mean+std"

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the frames, with zeros in place of padding."""
        frames: Tensor = network(without_padding(x))
        return frames


class KaldiArchitecture(Architecture):
    """Frames as they are."""

    source = "kaldi"
    input_type: ClassVar[Any] = AudioInput
    rules: ClassVar[LayerRules] = KaldiLayerRules()
    trainable = False

    def open(self, name: str, weights: Any) -> NoWeights:
        """Return that there are no weights."""
        if weights not in ("default", NONE, None):
            raise InputError(f"{name}: has no weights, got weights={str(weights)!r:.60}; leave weights= out")
        return NoWeights(Path(NONE), hashlib.sha256(b"").hexdigest())

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Return the identity."""
        return nn.Identity()

    def prepare_inputs(
        self, pretrained: Pretrained | None, settings: InputSettings, name: str
    ) -> AudioPreparation:
        """Return the preparation of clips, with the settings that are given."""
        settings.require("clip", name)
        prepare = AudioPreparation(_FRAMES[self.name]).changed(settings.of_kind("clip", name))
        assert isinstance(prepare.front_end, KaldiFrames)
        prepare.front_end.check()
        return prepare


class KaldiSource(BackboneSource):
    """Filter banks and coefficients."""

    name = "kaldi"
    facts: ClassVar[Mapping[str, Facts]] = {
        name: Facts("embedding", "mean+std", 2 * frames.bands, 0) for name, frames in _FRAMES.items()
    }

    def architecture(self, name: str) -> KaldiArchitecture:
        """Return the architecture of a name."""
        return KaldiArchitecture(name)

    def listed(self) -> dict[str, list[Pretrained]]:
        """Return both, without weights."""
        return {name: [] for name in self.facts}
