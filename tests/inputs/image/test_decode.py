import base64
import importlib
import io
import random
import re
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from featx.errors import ImageError
from featx.inputs.image import DECODER, MAX_PIXELS, decode

FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WebP", ".gif": "GIF", ".tif": "TIFF", ".bmp": "BMP"}
FORMATS |= {".avif": "AVIF", ".jp2": "JPEG 2000"}
#: A picture of 48 x 32 pixels, which no library that is installed for the tests writes.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAJkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAKFtZGF0AAAAlSgBrxmA70fvjIuw2Li6RzFAbvB0t5JUwrWIZZNr"
    "+cezEGiJp16wcxHrjNhmwW/1QW1/fKvn2i3m6b7LV7j71hcnETfEWcUDDeXvpxTBvAYWbpXT1SHkRgaIubsyR0+9IciJMvJME9Li"
    "v0TdvO7WNImf0sZnf1OnHbNPuEPPjfZZI7IRzEVIu5Cw3PID1OQvuXknuxuA"
)


def photo(width=48, height=32, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format.replace(" ", ""), **options)
    return file.getvalue()


def array(data, id="a"):
    return np.asarray(decode(data, id))


def reason(data, id="a", **options):
    with pytest.raises(ImageError) as caught:
        decode(data, id, **options)
    assert caught.value.id == id
    assert "\n" not in str(caught.value)
    return caught.value.reason


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(image, *chunks):
    """A PNG with further chunks behind its header."""
    data = encoded(image, "PNG")
    return data[:33] + b"".join(png_chunk(kind, body) for kind, body in chunks) + data[33:]


def tiff_with_entry(data, tag, kind, count, value):
    """A little-endian TIFF whose directory has one entry more (or another in its place)."""
    (ifd,) = struct.unpack_from("<I", data, 4)
    (n,) = struct.unpack_from("<H", data, ifd)
    entries = [data[ifd + 2 + 12 * i : ifd + 14 + 12 * i] for i in range(n)]
    entries = [e for e in entries if struct.unpack("<H", e[:2])[0] != tag]
    entries.append(struct.pack("<HHII", tag, kind, count, value))
    entries.sort(key=lambda e: struct.unpack("<H", e[:2])[0])
    body = data + b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + directory


# What comes out


