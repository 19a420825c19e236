"""Audio networks of spectrograms: AST, the audio tower of CLAP, and wav2vec2-BERT.

AST and CLAP take windows of one length, about 10 seconds: shorter clips are extended as their extractors do
it. The embedding is what the network's own classifier takes: of AST, the mean of class and distillation
token behind the last norm (pooling ``"cls"``); of CLAP, the mean of all patches behind the last norm, of
which the layer ``"projection"`` makes the embedding in the space of texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.audio_input import is_value, without_padding
from featx.backbones.layers.pooling import Tap
from featx.backbones.sources.hf.audio_family import AudioFamily, HfAudioLayerRules, PlainLayerRules, first_of
from featx.backbones.sources.hf.extractors import ExtractorFrames, read_extractor
from featx.backbones.sources.hf.waveform_networks import hold_no_positions, leave_out_hidden
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation

#: Seconds of a window of wav2vec2-BERT, unless others are asked for.
_WINDOW = 30.0
#: Samples of a frame, and from one to the next, of the extractors that compute filter banks as Kaldi.
_FRAME, _HOP, _KALDI_RATE = 400, 160, 16000


class AstLayerRules(PlainLayerRules):
    """Two tokens, of class and distillation, stand before those of patches."""

    default_pooling = "cls"
    poolings = ("cls", "mean", "mean+std", "max")

    def pool(self, network: Any, tap: Tap, output: Tensor, x: Tensor) -> Tensor:
        """Return the mean of the two tokens, or patches pooled."""
        if tap.pooling == "cls":
            return output[:, :2].mean(1)
        return super().pool(network, tap, output if tap.pooling == "identity" else output[:, 2:], x)


class Ast(AudioFamily):
    """The Audio Spectrogram Transformer."""

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return the rules."""
        return _AST

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the network, with initial values."""
        network: nn.Module = transformers.ASTModel(config)
        return network

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation: filter banks of 10.24 seconds."""
        read = read_extractor(stated, "ASTFeatureExtractor", name)
        _require_rate(read, name)
        _require_equal(read.max_length, config.max_length, "frames", name)
        _require_equal(read.num_mel_bins, config.num_mel_bins, "bands", name)
        frames = ExtractorFrames.of(
            read, shortest=_FRAME, bands=read.num_mel_bins, fixed=read.max_length, hop=_HOP
        )
        return AudioPreparation(frames, window=read.max_length * _HOP / _KALDI_RATE, pad=True)

    def longest(self, config: Any, preparation: AudioPreparation) -> float:
        """Return the seconds that the network takes."""
        return (_FRAME + (config.max_length - 1) * _HOP) / _KALDI_RATE


class ClapLayerRules(PlainLayerRules):
    """The audio tower; of networks that fuse crops of longer clips, as they run on a clip of one window."""

    def own_name(self, network: Any, layer: str) -> str:
        """Return the name of the layer ``"projection"``."""
        return "audio_projection" if layer == "projection" else layer

    def later_layers(self, network: Any) -> list[str]:
        """Return the projection into the space of audio and texts, where there is one."""
        return [name for name in ("audio_projection",) if hasattr(network, name)]

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return what `embed` does, and run the projection, where its layer is read."""
        states = self.embed(network, x)
        if hasattr(network, "audio_projection"):
            network.audio_projection(states.mean(1))
        return states

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the states of the last stage behind its norm (n, patches, c)."""
        encoder = getattr(network, "audio_model", network).audio_encoder
        frames = encoder.batch_norm(x[:, None].transpose(1, 3)).transpose(1, 3)
        images = encoder.reshape_mel2img(frames)
        embed = encoder.patch_embed
        hidden = _fuse(embed, images) if encoder.enable_fusion else embed(images)
        for stage, resolution in zip(encoder.layers, encoder.input_resolutions, strict=True):
            hidden = stage(hidden, resolution)[0]
        states: Tensor = encoder.norm(hidden)
        return states

    def width_of(self, network: Any, shape: Sequence[int]) -> int:
        """Return the numbers of a state, which are more from stage to stage."""
        return shape[-1]


def _fuse(embed: Any, images: Tensor) -> Tensor:
    """Return the patches of images (n, 1, h, w) of networks that fuse a clip with three crops of it.

    A clip that is no longer than a window stands for its crops, and is fused with itself: so does
    transformers at batch 1.
    """
    whole = embed.proj(images)
    crop = embed.mel_conv2d(images)
    crops = torch.cat([crop, crop, crop], 3)
    crops = nn.functional.pad(crops, (0, whole.shape[3] - crops.shape[3]))
    patches = embed.fusion_model(whole, crops).flatten(2).transpose(1, 2)
    normed: Tensor = embed.norm(patches)
    return normed


