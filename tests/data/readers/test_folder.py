import os
import sys

import numpy as np
import pytest
from PIL import Image

from featx.data import load_dataset, read_folder
from featx.errors import DatasetError


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (len(name), 0, 0)).save(path, "PNG")
    return root


def labels_by_id(dataset):
    return {id: dataset.classes[label] for id, label in zip(dataset.ids, dataset.labels, strict=True)}


def test_one_folder_per_class(tmp_path):
    put(tmp_path, "b/2.png", "a/1.png", "b/1.PNG")
    dataset = read_folder(tmp_path)
    assert dataset.ids == ["a/1.png", "b/1.PNG", "b/2.png"]
    assert dataset.classes == ("a", "b")
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.splits is None
    assert dataset.name == tmp_path.name
    assert dataset.images[0].read().image().size == (2, 2)


def test_images_deep_inside_a_class_folder_belong_to_the_class(tmp_path):
    put(tmp_path, "cat/x/y/1.png", "cat/2.png", "dog/z/1.png")
    assert labels_by_id(read_folder(tmp_path)) == {
        "cat/2.png": "cat",
        "cat/x/y/1.png": "cat",
        "dog/z/1.png": "dog",
    }


def test_splits_are_read_whatever_the_usual_name(tmp_path):
    put(tmp_path, "Train/a/1.png", "Train/b/1.png", "validation/a/2.png", "test/b/3.png")
    dataset = read_folder(tmp_path)
    assert dict(zip(dataset.ids, dataset.splits.tolist(), strict=True)) == {
        "Train/a/1.png": "train",
        "Train/b/1.png": "train",
        "test/b/3.png": "test",
        "validation/a/2.png": "val",
    }
    assert dataset.classes == ("a", "b")
    put(tmp_path / "second", "train/a/1.png", "valid/a/1.png")
    assert sorted(read_folder(tmp_path / "second").splits.tolist()) == ["train", "val"]


def test_the_classes_of_splits_are_united(tmp_path):
    put(tmp_path, "train/c/1.png", "train/a/1.png", "test/a/1.png")
    assert read_folder(tmp_path).classes == ("a", "c")


def test_classes_with_numbers_for_names_are_in_the_order_of_the_numbers(tmp_path):
    put(tmp_path, "10/a.png", "9/a.png", "2/a.png")
    assert read_folder(tmp_path).classes == ("2", "9", "10")


def test_names_keep_their_letters(tmp_path):
    put(tmp_path, "猫/写真 1.png", "Größe/ä b.png")
    dataset = read_folder(tmp_path)
    assert set(dataset.classes) == {"猫", "Größe"}
    assert "猫/写真 1.png" in dataset.ids


def test_images_without_class_folders_are_unlabelled(tmp_path):
    put(tmp_path, "2.png", "1.png")
    dataset = read_folder(tmp_path)
    assert dataset.ids == ["1.png", "2.png"]
    assert dataset.labels is dataset.classes is dataset.splits is None


def test_splits_without_class_folders_are_unlabelled(tmp_path):
    put(tmp_path, "train/1.png", "test/2.png")
    dataset = read_folder(tmp_path)
    assert dataset.labels is None
    assert dataset.splits.tolist() == ["test", "train"]


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path, "train/1.png", "bus/1.png")
    dataset = read_folder(tmp_path)
    assert dataset.classes == ("bus", "train")
    assert dataset.splits is None


def test_hidden_and_foreign_files_are_left_out(tmp_path):
    put(
        tmp_path,
        "a/1.png",
        "b/1.png",
        "a/.hidden.png",
        ".cache/x.png",
        "__MACOSX/a/1.png",
        "a/__MACOSX/2.png",
    )
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    assert read_folder(tmp_path).ids == ["a/1.png", "b/1.png"]


def test_an_image_in_a_format_that_is_not_decoded_is_there_to_be_named(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "2.jxl").write_bytes(b"\xff\x0a")
    dataset = read_folder(tmp_path)
    assert dataset.ids[-1] == "b/2.jxl"
    with pytest.raises(ValueError, match=r"b/2.jxl: not an image: a JPEG XL image"):
        dataset.images[-1].read().image()


