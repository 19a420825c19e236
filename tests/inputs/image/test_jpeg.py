"""The fast way to decode a JPEG gives what the slow way gives, or leaves it to the slow way."""

import io

import numpy as np
import pytest
from PIL import Image

from featx.errors import ImageError
from featx.inputs.image import Preprocessing, decode_pixels, jpeg
from featx.inputs.image.jpeg import decode_jpeg
from featx.inputs.image.structure import Damaged

pytest.importorskip("simplejpeg", reason="simplejpeg has no wheel for this machine")


def scene(width, height, seed=0):
    """Soft shades, hard edges and noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize((width, height))
    pixels = np.array(coarse).astype(int) + rng.normal(0, 8, (height, width, 3)).astype(int)
    pixels[height // 3 : height // 2, : width // 2] = (250, 10, 60)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data, factor=1):
    image = Image.open(io.BytesIO(data))
    if factor > 1:
        image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 48), (201, 133), (17, 40), (1, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True, "quality": 95},
        {"quality": 5},
        {"restart_marker_blocks": 2},
        {"optimize": True, "mode": "L"},
    ],
)
def test_pixels_are_pillows_at_every_scale(options, size, factor):
    options = dict(options)
    image = scene(*size).convert(options.pop("mode", "RGB"))
    data = encoded(image, **options)
    ours = decode_jpeg(data, lambda height, width: factor)
    assert ours is not None
    assert ours[1] == (size[1], size[0])
    assert np.array_equal(ours[0], by_pillow(data, factor))


def test_colours_that_need_a_rule_are_left_to_pillow():
    assert decode_jpeg(encoded(scene(40, 30).convert("CMYK")), lambda *_: 1) is None


def test_damage_that_pillow_refuses_is_never_decoded():
    rng = np.random.default_rng(0)
    data = encoded(scene(60, 40), quality=90)
    passed = 0
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            broken[rng.integers(2, len(broken))] = rng.integers(256)
        if rng.random() < 0.3:
            broken = broken[: rng.integers(4, len(broken))]
        try:
            decoded = decode_jpeg(bytes(broken), lambda *_: 1)
        except Damaged:
            continue
        if decoded is None:
            continue
        passed += 1
        assert np.array_equal(decoded[0], by_pillow(bytes(broken)))
    assert passed > 20


def test_without_the_wheel_pillow_gives_the_same(monkeypatch):
    data = encoded(scene(800, 600))
    reduce = Preprocessing(64, (56, 56)).reduction
    fast, size = decode_pixels(data, "a.jpg", reduce=reduce)
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    slow, same = decode_pixels(data, "a.jpg", reduce=reduce)
    assert size == same == (600, 800)
    assert fast.shape == (150, 200, 3)
    assert np.array_equal(fast, slow)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_reduced_scale_keeps_what_the_network_sees(orientation):
    """Also for an image that lies on its side: the scale is chosen for the upright one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(1021, 763), quality=95, exif=exif)
    preprocessing = Preprocessing(96, (88, 80))
    full, _ = decode_pixels(data, "a.jpg")
    reduced, size = decode_pixels(data, "a.jpg", reduce=preprocessing.reduction)
    assert size == full.shape[:2]
    assert reduced.shape[0] == -(-full.shape[0] // 2)
    expected, got = preprocessing(full), preprocessing(reduced, size)
    assert got.shape == expected.shape
    difference = np.abs(expected.astype(int) - got)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 12


@pytest.mark.parametrize(
    ("resize", "interpolation", "size", "factor"),
    [
        (256, "bilinear", (3000, 4000), 4),
        (256, "bilinear", (1024, 1300), 2),
        (256, "bilinear", (1023, 1300), 1),
        (256, "bilinear", (375, 500), 1),
        (32, "bicubic", (3000, 4000), 8),
        ((64, 64), "bilinear", (256, 3000), 2),
        ((64, 64), "bilinear", (255, 3000), 1),
        (None, "bilinear", (3000, 4000), 1),
        (32, "nearest", (3000, 4000), 1),
    ],
)
def test_the_scale_leaves_a_factor_of_two_to_the_resize(resize, interpolation, size, factor):
    assert Preprocessing(resize, (224, 224), interpolation).reduction(*size) == factor


def test_a_large_jpeg_that_ends_early_is_refused_at_every_scale():
    data = encoded(scene(800, 600), quality=95)
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode_pixels(data[: len(data) // 2], "a.jpg", reduce=Preprocessing(64, (56, 56)).reduction)
