"""Images as inputs of a network; no other module of backbones and engines knows how they are laid out.

A prepared image is uint8 (h, w, 3); networks take normalised float (n, 3, h, w). The engine normalises, so
that a quarter of the bytes travels to the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featx.inputs.image.preprocess import Preprocessing

#: Pixels of the images for which engines state their preferred batch.
_USUAL_PIXELS = 224 * 224
#: Pixels added to height and width of enlarged images: a multiple of the strides of common networks.
_LARGER = 64


class ImageInput:
    """RGB images of one size; see `featx.backbones.network_input.NetworkInput`."""

    kind = "image"

    def __init__(self, preparation: Preprocessing):
        self.preparation = preparation
        self.height, self.width = preparation.size

    def __str__(self) -> str:
        return f"images of {self.height} x {self.width} pixels"

    @property
    def square(self) -> bool:
        """Whether height and width are equal."""
        return self.height == self.width

    def example(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return zeros (count, 3, h, w)."""
        return torch.zeros((count, 3, self.height, self.width), device=device)

    def enlarged(self) -> ImageInput:
        """Return larger images."""
        return self._at(self.height + _LARGER, self.width + _LARGER)

    def doubled(self) -> ImageInput:
        """Return images of twice the height and width."""
        return self._at(2 * self.height, 2 * self.width)

    def _at(self, height: int, width: int) -> ImageInput:
        return ImageInput(replace(self.preparation, resize=(height, width), crop=None))

    def scale_batch(self, preferred: int) -> float:
        """Return how many of these images have as many pixels as `preferred` images of 224 x 224."""
        return preferred * _USUAL_PIXELS / (self.height * self.width)

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from uint8 (n, h, w, 3) to (n, 3, h, w), channels last in memory."""
        # (x / 255 - mean) / std as x * scale + shift, computed in double.
        mean, std = (
            np.asarray(values, np.float64) for values in (self.preparation.mean, self.preparation.std)
        )
        scale, shift = (
            torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1).to(device)
            for values in (1 / (255 * std), -mean / std)
        )

        def normalise(pixels: Tensor) -> Tensor:
            images = pixels.permute(0, 3, 1, 2).to(torch.float32)
            return images.mul_(scale).add_(shift).to(dtype)

        return normalise

    def add_to_openvino(self, model: Any) -> Any:
        """Put normalisation in front of an OpenVINO model, which then takes uint8 (n, h, w, 3)."""
        import openvino as ov

        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        normalise = steps.input().preprocess().convert_element_type(ov.Type.f32)
        normalise.mean([255 * value for value in self.preparation.mean])
        normalise.scale([255 * value for value in self.preparation.std])
        return steps.build()
