import functools
import importlib
import io
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from featx.cache.identity import digest_array, digest_bytes
from featx.errors import DatasetError, ImageError
from featx.inputs import Source
from featx.inputs.image import EncodedImage, FileImage, LazyImage, PixelImage, StoredImage, as_source
from featx.places import LocalRanges
from featx.places.archives import ArchiveMember

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def png(pixels=PIXELS):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def image_array(source):
    image = source.read().image()
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    return path


# Files


def test_a_file_gives_the_digest_of_its_bytes_and_its_pixels(file):
    source = FileImage("cats/a.png", file)
    assert source.read().digest == digest_bytes(png())
    assert len(source.read().digest) == 32
    assert np.array_equal(image_array(source), PIXELS)


def test_a_renamed_file_is_the_same_image_and_an_edited_one_is_not(file, tmp_path):
    before = FileImage("a", file).read().digest
    moved = file.rename(tmp_path / "b.png")
    assert FileImage("b", moved).read().digest == before
    moved.write_bytes(png(255 - PIXELS))
    assert FileImage("b", moved).read().digest != before


def test_the_stat_key_is_absolute_path_size_and_times(file, monkeypatch):
    os.utime(file, ns=(5, 1_700_000_000_123_456_789))
    monkeypatch.chdir(file.parent)
    seen = os.stat(file)
    expected = (str(file), len(png()), seen.st_mtime_ns, seen.st_ctime_ns)
    assert FileImage("a", "a.png").stat_key() == expected
    assert FileImage("a", file).stat_key() == expected


def test_a_missing_file_has_no_stat_key_and_is_named_when_read(tmp_path):
    source = FileImage("cats/gone.png", tmp_path / "gone.png")
    assert source.stat_key() is None
    with pytest.raises(ImageError, match=r"cats/gone.png: no such file: .*gone.png"):
        source.read()


def test_what_cannot_be_read_as_a_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"cannot be read .*directory"):
        FileImage("a", tmp_path).read()
    with pytest.raises(ImageError, match=r"cannot be read .*null"):
        FileImage("a", "a\0b").read()
    assert FileImage("a", "a\0b").stat_key() is None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_file_without_permission_is_named(file):
    file.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        FileImage("a", file).read()


def test_a_damaged_file_has_a_digest_and_fails_when_it_is_decoded(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png()[:40])
    content = FileImage("x", path).read()
    assert content.digest == digest_bytes(png()[:40])
    with pytest.raises(ImageError, match=r"x: .*truncated"):
        content.image()


def test_a_file_that_is_no_image_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"nonsense")
    with pytest.raises(ImageError, match="x: not an image"):
        FileImage("x", path).read()


def test_a_suffix_that_lies_is_an_error_only_when_asked(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(png())
    with pytest.raises(ImageError, match=r"photo 7: mislabelled: PNG data in a file named .jpg"):
        FileImage("photo 7", path, check_suffix=True).read()
    assert np.array_equal(image_array(FileImage("a.jpg", path)), PIXELS)
    assert np.array_equal(image_array(EncodedImage("a.jpg", png())), PIXELS)
    path.write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(ImageError, match="an HTML page"):
        FileImage("a.jpg", path).read()


def test_what_a_file_outside_of_its_tree_holds_is_not_quoted(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"a secret")
    for tree, quoted in ((None, True), (str(tmp_path), True), (str(tmp_path / "sub"), False)):
        with pytest.raises(ImageError, match="x: not an image") as caught:
            FileImage("x", path, tree=tree).read()
        assert ("secret" in str(caught.value)) == quoted


# Bytes and pixels


def test_bytes_are_the_same_image_as_the_file_that_holds_them(file):
    source = EncodedImage("a", png())
    assert source.read().digest == FileImage("a", file).read().digest
    assert source.stat_key() is None
    assert np.array_equal(image_array(source), PIXELS)


def test_pixels_give_the_digest_of_their_rgb_array():
    for made in (PIXELS, Image.fromarray(PIXELS), np.asfortranarray(PIXELS), PIXELS[::-1][::-1]):
        source = PixelImage("a", made)
        assert source.read().digest == digest_array(PIXELS)
        assert source.stat_key() is None
        assert np.array_equal(image_array(source), PIXELS)


def test_grey_and_single_channel_arrays_are_replicated():
    grey = PIXELS[:, :, 0]
    for made in (grey, grey[:, :, None], Image.fromarray(grey)):
        out = image_array(PixelImage("a", made))
        assert np.array_equal(out, np.repeat(grey[:, :, None], 3, axis=2))
    assert PixelImage("a", grey).read().digest == PixelImage("a", Image.fromarray(grey)).read().digest


def test_alpha_is_composited_over_white_in_arrays_as_in_images():
    rgba = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 0, np.uint8)])
    assert (image_array(PixelImage("a", rgba)) == 255).all()
    assert np.array_equal(
        image_array(PixelImage("a", Image.fromarray(rgba))), image_array(PixelImage("a", rgba))
    )


