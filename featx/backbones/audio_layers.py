"""Pool the positions of audio networks to one row for each window, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featx.backbones.audio_input import is_value
from featx.backbones.layers.pooling import LEAST_VARIANCE, Tap, embedding_dim
from featx.backbones.layers.rules import EmbeddingRules
from featx.errors import InputError, UnknownName


def pool_frames(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one row (n, c), or (n, 2 c) for ``"mean+std"``, of states (n, t, c) where `mask` (n, t) is true.

    The standard deviation is that of the population: ``sqrt(mean((x - mean(x))^2))`` (statistics pooling:
    Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018).
    """
    if pooling == "max":
        return hidden.masked_fill(~mask[:, :, None], torch.finfo(hidden.dtype).min).amax(1)
    weights = mask[:, :, None].to(hidden.dtype)
    count = weights.sum(1)
    mean = (hidden * weights).sum(1) / count
    if pooling == "mean":
        return mean
    deviation = (hidden - mean[:, None, :]) * weights
    return torch.cat([mean, ((deviation**2).sum(1) / count).clamp(min=LEAST_VARIANCE).sqrt()], 1)


class AudioLayerRules(EmbeddingRules):
    """Rules of networks of clips whose layers give states (n, t, c); a subclass must define `run`.

    Attributes
    ----------
    default_pooling : str
        Where none is asked for.
    poolings : tuple of str
        Those that the network has.
    """

    default_pooling: str = "mean"
    poolings: tuple[str, ...] = ("mean", "mean+std", "max")

    def mask_of(self, network: Any, x: Tensor, states: int) -> Tensor:
        """Return which of so many states of a layer count for each input of a batch: bool (n, states).

        By default, states divide the positions evenly: state i begins at position ``i * positions / states``.
        """
        given = is_value(x)
        if states == given.shape[1]:
            return given
        at = torch.arange(states, device=x.device) * given.shape[1] // states
        return given[:, at]

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the states of the last layer; `pool` makes rows of them."""
        states: Tensor = self.run(network, x)
        return states

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int]:
        """Return how a layer is pooled: by `default_pooling` over time, unless asked otherwise."""
        if len(shape) == 2 and pooling in (None, "identity"):
            return Tap(layer, "identity"), shape[1]
        if len(shape) != 3:
            raise InputError(
                f"{name}: layer {layer!r} gives {tuple(shape[1:])} per clip, not one row for each time"
            )
        chosen = pooling or self.default_pooling
        if chosen not in self.poolings:
            raise UnknownName(f"pooling of {name}", chosen, self.poolings)
        return Tap(layer, chosen, 2), embedding_dim(shape, chosen, 2)

    def pool(self, network: Any, tap: Tap, output: Tensor, x: Tensor) -> Tensor:
        """Return one row for each window, of states (n, t, c)."""
        if tap.pooling == "identity":
            return output.clone()
        return pool_frames(output, self.mask_of(network, x, output.shape[1]), tap.pooling)
