import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.data import from_arrays, from_torch
from featx.errors import DatasetError
from featx.inputs.image import EncodedImage, FileImage

BATCH = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


def pixels(dataset, i=0):
    return np.asarray(dataset.images[i].read().image())


def png():
    file = io.BytesIO()
    Image.fromarray(BATCH[0]).save(file, "PNG")
    return file.getvalue()


# Arrays and lists


@pytest.mark.parametrize(
    "batch", [BATCH, BATCH / 255, list(BATCH[..., 0]), BATCH[..., :1], list(BATCH), tuple(BATCH)]
)
def test_an_array_of_images_is_taken_apart(batch):
    dataset = from_arrays(batch, ["b", "a", "b", "a"])
    assert dataset.ids == ["0", "1", "2", "3"]
    assert dataset.classes == ("a", "b")
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert pixels(dataset).shape == (6, 5, 3)


def test_ids_have_one_width_so_that_they_sort():
    assert from_arrays([BATCH[0]] * 11).ids[:2] == ["00", "01"]


def test_paths_bytes_images_and_arrays_may_stand_side_by_side(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    given = [
        str(path),
        path.parent / "a.png",
        png(),
        Image.fromarray(BATCH[0]),
        BATCH[0],
        EncodedImage("mine", png()),
    ]
    dataset = from_arrays(given)
    assert dataset.ids == [f"{path.as_posix()}#0", f"{path.as_posix()}#1", "2", "3", "4", "mine"]
    for i in range(len(given)):
        assert np.array_equal(pixels(dataset, i), BATCH[0])


def test_a_path_is_its_own_id():
    dataset = from_arrays(["x/a.png", Path("x/b.png")])
    assert dataset.ids == ["x/a.png", "x/b.png"]
    assert dataset.images[0] == FileImage("x/a.png", "x/a.png")
    assert from_arrays(np.array(["a.png", "b.png"])).ids == ["a.png", "b.png"]
    assert from_arrays(np.array([Path("a.png"), Path("b.png")], object)).ids == ["a.png", "b.png"]


def test_columns_of_a_data_frame_are_taken():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"p": ["a.png", "b.png"], "y": ["u", "v"], "s": ["train", "test"]}, index=[7, 9])
    dataset = from_arrays(frame["p"], frame["y"], splits=frame["s"])
    assert dataset.ids == ["a.png", "b.png"]
    assert dataset.classes == ("u", "v")
    assert dataset.splits.tolist() == ["train", "test"]


def test_any_sequence_of_images_is_taken():
    from collections import deque

    assert len(from_arrays(deque([BATCH[0], BATCH[1]]))) == 2


@pytest.mark.parametrize(
    ("labels", "classes", "encoded"),
    [
        ([10, 9, 9, 10], ("9", "10"), [1, 0, 0, 1]),
        (np.array([1.0, 0.0, 1.0, 0.0]), ("0", "1"), [1, 0, 1, 0]),
        (np.array(["x", "y", "x", "y"]), ("x", "y"), [0, 1, 0, 1]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        ((np.int8(3), "b", 1, "a"), ("1", "3", "a", "b"), [1, 3, 0, 2]),
    ],
)
def test_labels_are_names_or_whole_numbers(labels, classes, encoded):
    dataset = from_arrays(BATCH, labels)
    assert dataset.classes == classes
    assert dataset.labels.tolist() == encoded


def test_with_classes_labels_are_indices():
    dataset = from_arrays(BATCH, [1, 0, 1, 1], classes=["z", "a"])
    assert dataset.classes == ("z", "a")
    assert dataset.labels.tolist() == [1, 0, 1, 1]
    with pytest.raises(DatasetError, match="label 2 is no index"):
        from_arrays(BATCH, [1, 0, 1, 2], classes=["z", "a"])


def test_splits_groups_and_ids_are_kept():
    dataset = from_arrays(
        BATCH,
        splits=["train", "Validation", "TEST", "train"],
        groups=[3, 3, 4, 5],
        ids=list("wxyz"),
        name="n",
    )
    assert dataset.splits.tolist() == ["train", "val", "test", "train"]
    assert dataset.groups.tolist() == [3, 3, 4, 5]
    assert dataset.groups.dtype == np.int64
    assert dataset.ids == list("wxyz")
    assert dataset.name == "n"
    assert from_arrays(BATCH, groups=["a", 1, "a", 2]).groups.tolist() == ["a", "1", "a", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "arrays: no images"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "arrays: no images"),
        ({"images": "a.png"}, "expected several images, got one str; put it into a list"),
        ({"images": 3}, "arrays: expected a list, array or column of paths.*got int"),
        ({"images": BATCH / 2.0}, r"arrays: expected floating pixels in \[0, 1\], got 0 to 128; give uint8"),
        ({"images": BATCH[0, 0]}, r"uint8 of shape \(5, 3\); put it into a list if it is one grey image"),
        ({"images": np.array([["a", "b"]])}, "expected one column of images"),
        ({"images": [BATCH[0], BATCH[0] / 2]}, "^arrays, row 1: expected floating pixels"),
        ({"images": [BATCH[0], None]}, "^arrays, row 1: no image, got None"),
        ({"labels": [1, 2]}, "labels: expected one value for each of the 4 inputs, got 2"),
        ({"labels": "abcd"}, "labels: expected one value for each input, got str"),
        ({"labels": 3}, "labels: expected one value for each input, got int"),
        ({"labels": np.zeros((4, 2, 2))}, r"labels: expected shape \(4,\), got \(4, 2, 2\)"),
        ({"labels": [None, "", float("nan"), " "]}, r"no input has a value in column label"),
        ({"labels": [0.0, 1.5, 0.0, 1.0]}, r"labels\[1\]: expected a class name or a whole number, got 1.5"),
        ({"labels": [0, 1, [2], 3]}, r"labels\[2\]: .* got \[2\]"),
        ({"labels": [0, 1], "classes": ["a", "b"]}, "labels: expected one value for each of the 4 inputs"),
        (
            {"splits": ["train", "test", "later", "test"]},
            r"splits\[2\] is 'later'; expected one of train, val, test",
        ),
        ({"splits": ["train"]}, "splits: expected one value for each of the 4"),
        ({"groups": [1, None, 2, 3]}, r"groups\[1\] is missing"),
        ({"ids": ["a", "b", "a", "c"]}, "2 images have the id 'a'"),
        ({"ids": ["a"]}, "ids: expected one value for each of the 4"),
    ],
)
def test_bad_input_names_the_parameter_and_the_position(arguments, message):
    with pytest.raises(DatasetError, match=message):
        from_arrays(**({"images": BATCH} | arguments))


