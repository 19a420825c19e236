"""Images as inputs of a network: the only module of backbones and engines that knows how they are laid out.

A prepared image is uint8 (h, w, 3), and networks take normalised float (n, 3, h, w). The engine normalises,
so that only a quarter of the bytes travels to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featx.inputs.image.preprocess import Preprocessing

#: Images for which an engine states its preferred batch.
_USUAL_PIXELS = 224 * 224
#: By how many pixels enlarged images are larger: a multiple of what common networks divide by.
_LARGER = 64


class ImageInput:
    """RGB images of one size. See `featx.backbones.network_input.NetworkInput`.

    Parameters
    ----------
    preparation : Preprocessing
    """

    kind = "image"

    def __init__(self, preparation: Preprocessing):
        self._preparation = preparation
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
        """Return images with more rows and columns."""
        size = self.height + _LARGER, self.width + _LARGER
        return ImageInput(replace(self._preparation, resize=size, crop=None))

    def scale_batch(self, preferred: int) -> float:
        """Return how many images have as many pixels as `preferred` ones of 224 x 224."""
        return preferred * _USUAL_PIXELS / (self.height * self.width)

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from uint8 (n, h, w, 3) to (n, 3, h, w), which is channels last in memory."""
        # (x / 255 - mean) / std as x * scale + shift, computed in double.
        mean, std = (
            np.asarray(values, np.float64) for values in (self._preparation.mean, self._preparation.std)
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
        """Return the model with normalisation in front: uint8 (n, h, w, 3) goes in."""
        import openvino as ov

        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        normalise = steps.input().preprocess().convert_element_type(ov.Type.f32)
        normalise.mean([255 * value for value in self._preparation.mean])
        normalise.scale([255 * value for value in self._preparation.std])
        return steps.build()
