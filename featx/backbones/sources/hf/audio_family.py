"""What a family of audio networks of transformers must state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.audio_layers import AudioLayerRules
from featx.backbones.layers.pooling import Tap
from featx.backbones.sources.hf.networks import convert_tensors
from featx.errors import InputError
from featx.inputs.audio import AudioPreparation


class HfAudioLayerRules(AudioLayerRules):
    """Rules of audio networks of transformers; a subclass must define `run`."""

    def width_of(self, network: Any, shape: Sequence[int]) -> int:
        """Return the numbers of a state of a layer that gives this shape."""
        width: int = network.config.hidden_size
        return width

    def attention_mask(self, network: Any, valid: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a mask of keys for attention: bool for torch's own, numbers to add for others."""
        keys = valid[:, None, None, :]
        if network.config._attn_implementation == "sdpa":
            return keys
        return torch.zeros(keys.shape, dtype=dtype, device=keys.device).masked_fill(
            ~keys, torch.finfo(dtype).min
        )

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int]:
        """Return how a layer is pooled; refuse one that does not give states (n, t, c).

        Convolutions give their channels first, and keep time elsewhere.
        """
        if len(shape) == 3 and shape[2] != self.width_of(network, shape):
            raise InputError(
                f"{name}: layer {layer!r} gives {tuple(shape[1:])} per clip, not states of "
                f"{self.width_of(network, shape)} numbers; name a layer of its transformer"
            )
        return super().find_tap(network, layer, pooling, shape, name)


class PlainLayerRules(HfAudioLayerRules):
    """The network's own forward pass; only windows of one length share a batch."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last states (n, t, c)."""
        states: Tensor = network(x)[0]
        return states

    def mask_of(self, network: Any, x: Tensor, states: int) -> Tensor:
        """Return that all states count."""
        return torch.ones((x.shape[0], states), dtype=torch.bool, device=x.device)


class AudioFamily:
    """A family of audio networks. A subclass must define all but `longest` and `trial`."""

    def rules_for(self, config: Mapping[str, Any]) -> HfAudioLayerRules:
        """Return what is known of the layers of a network with the content of this ``config.json``."""
        raise NotImplementedError

    def build(self, config: Any, transformers: Any, tensors: Collection[str] | None) -> nn.Module:
        """Build the network of a configuration, with initial values.

        `tensors` are the names of those in its weights; None where there are none.
        """
        raise NotImplementedError

    def convert(
        self, tensors: dict[str, Tensor], network: nn.Module, config: Any, label: str
    ) -> dict[str, Tensor]:
        """Return the tensors of a file under the names of `network`, without those of other parts."""
        found = convert_tensors(tensors, network, None, label)
        own = network.state_dict().keys()
        return {key: value for key, value in found.items() if key in own}

    def prepare(self, config: Any, stated: Mapping[str, Any], name: str) -> AudioPreparation:
        """Return the preparation that a ``preprocessor_config.json`` states.

        An `InputError` begins with `name`.
        """
        raise NotImplementedError

    def longest(self, config: Any, preparation: AudioPreparation) -> float | None:
        """Return the seconds that the network takes at most; None where there is no end."""
        return None

    def trial(self, config: Any) -> Tensor | None:
        """Return a window for the check that padding changes no state; None leaves the check out."""
        return None


def first_of(output: Any) -> Tensor:
    """Return the tensor that a module passes on, where its output holds more."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