# torch datasets, told by their methods


class Items:
    """A map-style dataset that counts how often it is asked."""

    def __init__(self, n=4, **attributes):
        self.n, self.asked = n, 0
        self.__dict__.update(attributes)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked += 1
        return Image.fromarray(BATCH[i]), self.label(i)

    def label(self, i):
        return "even" if i % 2 == 0 else "odd"


class Subset:
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.dataset[self.indices[i]]


@pytest.mark.parametrize("attribute", ["targets", "labels", "_labels"])
def test_stored_labels_are_used_without_opening_images(attribute):
    items = Items(classes=["zero", "one", "two"], **{attribute: [1, 0, 1, 2]})
    dataset = from_torch(items)
    assert items.asked == 1  # to see what an item is
    assert dataset.labels.tolist() == [1, 0, 1, 2]
    assert dataset.classes == ("zero", "one", "two")
    assert dataset.ids == ["0", "1", "2", "3"]
    assert dataset.name == "Items"
    assert np.array_equal(pixels(dataset, 3), BATCH[3])


def test_labels_are_collected_from_the_items_when_none_are_stored():
    dataset = from_torch(Items(), name="mine")
    assert dataset.classes == ("even", "odd")
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.name == "mine"


@pytest.mark.parametrize(
    "attributes",
    [{"targets": [0, 1]}, {"targets": [[0], [1], [0], [1]]}, {"targets": [0] * 4, "target_transform": str}],
)
def test_stored_labels_that_cannot_be_those_of_the_items_are_not_used(attributes):
    assert from_torch(Items(**attributes)).classes == ("even", "odd")


def test_a_subset_has_the_labels_and_classes_of_its_whole():
    whole = Items(targets=np.array([0, 1, 2, 1]), classes=["a", "b", "c"])
    dataset = from_torch(Subset(Subset(whole, [3, 2, 0]), [1, 2]))
    assert dataset.labels.tolist() == [2, 0]
    assert dataset.classes == ("a", "b", "c")
    assert np.array_equal(pixels(dataset, 0), BATCH[2])
    assert from_torch(Subset(Items(), [1, 3])).classes == ("odd",)


def test_labels_that_are_no_indices_of_the_classes_name_themselves():
    assert from_torch(Items(targets=[5, 6, 5, 6], classes=["a", "b"])).classes == ("5", "6")
    assert from_torch(Items(targets=["u", "v", "u", "v"], classes=["a", "b"])).classes == ("u", "v")


def test_items_without_labels_are_unlabelled():
    class Bare(Items):
        def __getitem__(self, i):
            return BATCH[i]

    dataset = from_torch(Bare())
    assert dataset.labels is None
    assert np.array_equal(pixels(dataset, 1), BATCH[1])


def test_a_dataset_that_can_be_pickled_gives_one_that_can():
    again = pickle.loads(pickle.dumps(from_torch(Items(targets=[0, 1, 0, 1]))))
    assert np.array_equal(pixels(again, 2), BATCH[2])


def test_what_is_no_map_style_dataset_is_refused():
    with pytest.raises(DatasetError, match=r"__len__ and __getitem__, got generator; .*make it a list"):
        from_torch(x for x in [1])
    with pytest.raises(DatasetError, match="Items: the dataset is empty"):
        from_torch(Items(0))

    class Uneven(Items):
        def __getitem__(self, i):
            return (BATCH[i], 0) if i == 0 else (BATCH[i],)

    with pytest.raises(DatasetError, match=r"Uneven: item 1 is not \(image, label\)"):
        from_torch(Uneven())


def test_a_real_tensor_dataset_works():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(BATCH.transpose(0, 3, 1, 2).copy()).float() / 255
    dataset = from_torch(torch.utils.data.TensorDataset(images, torch.tensor([3, 1, 3, 1])))
    assert dataset.classes == ("1", "3")
    assert np.array_equal(pixels(dataset, 1), BATCH[1])
