"""Conversion tile by tile gives what conversion of the whole gives, upright, from every mode."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from featx.inputs.image import rgb

RNG = np.random.default_rng(0)
RGB = Image.fromarray(RNG.integers(0, 256, (23, 31, 3), np.uint8))
GREY = RGB.getchannel(0)


def with_alpha() -> Image.Image:
    made = RGB.copy()
    made.putalpha(GREY)
    return made


def keyed(image: Image.Image, key: object) -> Image.Image:
    made = image.copy()
    made.info["transparency"] = key
    return made


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(RGB, *profiles, outputMode="LAB")


MADE = {
    **{mode: RGB.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV")},
    "LAB": lab(),
    "RGBA": with_alpha(),
    "RGBa": with_alpha().convert("RGBa"),
    "LA": with_alpha().convert("LA"),
    "La": with_alpha().convert("LA").convert("La"),
    "PA": with_alpha().convert("LA").convert("PA"),
    "a transparent entry": keyed(RGB.quantize(16), 3),
    "transparent entries": keyed(RGB.quantize(16), bytes(range(0, 160, 10))),
    "a transparent colour": keyed(RGB, RGB.getpixel((3, 4))),
    "a transparent grey": keyed(GREY, GREY.getpixel((3, 4))),
}


def whole(image: Image.Image) -> Image.Image:
    """The rules as they are written down, without tiles."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


@pytest.mark.parametrize("name", MADE)
def test_tiles_give_what_the_whole_gives(monkeypatch, name):
    monkeypatch.setattr(rgb, "TILE", 25 if name == "RGB" else 240)
    image = MADE[name]
    for orientation in (1, *rgb.UPRIGHT):
        expected = whole(image)
        if orientation in rgb.UPRIGHT:
            expected = expected.transpose(rgb.UPRIGHT[orientation])
        assert np.array_equal(rgb.to_rgb_array(image, "a", orientation=orientation), np.asarray(expected))


def test_sixteen_bits_are_rounded_and_not_clipped_in_tiles(monkeypatch):
    monkeypatch.setattr(rgb, "TILE", 50)
    values = RNG.integers(0, 65536, (23, 31), np.uint16)
    values[0, :4] = 0, 1, 65534, 65535
    image = keyed(Image.fromarray(values), int(values[5, 5]))
    expected = np.rint(values / 257.0).astype(np.uint8)
    expected[values == values[5, 5]] = 255
    got = rgb.to_rgb_array(image, "a", orientation=6)
    assert np.array_equal(got, np.repeat(np.rot90(expected, -1)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_arrays_are_converted_as_pictures_are(monkeypatch, channels):
    monkeypatch.setattr(rgb, "TILE", 50)
    array = RNG.integers(0, 256, (23, 31, channels) if channels else (23, 31), np.uint8)
    image = Image.fromarray(array[:, :, 0] if channels == 1 else array)
    for orientation in range(1, 9):
        expected = rgb.to_rgb_array(image, "a", orientation=orientation)
        assert np.array_equal(rgb.array_to_rgb(array, orientation=orientation), expected)