def test_pixels_that_differ_in_shape_alone_differ():
    flat = np.zeros((2, 8, 3), np.uint8)
    assert PixelImage("a", flat).read().digest != PixelImage("a", flat.reshape(4, 4, 3)).read().digest


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (PIXELS.astype(np.float32), r"floating pixels with values in \[0, 1\], got 0 to .*give uint8"),
        (np.where(PIXELS > 3, PIXELS / 255, np.nan), "got NaN"),
        (np.where(PIXELS > 3, PIXELS / 255, np.inf), "got .* to inf"),
        (PIXELS.astype(np.int64), "dtype uint8 .*int64"),
        (PIXELS > 3, "dtype uint8 .*bool"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(h, w\).*\(4, 4, 2\)"),
        (np.zeros((3, 8, 9), np.uint8), "move the channels last"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000)), "more than the limit"),
        (7, "expected a path, .*got int"),
        (None, "got NoneType"),
        ([[1, 2], [3, 4]], "got list"),
    ],
)
def test_what_is_no_image_says_what_was_expected_and_what_came(made, says):
    with pytest.raises(DatasetError, match=f"^img 3: .*{says}"):
        as_source(made, "img 3")


def test_an_image_of_unknown_range_is_an_image_error():
    with pytest.raises(ImageError, match="a: floating-point pixels"):
        PixelImage("a", Image.new("F", (2, 2))).read()


# Lazy


def first_of(items, i):
    return items[i]


def test_a_lazy_image_is_made_when_it_is_read():
    calls = []

    def load():
        calls.append(1)
        return Image.fromarray(PIXELS)

    source = LazyImage("a", load)
    assert not calls
    assert source.stat_key() is None
    content = source.read()
    assert np.array_equal(np.asarray(content.image()), PIXELS)
    assert len(calls) == 1
    assert content.digest == PixelImage("a", PIXELS).read().digest


class Tensor:
    """What of a torch tensor is used."""

    def __init__(self, array, dtype_known=True):
        self.array, self.dtype_known = array, dtype_known

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return Tensor(self.array)

    def numpy(self):
        if not self.dtype_known:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(PIXELS.transpose(2, 0, 1)),
        Tensor((PIXELS / 255).astype(np.float32).transpose(2, 0, 1)),
        Tensor((PIXELS / 255).transpose(2, 0, 1), dtype_known=False),
        Tensor(PIXELS),
    ],
)
def test_tensors_are_channels_first_and_scaled(tensor):
    assert np.array_equal(image_array(LazyImage("a", lambda: tensor)), PIXELS)
    assert np.array_equal(image_array(as_source(tensor, "a")), PIXELS)


def test_real_tensors_work():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
    assert np.array_equal(image_array(as_source(tensor, "a")), PIXELS)
    assert np.array_equal(image_array(as_source(tensor.float().div(255).requires_grad_(), "a")), PIXELS)
    assert image_array(as_source(tensor[0], "a")).shape == PIXELS.shape
    assert image_array(as_source(tensor[:1].bfloat16() / 255, "a")).shape == PIXELS.shape


@pytest.mark.parametrize("low", [-2.1, float("nan")])
def test_a_normalised_tensor_is_refused_with_advice(low):
    tensor = Tensor(np.array([[[low, 2.6]]] * 3))
    with pytest.raises(DatasetError, match=r"item 4: .*values in \[0, 1\].*drop Normalize"):
        LazyImage("item 4", lambda: tensor).read()


def test_a_lazy_image_that_gives_no_image_says_so():
    with pytest.raises(DatasetError, match=r"item 4: expected a path.* got dict"):
        LazyImage("item 4", dict).read()


def test_a_broken_file_behind_a_lazy_image_is_an_image_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png()[:60])
    with pytest.raises(ImageError, match="item 4: "):
        LazyImage("item 4", lambda: Image.open(path)).read()
    with pytest.raises(ImageError, match=r"item 4: .*No such file"):
        LazyImage("item 4", lambda: Image.open(tmp_path / "gone.png")).read()


def test_an_error_in_the_users_own_code_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        LazyImage("a", lambda: 1 / 0).read()


