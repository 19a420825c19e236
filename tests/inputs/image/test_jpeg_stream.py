"""What a JPEG's segments and scans tell: damage is refused, and what real folders hold is not."""

import io
import re
import struct
import time

import numpy as np
import pytest
from pictures import scene
from PIL import Image

from featx.errors import ImageError
from featx.inputs.image import decode, decode_pixels, jpeg, jpeg_stream

EOI = b"\xff\xd9"
KINDS = {
    "colour": {},
    "optimised": {"optimize": True, "quality": 60},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "inks": {"mode": "CMYK"},
    "restart": {"restart_marker_blocks": 5},
}


def encoded(image=None, format="JPEG", *, mode="RGB", **options):
    file = io.BytesIO()
    (image or scene()).convert(mode).save(file, format, **options)
    return file.getvalue()


def reason(data, reduce=None):
    with pytest.raises(ImageError) as caught:
        decode_pixels(data, "a.jpg", reduce=reduce)
    return caught.value.reason


def same(data, original):
    return np.array_equal(decode_pixels(data, "a.jpg")[0], decode_pixels(original, "a.jpg")[0])


def parts(data):
    """Segments (a scan with its data), in order; together they are the file."""
    starts, at = [0], 2
    while data[at + 1] != 0xD9:
        starts.append(at)
        (length,) = struct.unpack_from(">H", data, at + 2)
        at = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(data, at + 2 + length).start()
    starts.append(at)
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def scans(data):
    return [part for part in parts(data) if part[1] == 0xDA]


# Damage


