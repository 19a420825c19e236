import io

import numpy as np
import pytest
from PIL import Image

from featx.errors import ImageError, InputError, UnknownName
from featx.inputs import Preparation
from featx.inputs.image import IMAGENET_MEAN, EncodedImage, Preprocessing
from featx.inputs.image.resize import RESAMPLING


def smooth_image(width, height, seed=0):
    """A picture with soft and hard edges, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels[: height // 3, : width // 4] = (250, 10, 60)
    return Image.fromarray(pixels)


def by_torchvision(image, resize, crop, interpolation):
    """The slow and obvious way: resize everything, then crop."""
    from featx.vision import import_torchvision

    import_torchvision()
    from torchvision import transforms

    mode = transforms.InterpolationMode(interpolation)
    steps = [] if resize is None else [transforms.Resize(resize, mode)]
    steps += [] if crop is None else [transforms.CenterCrop(crop)]
    return np.asarray(transforms.Compose(steps)(image))


SIZES = [(500, 375), (333, 500), (200, 300), (400, 61), (224, 224), (256, 256), (40, 31), (1, 50), (5, 1)]
SETTINGS = [
    (256, (224, 224)),
    (232, (224, 224)),
    (48, (48, 48)),
    (64, (100, 40)),
    ((50, 70), None),
    ((60, 90), (30, 120)),
    (None, (64, 64)),
]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("resize", "crop"), SETTINGS)
def test_equals_resizing_everything_and_then_cropping_up_to_rounding(resize, crop, interpolation):
    preprocessing = Preprocessing(resize, crop, interpolation)
    for seed, size in enumerate(SIZES):
        image = smooth_image(*size, seed)
        ours, reference = preprocessing(image), by_torchvision(image, resize, crop, interpolation)
        assert ours.shape == reference.shape == (*preprocessing.size, 3)
        assert ours.dtype == np.uint8
        difference = np.abs(ours.astype(int) - reference)
        # Two passes that each round: a tie that falls the other way twice makes two levels, very rarely.
        assert difference.max() <= 2, (size, difference.max())
        assert (difference <= 1).mean() > 0.9995, (size, (difference <= 1).mean())
        assert (difference == 0).mean() > 0.95, (size, (difference == 0).mean())


def test_a_tall_image_is_resized_in_the_same_order_of_passes_as_a_wide_one():
    preprocessing = Preprocessing(256, (224, 224), "bicubic")
    pixels = np.random.default_rng(0).integers(0, 256, (500, 333, 3), np.uint8)
    tall = Image.fromarray(pixels)
    bicubic = Image.Resampling.BICUBIC
    columns_first = tall.resize((256, 500), bicubic).resize((256, 384), bicubic)
    expected = np.asarray(columns_first.crop((16, 80, 240, 304))).astype(int)
    difference = np.abs(preprocessing(tall) - expected)
    assert difference.max() <= 2  # noise: the weights of a bicubic filter add up to more than one
    assert (difference == 0).mean() > 0.99


def test_an_image_smaller_than_the_crop_lies_in_the_middle_of_zeros():
    image = Image.new("RGB", (4, 2), (9, 9, 9))
    out = Preprocessing(None, (4, 7))(image)
    assert out[1:3, 1:5].min() == 9
    assert out.sum() == 4 * 2 * 3 * 9


def test_an_extremely_long_image_is_not_blown_up():
    assert Preprocessing(256, (224, 224))(Image.new("RGB", (30_000, 1))).shape == (224, 224, 3)


def test_a_huge_image_does_not_warn_and_gives_the_same(monkeypatch):
    image = smooth_image(400, 300)
    expected = Preprocessing(64, (56, 56))(image)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    assert np.abs(Preprocessing(64, (56, 56))(image).astype(int) - expected).max() <= 1


def test_the_result_can_be_written_to_and_does_not_share_memory_with_the_image():
    image = Image.new("RGB", (8, 8))
    out = Preprocessing(8, (8, 8))(image)
    out[:] = 255
    assert image.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("interpolation", sorted(RESAMPLING))
def test_the_defaults_are_those_of_imagenet(interpolation):
    preprocessing = Preprocessing(interpolation=interpolation)
    assert preprocessing.size == (224, 224)
    assert preprocessing.mean == IMAGENET_MEAN


def test_with_size_keeps_everything_but_the_resolution():
    small = Preprocessing(256, (224, 224), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3).with_size(96)
    assert (small.resize, small.crop, small.size) == (96, (96, 96), (96, 96))
    assert (small.interpolation, small.mean, small.std) == ("bicubic", (0.5,) * 3, (0.5,) * 3)


def test_size_is_that_of_an_exact_resize_when_nothing_is_cropped():
    assert Preprocessing((30, 40), None).size == (30, 40)


@pytest.mark.parametrize(("resize", "crop"), SETTINGS)
def test_survives_the_way_through_json(resize, crop):
    import json

    preprocessing = Preprocessing(resize, crop, "lanczos")
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    assert again == preprocessing
    assert hash(again) == hash(preprocessing)


def test_from_dict_names_unknown_and_missing_fields():
    data = Preprocessing().to_dict()
    data["colour"] = data.pop("crop")
    with pytest.raises(InputError, match="unknown field 'colour', missing field 'crop'"):
        Preprocessing.from_dict(data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resize": 0}, "resize must be a positive whole number"),
        ({"resize": 2.5}, "resize must be a positive whole number"),
        ({"resize": True}, "resize must be a positive whole number"),
        ({"resize": (1, 2, 3)}, r"resize must be \(height, width\)"),
        ({"crop": (0, 4)}, "crop must be a positive whole number"),
        ({"crop": 224}, r"crop must be \(height, width\)"),
        ({"resize": 256, "crop": None}, "gives every image another size"),
        ({"resize": None, "crop": None}, "gives every image another size"),
        ({"antialias": False}, "antialias must be True"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers"),
        ({"mean": "abc"}, "mean must be three numbers"),
        ({"mean": None}, "mean must be three numbers"),
        ({"std": (0.5, 0.5, float("nan"))}, "std must be three numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be positive"),
    ],
)
def test_impossible_values_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Preprocessing(**arguments)


def test_an_unknown_interpolation_gets_the_nearest():
    with pytest.raises(UnknownName, match="did you mean bilinear"):
        Preprocessing(interpolation="bilinea")


def test_with_size_refuses_what_is_no_size():
    with pytest.raises(InputError, match="image size must be a positive whole number"):
        Preprocessing().with_size(0)


def test_only_rgb_images_are_taken():
    with pytest.raises(InputError, match="mode RGB, got L"):
        Preprocessing()(Image.new("L", (4, 4)))


def test_prepare_decodes_and_resizes_in_place_and_notes_its_stages():
    file = io.BytesIO()
    smooth_image(900, 700).save(file, "JPEG")
    content = EncodedImage("a", file.getvalue()).read()
    preprocessing = Preprocessing(40, (32, 32))
    batch, noted = np.zeros((2, 32, 32, 3), np.uint8), []
    prepared = preprocessing.prepare(content, batch[1], noted.append)
    assert np.shares_memory(prepared, batch)
    assert noted == ["decode", "preprocess"]
    assert not batch[0].any()
    np.testing.assert_array_equal(batch[1], preprocessing(*content.pixels(preprocessing.reduction)))
    np.testing.assert_array_equal(preprocessing.prepare(content), batch[1])
    with pytest.raises(ImageError, match="bad: not an image"):
        preprocessing.prepare(EncodedImage("bad", b"text").read())


def test_it_implements_the_protocol_of_a_preparation():
    preprocessing = Preprocessing(40, (24, 32))
    batch = preprocessing.reference_batch(2)
    assert isinstance(preprocessing, Preparation)
    assert (preprocessing.kind, preprocessing.shape, preprocessing.dtype) == ("image", (24, 32, 3), np.uint8)
    assert (batch.shape[1:], batch.dtype, batch[0].nbytes) == (
        preprocessing.shape,
        np.uint8,
        preprocessing.nbytes,
    )
    np.testing.assert_array_equal(preprocessing.collate(list(batch)), batch)


def test_the_identity_is_the_fields_and_the_decoder():
    preprocessing = Preprocessing(40, (32, 32))
    assert preprocessing.identity == {**preprocessing.to_dict(), "decoder": "rgb-3"}
    assert Preprocessing.from_dict(Preprocessing.fields_of(preprocessing.identity)) == preprocessing