def test_a_class_in_test_but_not_in_train_is_named(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/zebra/1.png")
    with pytest.raises(DatasetError, match="in test but not in train: 'zebra'"):
        read_folder(tmp_path)


def test_a_missing_empty_or_wrong_folder_says_so(tmp_path):
    with pytest.raises(DatasetError, match="gone: no such folder"):
        read_folder(tmp_path / "gone")
    with pytest.raises(DatasetError, match="no images in this folder"):
        read_folder(tmp_path)
    put(tmp_path, "1.png")
    with pytest.raises(DatasetError, match=r"1.png: not a folder"):
        read_folder(tmp_path / "1.png")


def labels_of(dataset):
    (task,) = dataset.tasks.values()
    names = [*task.classes, None]
    return dict(zip(dataset.ids, [names[value] for value in task.values], strict=True))


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_images_in_unlabelled_and_beside_the_class_folders_have_no_label(tmp_path, name):
    put(tmp_path, "a/1.png", "b/1.png", "stray.png", f"{name}/a/2.png", f"{name}/3.png")
    dataset = read_folder(tmp_path)
    assert dataset.labels is None
    bare = {f"{name}/3.png": None, f"{name}/a/2.png": None, "stray.png": None}
    assert labels_of(dataset) == {"a/1.png": "a", "b/1.png": "b"} | bare
    kept = dataset.labelled()
    assert (kept.ids, kept.labels.tolist(), kept.classes) == (["a/1.png", "b/1.png"], [0, 1], ("a", "b"))
    assert sorted(kept.reading.unlabelled) == sorted(bare)
    assert (kept.targets, kept.labelled().ids) == ({}, kept.ids)
    groups = read_folder(tmp_path, split_by="none").labelled()
    assert groups.classes == ("a", "b")


def test_a_folder_with_nothing_in_its_classes_is_unlabelled(tmp_path):
    put(tmp_path, "unlabelled/1.png", "2.png")
    dataset = read_folder(tmp_path)
    assert (dataset.tasks, len(dataset.labelled()), dataset.reading.unlabelled) == ({}, 2, ())


def test_images_of_a_split_may_have_no_label(tmp_path):
    put(tmp_path, "train/a/1.png", "test/a/1.png", "test/stray.png", "unlabelled/1.png")
    put(tmp_path, "train/unlabelled/a/1.png")
    dataset = read_folder(tmp_path)
    bare = ["test/stray.png", "train/unlabelled/a/1.png", "unlabelled/1.png"]
    assert [id for id, name in labels_of(dataset).items() if name is None] == bare
    assert dict(zip(dataset.ids, dataset.splits.tolist(), strict=True))["unlabelled/1.png"] == "train"
    assert dataset.labelled().splits.tolist() == ["test", "train"]


def test_images_of_a_group_may_have_no_label(tmp_path):
    put(tmp_path, "north/a/1.png", "north/unlabelled/1.png", "south/a/1.png", "south/b/1.png")
    kept = read_folder(tmp_path, split_by="folder").labelled()
    assert kept.groups.tolist() == ["north", "south", "south"]
    assert kept.classes == ("a", "b")


def test_an_image_beside_the_folders_of_splits_is_named(tmp_path):
    put(tmp_path, "train/a/1.png", "test/a/1.png", "stray.png")
    with pytest.raises(DatasetError, match=r"beside the folders of the splits: 'stray.png'"):
        read_folder(tmp_path)


def test_a_class_folder_without_images_is_named(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c" / "deeper").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no images in the class folder 'c'"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, labelled=False).classes == ("a", "b")


def test_splits_beside_class_folders_are_refused(tmp_path):
    put(tmp_path, "train/a/1.png", "test/a/1.png", "roses/1.png")
    with pytest.raises(DatasetError, match=r"both splits \('test', 'train'\) and other folders .*'roses'"):
        read_folder(tmp_path)
    put(tmp_path / "second", "train/a/1.png", "train/b/1.png", "extra/1.png")
    with pytest.raises(DatasetError, match=r"both splits \('train'\) and other folders"):
        read_folder(tmp_path / "second")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "store", "1.png")
    root = put(tmp_path / "data", "a/1.png")
    (root / "b").symlink_to(tmp_path / "store", target_is_directory=True)
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "dangling.png").symlink_to(root / "gone.png")
    assert {"a/1.png", "b/1.png", "a/dangling.png"} <= set(read_folder(root).ids)


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a name be any bytes")
def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    put(tmp_path, "a/1.png")
    os.rename(tmp_path / "a" / "1.png", os.path.join(os.fsencode(tmp_path), b"a", b"\xff.png"))
    with pytest.raises(DatasetError, match="is not UTF-8; rename it"):
        read_folder(tmp_path)


def test_the_folder_may_be_named_relative_to_where_one_is(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/1.png")
    monkeypatch.chdir(tmp_path)
    dataset = read_folder(".")
    assert dataset.name == tmp_path.name
    assert dataset.ids == ["a/1.png", "b/1.png"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert np.array_equal(load_dataset("~").labels, dataset.labels)