@pytest.mark.parametrize(("suffix", "format"), FORMATS.items())
def test_every_format_decodes_to_what_pillow_makes_of_it(suffix, format):
    data = encoded(photo(), format)
    out = decode(data, "picture" + suffix)
    assert out.mode == "RGB"
    assert np.array_equal(np.asarray(out), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"quality": 5}, {"dpi": (72, 72)}]
)
def test_jpeg_variants_decode_as_pillow_decodes_them(options):
    data = encoded(photo(), "JPEG", **options)
    assert np.array_equal(array(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_tiff_compressions_decode_as_pillow_decodes_them(compression):
    data = encoded(photo(), "TIFF", compression=compression)
    assert np.array_equal(array(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_big_tiff_and_big_endian_tiff_decode():
    big = encoded(photo(), "TIFF", big_tiff=True)
    assert struct.unpack_from("<H", big, 2) == (43,)
    assert np.array_equal(array(big), np.asarray(photo()))
    header = b"MM\0*" + struct.pack(">I", 8 + 4)
    entries = [(256, 3, 2 << 16), (257, 3, 2 << 16), (258, 3, 8 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16)]
    entries += [(273, 4, 8), (277, 3, 1 << 16), (278, 3, 2 << 16), (279, 4, 4)]
    directory = struct.pack(">H", len(entries))
    directory += b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    data = header + bytes([0, 100, 200, 255]) + directory + bytes(4)
    assert array(data)[:, :, 0].tolist() == [[0, 100], [200, 255]]


def test_grey_is_replicated():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    out = array(encoded(grey, "PNG"))
    assert np.array_equal(out, np.repeat(np.asarray(grey)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit_images_are_black_and_white(format):
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert array(encoded(bits, format))[:, :, 1].tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(format):
    values = np.array([[0, 1, 128, 129], [255, 256, 257, 32767], [32768, 65279, 65534, 65535]], np.uint16)
    out = array(encoded(Image.fromarray(values), format))
    assert np.array_equal(out[:, :, 0], np.rint(values / 257).astype(np.uint8))
    assert (out[:, :, 0] == out[:, :, 2]).all()


def test_sixteen_bit_grey_with_white_as_zero_is_turned_round():
    data = encoded(Image.fromarray(np.array([[0, 65535]], np.uint16)), "TIFF")
    assert array(tiff_with_entry(data, 262, 3, 1, 0))[0, :, 0].tolist() == [255, 0]


def test_twelve_bit_tiff_is_scaled_by_its_own_range():
    data = encoded(Image.new("L", (2, 1)), "TIFF")
    packed = bytes([0xFF, 0xF0, 0x00])  # 4095 and 0
    where = len(data) + len(data) % 2
    data = data + b"\0" * (len(data) % 2) + packed + b"\0"
    for tag, kind, value in ((258, 3, 12), (273, 4, where), (279, 4, 3)):
        data = tiff_with_entry(data, tag, kind, 1, value)
    assert array(data)[0, :, 0].tolist() == [255, 0]


def test_a_sixteen_bit_colour_key_is_transparent():
    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HH", 0, 40000))
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"tRNS", struct.pack(">H", 40000))
    data += png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    assert array(data)[0, :, 0].tolist() == [0, 255]


def test_sixteen_bit_colour_keeps_its_high_byte():
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    data += png_chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HHH", 0x1234, 0, 0xFFFF)))
    assert array(data + png_chunk(b"IEND", b""))[0, 0].tolist() == [0x12, 0, 0xFF]


def test_a_palette_gives_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert array(encoded(image, format))[0].tolist() == [[10, 20, 30], [200, 100, 50]], format


@pytest.mark.parametrize("format", ["PNG", "WebP", "TIFF", "JPEG 2000"])
def test_alpha_is_composited_over_white(format):
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    options = {"lossless": True, "exact": True} if format == "WebP" else {}
    out = array(encoded(Image.fromarray(pixels), format, **options))
    assert out[0, 0].tolist() == [200, 0, 0]
    assert out[0, 1].tolist() == [255, 255, 255]
    assert abs(int(out[0, 2, 0]) - 127) <= 1


def test_grey_with_alpha_is_composited_over_white():
    image = Image.merge("LA", (Image.new("L", (2, 1), 10), Image.fromarray(np.array([[255, 0]], np.uint8))))
    assert array(encoded(image, "PNG"))[0, :, 0].tolist() == [10, 255]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_palette_entry_is_white_and_nothing_warns(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=transparency)
    assert array(data)[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_a_transparent_colour_key_is_white():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert array(encoded(image, "PNG", transparency=(1, 2, 3)))[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_lab_has_the_colours_of_its_rgb_original():
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    original = Image.new("RGB", (4, 4), (200, 40, 90))
    image = ImageCms.profileToProfile(original, srgb, lab, outputMode="LAB")
    assert np.abs(array(encoded(image, "TIFF")).astype(int) - (200, 40, 90)).max() <= 4


def test_cmyk_jpeg_has_the_colours_of_its_rgb_original():
    original = Image.new("RGB", (16, 16), (200, 40, 90))
    out = array(encoded(original.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(out.astype(int) - (200, 40, 90)).max() <= 4


def test_a_heic_file_is_read_where_its_package_is_installed_and_else_said_to_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(HEIC) == "a HEIC image: to read it, pip install 'featx[heif]'"
    monkeypatch.undo()
    plugin = pytest.importorskip("pillow_heif")
    with plugin.HeifImageFile(io.BytesIO(HEIC)) as opened:
        assert np.array_equal(array(HEIC), np.asarray(opened.convert("RGB")))
    for kept in range(40, len(HEIC), 40):
        assert reason(HEIC[:kept]).startswith("truncated HEIC"), kept


@pytest.mark.parametrize("options", [{"no_jp2": True}, {"tile_size": (32, 32), "irreversible": True}])
def test_a_jpeg_2000_without_boxes_or_in_tiles_is_read_and_refused_wherever_it_is_cut(options):
    data = encoded(photo(80, 60), "JPEG 2000", **options)
    assert np.array_equal(array(data), np.asarray(Image.open(io.BytesIO(data))))
    for kept in range(20, len(data), 97):
        assert reason(data[:kept]).startswith("truncated JPEG 2000"), kept


def test_a_jpeg_2000_that_lacks_a_tile_is_refused():
    data = encoded(photo(80, 60), "JPEG 2000", tile_size=(40, 60))
    second = data.find(b"\xff\x90", data.find(b"\xff\x90") + 2)
    assert "a tile, or a part of one, is missing" in reason(data[:second] + b"\xff\xd9")
    at = data.find(b"\xff\x51") + 22  # the width of tiles
    assert "tiles without a size" in reason(data[:at] + bytes(4) + data[at + 4 :])


@pytest.mark.parametrize("format", ["AVIF", "JPEG 2000"])
def test_a_lost_sector_of_a_picture_in_boxes_is_found(format):
    data = encoded(photo(480, 320), format)
    for at in range(1024, len(data) - 1024, 512 * (1 + len(data) // 10_000)):
        assert "zero bytes within its image data" in reason(data[:at] + bytes(512) + data[at + 512 :])


def test_animations_and_pages_give_the_first_picture():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format, options in (
        ("GIF", {}),
        ("TIFF", {}),
        ("PNG", {}),
        ("WebP", {"lossless": True}),
        ("AVIF", {"quality": 100}),
    ):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert np.abs(array(data)[4, 4].astype(int) - (255, 0, 0)).max() <= 2, format


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    out = decode(data, "a")
    assert out.size == expected.size
    assert np.array_equal(np.asarray(out), np.asarray(expected))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x02\0" * 3,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
        b"Exif\0\0" + bytes(range(200)),
    ],
)
def test_a_broken_exif_block_neither_stops_nor_warns(exif):
    data = encoded(photo(), "JPEG")
    broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert np.array_equal(array(broken), array(data))


def test_metadata_that_would_trip_pillow_is_left_out():
    bomb = zlib.compress(bytes(80_000_000))  # a text chunk beyond Pillow's limit
    data = png_with(photo(), (b"iCCP", b"x\0\0broken"), (b"zTXt", b"k\0\0" + bomb), (b"acTL", b"\0" * 8))
    assert np.array_equal(array(data), np.asarray(photo()))
    data = encoded(photo(), "JPEG", comment=b"hello", icc_profile=b"no profile")
    assert array(data).shape == (32, 48, 3)


def test_private_and_oversized_tiff_tags_do_not_matter():
    data = encoded(photo(), "TIFF")
    data = tiff_with_entry(data, 34665, 4, 1, 0xFFFFFF)  # an EXIF directory beyond the end
    data = tiff_with_entry(data, 65000, 2, 0x7FFFFFFF, 0xFFFFFF)
    assert np.array_equal(array(data), np.asarray(photo()))


def test_stray_and_fill_bytes_between_jpeg_segments_do_not_matter():
    data = encoded(photo(), "JPEG")
    assert np.array_equal(array(data[:2] + b"\xff\xff\xff" + data[3:]), array(data))


# What does not


def test_an_empty_file_says_so():
    assert reason(b"") == "empty file (0 bytes)"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello, world", "text that begins with 'hello, world'"),
        (b"<!DOCTYPE html><html>404", "an HTML page"),
        (b"\n<html>", "an HTML page"),
        (b'<?xml version="1.0"?><svg/>', "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04...", "a zip archive; unzip it"),
        (b"\x1f\x8b\x08...", "gzip data; unpack it"),
        (bytes(257) + b"ustar", "a tar archive; unpack it"),
        (b"\0\0\0\x1cftypisom....", "a video"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (bytes(500), "500 zero bytes"),
        (b"\x93\xfa\x00\x17\xff", "data that begins with 93 fa 00 17 ff"),
        (b"BMW is a brand of cars and of motorcycles", "text that begins with 'BMW"),
        (b"RIFF\0\0\0\0WAVE", "data that begins with"),
    ],
)
def test_what_is_no_image_is_named(data, says):
    said = reason(data, "x.jpg")
    assert said.startswith("not an image: ")
    assert says in said
    assert "expected JPEG, PNG" in said


def test_content_of_one_format_in_a_file_of_another_is_mislabelled_where_the_name_is_to_count():
    said = reason(encoded(photo(), "PNG"), "photo 3", name="cats/a.JPG")
    assert said == "mislabelled: PNG data in a file named .jpg; rename or replace it"
    assert "GIF data in a file named .webp" in reason(encoded(photo(), "GIF"), name="a.webp")
    assert "JPEG data in a file named .heic" in reason(encoded(photo(), "JPEG"), name="a.heic")


def test_only_a_suffix_that_contradicts_is_mislabelled():
    jpeg = encoded(photo(), "JPEG")
    for name in ("a.jpeg", "a.JPE", "a.jfif", "a", "image 7", "a.orig", "v1.2", "a.png.jpg", ""):
        decode(jpeg, "photo 3", name=name)
    decode(jpeg, "a.png")  # the content decides


@pytest.mark.parametrize(("suffix", "format"), FORMATS.items())
def test_a_truncated_file_is_refused_wherever_it_is_cut(suffix, format):
    data = encoded(photo(80, 60), format)
    for kept in {len(data) * share // 100 for share in (20, 40, 60, 80, 90, 95)}:
        assert reason(data[:kept]).startswith((f"truncated {format}", f"damaged {format}")), kept


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_deflate"])
def test_a_truncated_compressed_tiff_is_refused(compression):
    data = encoded(photo(80, 60), "TIFF", compression=compression)
    for kept in (9, len(data) // 2, len(data) - 8):
        reason(data[:kept])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WebP", "AVIF", "JPEG 2000"])
def test_a_file_cut_in_its_picture_is_called_truncated(format):
    data = encoded(photo(80, 60), format)
    assert reason(data[: len(data) * 3 // 4]) == f"truncated {format}: the file ends before its image does"


def test_a_progressive_jpeg_cut_between_scans_is_refused():
    data = encoded(photo(200, 200), "JPEG", progressive=True, quality=95)
    assert "truncated" in reason(data[: len(data) * 2 // 3])


def test_a_jpeg_whose_rest_was_never_written_is_refused():
    data = encoded(photo(200, 200), "JPEG", quality=95)
    half = len(data) // 2
    assert "bytes are zero" in reason(data[:half] + bytes(len(data) - half))


def test_a_jpeg_with_bytes_behind_its_end_is_fine():
    data = encoded(photo(), "JPEG")
    assert np.array_equal(array(data + bytes(100)), array(data))


def test_headers_without_a_picture_are_refused():
    data = encoded(photo(), "JPEG")
    assert "no image data" in reason(data[:2] + b"\xff\xd9" + data[2:])
    for magic in (data[:4], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP", b"II+\0"):
        reason(magic)
    assert "chunk named b'JUNK'" in reason(b"RIFF\0\0\0\0WEBPJUNK" + bytes(20))


def test_damage_in_a_png_is_refused():
    data = bytearray(encoded(photo(), "PNG"))
    data[data.index(b"IDAT") + 12] ^= 0xFF
    assert "PNG" in reason(bytes(data))
    assert "unknown critical chunk ABCD" in reason(png_with(photo(), (b"ABCD", b"")))
    assert "CgBI" in reason(png_with(photo(), (b"CgBI", b"\0\0\0\0")))
    assert "a chunk named" in reason(encoded(photo(), "PNG")[:33] + bytes(50))


def test_damage_in_a_tiff_is_refused():
    data = encoded(photo(), "TIFF")
    assert "directory lies beyond" in reason(
        data[:4] + struct.pack("<I", len(data) - 4) + data[8:-2] + b"\xff\xff\0\0"
    )
    assert "tag 257 has 2 values" in reason(tiff_with_entry(data, 257, 3, 2, 1))
    assert "tag 273 lies beyond" in reason(tiff_with_entry(data, 273, 4, 9000, 10))
    assert "tag 258 has 0 values" in reason(tiff_with_entry(data, 258, 3, 0, 8))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image.new("F", (4, 4), 0.5), "floating-point pixels without a known range"),
        (Image.new("I", (4, 4), 7), "32-bit whole-number pixels without a known range"),
    ],
)
def test_pixels_without_a_defined_rgb_are_refused(image, says):
    assert says in reason(encoded(image, "TIFF"))


def test_an_absurdly_large_image_is_refused_by_its_header():
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0))
    png += png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
    assert reason(png).startswith("too large: 60000 x 50000 = 3,000,000,000 pixels, the limit is 178,956,970")
    jpeg = bytearray(encoded(photo(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    assert "too large: 65000 x 65000" in reason(bytes(jpeg))
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<II", 10, 0)
    webp += (16_382).to_bytes(3, "little") * 2 + bytes(10)
    assert "too large: 16383 x 16383" in reason(webp)
    lossless = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<IB", 10, 0x2F)
    lossless += struct.pack("<I", 16_382 | 16_382 << 14) + bytes(10)
    assert "too large: 16383 x 16383" in reason(lossless)
    gif = bytearray(encoded(photo(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_000, 65_000)
    assert "too large: 65000 x 65000" in reason(bytes(gif))
    bmp = bytearray(encoded(photo(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 65_000, 65_000)
    assert "too large: 65000 x 65000" in reason(bytes(bmp))
    tiff = encoded(photo(), "TIFF")
    for tag in (256, 257):
        tiff = tiff_with_entry(tiff, tag, 4, 1, 65_000)
    assert "too large: 65000 x 65000" in reason(tiff)
    tiled = encoded(photo(), "TIFF")
    for tag in (322, 323):
        tiled = tiff_with_entry(tiled, tag, 4, 1, 65_000)
    for tag, value in ((324, 8), (325, 100)):
        tiled = tiff_with_entry(tiled, tag, 4, 1, value)
    tiled = tiled.replace(struct.pack("<HH", 273, 4), struct.pack("<HH", 65001, 4))
    assert re.match(r"needs 2.,... MB of memory to be decoded, the limit is 4,295 MB", reason(tiled))


def test_a_file_that_cannot_hold_its_picture_is_refused_before_memory_is_taken():
    # One colour in 34 bytes: valid by its format, and 178 million pixels.
    webp = b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", 13)
    webp += b"\x2f" + struct.pack("<I", 16_382 | 10_899 << 14) + bytes.fromhex("071011118888fe0700")
    assert reason(webp) == "damaged WebP: 34 bytes cannot hold 16383 x 10900 pixels"
    ihdr = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + ihdr + png_chunk(b"IDAT", zlib.compress(bytes(4000)))
    assert "PNG" in reason(png + png_chunk(b"IEND", b""))
    gif = bytearray(encoded(photo(), "GIF"))
    gif[6:10] = struct.pack("<HH", 12_000, 12_000)
    assert "cannot hold 12000 x 12000 pixels" in reason(bytes(gif))
    jpeg = bytearray(encoded(photo(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 12_000, 12_000)
    assert "cannot hold" in reason(bytes(jpeg))


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {"compress_level": 9}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": True, "quality": 0, "method": 0}),
        ("WEBP", {"quality": 0}),
        ("JPEG", {"quality": 1}),
        ("JPEG", {"quality": 1, "progressive": True}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "group4"}),
    ],
)
def test_a_picture_of_one_colour_is_read_however_few_bytes_it_takes(monkeypatch, format, options):
    monkeypatch.setattr("featx.inputs.image.footprint.UNCHECKED_PIXELS", 0)
    monkeypatch.setattr(importlib.import_module("featx.inputs.image.decode"), "_SMALL", 0)
    for mode in ("1",) if "group4" in options.values() else ("L", "RGB"):
        one_colour = Image.new(mode, (1500, 1000))
        assert np.asarray(decode(encoded(one_colour, format, **options), "a")).max() <= 4


def test_a_large_image_below_the_limit_does_not_warn(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for format in FORMATS.values():
        assert decode(encoded(photo(12, 11), format), "a").size == (12, 11)
    assert MAX_PIXELS == 178_956_970


@pytest.mark.parametrize(("suffix", "format"), FORMATS.items())
def test_damaged_bytes_give_an_image_or_an_image_error_and_no_warning(suffix, format):
    """Whatever a disk does to a file: no other exception, no warning, no output."""
    rng = random.Random(suffix)
    data = encoded(photo(24, 16), format, **({"exif": b"Exif\0\0II*\0"} if format == "JPEG" else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(250):
            broken = bytearray(data)
            for _ in range(rng.choice([1, 2, 8])):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            if rng.random() < 0.3:
                del broken[rng.randrange(len(broken)) :]
            try:
                assert decode(bytes(broken), "a" + suffix).mode == "RGB"
            except ImageError:
                continue


def test_threads_decode_at_once_without_touching_the_filters_of_warnings():
    data = [encoded(photo(seed=i), format) for i, format in enumerate(FORMATS.values())]
    expected = [array(d) for d in data]
    before, failures = list(warnings.filters), []

    def work():
        for _ in range(10):
            failures.extend(i for i, d in enumerate(data) if not np.array_equal(array(d), expected[i]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (MemoryError(), "needs more memory than there is"),
        (OverflowError("Python int too large to convert to C ssize_t"), "damaged PNG: Python int too large"),
        (RecursionError("maximum recursion depth exceeded"), "damaged PNG: maximum recursion depth"),
        (SyntaxError("not a\nPNG  file"), "damaged PNG: not a PNG file"),
        (struct.error("unpack requires a buffer"), "damaged PNG: unpack requires a buffer"),
        (zlib.error("Error -3"), "damaged PNG: Error -3"),
        (Image.DecompressionBombError("bomb"), "damaged PNG: bomb"),
        (EOFError(), "truncated PNG: the file ends before its image does"),
        (OSError("image file is truncated (3 bytes not processed)"), "truncated PNG: the file ends"),
        (KeyError(7), "damaged PNG: KeyError 7"),
    ],
)
def test_whatever_a_library_raises_is_one_error(raised, says, monkeypatch):
    def load(self):
        raise raised

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    assert reason(encoded(photo(), "PNG")).startswith(says)


def test_control_c_is_not_taken_for_damage(monkeypatch):
    def load(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(KeyboardInterrupt):
        decode(encoded(photo(), "PNG"), "a")


# Which files count


def test_the_rules_have_a_name():
    assert DECODER == "rgb-3"
