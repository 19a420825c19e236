"""PPM, PGM and PBM, binary and plain, of any depth."""

import numpy as np
import pytest

from featx.errors import ImageError
from featx.inputs.image import decode, is_image_file, pnm


def pixels(data, name="a.ppm"):
    return np.asarray(decode(data, name))


def grey(data):
    out = pixels(data)
    assert (out == out[:, :, :1]).all()
    return out[:, :, 0].tolist()


def reason(data):
    with pytest.raises(ImageError) as caught:
        decode(data, "a.ppm")
    return caught.value.reason


def test_colour_of_eight_bits_is_as_it_is():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (5, 7, 3), np.uint8)
    out = pixels(b"P6\n# a comment\n7 5\n255\n" + values.tobytes())
    assert np.array_equal(out, values)
    assert np.array_equal(pixels(b"P3 7 5 255 " + b" ".join(b"%d" % v for v in values.ravel())), values)


def test_sixteen_bits_are_scaled_to_the_nearest():
    values = np.array([[0, 128, 129, 257, 32767, 65279, 65535]], np.uint16)
    expected = np.rint(values / 257).astype(int).tolist()
    assert grey(b"P5 7 1 65535\n" + values.astype(">u2").tobytes()) == expected
    colour = np.repeat(values.T, 3, axis=1)
    out = pixels(b"P6 1 7 65535\n" + colour.astype(">u2").tobytes())
    assert out[:, 0, 0].tolist() == expected[0]


@pytest.mark.parametrize("top", [1, 15, 100, 254, 256, 1023])
def test_values_are_scaled_by_the_largest_that_the_header_names(top):
    values = np.array([0, 1, top // 2, top])
    body = values.astype(np.uint8 if top < 256 else ">u2").tobytes()
    expected = np.floor(values * 255 / top + 0.5).astype(int).tolist()
    assert grey(b"P5 4 1 %d\n" % top + body) == [expected]
    assert grey(b"P2 4 1 %d " % top + b" ".join(b"%d" % v for v in values)) == [expected]


def test_a_value_beyond_the_largest_is_white():
    assert grey(b"P5 2 1 100\n" + bytes([100, 200])) == [[255, 255]]


def test_ones_of_a_bitmap_are_black():
    assert grey(b"P4 10 2\n" + bytes([0b10000000, 0b01000000, 0xFF, 0xC0])) == [
        [0, *[255] * 8, 0],
        [0] * 10,
    ]
    assert grey(b"P1\n3 1\n101") == grey(b"P1\n3 1\n1 0\n1 # end") == [[0, 255, 0]]


def test_the_first_of_several_pictures_is_read():
    one = b"P5 2 1 255\n\1\2"
    assert grey(one + one) == [[1, 2]]


def test_white_space_that_begins_the_data_belongs_to_them():
    assert grey(b"P5 2 1 255\n\n#") == [[10, 35]]


@pytest.mark.parametrize("name", ["a.ppm", "b.PGM", "c.pbm", "d.pnm", "e.mpo"])
def test_the_suffixes_count_as_images(name):
    assert is_image_file(name)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"P6 2 2 255\n" + bytes(11), "truncated PNM: the file ends before its image does"),
        (b"P5 2 2 65535\n" + bytes(7), "truncated PNM"),
        (b"P4 9 2\n" + bytes(3), "truncated PNM"),
        (b"P3 2 2 255\n1 2 3 4", "truncated PNM"),
        (b"P1 2 2\n 1 0 1     ", "truncated PNM"),
        (b"P5 2 2", "damaged PNM: its header"),
        (b"P5 0 2 255\n", "damaged PNM: 0 x 2 pixels"),
        (b"P5 2 2 70000\n" + bytes(8), "values up to 70000"),
        (b"P2 2 1 255\n12 1x", "not a number"),
        (b"P2 2 1 255\n12 1_0", "not a number"),
        (b"P2 2 1 255\n12 -10", "not a number"),
        (b"P1 2 1\n 1 2", "neither 0 nor 1"),
        (b"P6 99999 99999 255\n", "too large: 99999 x 99999"),
        (b"P3 9000 9000 255\n", "too large: 243,000,000 numbers of a plain PNM"),
        (b"P7 WIDTH 2", "not an image"),
        (b"P5 is a name", "not an image"),
    ],
)
def test_what_is_wrong_is_named(data, says):
    assert says in reason(data)


def test_a_picture_in_several_strips_is_the_same(monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (40, 30), np.uint16)
    data = b"P5 30 40 65535\n" + values.astype(">u2").tobytes()
    whole = pixels(data)
    monkeypatch.setattr(pnm, "_STRIP", 7)
    assert np.array_equal(pixels(data), whole)
