"""What a network takes: the step from a prepared input to the network's tensors.

Engines and backbones know only this protocol. There is one class for each kind of input, such as
`featx.backbones.image_input.ImageInput`; an architecture names the class of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class NetworkInput(Protocol):
    """The inputs of one network, made from its preparation.

    Attributes
    ----------
    kind : str
        Such as ``"image"``.
    square : bool
        Whether the positions of the input make a square, so that an axis of equal lengths can be told.
    """

    kind: str

    def __init__(self, preparation: Any) -> None: ...

    @property
    def square(self) -> bool: ...

    def __str__(self) -> str:
        """Name the inputs in messages, such as ``"images of 224 x 224 pixels"``."""

    def example(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return a batch of zeros as the network takes it."""

    def enlarged(self) -> NetworkInput:
        """Return inputs with more positions, by which those are told from channels."""

    def scale_batch(self, preferred: int) -> float:
        """Return how many inputs cost as much as `preferred` usual ones."""

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from a prepared batch on the device to what the network takes."""

    def add_to_openvino(self, model: Any) -> Any:
        """Return an OpenVINO model that takes a prepared batch, made from one of the network."""
