"""What a header tells of memory: never less than decoding takes, and whether a file can hold its picture."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from featx.inputs.image.footprint import (
    OVERHEAD,
    UNCHECKED_PIXELS,
    Footprint,
    estimate_footprint,
    read_gif_size,
)

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))


def encoded(image=PICTURE, format="JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "mode", "decoder"),
    [
        ({}, "RGB", 0),
        ({"progressive": True}, "RGB", 3),  # 1.5 samples a pixel
        ({"progressive": True, "subsampling": 0}, "RGB", 6),
        ({"progressive": True}, "L", 2),
        ({"progressive": True}, "CMYK", 8),
    ],
)
def test_a_jpeg_of_several_scans_is_kept_whole(options, mode, decoder):
    assert estimate_footprint("JPEG", encoded(PICTURE.convert(mode), **options)).decoder == decoder


def test_scans_of_one_component_each_are_kept_whole_without_being_progressive():
    data = encoded()
    at = data.index(b"\xff\xda")
    assert estimate_footprint("JPEG", data[: at + 4] + b"\x01" + data[at + 5 :]).decoder == 3


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_strip_of_a_tiff_counts_and_so_does_its_tile():
    few = encoded(format="TIFF", compression="tiff_lzw", tiffinfo={278: 8})
    one = encoded(format="TIFF", compression="tiff_lzw", tiffinfo={278: 48})
    assert estimate_footprint("TIFF", few, opened(few)).buffers == 2 * 8 * 64 * 3
    assert estimate_footprint("TIFF", one, opened(one)).buffers == 2 * 48 * 64 * 3
    plain = encoded(format="TIFF")
    assert estimate_footprint("TIFF", plain, opened(plain)).buffers == 0


def test_the_peak_follows_picture_decoder_and_file():
    stored = Footprint(1.0, decoder=6, picture=3)
    assert stored.peak(10**6, 1000) == 9 * 10**6 + 2000 + OVERHEAD
    assert stored.peak(10**6, 1000, 8) == 10**6 * 6 + 3 * 10**6 // 64 + 2000 + OVERHEAD
    assert Footprint(1.0, decoder=0, picture=1).peak(10**6, 0) == 7 * 10**6 + OVERHEAD  # resized by Pillow


def test_small_pictures_may_come_in_any_number_of_bytes():
    assert Footprint(8.0, 0, 1).fits(UNCHECKED_PIXELS, 0)
    assert Footprint(8.0, 0, 1).fits(UNCHECKED_PIXELS + 80, 10)
    assert not Footprint(8.0, 0, 1).fits(UNCHECKED_PIXELS + 81, 10)


def test_the_size_of_a_gif_is_found_behind_its_extensions():
    data = bytearray(encoded(PICTURE.convert("P"), "GIF", comment=b"x" * 700, transparency=3))
    assert read_gif_size(bytes(data)) == (64, 48)
    assert read_gif_size(bytes(data)) == opened(bytes(data)).size
    at = data.index(b"\x00,") + 1
    data[at + 1 : at + 3] = struct.pack("<H", 100)  # the picture begins beyond the screen
    assert read_gif_size(bytes(data)) == (164, 48)


def test_bits_of_a_png_are_counted():
    dense = [
        estimate_footprint("PNG", encoded(PICTURE.convert(mode), "PNG")).densest for mode in ("1", "L", "RGB")
    ]
    assert dense == [1032 * 8, 1032, 1032 / 3]
