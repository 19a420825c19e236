"""Clips as inputs of a network; no other module of backbones and engines knows how they are laid out.

A batch of prepared windows is float32 (n, positions) or (n, positions, bands), with `PADDING` behind the end
of each. Networks make the mask themselves: what is `PADDING` is no sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from featx.inputs.audio import PADDING, AudioPreparation

#: Seconds of the example, and of the clips for which engines state their preferred batch.
_USUAL_SECONDS = 2.0
#: What is not larger is padding.
_LEAST = PADDING / 10


class AudioInput:
    """Windows of clips; see `featx.backbones.network_input.NetworkInput`."""

    kind = "clip"
    square = False

    def __init__(self, preparation: AudioPreparation, length: int | None = None):
        self.preparation = preparation
        front, whole = preparation.front_end, preparation.samples
        usual = whole if preparation.pad else min(whole, round(_USUAL_SECONDS * front.rate))
        self.length = length or front.positions(max(usual, front.shortest))

    def __str__(self) -> str:
        return f"clips of {self.length} {self.position}s"

    @property
    def position(self) -> str:
        """What one position is: a frame has several values."""
        return "sample" if self.preparation.front_end.bands is None else "frame"

    @property
    def shortest(self) -> int:
        """Positions of the shortest windows."""
        return self.preparation.front_end.positions(self.preparation.front_end.shortest)

    @property
    def longest(self) -> AudioInput:
        """The longest windows that the network takes."""
        preparation = self.preparation
        return AudioInput(preparation, preparation.front_end.positions(preparation.most_samples))

    def example(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return silence, float32 (count, length) or (count, length, bands)."""
        bands = self.preparation.front_end.bands
        return torch.zeros((count, self.length, *(() if bands is None else (bands,))), device=device)

    def enlarged(self) -> AudioInput:
        """Return longer windows, also where the network may not take them."""
        return AudioInput(self.preparation, self.length + self.length // 2)

    def doubled(self) -> AudioInput:
        """Return the same windows: networks are built for any length that they take."""
        return self

    def scale_batch(self, preferred: int) -> float:
        """Return how many clips make a good batch, where `preferred` images of 224 px do.

        Of Whisper tiny and wav2vec 2.0 base, 16 seconds of audio are as fast as more (measured with OpenVINO
        on one core; 2 seconds take up to a third longer).
        """
        return 2.0 * preferred

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from float32 to the numbers of the network; `PADDING` stays beyond all values."""
        return lambda batch: batch.to(dtype)

    def add_to_openvino(self, model: Any) -> Any:
        """Return the model, which takes float32 as it is."""
        return model


def is_value(x: Tensor) -> Tensor:
    """Return where the positions of a batch (n, t) or (n, t, bands) are values and not padding: bool (n, t).

    `PADDING` is less than any number of a clip in every precision; in half precision it is minus infinity, as
    is the limit.
    """
    first = x if x.dim() == 2 else x[:, :, 0]
    return first > _LEAST


def without_padding(x: Tensor) -> Tensor:
    """Return the batch with zeros in place of padding."""
    return torch.where(x > _LEAST, x, torch.zeros((), dtype=x.dtype, device=x.device))
