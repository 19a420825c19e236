"""Audio networks of samples: wav2vec 2.0, HuBERT, WavLM, UniSpeech, data2vec, SEW and their relatives.

Convolutions make states of about 20 ms, a transformer follows. Batches in transformers change the rows of the
shorter clips in them: a norm over time takes silence into its statistics, and the convolutions that stand for
positions see what stands behind a clip. Here the norm takes the samples of the clip alone, everything behind
a clip is 0 in each convolution and masked in attention, so that a row is that of the clip alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.audio_input import is_value, without_padding
from featx.backbones.sources.hf.audio_family import AudioFamily, HfAudioLayerRules, PlainLayerRules, first_of
from featx.backbones.sources.hf.extractors import read_extractor
from featx.backbones.sources.hf.wavlm import gate_positions
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation, Waveform

#: Seconds of a window, unless others are asked for; attention takes time with the square of its length.
_WINDOW = 30.0
#: States on which it is tried out that padding changes none.
_TRIED = 8
#: Learned in place of what training hides; no embedding has it.
_HIDDEN = "masked_spec_embed"


class WaveformLayerRules(HfAudioLayerRules):
    """A batch is samples (n, t); see the module's docstring."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last states (n, t, c)."""
        states, valid = self.convolve(network, x)
        hidden = first_of(network.feature_projection(states)) * valid[:, :, None].to(states.dtype)
        return self.encode(network.encoder, hidden, valid)

    def convolve(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of the convolutions (n, t, c), and which of them belong to each clip (n, t)."""
        valid = is_value(x)
        hidden = without_padding(x)[:, None]
        for layer in network.feature_extractor.conv_layers:
            (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
            valid = _ends(valid, kernel, stride)
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                hidden = layer.activation(_norm_over_time(norm, layer.conv(hidden), valid))
            else:
                hidden = layer(hidden)
        return hidden.transpose(1, 2), valid

    def encode(self, encoder: Any, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return the states of the transformer."""
        stable = "StableLayerNorm" in type(encoder).__name__
        hidden = hidden + _positions(encoder.pos_conv_embed, hidden, valid)
        if not stable:
            hidden = encoder.layer_norm(hidden)
        hidden = self.attend(encoder.layers, hidden, valid)
        return encoder.layer_norm(hidden) if stable else hidden

    def attend(self, layers: Any, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return what the layers of the transformer make of states; those that are not valid are masked."""
        mask = valid[:, None, None, :]
        for layer in layers:
            hidden = first_of(layer(hidden, attention_mask=mask))
        return hidden

    def mask_of(self, network: Any, x: Tensor, states: int) -> Tensor:
        """Return which states belong to each clip: bool (n, states)."""
        return valid_states(network.config, is_value(x))


class WavLmLayerRules(WaveformLayerRules):
    """Positions are relative, and are found by the first layer."""

    def attend(self, layers: Any, hidden: Tensor, valid: Tensor) -> Tensor:
        """Return what the layers make of states; see `featx.backbones.sources.hf.wavlm`."""
        bias = None
        for index, layer in enumerate(layers):
            hidden, bias = layer(hidden, attention_mask=valid, position_bias=bias, index=index)[:2]
        return hidden


class SewLayerRules(WaveformLayerRules):
    """The transformer has states of several states of the convolutions, which it splits again at its end."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last states (n, t, c); as in transformers, those beyond a whole group are 0."""
        states, valid = self.convolve(network, x)
        states = network.layer_norm(states)
        if network.project_features:
            states = network.feature_projection(states)
        hidden = (states * valid[:, :, None].to(states.dtype)).transpose(1, 2)
        encoder, factor = network.encoder, network.config.squeeze_factor
        positions, pooled = encoder.pos_conv_embed(hidden), encoder.pool(hidden)
        groups = _ends(valid, factor, factor)
        count = groups.shape[1]
        hidden = (pooled + positions[:, :, :count]).transpose(1, 2)
        hidden = self.attend(encoder.layers, encoder.layer_norm(hidden), groups)
        split = encoder.upsample(hidden)
        split = split * groups[:, :, None].expand(-1, -1, factor).flatten(1, 2)[:, :, None].to(split.dtype)
        return nn.functional.pad(split, (0, 0, 0, states.shape[1] - factor * count))

    def mask_of(self, network: Any, x: Tensor, states: int) -> Tensor:
        """Return which states belong to each clip, also of those in the transformer."""
        valid = valid_states(network.config, is_value(x))
        factor = network.config.squeeze_factor
        return valid if states == valid.shape[1] else _ends(valid, factor, factor)


class RotaryPositions(nn.Module):
    """The angles of rotary positions, which transformers keeps between calls, for all threads."""

    def __init__(self, own: Any):
        super().__init__()
        self.inv_freq: Tensor
        stored = "inv_freq" not in own._non_persistent_buffers_set
        self.register_buffer("inv_freq", own.inv_freq, persistent=stored)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return cosines and sines for states (n, t, c), as (2, t, 1, 1, numbers of a head)."""
        places = torch.arange(hidden.shape[1], device=self.inv_freq.device).to(self.inv_freq.dtype)
        angles = (places[:, None] * self.inv_freq).repeat(1, 2)[:, None, None, :]
        return torch.stack([angles.cos(), angles.sin()]).to(hidden.dtype)


class WaveformFamily(AudioFamily):
    """Networks that take samples.

    Parameters
    ----------
    network : str
        Its class in transformers.
    rules : HfAudioLayerRules
    """

    def __init__(self, network: str, rules: HfAudioLayerRules):
        self.network, self._rules = network, rules
        self._plain = PlainLayerRules()

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return the rules; an adapter behind the transformer is run as transformers runs it."""
        return self._plain if config.get("add_adapter") else self._rules

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the network, with initial values."""
        network: nn.Module = getattr(transformers, self.network)(config)
        gate_positions(network)
        return hold_no_positions(leave_out_hidden(network))

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation: samples, of mean 0 and variance 1 where that is stated."""
        read = read_extractor(stated, "Wav2Vec2FeatureExtractor", name)
        states = getattr(config, "squeeze_factor", 1)
        masks = not isinstance(self.rules_for(config.to_dict()), PlainLayerRules)
        if fewest_samples(config, _TRIED * states) > _WINDOW * read.sampling_rate:
            raise InputError(
                f"{name}: the convolutions of its config make no {_TRIED} states of {_WINDOW:g} seconds"
            )
        front_end = Waveform(read.sampling_rate, bool(read.do_normalize), fewest_samples(config, states))
        return AudioPreparation(front_end, window=_WINDOW, masks=masks)

    def trial(self, config: Any) -> Tensor:
        """Return noise of some states."""
        samples = fewest_samples(config, _TRIED * getattr(config, "squeeze_factor", 1))
        return torch.randn((1, samples), generator=torch.Generator().manual_seed(0))


def leave_out_hidden(network: Any) -> Any:
    """Take off what training puts in place of states that it hides, and return the network."""
    if hasattr(network, _HIDDEN):
        delattr(network, _HIDDEN)
    return network


def hold_no_positions(network: Any) -> Any:
    """Put `RotaryPositions` in place of those that are kept between calls, and return the network."""
    positions = getattr(network.encoder, "embed_positions", None)
    if hasattr(positions, "cached_rotary_positional_embedding"):
        network.encoder.embed_positions = RotaryPositions(positions)
    return network


def fewest_samples(config: Any, states: int) -> int:
    """Return the samples of which the convolutions make so many states."""
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        states = (states - 1) * stride + kernel
    return states


def valid_states(config: Any, valid: Tensor) -> Tensor:
    """Return which states the convolutions make of valid samples alone: bool (n, states), of (n, t)."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        valid = _ends(valid, kernel, stride)
    return valid


def _ends(valid: Tensor, kernel: int, stride: int) -> Tensor:
    """Return whether the last of the positions under each step of a kernel is valid: bool (n, steps).

    What is valid comes first, so all positions under the step are.
    """
    return valid[:, kernel - 1 :: stride]


def _norm_over_time(norm: nn.GroupNorm, hidden: Tensor, valid: Tensor) -> Tensor:
    """Return channels (n, c, t) normalised over the valid positions, each channel by itself."""
    weights = valid[:, None, :].to(torch.float32)
    count = weights.sum(2, keepdim=True)
    values = hidden.to(torch.float32)
    centred = (values - (values * weights).sum(2, keepdim=True) / count) * weights
    variance = centred.square().sum(2, keepdim=True) / count
    normed = (centred / (variance + norm.eps).sqrt()).to(hidden.dtype)
    return normed * norm.weight[:, None] + norm.bias[:, None]


def _positions(embed: Any, hidden: Tensor, valid: Tensor) -> Tensor:
    """Return what the convolutions that stand for positions add to states (n, t, c)."""
    inside = valid[:, None, :].to(hidden.dtype)
    hidden = hidden.transpose(1, 2)
    if hasattr(embed, "layers"):  # data2vec has several
        for layer in embed.layers:
            hidden = layer(hidden) * inside
    else:
        norm = getattr(embed, "batch_norm", None)
        if norm is not None:
            hidden = norm(hidden) * inside
        hidden = embed.activation(embed.padding(embed.conv(hidden)))
    return hidden.transpose(1, 2)


#: Families by the type in their configuration.
WAVEFORM_FAMILIES: dict[str, AudioFamily] = {
    "wav2vec2": WaveformFamily("Wav2Vec2Model", WaveformLayerRules()),
    "hubert": WaveformFamily("HubertModel", WaveformLayerRules()),
    "wavlm": WaveformFamily("WavLMModel", WavLmLayerRules()),
    "unispeech": WaveformFamily("UniSpeechModel", WaveformLayerRules()),
    "unispeech-sat": WaveformFamily("UniSpeechSatModel", WaveformLayerRules()),
    "data2vec-audio": WaveformFamily("Data2VecAudioModel", WaveformLayerRules()),
    "sew": WaveformFamily("SEWModel", SewLayerRules()),
    "wav2vec2-conformer": WaveformFamily("Wav2Vec2ConformerModel", PlainLayerRules()),
}
