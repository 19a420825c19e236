import numpy as np
import pytest
from PIL import Image

from featx.errors import InputError, UnknownName
from featx.inputs.image import Preprocessing, augment_image
from featx.inputs.image.augment import RATIO, SCALE, _random_box

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


def rng(seed=0):
    return np.random.default_rng(seed)


def to(size, interpolation="bilinear"):
    return Preprocessing(None, (size, size) if isinstance(size, int) else size, interpolation)


def test_gives_the_size_that_is_asked_for():
    assert augment_image(IMAGE, rng(), to(32)).shape == (32, 32, 3)
    assert augment_image(IMAGE, rng(), to((24, 40))).shape == (24, 40, 3)
    assert augment_image(IMAGE, rng(), to(32)).dtype == np.uint8


def test_a_preprocessing_gives_size_and_interpolation():
    nearest = Preprocessing((20, 30), None, "nearest")
    out = augment_image(IMAGE, rng(), nearest)
    assert out.shape == (20, 30, 3)
    assert np.array_equal(out, augment_image(IMAGE, rng(), to((20, 30), interpolation="nearest")))
    assert not np.array_equal(out, augment_image(IMAGE, rng(), to((20, 30))))


def test_the_same_state_of_the_generator_gives_the_same_pixels_and_another_one_others():
    assert np.array_equal(augment_image(IMAGE, rng(3), to(16)), augment_image(IMAGE, rng(3), to(16)))
    assert not np.array_equal(augment_image(IMAGE, rng(3), to(16)), augment_image(IMAGE, rng(4), to(16)))


def test_boxes_lie_in_the_image_and_keep_scale_and_ratio():
    generator = rng()
    for _ in range(300):
        left, top, w, h = _random_box((640, 480), generator, SCALE, RATIO)
        assert 0 <= left <= 640 - w
        assert 0 <= top <= 480 - h
        assert 0.34 < w * h / (640 * 480) <= 1.0
        assert 0.74 < w / h < 1.35


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000), (1, 1), (1, 7)])
def test_an_image_that_no_drawn_box_fits_gets_the_central_one(size):
    for seed in range(20):
        left, top, w, h = _random_box(size, rng(seed), SCALE, RATIO)
        assert w >= 1
        assert h >= 1
        assert left + w <= size[0]
        assert top + h <= size[1]
    assert augment_image(Image.new("RGB", size), rng(), to(8)).shape == (8, 8, 3)


def test_flip_is_a_probability():
    whole = {"scale": (1.0, 1.0), "ratio": (4 / 3, 4 / 3)}  # the box is the whole image
    plain = augment_image(IMAGE, rng(), to((60, 80)), flip=0.0, **whole)
    mirrored = augment_image(IMAGE, rng(), to((60, 80)), flip=1.0, **whole)
    assert np.array_equal(plain, np.asarray(IMAGE))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert mirrored.flags.c_contiguous
    flips = [
        np.array_equal(augment_image(IMAGE, rng(s), to((60, 80)), **whole), mirrored) for s in range(200)
    ]
    assert 70 < sum(flips) < 130


def test_jitter_multiplies_brightness_contrast_and_saturation_within_bounds():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    means = [augment_image(grey, np.random.default_rng(i), to(8), jitter=0.3).mean() for i in range(200)]
    assert min(means) >= 69
    assert max(means) <= 131
    assert max(means) - min(means) > 40
    red = Image.new("RGB", (8, 8), (150, 80, 80))
    spread = [
        np.ptp(augment_image(red, np.random.default_rng(i), to(8), jitter=0.3)[0, 0].astype(int))
        for i in range(200)
    ]
    assert min(spread) < 50 < 90 < max(spread)


def test_without_jitter_the_crops_are_as_they_were():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    one, other = (np.random.default_rng(5) for _ in range(2))
    np.testing.assert_array_equal(
        augment_image(image, one, to(8)), augment_image(image, other, to(8), jitter=0.0)
    )
    assert one.bit_generator.state == other.bit_generator.state


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="mode RGB, got L"):
        augment_image(Image.new("L", (4, 4)), rng(), to(4))
    with pytest.raises(UnknownName, match="interpolation"):
        augment_image(IMAGE, rng(), to(4, interpolation="cubic"))
