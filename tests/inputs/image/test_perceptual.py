"""The perceptual hash: near for copies, far for other pictures, the same as a plain cosine transform."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from featx.errors import InputError
from featx.inputs.image import hash_distance, perceptual_hash, perceptual_hashes


def scene(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A smooth random picture with some structure; `size` is (width, height)."""
    grid = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def plain_hash(pixels: np.ndarray) -> int:
    low = dctn(pixels @ [0.299, 0.587, 0.114], norm=None)[:8, :8].ravel()
    median = np.median(low[1:])
    return sum(1 << (63 - k) for k in range(1, 64) if low[k] > median)


def test_it_is_the_sign_of_low_frequencies_about_their_median():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    # The lengths of the waves differ from SciPy's only by one common factor.
    assert perceptual_hashes(pixels).tolist() == [plain_hash(picture) for picture in pixels]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, 30),
        lambda image: image.resize((60, 45), Image.Resampling.BICUBIC),
        lambda image: image.resize((200, 150), Image.Resampling.BILINEAR),
        lambda image: image.point(lambda v: int(v * 0.85)),
    ],
    ids=["re-encoded", "smaller", "larger", "darker"],
)
def test_copies_are_near(change):
    for seed in range(10):
        image = scene(seed)
        assert hash_distance(perceptual_hash(image), perceptual_hash(change(image))) <= 6


def test_other_pictures_and_mirrored_ones_are_far():
    hashes = np.array([perceptual_hash(scene(seed)) for seed in range(20)], np.uint64)
    apart = hash_distance(hashes[:, None], hashes[None])
    assert apart[np.triu_indices(20, 1)].min() > 10
    image = scene(0)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert hash_distance(perceptual_hash(image), perceptual_hash(mirrored)) > 10


def test_a_flat_picture_has_no_bits_whatever_its_colour():
    flat = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (0, 77, 255)])
    assert perceptual_hashes(flat).tolist() == [0, 0, 0]


def test_the_unit_of_the_pixels_does_not_matter():
    pixels = np.stack([np.asarray(scene(seed, (16, 16))) for seed in range(8)])
    assert (perceptual_hashes(pixels) == perceptual_hashes(pixels.astype(np.float32) / 255)).all()


def test_shapes_that_cannot_be_hashed_are_refused():
    with pytest.raises(InputError, match=r"at least 16, got \(2, 8, 8, 3\)"):
        perceptual_hashes(np.zeros((2, 8, 8, 3), np.uint8))
