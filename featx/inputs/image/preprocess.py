"""Preprocessing: how an image becomes the uint8 array that a network takes, described as data.

Weights carry their own preprocessing, and each of its settings changes the embedding. So it is a value that
can be compared, printed and stored, not a chain of functions. Normalisation is a part of it, but the engine
applies it, inside the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from featx.errors import InputError
from featx.inputs.image import reference_images
from featx.inputs.image.budget import DECODING
from featx.inputs.image.decode import DECODER
from featx.inputs.image.resize import find_resampling, resize_window
from featx.options import shown

if TYPE_CHECKING:
    from featx.inputs.image.source import ImageContent

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Most pixels of a prepared image: a network that is tried on two of them takes gigabytes.
MOST_PIXELS = 2**26
#: A JPEG is decoded at a reduced scale only where at least this factor is left for resizing.
GAP = 2


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation, as the weights of a backbone state them (`featx.inputs.Preparation`).

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
        Whether images are filtered when they are shrunk. Only True is possible.
    mean, std : (float, float, float)
        Normalisation ``(x / 255 - mean) / std``; ImageNet's by default. The engine applies it.

    Raises
    ------
    InputError
        If a value is impossible.
    """

    kind = "image"
    stages = ("decode", "preprocess")
    in_pieces = False
    masks = True
    padding = 0
    reference_version = reference_images.VERSION

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
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise InputError(
                f"preprocessing: images of {self.size[0]} x {self.size[1]} pixels are too large; "
                f"at most {MOST_PIXELS} pixels are possible"
            )
        find_resampling(self.interpolation)
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
        """(height, width) of a prepared image."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.resize, tuple)
        return self.resize

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of a prepared image."""
        return (*self.size, 3)

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of a prepared image."""
        return 3 * self.size[0] * self.size[1]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes a prepared image: the fields, and the version of the decoder."""
        return self.to_dict() | {"decoder": DECODER}

    def with_size(self, n: int) -> Preprocessing:
        """Return the same preprocessing at another resolution: shortest side `n`, central crop `n` x `n`."""
        n = _length("image size", n)
        return replace(self, resize=n, crop=(n, n))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Make a preprocessing of the fields of `to_dict`; `InputError` names unknown and missing ones."""
        fields = set(cls.__dataclass_fields__)
        wrong = [f"unknown field {k!r}" for k in sorted(set(data) - fields)]
        wrong += [f"missing field {k!r}" for k in sorted(fields - set(data))]
        if wrong:
            raise InputError(f"preprocessing: {', '.join(wrong)}; expected {', '.join(sorted(fields))}")
        return cls(**data)

    @classmethod
    def fields_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of `to_dict` in the `identity` that a space states."""
        return {name: value for name, value in identity.items() if name != "decoder"}

    def prepare(
        self,
        content: ImageContent,
        out: np.ndarray | None = None,
        note: Callable[[str], object] | None = None,
    ) -> np.ndarray:
        """Decode an image, at a reduced scale where `reduction` allows it, then resize and crop it.

        Arguments as in `featx.inputs.Preparation`; returns uint8 (h, w, 3).
        """
        with content.decoding(self.reduction) as (pixels, full_size):
            if note is not None:
                note("decode")
            prepared = self(pixels, full_size, out=out)
            del pixels  # the memory budget counts them until the block ends
        if note is not None:
            note("preprocess")
        return prepared

    def collate(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Stack prepared images into a batch, uint8 (b, h, w, 3)."""
        return np.stack(prepared)

    def join(self, rows: np.ndarray, prepared: np.ndarray) -> np.ndarray:
        """Return the one row of an image."""
        return rows[0]

    def joined_dim(self, dim: int) -> int:
        """Return `dim`: an image is one input of the network."""
        return dim

    def reference_batch(self, count: int) -> np.ndarray:
        """Return `featx.inputs.image.reference_images` of this size, uint8 (count, h, w, 3)."""
        return reference_images.reference_images(count, self.size)

    def share_memory(self, processes: int, alone: Callable[[], AbstractContextManager]) -> None:
        """Limit this process to its share of the memory budget for decoding."""
        DECODING.share(processes, alone)

    def __call__(
        self,
        image: Image.Image | np.ndarray,
        full_size: tuple[int, int] | None = None,
        *,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Resize and crop a decoded image.

        Parameters
        ----------
        image : PIL image of mode RGB, or ndarray of shape (h, w, 3), uint8
        full_size : (int, int), optional
            (height, width) of the image at full scale, if `image` was decoded at a reduced one.
        out : ndarray of shape (h, w, 3), uint8, optional
            Where the result is written.

        Returns
        -------
        ndarray of shape (h, w, 3), uint8
            As if the whole image was resized and then cropped, within one grey level, very rarely two. For
            a reduced scale, see `reduction`.
        """
        pixels = _rgb(image)
        new_h, new_w = self._resized(*(full_size or pixels.shape[:2]))
        out_h, out_w = self.size
        top, kept_h, pad_top = _window(new_h, out_h)
        left, kept_w, pad_left = _window(new_w, out_w)
        window = (left, top, left + kept_w, top + kept_h)
        kept = resize_window(pixels, (new_w, new_h), window, self.interpolation)
        if out is None:
            out = np.empty((out_h, out_w, 3), np.uint8)
        if (kept_h, kept_w) != (out_h, out_w):
            out[:] = 0
        out[pad_top : pad_top + kept_h, pad_left : pad_left + kept_w] = kept
        return out

    def reduction(self, height: int, width: int) -> int:
        """Return the factor, 1, 2, 4 or 8, by which a decoder may shrink an image of this size.

        It is the largest one that leaves a factor of at least `GAP` for resizing along both sides. For
        photographs of 12 megapixels, the cosine to the embedding from full scale is then at least 0.999.
        """
        if self.resize is None or self.interpolation == "nearest":
            return 1
        new_h, new_w = self._resized(height, width)
        for factor in (8, 4, 2):
            if height >= new_h * GAP * factor and width >= new_w * GAP * factor:
                return factor
        return 1

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the whole image after resizing."""
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
    """Return (first pixel, number of pixels, offset in the output) of a central crop along one axis."""
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
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise InputError(
            f"preprocessing: {name} must be three numbers, one for each channel; got {shown(value)}"
        )
    return numbers[0], numbers[1], numbers[2]
