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
    assert summary_lines(dataset)[0] == "pets: 6 images; 3 classes: a 3, b 2, c 1"
    many = from_arrays(images(6), list("abcdef"))
    assert summary_lines(many)[0] == "arrays: 6 images; 6 classes of 1 image: a, b, c, d, e, f"
    names = [f"c{i:02d}" for i in range(14)]
    listed = ", ".join(names[:12])
    assert summary_lines(from_arrays(images(14), names))[0] == (
        f"arrays: 14 images; 14 classes of 1 image: {listed}, ..."
    )
    uneven = from_arrays(images(16), [*names, "c07", "c07"])
    assert summary_lines(uneven)[0] == (
        "arrays: 16 images; 14 classes of 1 to 3 images: most of c07 3, c00 1, c01 1, "
        "fewest of c11 1, c12 1, c13 1"
    )


def test_tiny_classes_are_noted():
    (said,) = study_notes(from_arrays(images(14), [*"aaaaa", *"bbbbb", *"cccd"]))
    assert said.startswith("few images: 2 classes, among them 'd' (1): a class with fewer than 5 images")
    assert study_notes(from_arrays(images(10), list("ab" * 5))) == []


def test_folders_within_class_folders_are_noted_if_they_may_be_the_classes(tmp_path):
    animals = [f"animals/{name}/{i}.png" for name in ("cats", "dogs") for i in range(5)]
    root = put(tmp_path / "a", *animals, *(f"plants/{i}.png" for i in range(5)))
    (said,) = study_notes(load_dataset(root))
    assert said == (
        "the class 'animals' holds the folders 'cats', 'dogs', whose images are all of that class: if the "
        "inner folders are the classes, say so with --split-by folder (split_by='folder')"
    )
    days = [f"animals/{day}/{i}.png" for day in ("2021-05-01", "2021-05-02") for i in range(5)]
    root = put(tmp_path / "b", *days, *(f"plants/{i}.png" for i in range(5)))
    assert study_notes(load_dataset(root)) == []
    assert summary_lines(from_arrays(images(1))) == ["arrays: 1 image; no labels"]


def test_splits_and_groups_say_where_they_come_from(tmp_path):
    put(
        tmp_path / "s",
        *(f"{top}/{name}/{i}.png" for top in ("train_set", "test_set") for name in "ab" for i in "123"),
    )
    assert summary_lines(load_dataset(tmp_path / "s")) == [
        "s: 12 images; 2 classes of 6 images: a, b; splits: train 6, test 6 (from the folders 'test_set', "
        "'train_set')"
    ]
    assert summary_lines(load_dataset(tmp_path / "s", split_by="folder")) == [
        "s: 12 images; 2 classes of 6 images: a, b; 2 groups (from the folders 'test_set', 'train_set')"
    ]


def test_what_was_left_out_is_said(tmp_path):
    put(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(5)))
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
    (said,) = study_notes(from_arrays(images(15), [name, name, "cat"] * 5))
    assert said.startswith(f"the class {name!r} (10 images) is called like images that have none")


@pytest.mark.parametrize("name", ["nap", "1", "known", "nano", "ground"])
def test_other_classes_are_not(name):
    assert study_notes(from_arrays(images(15), [name, name, "cat"] * 5)) == []


def test_classes_that_are_called_like_splits_are_noted():
    (said,) = study_notes(from_arrays(images(10), ["trainA", "testA"] * 5))
    assert said == "the classes 'testA', 'trainA' are called like splits, and are read as classes"


def test_control_characters_of_names_are_escaped(capsys):
    announce(from_arrays(images(10), ["a\x1b[2J", "b\nc"] * 5))
    assert capsys.readouterr().err == "arrays: 10 images; 2 classes of 5 images: a\\x1b[2J, b\\nc\n"


def test_a_class_in_train_only_is_noted():
    splits = ["train", "train", "test", "train"] * 5
    dataset = from_arrays(images(20), list("abac") * 5, splits=splits)
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
        "f: 3 images; age: 2 numbers from 1 to 3.5; kind: 2 classes of 1 image: a, b"
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


def test_of_many_files_some_are_looked_into(tmp_path, monkeypatch):
    put(tmp_path, *(f"a/{i}.jpg" for i in range(8)), format="BMP")
    monkeypatch.setattr("featx.data.summary._LOOKED_INTO", 3)
    (note,) = suffix_notes(load_dataset(tmp_path))
    assert note.startswith("3 files (of 3 that were looked into) of another format")
