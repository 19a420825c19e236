"""The option `preprocessing` for images, in each of the forms in which it may be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing


def given_preprocessing(given: Any, label: str) -> Preprocessing | None:
    """Return the preprocessing that is given in one of its forms, None for None."""
    if given is None or isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        return Preprocessing.from_dict(given)
    if hasattr(given, "crop_size") and hasattr(given, "resize_size"):
        return torchvision_preprocessing(given)
    raise InputError(
        f"{label}: preprocessing must be a Preprocessing, its dict, or the transforms() of torchvision's "
        f"weights, got {type(given).__name__}"
    )


def torchvision_preprocessing(preset: Any) -> Preprocessing:
    """Return the transforms of torchvision's published weights as preprocessing."""
    crop = preset.crop_size[0]
    return Preprocessing(
        resize=preset.resize_size[0],
        crop=(crop, crop),
        interpolation=preset.interpolation.value,
        antialias=True,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
