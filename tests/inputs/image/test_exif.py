"""The orientation of a picture is found wherever its format keeps it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from featx.inputs.image import decode


def picture():
    return Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def profile(block, name=b"exif"):
    """The text that ImageMagick writes: the profile's name, its length, and lines of 72 digits."""
    digits = block.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return b"\n" + name + b"\n%8d\n" % len(block) + lines.encode() + b"\n"


def png(*chunks, behind=b""):
    file = io.BytesIO()
    picture().save(file, "PNG")
    data = file.getvalue()
    return data[:33] + b"".join(chunks) + data[33:-12] + behind + data[-12:]


def texts(keyword, text):
    return {
        "tEXt": chunk(b"tEXt", keyword + b"\0" + text),
        "zTXt": chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text)),
        "iTXt": chunk(b"iTXt", keyword + b"\0\0\0\0\0" + text),
        "packed iTXt": chunk(b"iTXt", keyword + b"\0\1\0en\0x\0" + zlib.compress(text)),
    }


def turned(data):
    return np.array_equal(np.asarray(decode(data, "a")), np.rot90(np.asarray(picture()), -1))


def as_stored(data):
    return np.array_equal(np.asarray(decode(data, "a")), np.asarray(picture()))


@pytest.mark.parametrize("keyword", [b"exif", b"APP1"])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_the_profile_that_imagemagick_writes_into_a_png_turns_it(kind, keyword):
    text = texts(b"Raw profile type " + keyword, profile(exif(6), keyword.lower()))[kind]
    assert turned(png(text))
    assert turned(png(behind=text))


def test_the_chunk_made_for_exif_comes_first():
    text = texts(b"Raw profile type exif", profile(exif(6)))["zTXt"]
    block = exif(1).removeprefix(b"Exif\0\0")
    assert as_stored(png(text, chunk(b"eXIf", block)))
    assert as_stored(png(chunk(b"eXIf", block), text))


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        chunk(b"zTXt", b"Raw profile type exif"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nxyz"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif"),
        chunk(b"tEXt", b"Raw profile type exif\0" + profile(exif(77))),
        chunk(b"tEXt", b"Raw profile type iptc\0" + profile(exif(6))),
        chunk(
            b"tEXt",
            b"Raw profile type APP1\0" + profile(b"http://ns.adobe.com/xap/1.0/\0 tiff:Orientation='6'"),
        ),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(80_000_000))),
    ],
)
def test_other_texts_and_broken_ones_turn_nothing(text):
    assert as_stored(png(text))


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "save_all": True}])
def test_the_exif_of_a_webp_turns_it(options):
    file = io.BytesIO()
    more = {"append_images": [picture()]} if "save_all" in options else {}
    picture().save(file, "WebP", exif=exif(6), **options, **more)
    assert turned(file.getvalue())