# Pictures of Pillow's: as if their files were read


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def ways_of(path):
    """The pixels of an image file on every way that Pillow opens it first."""

    def loaded():
        with Image.open(path) as image:
            image.load()
        return PixelImage("a", image)

    opened = [Image.open(path) for _ in range(4)]  # of several frames they stay open when they are loaded
    yield "opened", as_source(opened[0], "a")
    yield "loaded", loaded()
    yield "lazy", LazyImage("a", functools.partial(first_of, [opened[1]], 0))
    yield "copied", PixelImage("a", opened[2].copy())
    yield "turned", PixelImage("a", ImageOps.exif_transpose(opened[3]))
    for image in opened:
        image.close()


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def check_ways(path):
    expected = FileImage("a", path).read().pixels()[0]
    for name, source in ways_of(path):
        assert np.array_equal(source.read().payload, expected), (path.name, name)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_picture_is_turned_upright_as_its_file_is_and_never_twice(tmp_path, suffix, orientation):
    path = saved(tmp_path, Image.fromarray(PIXELS), f"a.{suffix}", exif=exif(orientation))
    check_ways(path)
    upright = FileImage("a", path).read().pixels()[0]
    with Image.open(path) as image:
        again = PixelImage("a", Image.fromarray(np.array(ImageOps.exif_transpose(image).convert("RGB"))))
    assert np.array_equal(again.read().payload, upright)


def test_a_picture_keeps_its_orientation_through_a_conversion(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.jpg", exif=exif(6))
    with Image.open(path) as image:
        converted = image.convert("RGB")  # as torchvision's datasets do
    upright = FileImage("a", path).read().pixels()[0]
    assert np.array_equal(PixelImage("a", converted).read().payload, upright)


def test_the_text_profile_of_a_png_turns_a_picture(tmp_path):
    text = PngInfo()
    raw = exif(6).tobytes()
    text.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n", zip=True)
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.png", pnginfo=text)
    with Image.open(path) as image:
        assert np.array_equal(PixelImage("a", image).read().payload, np.rot90(PIXELS, -1))
    with Image.open(path) as image:
        turned = PixelImage("a", ImageOps.exif_transpose(image))
        assert np.array_equal(turned.read().payload, np.rot90(PIXELS, -1))


def modes():
    rgb = Image.fromarray(PIXELS)
    grey = rgb.getchannel(0)
    rgba = rgb.copy()
    rgba.putalpha(grey)
    sixteen = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 200 + 7)
    palette = rgb.quantize(16)
    return {
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "grey.jpg": (grey, {}),
        "i16.png": (sixteen, {}),
        "i16.tif": (sixteen, {}),
        "la.png": (rgba.convert("LA"), {}),
        "rgba.webp": (rgba, {}),
        "rgba.png": (rgba, {}),
        "palette.png": (palette, {"transparency": bytes(range(0, 160, 10))}),
        "palette.gif": (palette, {"transparency": 3}),
        "animation.gif": (palette, {"save_all": True, "append_images": [palette.transpose(0)]}),
        "pages.tif": (rgb, {"save_all": True, "append_images": [rgb.transpose(0)]}),
        "animation.webp": (rgb, {"save_all": True, "append_images": [rgb.transpose(0)]}),
        "one.png": (grey.convert("1"), {}),
        "keyed.png": (rgb, {"transparency": rgb.getpixel((1, 1))}),
    }


@pytest.mark.parametrize("name", modes())
def test_pictures_of_every_mode_have_the_pixels_of_their_files(tmp_path, name):
    image, options = modes()[name]
    check_ways(saved(tmp_path, image, name, **options))


def test_a_sixteen_bit_picture_whose_zero_is_white_is_read_as_its_file(tmp_path):
    values = PIXELS[:, :, 0].astype(np.uint16) * 200
    path = saved(tmp_path, Image.fromarray(values), "a.tif", tiffinfo={262: 0})
    with Image.open(path) as image:
        assert np.array_equal(PixelImage("a", image).read().payload, FileImage("a", path).read().pixels()[0])


def test_premultiplied_and_palette_alpha_of_memory_are_over_white():
    rgba = Image.fromarray(np.dstack([PIXELS, PIXELS[:, :, 0]]))
    for mode in ("RGBa", "La", "PA"):
        made = rgba.convert("LA" if mode != "RGBa" else "RGBA").convert(mode)
        white = Image.new("RGBA", made.size, "white")
        plain = made.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, mode)).convert("RGBA")
        expected = Image.alpha_composite(white, plain).convert("RGB")
        assert np.array_equal(PixelImage("a", made).read().payload, np.asarray(expected))


