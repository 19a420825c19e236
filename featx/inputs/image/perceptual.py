"""A perceptual hash: 64 bits that stay nearly the same when a picture is re-encoded, resized or brightened.

The picture is squeezed to `SIDE` x `SIDE`, turned to grey, and transformed by a cosine transform (DCT-II) in
both directions. Of its 8 x 8 lowest frequencies, each but the constant one (the brightness) gives one bit:
whether it is above their median. This is the "pHash" of C. Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010, with 63 bits in use, and 16 pixels per side in place of 32, which is
enough for eight frequencies. Colour is ignored; a mirrored picture has another hash.

The Hamming distance of two hashes is 0 to 6 for a picture and its re-encoded or resized copy, and about 32
for unrelated pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import InputError
from featx.inputs.image.preprocess import Preprocessing

#: Side in pixels of the shrunken picture that is hashed.
SIDE = 16
_LOWEST = 8
_CHUNK = 4096

_shrink = Preprocessing(resize=(SIDE, SIDE), crop=None)


def perceptual_hash(image: Any) -> int:
    """Return the 64-bit hash of a picture of any size: a PIL image of mode RGB, or uint8 (h, w, 3).

    Examples
    --------
    >>> import numpy as np
    >>> from featx.inputs.image import hash_distance, perceptual_hash
    >>> picture = np.add.outer(np.arange(64), 2 * np.arange(96))[..., None].repeat(3, 2).astype(np.uint8)
    >>> hash_distance(perceptual_hash(picture), perceptual_hash(picture[::2, ::2])) <= 6
    True
    """
    return int(perceptual_hashes(_shrink(image)[None])[0])


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray:
    """Return the hashes, uint64 (n,), of pictures of one small size, (n, h, w, 3) with h and w at least 16.

    RGB in any unit; whole pictures, squeezed if need be, not crops. At 16 x 16 uint8 the hash is that of
    `perceptual_hash`.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or min(pixels.shape[1:3]) < SIDE:
        raise InputError(
            f"pixels to hash must have shape (n, h, w, 3) with h and w at least {SIDE}, got {pixels.shape}"
        )
    hashes = np.empty(len(pixels), np.uint64)
    for start in range(0, len(pixels), _CHUNK):
        hashes[start : start + _CHUNK] = _hash(pixels[start : start + _CHUNK])
    return hashes


def hash_distance(a: Any, b: Any) -> Any:
    """Return the number of bits, 0 to 64, in which hashes differ; arrays are broadcast."""
    bits = np.bitwise_count(np.bitwise_xor(np.asarray(a, np.uint64), np.asarray(b, np.uint64)))
    return int(bits) if bits.ndim == 0 else bits.astype(np.int64)


def _hash(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    low = _cosines(grey.shape[1]) @ grey @ _cosines(grey.shape[2]).T
    low = low.reshape(len(pixels), -1)[:, 1:]  # without the brightness
    # Flat or symmetric pictures have coefficients that are zero but for rounding errors, which must set no
    # bit.
    low = np.round(low, 6 - int(np.ceil(np.log10(max(1.0, float(np.abs(grey).max(initial=0)))))))
    bits = low > np.median(low, axis=1, keepdims=True)
    bits = np.concatenate([np.zeros((len(bits), 1), bool), bits], axis=1)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _cosines(n: int) -> np.ndarray:
    """Return the lowest frequencies of the DCT-II of length `n`: cos(pi k (x + 1/2) / n), of shape (8, n)."""
    return np.cos(np.pi * np.arange(_LOWEST)[:, None] * (np.arange(n) + 0.5) / n)