class Clap(AudioFamily):
    """The audio tower of CLAP, alone or of a whole network."""

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return the rules."""
        return _CLAP

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the tower, with its projection where there are weights for it."""
        projected = tensors is None or any("audio_projection" in key for key in tensors)
        kind = transformers.ClapAudioModelWithProjection if projected else transformers.ClapAudioModel
        network: nn.Module = kind(_of_audio(config))
        return network

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation: log mel filter banks of 10 seconds; shorter clips are repeated."""
        read = read_extractor(stated, "ClapFeatureExtractor", name)
        config = _of_audio(config)
        _require_equal(read.feature_size, config.num_mel_bins, "bands", name)
        known = read.truncation in ("fusion", "rand_trunc") and read.padding in ("repeatpad", "repeat", "pad")
        if not known or (read.truncation == "fusion") != bool(config.enable_fusion):
            raise InputError(
                f"{name}: truncation {read.truncation!r:.40} and padding {read.padding!r:.40} of its "
                f"preprocessor_config.json do not fit enable_fusion={config.enable_fusion} of its config"
            )
        count = 1 + read.nb_max_samples // read.hop_length
        frames = ExtractorFrames.of(
            read, shortest=1, bands=read.feature_size, fixed=count, hop=read.hop_length
        )
        return AudioPreparation(frames, window=float(read.max_length_s), pad=True)

    def longest(self, config: Any, preparation: AudioPreparation) -> float:
        """Return the seconds that the extractor takes at a time."""
        front: Any = preparation.front_end
        seconds: float = dict(front.stated)["max_length_s"]
        return seconds


class BertLayerRules(HfAudioLayerRules):
    """A batch is frames (n, t, bands), a state for each; the network masks what is behind a clip itself."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last states (n, t, c)."""
        valid = is_value(x)
        hidden = first_of(network.feature_projection(without_padding(x)))
        hidden = hidden * valid[:, :, None].to(hidden.dtype)
        encoder = network.encoder
        positions = None if encoder.embed_positions is None else encoder.embed_positions(hidden)
        for layer in encoder.layers:
            hidden = first_of(
                layer(
                    hidden,
                    attention_mask=self.attention_mask(network, valid, hidden.dtype),
                    relative_position_embeddings=positions,
                    conv_attention_mask=valid,
                )
            )
        return hidden


class Wav2Vec2Bert(AudioFamily):
    """wav2vec2-BERT, a conformer whose convolutions see nothing behind a state."""

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return the rules; what stands behind the transformer is run as transformers runs it."""
        more = config.get("add_adapter") or config.get("use_intermediate_ffn_before_adapter")
        return _PLAIN if more else _BERT

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the network, with initial values."""
        network: nn.Module = transformers.Wav2Vec2BertModel(config)
        return hold_no_positions(leave_out_hidden(network))

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation: filter banks, some frames together, normalised over the window."""
        read = read_extractor(stated, "SeamlessM4TFeatureExtractor", name)
        _require_rate(read, name)
        bands = read.num_mel_bins * read.stride
        _require_equal(bands, config.feature_projection_input_dim, "bands", name)
        shortest = _FRAME + _HOP * max(1, read.stride - 1)
        frames = ExtractorFrames.of(read, shortest=shortest, bands=bands, fixed=None, hop=_HOP)
        masks = not isinstance(self.rules_for(config.to_dict()), PlainLayerRules)
        return AudioPreparation(frames, window=_WINDOW, masks=masks)

    def trial(self, config: Any) -> Tensor:
        """Return noise of some frames."""
        shape = 1, 24, config.feature_projection_input_dim
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _of_audio(config: Any) -> Any:
    return getattr(config, "audio_config", config)


def _require_rate(read: Any, name: str) -> None:
    if read.sampling_rate != _KALDI_RATE:
        raise InputError(
            f"{name}: its preprocessor_config.json states {read.sampling_rate} Hz; frames of {_FRAME} "
            f"samples are for {_KALDI_RATE} Hz"
        )


def _require_equal(stated: int, taken: int, what: str, name: str) -> None:
    if stated != taken:
        raise InputError(
            f"{name}: its preprocessor_config.json states {stated} {what}, and its network takes {taken}"
        )


_AST, _CLAP, _BERT, _PLAIN = AstLayerRules(), ClapLayerRules(), BertLayerRules(), PlainLayerRules()

#: Families by the type in their configuration.
SPECTROGRAM_FAMILIES: dict[str, AudioFamily] = {
    "audio-spectrogram-transformer": Ast(),
    "clap": Clap(),
    "clap_audio_model": Clap(),
    "wav2vec2-bert": Wav2Vec2Bert(),
}