def test_a_picture_that_cannot_be_loaded_is_an_image_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png()[:60])
    with Image.open(path) as image, pytest.raises(ImageError, match="a: image file is truncated"):
        PixelImage("a", image).read()
    closed = Image.open(saved(tmp_path, Image.fromarray(PIXELS), "b.png"))
    closed.close()
    with pytest.raises(ImageError, match=r"^a: "):
        PixelImage("a", closed).read()


def test_a_picture_that_is_too_large_is_an_image_error(monkeypatch):
    monkeypatch.setattr(importlib.import_module("featx.inputs.image.decode"), "MAX_PIXELS", 10)
    with pytest.raises(ImageError, match="a: too large: 5 x 6 = 30 pixels"):
        PixelImage("a", Image.fromarray(PIXELS)).read()


def test_one_picture_that_stands_for_several_rows_is_loaded_once(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), "a.png")
    for _ in range(5):
        with Image.open(path) as image, ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda i, image=image: PixelImage(str(i), image).read().payload, range(4)))
        assert all(np.array_equal(row, pixels) for row in rows)


# Floating pixels


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_pixels_are_levels_on_every_way_in(dtype):
    floats = (PIXELS / 255).astype(dtype)
    tensor = Tensor(floats.transpose(2, 0, 1))
    expected = PixelImage("a", PIXELS).read()
    for source in (
        as_source(floats, "a"),
        PixelImage("a", floats),
        LazyImage("a", lambda: floats),
        as_source(tensor, "a"),
        LazyImage("a", lambda: tensor),
    ):
        content = source.read()
        assert np.array_equal(content.payload, PIXELS)
        assert content.digest == expected.digest


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf, -np.inf])
def test_floating_pixels_out_of_range_are_refused_on_every_way_in(value):
    floats = np.full((4, 4, 3), 0.5)
    floats[1, 2, 0] = value
    tensor = Tensor(floats.transpose(2, 0, 1))
    for make in (
        lambda: as_source(floats, "a"),
        lambda: LazyImage("a", lambda: floats).read(),
        lambda: as_source(tensor, "a"),
        lambda: LazyImage("a", lambda: tensor).read(),
    ):
        with pytest.raises(DatasetError, match=r"^a: expected floating pixels with values in \[0, 1\], got "):
            make()


# What is no file


@pytest.mark.skipif(os.name == "nt", reason="there are no such files")
def test_pipes_devices_and_endless_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with open(tmp_path / "sparse.jpg", "wb") as sparse:
        sparse.truncate(10 * 2**30)
    for name, says in (("pipe", "named pipe"), ("zero", "device"), ("sparse", "limit is 536,870,910")):
        source = FileImage(name, tmp_path / f"{name}.jpg")
        with pytest.raises(ImageError, match=f"{name}: cannot be read .*{says}"):
            source.read()
        assert (source.stat_key() is None) == (name != "sparse")


# All of them


def sources(file):
    whole = LocalRanges(file)
    return [
        FileImage("i", file),
        StoredImage("i", ArchiveMember(whole, whole.stat_key(), "a.png", 0, len(png()))),
        EncodedImage("i", png()),
        PixelImage("i", PIXELS),
        LazyImage("i", functools.partial(first_of, [PIXELS], 0)),
    ]


def test_every_source_keeps_the_promises_of_one_and_can_be_pickled(file):
    for source in sources(file):
        assert isinstance(source, Source)
        again = pickle.loads(pickle.dumps(source))
        assert again.id == source.id == "i"
        assert again.read().digest == source.read().digest
        assert np.array_equal(image_array(again), PIXELS)
        content = pickle.loads(pickle.dumps(source.read()))
        assert np.array_equal(np.asarray(content.image()), PIXELS)


def test_as_source_finds_the_kind(file):
    assert as_source(str(file), "i") == FileImage("i", file) == as_source(Path(file), "i")
    assert isinstance(as_source(png(), "i"), EncodedImage)
    assert isinstance(as_source(bytearray(png()), "i"), EncodedImage)
    assert isinstance(as_source(PIXELS, "i"), PixelImage)
    assert isinstance(as_source(Image.fromarray(PIXELS), "i"), PixelImage)
    for source in sources(file):
        assert as_source(source, "i") is source
        other = as_source(source, "j")
        assert (other.id, other.read().digest) == ("j", source.read().digest)


def test_the_home_folder_is_found(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.setenv("USERPROFILE", str(file.parent))
    assert np.array_equal(image_array(as_source("~/a.png", "i")), PIXELS)


def test_pixels_are_not_in_the_repr():
    assert len(repr(PixelImage("i", PIXELS)) + repr(EncodedImage("i", png()))) < 100


def test_images_import_neither_torch_nor_matplotlib():
    import subprocess

    code = (
        "import sys, featx.inputs.image; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
