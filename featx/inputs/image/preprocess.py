"""Preprocessing: from any RGB image to the uint8 grid that a network was trained on, described as data.

Weights carry their own preprocessing, and everything in it changes the embedding; so it is a value that can
be compared, printed and stored, not a chain of function objects. Normalisation is part of the description
but not applied here: the engine folds it into the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from featx.errors import InputError
from featx.inputs.image.resize import resampling, resized_window
from featx.options import shown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: A JPEG is decoded at a reduced scale only where it is shrunk by at least this factor after that.
GAP = 2


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation, as the weights of a backbone state them.

    Parameters
    ----------
    resize : int, (int, int) or None
        Length of the shortest side after resizing (the other is ``int(resize * long / short)``, as in
        torchvision), or exactly (height, width), or no resizing.
    crop : (int, int) or None
        Central crop (height, width). An image smaller than that is padded with zeros, as torchvision's
        ``center_crop`` does. None needs an exact `resize`, so that every image comes out at one size.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
    antialias : bool, default=True
        Pillow always filters when it shrinks, so only True is possible; it is written down because it
        changes the embedding.
    mean, std : (float, float, float)
        Of the normalisation ``(x / 255 - mean) / std``; ImageNet's by default. Applied by the engine.

    Raises
    ------
    InputError
        If a value is impossible.
    """

    resize: int | tuple[int, int] | None = 256
    crop: tuple[int, int] | None = (224, 224)
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if isinstance(self.resize, (tuple, list)):
            object.__setattr__(self, "resize", _pair("resize", self.resize))
        elif self.resize is not None:
            object.__setattr__(self, "resize", _length("resize", self.resize))
        if self.crop is not None:
            object.__setattr__(self, "crop", _pair("crop", self.crop))
        elif not isinstance(self.resize, tuple):
            raise InputError(
                f"preprocessing: resize={self.resize} without a crop gives every image another size; "
                "give crop=(h, w) or resize=(h, w)"
            )
        resampling(self.interpolation)
        if self.antialias is not True:
            raise InputError(
                "preprocessing: antialias must be True, because images are resized with Pillow, "
                f"which always antialiases when it shrinks; got {self.antialias!r}"
            )
        object.__setattr__(self, "mean", _triple("mean", self.mean))
        object.__setattr__(self, "std", _triple("std", self.std))
        if min(self.std) <= 0:
            raise InputError(f"preprocessing: std must be positive, got {self.std}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what comes out."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.resize, tuple)
        return self.resize

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of one prepared image."""
        return (*self.size, 3)

    @property
    def dtype(self) -> np.dtype:
        """uint8, the dtype of a prepared image."""
        return np.dtype(np.uint8)

    def with_size(self, n: int) -> Preprocessing:
        """The same for another resolution: shortest side to `n`, then the central `n` x `n`."""
        n = _length("image size", n)
        return replace(self, resize=n, crop=(n, n))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON data."""
        return {
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "crop": None if self.crop is None else list(self.crop),
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; `InputError` names fields that are unknown or missing."""
        fields = set(cls.__dataclass_fields__)
        wrong = [f"unknown field {k!r}" for k in sorted(set(data) - fields)]
        wrong += [f"missing field {k!r}" for k in sorted(fields - set(data))]
        if wrong:
            raise InputError(f"preprocessing: {', '.join(wrong)}; expected {', '.join(sorted(fields))}")
        return cls(**data)

    def __call__(
        self,
        image: Image.Image | np.ndarray,
        full_size: tuple[int, int] | None = None,
        *,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Resize and crop.

        Parameters
        ----------
        image : PIL image of mode RGB, or ndarray of shape (h, w, 3), uint8
        full_size : (int, int), optional
            (height, width) of the image where `image` is that image at a reduced scale.
        out : ndarray of shape (h, w, 3), uint8, optional
            Where to put the result.

        Returns
        -------
        ndarray of shape (h, w, 3), uint8
            What resizing the whole image and then cropping gives, up to one level, very rarely two; from a
            reduced scale, see `reduction`.
        """
        pixels = _rgb(image)
        new_h, new_w = self._resized(*(full_size or pixels.shape[:2]))
        out_h, out_w = self.size
        top, kept_h, pad_top = _window(new_h, out_h)
        left, kept_w, pad_left = _window(new_w, out_w)
        window = (left, top, left + kept_w, top + kept_h)
        kept = resized_window(pixels, (new_w, new_h), window, self.interpolation)
        if out is None:
            out = np.empty((out_h, out_w, 3), np.uint8)
        if (kept_h, kept_w) != (out_h, out_w):
            out[:] = 0
        out[pad_top : pad_top + kept_h, pad_left : pad_left + kept_w] = kept
        return out

    def reduction(self, height: int, width: int) -> int:
        """By which of 1, 2, 4, 8 a decoder may shrink an image of this size before it is resized.

        The largest after which it is still to be shrunk by `GAP` along both sides. Photographs of twelve
        million pixels then have embeddings of cosine 0.999 and more to those of the full scale.
        """
        if self.resize is None or self.interpolation == "nearest":
            return 1
        new_h, new_w = self._resized(height, width)
        for factor in (8, 4, 2):
            if height >= new_h * GAP * factor and width >= new_w * GAP * factor:
                return factor
        return 1

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the whole image after resizing."""
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        if height < width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize


def _rgb(image: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(image, Image.Image):
        if image.mode != "RGB":
            raise InputError(f"preprocessing: expected an image of mode RGB, got {image.mode}")
        return np.array(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"preprocessing: expected pixels uint8 (h, w, 3), got {image.dtype} {tuple(image.shape)}"
        )
    return image


def _window(length: int, wanted: int) -> tuple[int, int, int]:
    """(first, how many, offset in the output) of the pixels that a central crop keeps along one axis."""
    if length < wanted:
        return 0, length, (wanted - length) // 2
    return round((length - wanted) / 2.0), wanted, 0  # ties to even, as torchvision's int(round(...))


def _length(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"preprocessing: {name} must be a positive whole number of pixels, got {value!r}")
    return int(value)


def _pair(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InputError(f"preprocessing: {name} must be (height, width), got {value!r}")
    return _length(name, value[0]), _length(name, value[1])


def _triple(name: str, value: Any) -> tuple[float, float, float]:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise InputError(f"preprocessing: {name} must be three numbers, one a channel; got {shown(value)}")
    return numbers[0], numbers[1], numbers[2]
