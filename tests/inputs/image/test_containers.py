"""What the structure of PNG, WebP, GIF and BMP tells of damage, and what it must not be taken for."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import scene
from PIL import Image

from featx.errors import ImageError
from featx.inputs.image import decode, decode_pixels


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def reason(data):
    with pytest.raises(ImageError) as caught:
        decode(data, "a")
    assert "\n" not in str(caught.value)
    return caught.value.reason


def same(data, original):
    return np.array_equal(decode_pixels(data, "a")[0], decode_pixels(original, "a")[0])


# PNG


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_wrong_checksum_of_a_chunk_that_makes_pixels_is_damage(kind):
    image = scene().quantize(8)
    data = bytearray(encoded(image, "PNG", transparency=bytes([255, 0])))
    at = data.index(kind)
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    assert reason(bytes(data)) == f"damaged PNG: the checksum of a chunk {kind.decode()} is wrong"


def test_pixels_changed_behind_the_decoders_back_are_found():
    """Stored without compression: the stream decodes, and only the checksum knows."""
    data = bytearray(encoded(scene(), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    assert "checksum" in reason(bytes(data))


def test_what_is_left_out_of_a_png_may_be_broken():
    data = encoded(scene(), "PNG")
    broken = chunk(b"tIME", b"1234567")[:-1] + b"?"
    assert same(data[:33] + broken + data[33:], data)
    assert same(data + b"junk" * 9, data)


def test_a_png_that_promises_more_than_deflate_can_give_is_refused():
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    assert "bytes cannot hold its picture" in reason(data + chunk(b"IEND", b""))


# WebP


@pytest.mark.parametrize("options", [{"quality": 85}, {"lossless": True}])
def test_a_webp_with_a_lost_sector_or_an_empty_end_is_refused(options):
    data = encoded(scene(300, 200), "WebP", **options)
    for start in range(512, len(data) - 512, len(data) // 7 // 512 * 512):
        assert "zero bytes within its image data" in reason(data[:start] + bytes(512) + data[start + 512 :])
        assert "zero bytes within its image data" in reason(data[:start] + bytes(len(data) - start))


def test_a_lost_sector_of_alpha_is_refused():
    image = scene(300, 200)
    image.putalpha(Image.fromarray(np.random.default_rng(0).integers(0, 9, (200, 300), np.uint8)))
    data = encoded(image, "WebP")
    at = data.index(b"ALPH") // 512 * 512 + 512
    assert "zero bytes" in reason(data[:at] + bytes(512) + data[at + 512 :])


@pytest.mark.parametrize("options", [{"quality": 80}, {"quality": 80, "method": 0}, {"lossless": True}])
@pytest.mark.parametrize("shade", [0, 255])
def test_a_flat_webp_is_read(options, shade):
    image = Image.new("RGB", (1200, 900), (shade,) * 3)
    image.paste(scene(), (0, 0))
    assert decode(encoded(image, "WebP", **options), "a").getpixel((1100, 800)) == (shade,) * 3


def test_zeros_of_flat_areas_in_lossless_data_are_no_damage():
    image = Image.new("RGB", (300, 300), "white")
    for corner in ((0, 0), (200, 150)):
        image.paste(scene(100, 150), corner)
    data = encoded(image, "WebP", lossless=True, method=0)
    assert bytes(34) in data
    assert np.array_equal(np.asarray(decode(data, "a")), np.asarray(image))


def test_a_webp_that_promises_more_than_it_holds_is_refused_before_memory_is_taken():
    frame = b"\x10\0\0\x9d\1\x2a" + struct.pack("<HH", 13_000, 13_000) + bytes(10)
    data = b"WEBPVP8 " + struct.pack("<I", len(frame)) + frame
    assert "bytes cannot hold its picture" in reason(b"RIFF" + struct.pack("<I", len(data)) + data)


def test_a_webp_whose_modes_reach_beyond_its_end_is_refused():
    data = bytearray(encoded(scene(), "WebP"))
    data[21] = data[22] = 0xFF
    assert reason(bytes(data)) == "truncated WebP: the file ends before its image does"


# GIF


def test_of_a_gif_the_first_picture_alone_is_looked_at():
    image = scene().quantize(64)
    still = encoded(image, "GIF")
    comment = b"!\xfe\x05hello\0"
    header = 13 + 3 * 64
    data = still[:header] + comment * 3 + b"\0\0" + still[header:-1]
    assert same(data + b",broken", still)
    assert same(data, still)  # without its end, as some writers leave it


def test_thousands_of_comments_take_no_time():
    still = encoded(scene().quantize(64), "GIF")
    header = 13 + 3 * 64
    assert same(still[:header] + b"!\xfe\x05hello\0" * 200_000 + still[header:], still)


def test_a_gif_without_a_picture_or_with_half_of_one_is_refused():
    data = encoded(scene().quantize(64), "GIF")
    assert reason(data[:205] + b";") == "damaged GIF: it holds no picture"
    assert "truncated GIF" in reason(data[: len(data) // 2] + b"\0;")


# BMP


def run_lengths(width, height, codes):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + palette + codes


def test_a_run_length_bmp_is_read_up_to_a_size_that_takes_seconds():
    data = run_lengths(3, 2, b"\3\7\0\0\2\x09\1\x08\0\1")
    assert np.asarray(decode(data, "a"))[:, :, 0].tolist() == [[9, 9, 8], [7, 7, 7]]
    assert reason(run_lengths(178_000_000, 1, b"\1\7\0\0")).startswith(
        "too large: 178000000 x 1 pixels of a run"
    )
