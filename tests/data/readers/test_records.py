"""Rows in memory that name their columns: data frames, datasets of Hugging Face, lists of dicts."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from featx.data import load_dataset
from featx.errors import DatasetError

BATCH = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels(dataset):
    return [np.asarray(image.read().image()) for image in dataset.images]


def same(dataset, expected=BATCH):
    found = pixels(dataset)
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(BATCH):
        Image.fromarray(image).save(f"{i}.png")
    return [f"{i}.png" for i in range(len(BATCH))]


# Data frames


def test_a_frame_is_read_as_a_table_is(files):
    frame = pd.DataFrame(
        {
            "path": files,
            "Label": [1.0, 0.0, 1.0, 0.0],
            "split": ["train"] * 2 + ["test"] * 2,
            "group": list("abcd"),
        },
        index=list("wxyz"),
    )
    dataset = load_dataset(frame)
    assert (dataset.ids, dataset.classes) == (files, ("0", "1"))
    assert dataset.splits.tolist() == ["train", "train", "test", "test"]
    assert dataset.groups.tolist() == list("abcd")
    assert same(dataset)
    assert load_dataset(frame.assign(age=[1.5, 2, 3, 4]), target="age").tasks["age"].kind == "number"


@pytest.mark.parametrize(
    "make", [lambda i: Image.fromarray(BATCH[i]), lambda i: png(BATCH[i]), lambda i: BATCH[i]]
)
def test_a_frame_may_hold_images(make):
    frame = pd.DataFrame({"image": [make(i) for i in range(4)], "label": list("abab")})
    dataset = load_dataset(frame)
    assert same(dataset)
    assert dataset.classes == ("a", "b")


def test_a_frame_of_one_column_is_a_column_of_images(files):
    assert same(load_dataset(pd.DataFrame({"photo": files})))
    assert load_dataset(pd.DataFrame({"photo": files}), list("abab")).classes == ("a", "b")


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_polars_and_tables_of_pyarrow(files, library):
    make = pytest.importorskip(library)
    frame = make.DataFrame if library == "polars" else make.table
    columns = {
        "path": files,
        "label": list("abab"),
        "split": ["train", "train", "test", "test"],
        "group": [1, 1, 2, 2],
        "age": [0.5, None, 1.5, 2.0],
    }
    dataset = load_dataset(frame(columns))
    expected = load_dataset(pd.DataFrame(columns))
    assert (dataset.ids, dataset.classes) == (expected.ids, ("a", "b"))
    for part in ("labels", "splits", "groups"):
        assert getattr(dataset, part).tolist() == getattr(expected, part).tolist()
    both = load_dataset(frame(columns), label="label", target="age")
    np.testing.assert_array_equal(both.tasks["age"].values, [0.5, np.nan, 1.5, 2.0])
    gaps = load_dataset(frame(columns | {"label": ["a", None, "a", "b"], "split": ["train"] * 4}))
    assert (gaps.labels.tolist(), len(gaps.reading.unlabelled)) == ([0, 0, 1], 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"a": ["x"], "b": ["y"]},
            "data frame: missing column path and label; found: a, b; expected path or text, label",
        ),
        ({"file": ["x"], "label": ["y"]}, "missing column path; .*rename 'file' to path"),
        ({f"x{i}": [0.5] for i in range(1280)}, "found: x0, .*, x19 and 1260 more; expected path or text"),
        (
            {"path": ["0.png", "1.png"], "kind": ["u", "v"]},
            r"missing column label; .*'kind' \(2 values\) would do",
        ),
        (
            {"path": ["0.png", "gone.png"], "label": ["u", "v"]},
            "data frame, row 1, column path: no such file: gone.png",
        ),
    ],
)
def test_a_frame_that_is_no_table_explains_the_columns(files, columns, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(pd.DataFrame(columns))


def test_labels_beside_those_of_a_frame_are_refused(files):
    with pytest.raises(DatasetError, match="brings its own labels"):
        load_dataset(pd.DataFrame({"path": files, "label": list("abab")}), list("abab"))


def test_bad_rows_of_a_frame_are_left_out_when_asked(files):
    frame = pd.DataFrame({"path": [*files, "gone.png", None], "label": list("ababab")})
    dataset = load_dataset(frame, on_error="skip")
    assert dataset.ids == files
    assert [error.id for error in dataset.reading.failures] == ["gone.png", "row 5"]


# Hugging Face, told by what its datasets have


class ClassLabel:
    def __init__(self, names):
        self.names = names


class Value:
    def __init__(self, dtype=None):
        self.dtype = dtype


Picture = type("Image", (), {})


class Hub:
    """A dataset as `datasets.Dataset` is one: columns by name, rows by number, `features`."""

    def __init__(self, **columns):
        self.columns = columns
        self.decoded = 0
        self.features = {name: Value() for name in columns}

    @property
    def column_names(self):
        return list(self.columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        self.decoded += 1
        return {name: values[key] for name, values in self.columns.items()}


def hub(image="image", label="label", names=("zebra", "ant"), labels=(0, 1, 0, 1), **columns):
    made = Hub(**{image: [Image.fromarray(image) for image in BATCH], label: list(labels), **columns})
    made.features[image] = Picture()
    if names:
        made.features[label] = ClassLabel(list(names))
    return made


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "labels"), ("picture", "kind")])
def test_images_labels_and_names_come_from_the_features(image, label):
    given = hub(image, label)
    dataset = load_dataset(given)
    assert dataset.classes == ("zebra", "ant")
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.ids == ["0", "1", "2", "3"]
    assert given.decoded <= 2  # to see what a row is: labels do not open images
    assert same(dataset)
    assert pickle.loads(pickle.dumps(dataset.labels)).tolist() == [0, 1, 0, 1]


def test_images_that_are_not_decoded_yet():
    made = hub()
    made.columns["image"] = [{"bytes": png(image), "path": "x.jpg"} for image in BATCH]
    assert same(load_dataset(made))


def test_labels_without_names_are_their_own_names():
    assert load_dataset(hub(names=None, labels=[5, 7, 5, 7])).classes == ("5", "7")


def test_a_test_set_without_labels_is_unlabelled_and_a_gap_too():
    assert load_dataset(hub(labels=[-1] * 4), labelled=False).labels is None
    some = load_dataset(hub(labels=[0, -1, 1, 1]))
    assert (some.labels.tolist(), some.reading.unlabelled) == ([0, 1, 1], ("1",))
    assert load_dataset(hub(labels=[0, -1, 1, 1]), labelled=False).tasks["label"].values[1] == -1


def test_of_several_labels_one_is_chosen():
    made = hub(label="fine", coarse=[0, 0, 1, 1])
    made.features["coarse"] = ClassLabel(["pets", "wild"])
    with pytest.raises(
        DatasetError, match="several columns may be the label: 'fine', 'coarse'; choose with label="
    ):
        load_dataset(made)
    assert load_dataset(made, label="coarse").classes == ("pets", "wild")


def test_labels_are_never_dropped_in_silence():
    made = hub(label="breed", names=None, labels=["pug", "boxer"] * 2)
    for labelled in (True, False):
        with pytest.raises(DatasetError, match=r"which column is the label\? found: image, breed; 'breed'"):
            load_dataset(made, labelled=labelled)
    assert load_dataset(made, label="breed").classes == ("boxer", "pug")
    assert load_dataset(made, list("abab")).classes == ("a", "b")
    with pytest.raises(DatasetError, match="Hub brings its own labels"):
        load_dataset(hub(), list("abab"))


def test_a_subset_has_the_names_of_its_whole():
    dataset = load_dataset(torch.utils.data.Subset(hub(), [3, 0]))
    assert (dataset.classes, dataset.labels.tolist()) == (("zebra", "ant"), [1, 0])


def test_labels_of_several_columns_beside_the_rows():
    given = {"kind": list("abab"), "age": [1.5, 2, 3, 4]}
    dataset = load_dataset([{"image": image, "split": "train"} for image in BATCH], given, target="age")
    assert list(dataset.tasks) == ["age"]
    assert dataset.splits.tolist() == ["train"] * 4


def test_several_datasets_have_their_names_as_splits():
    dataset = load_dataset({"train": hub(), "validation": hub(labels=[1, 1, 0, 0])})
    assert dataset.splits.tolist() == ["train"] * 4 + ["val"] * 4
    assert (dataset.classes, dataset.labels.tolist()) == (("zebra", "ant"), [0, 1, 0, 1, 1, 1, 0, 0])
    assert load_dataset({"train": hub()}).splits is None
    assert same(dataset, [*BATCH, *BATCH])
    with pytest.raises(DatasetError, match=r"parts are 'a', 'test', .* give one of its parts, .*data\['a'\]"):
        load_dataset({"a": hub(), "test": hub()})
    with pytest.raises(DatasetError, match="column label has other classes than train"):
        load_dataset({"train": hub(), "test": hub(names=("ant", "zebra"))})


# Dicts of other makers


def test_a_list_of_dicts(files):
    rows = [
        {"path": file, "label": label, "split": "train"} for file, label in zip(files, "abab", strict=True)
    ]
    dataset = load_dataset(rows)
    assert (dataset.ids, dataset.classes) == (files, ("a", "b"))
    assert dataset.splits.tolist() == ["train"] * 4
    assert load_dataset([{"bytes": png(image), "path": None} for image in BATCH], list("abab")).classes == (
        "a",
        "b",
    )
    with pytest.raises(DatasetError, match="its rows have no image and no text; found: label"):
        load_dataset([{"label": "a"}])


def test_a_torch_dataset_of_dicts():
    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return {"image": torch.from_numpy(BATCH[i]).permute(2, 0, 1) / 255, "target": torch.tensor(i % 2)}

    dataset = load_dataset(Items())
    assert same(dataset)
    assert (dataset.classes, dataset.labels.tolist()) == (("0", "1"), [0, 1, 0, 1])


# Texts


def declared(**columns):
    """Columns of strings, and the label with names."""
    made = Hub(**columns, label=[1, 0, 1, 0])
    made.features = {name: Value("string") for name in columns} | {"label": ClassLabel(["neg", "pos"])}
    return made


SAID = ["a good film", "a bad film", "it is fine", "no, thanks"]


@pytest.mark.parametrize("name", ["text", "sentence", "premise"])
def test_a_declared_column_of_strings_holds_the_texts(name):
    dataset = load_dataset(declared(**{name: SAID}))
    assert (dataset.kind, dataset.classes, dataset.labels.tolist()) == ("text", ("neg", "pos"), [1, 0, 1, 0])
    assert [source.read().text for source in dataset.inputs] == SAID


def test_of_several_columns_of_strings_one_must_be_named():
    rows = declared(premise=SAID, hypothesis=SAID[::-1])
    with pytest.raises(DatasetError, match=r"no image and no text; .*'premise' or 'hypothesis' would do"):
        load_dataset(rows)
    assert load_dataset(rows, text="hypothesis").inputs[0].read().text == SAID[-1]


def test_dicts_with_a_text_are_read():
    rows = [{"Review": text, "label": label} for text, label in zip(SAID, "abab", strict=True)]
    dataset = load_dataset(rows)
    assert (dataset.kind, dataset.name, dataset.classes) == ("text", "texts", ("a", "b"))
    assert load_dataset([{"text": text} for text in SAID], list("abab")).classes == ("a", "b")
    with pytest.raises(DatasetError, match="row 1, column text: no text"):
        load_dataset([{"text": "x y", "label": 1}, {"text": None, "label": 0}])


def test_a_frame_with_a_column_of_texts():
    frame = pd.DataFrame({"Review": SAID, "stars": [1.5, 2, 3, 4], "label": list("abab"), "split": "train"})
    dataset = load_dataset(frame, target="stars")
    assert (dataset.kind, dataset.ids, list(dataset.tasks)) == ("text", list("0123"), ["stars"])
    assert load_dataset(frame.rename(columns={"Review": "said"}), text="said").classes == ("a", "b")
    frame.loc[2, "Review"] = None
    with pytest.raises(DatasetError, match=r"data frame, row 2, column Review: no text.*such texts"):
        load_dataset(frame)
    kept = load_dataset(frame, on_error="skip")
    assert (kept.ids, [failure.id for failure in kept.reading.failures]) == (["0", "1", "3"], ["2"])
    with pytest.raises(DatasetError, match="column text holds numbers"):
        load_dataset(pd.DataFrame({"text": [1, 2], "label": ["a", "b"]}))
