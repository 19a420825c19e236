"""The encoder of Whisper, without its decoder, for windows of any length up to its own.

Its authors always give it 30 seconds, mostly silence. Here it gets the window with two seconds of silence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.audio_input import is_value, without_padding
from featx.backbones.sources.hf.audio_family import AudioFamily, HfAudioLayerRules
from featx.backbones.sources.hf.extractors import read_extractor
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation
from featx.inputs.audio.log_mel import LogMelFrames

#: Seconds of silence that the network hears behind a window. Of spoken digits of a speaker left out, 0.925
#: are right without any, 0.968 with two seconds, and 0.953 with 30 in ten times the time.
_SILENCE = 2.0
#: Frames of a state.
_STRIDE = 2


class WhisperLayerRules(HfAudioLayerRules):
    """A batch is (n, frames, bands); its last band says which frames are audio."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last states (n, t, c), of two frames each, with `PADDING` masked."""
        heard = is_value(x)
        frames = without_padding(x[:, :, :-1]).transpose(1, 2)
        # What stands behind a window must be 0 in each convolution, as at the end of a window alone.
        hidden = nn.functional.gelu(network.conv1(frames)) * heard[:, None, :].to(x.dtype)
        hidden = nn.functional.gelu(network.conv2(hidden)).transpose(1, 2)
        hidden = hidden + network.embed_positions.weight[: hidden.shape[1]]
        mask = heard[:, None, None, ::_STRIDE]
        for layer in network.layers:
            hidden = layer(hidden, mask)
        states: Tensor = network.layer_norm(hidden)
        return states

    def mask_of(self, network: Any, x: Tensor, states: int) -> Tensor:
        """Return which states begin with a frame of audio: bool (n, states)."""
        audio: Tensor = x[:, ::_STRIDE, -1] > 0.5
        return audio

    def width_of(self, network: Any, shape: Sequence[int]) -> int:
        """Return the numbers of a state."""
        width: int = network.config.d_model
        return width


_RULES = WhisperLayerRules()


class Whisper(AudioFamily):
    """The encoder; tensors of a decoder are left out."""

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return the rules of the encoder."""
        return _RULES

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the encoder, with initial values."""
        encoder: nn.Module = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
        return encoder

    def convert(
        self, tensors: dict[str, Tensor], network: nn.Module, config: Any, label: str
    ) -> dict[str, Tensor]:
        """Return the tensors of the encoder under its own names."""
        named = {key.removeprefix("model."): value for key, value in tensors.items()}
        inside = {key: value for key, value in named.items() if key.startswith("encoder.")}
        return {key.removeprefix("encoder."): value for key, value in (inside or named).items()}

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation: log mel frames with two seconds of silence behind a clip."""
        read = read_extractor(stated, "WhisperFeatureExtractor", name)
        if read.dither:
            raise InputError(f"{name}: its preprocessor_config.json asks for noise (dither {read.dither})")
        if read.feature_size != config.num_mel_bins:
            raise InputError(
                f"{name}: its preprocessor_config.json states {read.feature_size} bands, and its network "
                f"takes {config.num_mel_bins}"
            )
        frames = LogMelFrames(read.feature_size, read.sampling_rate, read.n_fft, read.hop_length)
        seconds = min(float(read.chunk_length), self._seconds(config, frames))
        return AudioPreparation(frames, window=seconds, silence=_SILENCE)

    def longest(self, config: Any, preparation: AudioPreparation) -> float:
        """Return the seconds that the encoder has positions for."""
        return self._seconds(config, preparation.front_end)

    def trial(self, config: Any) -> Tensor:
        """Return noise of some frames."""
        shape = 1, min(41, 2 * config.max_source_positions - 4), config.num_mel_bins + 1
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def _seconds(self, config: Any, frames: Any) -> float:
        seconds: float = _STRIDE * config.max_source_positions * frames.hop / frames.rate
        return seconds