@pytest.mark.parametrize("with_simplejpeg", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_and_closed_with_an_end_marker_is_refused(kind, with_simplejpeg, monkeypatch):
    if not with_simplejpeg:
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    data = encoded(**KINDS[kind])
    first = data.index(b"\xff\xda") + 20
    for kept in (*range(first, len(data) - 2, (len(data) - first) // 7), len(data) - 4):
        assert reason(data[:kept].rstrip(b"\xff") + EOI).startswith(("truncated JPEG", "damaged JPEG")), kept


@pytest.mark.parametrize("by", [2, 8])
def test_a_cut_file_is_refused_at_a_reduced_scale_too(by, monkeypatch):
    data = encoded(scene(300, 200))
    cut = data[: len(data) // 2] + EOI
    assert "premature end of data" in reason(cut, lambda *_: by)
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert "its data end before" in reason(cut, lambda *_: by)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_sector_within_the_data_is_refused(kind):
    data = encoded(scene(300, 200), **{"quality": 90, **KINDS[kind]})
    first = data.index(b"\xff\xda") + 20
    # The last scan of a progressive picture holds correction bits, which may be zeros for long.
    last = len(data) - 600 if kind != "progressive" else data.rindex(b"\xff\xda") - 600
    for start in range(first, last, (last - first) // 6):
        said = reason(data[:start] + bytes(512) + data[start + 512 :])
        assert said.startswith(("damaged JPEG", "truncated JPEG")), start


def test_a_lost_sector_is_named():
    data = encoded(scene(300, 200), quality=90)
    half = len(data) // 2
    assert "zero bytes within its image data" in reason(data[:half] + bytes(512) + data[half + 512 :])


def test_a_progressive_picture_that_ends_between_two_scans_is_refused():
    pieces = parts(encoded(progressive=True))
    ends = [i for i, part in enumerate(pieces) if part[1] == 0xDA]
    assert len(ends) == 10
    for last in ends[:-1]:
        assert (
            reason(b"".join(pieces[: last + 1]) + EOI)
            == "truncated JPEG: it ends before the last of its scans"
        )


def test_scans_that_do_not_fit_together_are_refused():
    pieces = parts(encoded(progressive=True))
    last = max(i for i, part in enumerate(pieces) if part[1] == 0xDA)
    assert "do not fit together" in reason(b"".join([*pieces[: last + 1], *pieces[last:]]))


@pytest.mark.parametrize(
    ("warning", "damage"),
    [
        ("Corrupt JPEG data: premature end of data segment", True),
        ("Corrupt JPEG data: bad Huffman code", True),
        ("Corrupt JPEG data: bad arithmetic code", True),
        ("Corrupt JPEG data: found marker 0xd9 instead of RST3", True),
        ("Inconsistent progression sequence for component 0 coefficient 1", True),
        ("Corrupt JPEG data: 7 extraneous bytes before marker 0xd4", True),
        ("Unsupported marker type 0x12", True),
        ("Corrupt JPEG data: 240 extraneous bytes before marker 0xd9", False),
        ("Warning: unknown JFIF revision number 0.00", False),
        ("Unknown Adobe color transform code 7", False),
        ("Invalid SOS parameters for sequential JPEG", False),
    ],
)
def test_each_warning_of_the_decoder_is_damage_or_harmless(warning, damage):
    if damage:
        with pytest.raises(jpeg.Damaged, match=r"^damaged JPEG: "):
            jpeg.refuse_damage(warning)
    else:
        jpeg.refuse_damage(warning)


# What real folders hold


@pytest.mark.parametrize("padding", [b"\0" * 8, b"\0" * 700, b"\x5a" * 3, bytes(range(1, 241))])
def test_bytes_before_the_end_marker_do_not_matter(padding):
    """Cameras pad there; published datasets have such files."""
    data = encoded()
    assert same(data[:-2] + padding + EOI, data)


@pytest.mark.parametrize(
    "trailer", [b"\0" * 5000, b"SEFT" + bytes(range(256)), b"\0\0\0\x18ftypmp42" + bytes(900)]
)
@pytest.mark.parametrize("kind", ["colour", "progressive"])
def test_what_comes_behind_the_end_marker_does_not_matter(kind, trailer):
    data = encoded(**KINDS[kind])
    assert same(data + trailer, data)
    assert same(data + encoded(scene(seed=1), progressive=True) + trailer, data)


def test_numbers_of_the_header_that_change_no_pixel_do_not_matter_and_hide_no_damage():
    data = bytearray(encoded())
    data[11:13] = b"\0\0"  # the version of JFIF
    scan = data.index(b"\xff\xda")
    data[scan + 11 : scan + 14] = b"\0\0\0"  # the band of a sequential scan
    assert same(bytes(data), encoded())
    assert "premature end of data" in reason(bytes(data[:-400]) + EOI)


@pytest.mark.parametrize("kind", ["colour", "optimised", "progressive", "restart"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shades", [(0, 0), (255, 255), (0, 255)])
def test_flat_pictures_whose_data_are_all_zeros_are_read(mode, kind, shades):
    pixels = np.full((1200, 1200, 3), shades[0], np.uint8)
    pixels[:, 900:] = shades[1]
    data = encoded(Image.fromarray(pixels), **{**KINDS[kind], "mode": mode})
    assert np.array_equal(
        np.asarray(decode(data, "a")), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


def test_that_zeros_can_be_a_flat_picture():
    data = encoded(Image.new("L", (1200, 1200), 7), mode="L", optimize=True)
    assert bytes(2000) in data


def test_several_pictures_in_one_file_give_the_first():
    first, second = scene(), scene(seed=1)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    expected = np.asarray(Image.open(io.BytesIO(data)))
    for name in ("a.mpo", "a.jpg"):  # phones name them .jpg
        assert np.array_equal(np.asarray(decode(data, name)), expected)


# Time


def test_a_file_of_thousands_of_scans_is_refused_before_it_is_decoded():
    data = encoded(Image.new("RGB", (800, 800), "red"), progressive=True)
    many = data[:-2] + scans(data)[-1] * 3000 + EOI
    start = time.monotonic()
    reason(many)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(("limit", "value"), [("MAX_SCANS", 9), ("MAX_SCANNED_PIXELS", 9 * 150 * 110)])
def test_scans_are_counted_alone_and_by_their_pixels(limit, value, monkeypatch):
    data = encoded(progressive=True)
    monkeypatch.setattr(jpeg_stream, limit, value + (1 if limit == "MAX_SCANS" else 150 * 110))
    decode(data, "a")
    monkeypatch.setattr(jpeg_stream, limit, value)
    assert reason(data) == "too slow to decode: a JPEG of 10 or more scans; save it again"


def test_a_header_that_promises_more_blocks_than_there_are_bits_is_refused():
    data = bytearray(encoded())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 13_000, 13_000)
    assert re.fullmatch(r"truncated JPEG: [\d,]+ bytes cannot hold its picture", reason(bytes(data)))
