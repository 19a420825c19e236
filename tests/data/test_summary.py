"""What is said of the data at the start of a study."""

import numpy as np
import pytest
from PIL import Image

from featx.data import announce, from_arrays, load_dataset, study_notes, suffix_notes, summary_lines
from featx.data.features import Features
from featx.data.tasks import Task


def images(n):
    return np.zeros((n, 4, 5, 3), np.uint8)


def put(root, *names, format="PNG"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (len(name), 0, 0)).save(root / name, format)
    return root


def test_images_classes_and_counts(tmp_path):
    dataset = from_arrays(images(6), list("aaabbc"), name="pets")
    assert summary_lines(dataset) == ["pets: 6 images; 3 classes of 1 to 3 images (a, b, c)"]
    many = from_arrays(images(6), list("abcdef"))
    assert summary_lines(many) == ["arrays: 6 images; 6 classes of 1 image (a, b, c, d, ...)"]
    assert summary_lines(from_arrays(images(1))) == ["arrays: 1 image; no labels"]


def test_splits_and_groups_say_where_they_come_from(tmp_path):
    put(
        tmp_path / "s",
        *(f"{top}/{name}/{i}.png" for top in ("train_set", "test_set") for name in "ab" for i in "12"),
    )
    assert summary_lines(load_dataset(tmp_path / "s")) == [
        "s: 8 images; 2 classes of 4 images (a, b); splits: train 4, test 4 (from the folders 'test_set', "
        "'train_set')"
    ]
    assert summary_lines(load_dataset(tmp_path / "s", split_by="folder")) == [
        "s: 8 images; 2 classes of 4 images (a, b); 2 groups (from the folders 'test_set', 'train_set')"
    ]


def test_what_was_left_out_is_said(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "x.tga").write_bytes(b"x")
    said = "left out: 1 file that is no image by suffix: 1 .tga (first: a/x.tga)"
    dataset = load_dataset(tmp_path)
    assert summary_lines(dataset)[1:] == [said]
    assert study_notes(dataset) == [said]
    (tmp_path / "a" / "x.tga").unlink()
    (tmp_path / ".DS_Store").write_bytes(b"x")
    dataset = load_dataset(tmp_path)
    assert summary_lines(dataset)[1:] == ["left out: 1 hidden file: .DS_Store"]
    assert study_notes(dataset) == []


@pytest.mark.parametrize(
    "name", ["unlabelled", "Unlabeled", "_background_", "BACKGROUND_Google", "unknown", "-1", "NaN"]
)
def test_a_class_that_is_called_like_none_is_noted(name):
    (said,) = study_notes(from_arrays(images(3), [name, name, "cat"]))
    assert said.startswith(f"the class {name!r} (2 images) is called like images that have none")


@pytest.mark.parametrize("name", ["nap", "1", "known", "nano", "ground"])
def test_other_classes_are_not(name):
    assert study_notes(from_arrays(images(3), [name, name, "cat"])) == []


def test_classes_that_are_called_like_splits_are_noted():
    (said,) = study_notes(from_arrays(images(2), ["trainA", "testA"]))
    assert said == "the classes 'testA', 'trainA' are called like splits, and are read as classes"


def test_control_characters_of_names_are_escaped(capsys):
    announce(from_arrays(images(2), ["a\x1b[2J", "b\nc"]))
    assert capsys.readouterr().err == "arrays: 2 images; 2 classes of 1 image (a\\x1b[2J, b\\nc)\n"


def test_a_class_in_train_only_is_noted():
    dataset = from_arrays(images(4), list("abac"), splits=["train", "train", "test", "train"])
    assert study_notes(dataset) == ["in train only, with no image in test: 'b', 'c'"]


def test_tasks_and_features_are_described():
    features = Features(
        np.zeros((3, 2), np.float32),
        list("xyz"),
        targets={
            "age": Task("age", np.array([1.0, np.nan, 3.5])),
            "kind": Task("kind", np.array([0, 1, -1]), ("a", "b")),
        },
    )
    assert summary_lines(features, "f") == [
        "f: 3 images; age: 2 numbers from 1 to 3.5; kind: 2 classes of 1 image (a, b)"
    ]


def test_files_of_another_format_than_their_suffix_says_are_noted_and_read(tmp_path):
    put(tmp_path, "a/1.jpg", format="WEBP")
    put(tmp_path, "a/2.jpg", "b/1.png", format="BMP")
    put(tmp_path, "b/2.jpg", format="JPEG")
    dataset = load_dataset(tmp_path)
    assert [image.read().image().size for image in dataset.images] == [(2, 2)] * 4
    assert suffix_notes(dataset) == [
        "3 files of another format than the suffix says, read as what the content is: 1 WebP in .jpg, "
        "1 BMP in .jpg, 1 BMP in .png (first: a/1.jpg)"
    ]
    assert suffix_notes(from_arrays(images(2))) == []
