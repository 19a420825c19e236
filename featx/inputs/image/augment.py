"""Augmentation for fine-tuning: a random resized crop, a random horizontal flip, and colour jitter.

The crop follows Szegedy et al., *Going Deeper with Convolutions*, 2015 (section 6), with the scale's lower
bound raised from 0.08 to 0.35: with few images, crops that lose the object cost more than they teach. The
jitter is that of Howard, *Some Improvements on Deep Convolutional Neural Network Based Image
Classification*, 2014 (section 2.3): brightness, contrast and saturation, each by its own random factor.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance

from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing
from featx.inputs.image.resize import find_resampling

#: Bounds of the share of the image's area that a crop covers.
SCALE = (0.35, 1.0)
#: Bounds of the width over height of a crop.
RATIO = (3 / 4, 4 / 3)
_ATTEMPTS = 10


def augment_image(
    image: Image.Image,
    rng: np.random.Generator,
    preprocessing: Preprocessing,
    *,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
    flip: float = 0.5,
    jitter: float = 0.0,
) -> np.ndarray:
    """Return a random part of an RGB image, resized and perhaps mirrored: uint8 (h, w, 3).

    Size and interpolation are those of `preprocessing`. The crop's share of the area is uniform within
    `scale`, its width over height uniform in the logarithm within `ratio`. `flip` is the probability of a
    horizontal flip; 0 suits images where left and right mean something (text, hands). Brightness, contrast
    and saturation are multiplied by factors between 1 - `jitter` and 1 + `jitter`.
    """
    if image.mode != "RGB":
        raise InputError(f"augmentation: expected an image of mode RGB, got {image.mode}")
    height, width = preprocessing.size
    left, top, box_w, box_h = _random_box(image.size, rng, scale, ratio)
    method = find_resampling(preprocessing.interpolation)
    crop = image.resize((width, height), method, box=(left, top, left + box_w, top + box_h))
    mirrored = rng.random() < flip
    pixels = np.array(_jitter(crop, rng, jitter) if jitter else crop)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def _jitter(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(max(0.0, 1 - strength), 1 + strength))
    return image


def _random_box(
    image_size: tuple[int, int],
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Draw (left, top, width, height) of a crop of an image of (width, height)."""
    width, height = image_size
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    # In a very long image no draw may fit: take the largest central crop within the bounds of the ratio.
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    return (width - w) // 2, (height - h) // 2, w, h
