"""Whatever people hold images in: what is taken, how it reads, and what is refused and how that is said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import QUICK, write_photos
from PIL import Image

from featx import FeatureExtractor, load_dataset
from featx.data import from_arrays, images_of
from featx.errors import DatasetError
from featx.inputs.image import EncodedImage, LazyImage

RGB = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), np.uint8)
GREY = RGB[..., 0]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def read(sources):
    """The pixels of sources."""
    return [np.asarray(source.read().image()) for source in sources]


def same(sources, expected=RGB):
    found = read(sources)
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def objects(rows):
    """A 1-d array of objects, which numpy would take apart."""
    column = np.empty(len(rows), object)
    column[:] = rows
    return column


@pytest.fixture
def files(tmp_path):
    for i, pixels in enumerate(RGB):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(len(RGB))]


# Arrays and tensors of all images


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_one_array_of_all_images(dtype):
    def as_given(pixels):
        return pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)

    assert same(images_of(as_given(RGB)))
    grey = np.repeat(GREY[..., None], 3, axis=3)
    assert same(images_of(as_given(GREY[:2])), grey[:2])
    assert same(images_of(as_given(GREY[..., None])), grey)
    opaque = np.concatenate([RGB, np.full_like(RGB[..., :1], 255)], axis=3)
    assert same(images_of(as_given(opaque)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_one_tensor_of_all_images_has_its_channels_first(dtype):
    tensor = torch.from_numpy(RGB).permute(0, 3, 1, 2)
    tensor = tensor if dtype == torch.uint8 else tensor.to(dtype) / 255
    assert same(images_of(tensor))
    assert same(images_of(list(tensor)))
    assert same(images_of(tensor[:2, 0]), np.repeat(GREY[:2, ..., None], 3, axis=3))


def test_a_tensor_may_have_its_channels_last_or_need_gradients():
    assert same(images_of(torch.from_numpy(RGB)))
    floats = (torch.from_numpy(RGB).permute(0, 3, 1, 2) / 255).requires_grad_()
    assert same(images_of(floats))


def test_a_tensor_without_a_numpy_dtype():
    levels = torch.tensor([0.0, 0.5, 1.0], dtype=torch.bfloat16).reshape(1, 1, 1, 3)
    assert read(images_of(levels))[0][..., 0].tolist() == [[0, 128, 255]]


def test_ids_are_positions_of_one_width():
    assert [source.id for source in images_of(np.repeat(RGB, 4, axis=0))][:2] == ["00", "01"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.data())
def test_pixels_over_255_are_pixels_again(dtype, data):
    pixels = data.draw(arrays(np.uint8, (2, 3, 4, 3)))
    given_as = pixels.astype(dtype) / dtype(255)
    assert given_as.dtype == dtype
    assert same(images_of(given_as), pixels)
    assert same(images_of(list(given_as)), pixels)
    assert same(images_of((pixels / 255).astype(dtype)), pixels)
    assert same(images_of(torch.from_numpy(given_as).permute(0, 3, 1, 2)), pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_of_the_256_levels_comes_back(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert np.array_equal(read(images_of(levels.astype(dtype) / dtype(255)))[0][..., 0], levels[0])


# Rows


def rows_of(kind, files):
    return {
        "path": lambda: list(files),
        "string": lambda: [str(file) for file in files],
        "bytes": lambda: [file.read_bytes() for file in files],
        "bytearray": lambda: [bytearray(file.read_bytes()) for file in files],
        "memoryview": lambda: [memoryview(file.read_bytes()) for file in files],
        "image": lambda: [Image.fromarray(pixels) for pixels in RGB],
        "array": lambda: list(RGB),
        "floats": lambda: list(RGB / 255),
        "tensor": lambda: list(torch.from_numpy(RGB).permute(0, 3, 1, 2)),
        "source": lambda: [EncodedImage(str(file), file.read_bytes()) for file in files],
    }[kind]()


KINDS = ["path", "string", "bytes", "bytearray", "memoryview", "image", "array", "floats", "tensor", "source"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        objects,
        lambda rows: objects(rows)[:, None],
        lambda rows: [[row] for row in rows],
        lambda rows: pd.Series(objects(rows)),
        lambda rows: pd.Series(objects(rows), index=range(7, 7 + len(rows))),
        lambda rows: pd.DataFrame({"photo": objects(rows)}),
    ],
    ids=["list", "tuple", "objects", "column", "one by one", "series", "other index", "frame"],
)
def test_every_kind_of_row_in_every_container(kind, container, files):
    assert same(images_of(container(rows_of(kind, files))))


def test_rows_of_several_kinds_may_stand_together(files):
    mixed = [files[0], png(RGB[1]), RGB[2] / 255]
    assert same(images_of(mixed))
    assert [source.id for source in images_of(mixed)] == [files[0].as_posix(), "1", "2"]


def test_an_array_or_a_column_of_text(files):
    names = [str(file) for file in files]
    for column in (
        np.array(names),
        np.array(names)[:, None],
        pd.Series(names),
        pd.Series(names, dtype="string"),
    ):
        assert same(images_of(column))
    categories = pd.Series(names, dtype="category")
    assert same(images_of(categories))


def test_a_frame_whose_only_column_has_no_name(files):
    assert same(images_of(pd.DataFrame([[str(file)] for file in files])))


def test_a_dataset_and_sources_keep_their_ids(files):
    dataset = from_arrays(RGB)
    assert images_of(dataset) == list(dataset.images)
    lazy = [LazyImage(f"item {i}", lambda i=i: RGB[i]) for i in range(len(RGB))]
    assert images_of(lazy) == lazy
    assert same(images_of(lazy))


def test_a_sequence_of_the_users_own():
    class Photos:
        def __len__(self):
            return len(RGB)

        def __getitem__(self, i):
            return RGB[i]

    assert same(images_of(Photos()))


def test_polars(files):
    polars = pytest.importorskip("polars")
    names = [str(file) for file in files]
    assert same(images_of(polars.Series("photo", names)))
    assert same(images_of(polars.DataFrame({"photo": names})))
    assert same(images_of(polars.DataFrame({"photo": [file.read_bytes() for file in files]})))
    with pytest.raises(DatasetError, match="column 'photo', row 1: no image"):
        images_of(polars.DataFrame({"photo": [names[0], None]}))


def test_no_file_is_opened():
    assert images_of(["no/such.png"])[0].id == "no/such.png"
    assert images_of([Path("no/such.png")])[0].id == "no/such.png"


# Refusals


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ([], "X: no images: 0 rows"),
        (pd.Series([], dtype=object), "X: no images: 0 rows"),
        (pd.DataFrame({"photo": []}, dtype=object), "column 'photo': no images: 0 rows"),
        (np.empty((0, 4, 4, 3), np.uint8), "X: no images: 0 rows"),
        ("a.png", "X: expected several images, got one str; put it into a list"),
        (Path("a.png"), "X: expected several images, got one (Posix|Windows)Path"),
        (b"abc", "X: expected several images, got one bytes"),
        (Image.new("RGB", (4, 4)), "X: expected several images, got one Image"),
        ({"a.png": 1}, "X: expected a list, array or column of paths.*got dict"),
        (7, "X: expected a list, array or column of paths.*got int"),
        (iter(["a.png"]), "X: expected a list, array or column of paths.*got list_iterator"),
        ({"a.png"}, "X: expected a list, array or column of paths.*got set"),
        (
            pd.DataFrame({"a": ["x"], "b": ["y"]}),
            r"X: expected one column of images, got 2 \('a', 'b'\); choose",
        ),
        (pd.DataFrame({c: ["x"] for c in "abcdefg"}), r"got 7 \('a', 'b', 'c', 'd', 'e', \.\.\.\)"),
        (np.array([["a", "b"]]), r"X: expected one column of images, got <U1 of shape \(1, 2\)"),
        (np.array([["a", "b"]], object), r"X: expected one column of images, got object of shape \(1, 2\)"),
        (np.zeros(5), r"got float64 of shape \(5,\)\. Reshape your data: it is no image"),
        (np.zeros((5, 4)), r"got float64 of shape \(5, 4\)"),
        (np.zeros((5, 3, 8, 8), np.uint8), r"got uint8 of shape \(5, 3, 8, 8\); move the channels last"),
        (np.zeros((5, 8, 8, 2), np.uint8), r"got uint8 of shape \(5, 8, 8, 2\)$"),
        (np.zeros((1, 5, 8, 8, 3), np.uint8), r"got uint8 of shape \(1, 5, 8, 8, 3\)"),
        (np.zeros((2, 4, 4), np.int64), "X: expected pixels of dtype uint8.*got int64 of shape.*astype"),
        (np.zeros((2, 4, 4), bool), "X: expected pixels of dtype uint8.*got bool"),
        (np.zeros((2, 4, 4), complex), "X: Complex data not supported: expected pixels, got complex128"),
        (np.full((2, 4, 4), 200.0), r"X: expected floating pixels in \[0, 1\], got 200 to 200; give uint8"),
        (np.full((2, 4, 4), -0.5), r"X: expected floating pixels in \[0, 1\], got -0.5 to -0.5"),
        (np.full((2, 4, 4), np.nan), r"X: expected floating pixels in \[0, 1\], got NaN"),
        (np.full((2, 4, 4), np.inf), r"X: expected floating pixels in \[0, 1\], got inf"),
        (torch.full((2, 3, 4, 4), 2.0), r"X: expected floating pixels in \[0, 1\], got 2 to 2"),
        (torch.zeros((2, 3, 4, 4), dtype=torch.int64), "X: expected pixels of dtype uint8.*got int64"),
    ],
)
def test_what_is_no_collection_of_images_is_refused(given_as, message):
    with pytest.raises(DatasetError, match=message):
        images_of(given_as)


BAD_ROWS = [
    (None, "no image, got None; every row needs one"),
    (float("nan"), "no image, got nan; every row needs one"),
    (pd.NA, "no image, got <NA>; every row needs one"),
    (pd.NaT, "no image, got NaT; every row needs one"),
    (7, "expected a path, the bytes of an image file, a PIL image or an array; got int"),
    ({"picture": "a.png"}, "expected a path, .*got dict"),
    (np.full((4, 4), 2.0), r"expected floating pixels in \[0, 1\], got 2 to 2"),
    (np.full((4, 4), np.nan), r"expected floating pixels in \[0, 1\], got NaN"),
    (np.zeros((4, 4), np.int32), "expected pixels of dtype uint8.*got int32"),
    (torch.full((3, 4, 4), -1.0), r"expected floating pixels in \[0, 1\], got -1 to -1"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS)
def test_a_row_that_is_no_image_is_named(bad, message):
    rows = ["a.png", "b.png", bad]
    in_column = "no image, got" if "no image" in message else None  # pandas has its own word for None
    with pytest.raises(DatasetError, match=f"^X, row 2: {message}"):
        images_of(rows)
    with pytest.raises(DatasetError, match=f"^column 'photo', row 2: {in_column or message}"):
        images_of(pd.DataFrame({"photo": objects(rows)}))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (3, 4, 4, 4), (0, 4, 3)])
def test_a_row_of_another_shape_is_named(shape):
    with pytest.raises(DatasetError, match=r"^X, row 2: expected an image of shape \(h, w\)"):
        images_of(["a.png", "b.png", np.zeros(shape, np.uint8)])


# What can be read in two ways


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "shape", [(48, 64, 3), (48, 64, 4), (48, 64, 1), (3, 48, 64), (4, 48, 64), (3, 48, 3)]
)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_an_array_that_may_be_one_image_or_several_is_refused(shape, dtype, make):
    given_as = make(np.zeros(shape, dtype))
    for read_as in (images_of, load_dataset, from_arrays):
        with pytest.raises(
            DatasetError, match=r"may be one image .* or \d+ grey images .*put it into a list"
        ):
            read_as(given_as)


def test_the_remedies_of_that_message_work():
    photo = RGB[0]
    for read_as in (images_of, lambda X: load_dataset(X).images):
        assert same(read_as([photo]), [photo])
        assert same(read_as(photo[None]), [photo])
        assert same(read_as([torch.from_numpy(photo).permute(2, 0, 1)]), [photo])
        assert same(read_as(GREY[..., None]), np.repeat(GREY[..., None], 3, axis=3))
        assert same(read_as(GREY[:1]), np.repeat(GREY[:1, ..., None], 3, axis=3))  # one, either way


def test_a_batch_with_its_channels_first_is_a_tensor_or_refused():
    batch = RGB.transpose(0, 3, 1, 2).copy()
    for read_as in (images_of, lambda X: load_dataset(X).images):
        assert same(read_as(torch.from_numpy(batch)))
        with pytest.raises(DatasetError, match=r"shape \(3, 3, 8, 6\); move the channels last"):
            read_as(batch)
        with pytest.raises(DatasetError, match=r"row 0: .*move the channels last"):
            read_as(list(batch))


def test_all_ways_in_take_the_same_rows(files):
    for kind in KINDS:
        if kind != "source":
            dataset = load_dataset(rows_of(kind, files), ["a", "b", "a"])
            assert same(dataset.images), kind
            assert dataset.classes == ("a", "b")


def test_rows_that_are_dicts_give_their_image(files):
    for key in ("image", "img", "path"):
        assert same(images_of([{key: str(file), "width": 1} for file in files]))
    assert same(images_of([{"bytes": file.read_bytes(), "path": None} for file in files]))
    with pytest.raises(DatasetError, match="X, row 0: a dict without an image; found: label"):
        images_of([{"label": 1}])


def test_a_frame_of_several_columns_says_which_to_choose():
    with pytest.raises(DatasetError, match=r"got 2 \('path', 'label'\); choose one, as in X\[\['path'\]\]"):
        images_of(pd.DataFrame({"path": ["a.png"], "label": ["x"]}))


# One picture in any form


def test_one_picture_in_any_form_has_the_same_pixels_and_rows(tmp_path):
    path = write_photos(tmp_path, 1, colours={"leaf": (40, 160, 60)}) / "leaf" / "000.png"
    pixels = np.asarray(Image.open(path))
    forms = {
        "path": [path],
        "bytes": [path.read_bytes()],
        "image": [Image.fromarray(pixels)],
        "array": pixels[None],
        "float32": (pixels[None] / 255).astype(np.float32),
        "float64": pixels[None] / 255,
        "tensor": torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None],
        "floating tensor": torch.from_numpy(pixels / 255).permute(2, 0, 1)[None],
        "frame": pd.DataFrame({"photo": [str(path)]}),
        "dataset": load_dataset(tmp_path, labelled=False),
    }
    for name, form in forms.items():
        assert same(images_of(form), [pixels]), name
    # Each in a cache of its own, so that none gets the row of another.
    rows = {
        name: FeatureExtractor(**QUICK, cache=tmp_path / "caches" / name, n_jobs=1).fit_transform(form)
        for name, form in forms.items()
        if name != "dataset"
    }
    for name, row in rows.items():
        np.testing.assert_array_equal(row, rows["path"], err_msg=name)
