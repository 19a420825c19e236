"""The step from prepared inputs to a network's tensors, as engines and backbones see it.

Each kind of input has a class of its own, such as `featx.backbones.image_input.ImageInput`, which its
architectures name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class NetworkInput(Protocol):
    """The inputs of one network, made from their preparation.

    Attributes
    ----------
    kind : str
        Such as ``"image"``.
    preparation : Preparation
        How an input is prepared.
    square : bool
        Whether the positions of the input make a square; maps of a layer then have two equal axes.

    Where lengths vary, it also has `length`, the positions of a usual input; `longest`, the longest inputs;
    `shortest`, the positions of the shortest ones; and `position`, the word for one position, such as
    ``"token"``.
    """

    kind: str
    preparation: Any

    def __init__(self, preparation: Any) -> None: ...

    @property
    def square(self) -> bool: ...

    def __str__(self) -> str:
        """Name the inputs in messages, such as ``"images of 224 x 224 pixels"``."""

    def example(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return a batch of zeros as the network takes it."""

    def enlarged(self) -> NetworkInput:
        """Return inputs with more positions, which tell positions from channels in a layer's shape."""

    def doubled(self) -> NetworkInput:
        """Return inputs with twice as many positions along each axis, for networks of patches and windows."""

    def scale_batch(self, preferred: int) -> float:
        """Return how many inputs cost as much as `preferred` usual ones."""

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from a prepared batch on the device to a batch for the network."""

    def add_to_openvino(self, model: Any) -> Any:
        """Put `to_network` in front of an OpenVINO model, which then takes a prepared batch."""
