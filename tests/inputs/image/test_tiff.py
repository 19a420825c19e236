"""What the strips and the directory of a TIFF tell of damage."""

import io
import struct

import numpy as np
import pytest
from pictures import scene
from PIL import Image

from featx.errors import ImageError
from featx.inputs.image import decode, tiff


def encoded(image, compression, **options):
    file = io.BytesIO()
    image.save(file, "TIFF", compression=compression, **options)
    return file.getvalue()


def reason(data):
    with pytest.raises(ImageError) as caught:
        decode(data, "a.tif")
    return caught.value.reason


@pytest.mark.parametrize(
    ("compression", "says"),
    [
        ("tiff_lzw", "zero bytes within its image data"),
        ("packbits", "zero bytes within its image data"),
        ("tiff_adobe_deflate", "damaged TIFF: Error -3"),
        ("jpeg", "damaged TIFF: a strip of it is a damaged JPEG: "),
    ],
)
def test_a_lost_sector_of_a_compressed_strip_is_refused(compression, says):
    pytest.importorskip("simplejpeg")
    data = encoded(scene(), compression)
    half = len(data) // 2
    assert says in reason(data[:half] + bytes(600) + data[half + 600 :])


def test_a_deflated_strip_is_held_to_its_checksum():
    data = bytearray(encoded(scene(), "tiff_adobe_deflate"))
    with Image.open(io.BytesIO(bytes(data))) as image:
        offset, size = image.tag_v2[273][-1], image.tag_v2[279][-1]
    data[offset + size - 1] ^= 1
    assert "incorrect data check" in reason(bytes(data))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg", "raw", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_flat_pictures_of_all_compressions_are_read(compression, mode):
    image = Image.new("RGB", (1000, 700))
    image.paste(scene(), (40, 40))
    data = encoded(image.convert(mode), compression)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(np.asarray(decode(data, "a")), expected)


@pytest.mark.parametrize("missing", [1, 19, 300])
def test_what_a_cut_took_from_the_last_strip_is_not_read_from_elsewhere(missing):
    data = encoded(scene(), "raw")
    with Image.open(io.BytesIO(data)) as image:
        end = image.tag_v2[273][-1] + image.tag_v2[279][-1]
    assert reason(data[: end - missing]).startswith("truncated TIFF")


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 2**64 - 8, 2**32])
def test_offsets_that_no_file_has_are_refused(offset):
    assert "directory lies beyond the end" in reason(b"II+\0\x08\0\0\0" + struct.pack("<Q", offset))
    directory = struct.pack("<QHHQQ", 1, 273, 16, 2, offset) + bytes(8)
    assert reason(b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + directory).startswith("truncated TIFF")
    huge = struct.pack("<Q", offset) + bytes(60)
    assert "directory lies beyond the end" in reason(b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + huge)


def test_absurd_numbers_of_entries_and_values_are_refused():
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + bytes(60_000 * 12 + 4)
    assert reason(data) == "damaged TIFF: a directory of 60,000 entries"
    entry = struct.pack("<HHHII", 1, 273, 4, 2**21, 8) + bytes(2**23)
    assert reason(b"II*\0\x08\0\0\0" + entry) == "damaged TIFF: tag 273 has 2097152 values of type 4"


def test_strips_that_share_their_bytes_are_unpacked_only_so_often(monkeypatch):
    looked_at = []
    monkeypatch.setattr(tiff, "_check_deflate", lambda strip, most: looked_at.append(len(strip)) or 0)
    data = bytearray(1000)
    data[:16] = struct.pack("<IIII", 100, 100, 400, 400)
    data[16:18] = struct.pack("<H", 8)
    many = {259: (3, 1, 16), 273: (4, 2, 0), 279: (4, 2, 8)}
    tiff._check_strips(bytes(data), "<", many)
    assert looked_at == [400, 400]
    looked_at.clear()
    data[8:16] = struct.pack("<II", 800, 800)
    tiff._check_strips(bytes(data), "<", many)
    assert looked_at == [800]
