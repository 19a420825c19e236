"""The families of audio networks of transformers that are known, by the type in their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.backbones.sources.hf.audio_family import AudioFamily
from featx.backbones.sources.hf.networks import main_input
from featx.backbones.sources.hf.spectrogram_networks import SPECTROGRAM_FAMILIES
from featx.backbones.sources.hf.waveform_networks import WAVEFORM_FAMILIES
from featx.backbones.sources.hf.whisper import Whisper

FAMILIES: dict[str, AudioFamily] = {"whisper": Whisper(), **WAVEFORM_FAMILIES, **SPECTROGRAM_FAMILIES}
#: What transformers calls inputs that are audio.
_OF_AUDIO = ("input_values", "input_features")


def takes_audio(content: Mapping[str, Any]) -> bool:
    """Return whether the network of a ``config.json`` takes audio."""
    return content.get("model_type") in FAMILIES or main_input(content) in _OF_AUDIO
