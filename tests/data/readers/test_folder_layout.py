"""What top folders mean: splits by their names, groups or classes by what is asked, and else a question."""

import numpy as np
import pytest
from PIL import Image

from featx.data import load_dataset, read_folder, require_labelled
from featx.data.readers.folders.folder_layout import parse_split_name
from featx.data.splits import make_split
from featx.errors import DatasetError, InputError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (len(name), 0, 0)).save(root / name, "PNG")
    return root


def classes(root, *tops, inner=("cats", "dogs")):
    return put(root, *(f"{top}/{name}/1.png" for top in tops for name in inner))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train", ("train", ())),
        ("Training", ("train", ())),
        ("training_set", ("train", ())),
        ("TestImages", ("test", ())),
        ("testset", ("test", ())),
        ("val-data", ("val", ())),
        ("seg_train", ("train", ("seg",))),
        ("train2017", ("train", ("2017",))),
        ("asl_alphabet_test", ("test", ("asl", "alphabet"))),
        ("strain", None),
        ("contest", None),
        ("latest", None),
        ("train_test", None),
        ("cats", None),
    ],
)
def test_the_split_that_a_name_says(name, role):
    assert parse_split_name(name) == role


@pytest.mark.parametrize(
    "tops",
    [
        {"training_set": "train", "test_set": "test"},
        {"seg_train": "train", "seg_test": "test"},
        {"Training": "train", "Testing": "test"},
        {"train_images": "train", "val_images": "val"},
        {"TrainSet": "train", "ValidSet": "val", "TestSet": "test"},
        {"trainset": "train", "testset": "test"},
        {"train2017": "train", "val2017": "val"},
        {"train": "train", "test_images": "test"},
        {"asl-alphabet-train": "train", "asl-alphabet-test": "test"},
    ],
)
def test_folders_that_are_splits_by_their_names(tmp_path, tops):
    dataset = read_folder(classes(tmp_path, *tops))
    assert dataset.classes == ("cats", "dogs")
    assert [tops[id.split("/")[0]] for id in dataset.ids] == dataset.splits.tolist()
    assert all(repr(top) in dataset.reading.splits_from for top in tops)


def test_a_split_may_hold_itself_once_more(tmp_path):
    dataset = read_folder(classes(tmp_path, "seg_train/seg_train", "seg_test/seg_test"))
    assert dataset.classes == ("cats", "dogs")
    assert sorted(dataset.splits.tolist()) == ["test"] * 2 + ["train"] * 2
    assert read_folder(classes(tmp_path / "b", "train/train", "test")).classes == ("cats", "dogs")


def test_one_folder_of_classes_that_is_called_training_set_is_a_split(tmp_path):
    dataset = read_folder(classes(tmp_path, "training_set"))
    assert (dataset.classes, set(dataset.splits.tolist())) == (("cats", "dogs"), {"train"})


@pytest.mark.parametrize(
    "tops", [["train_1", "train_2"], ["freight_train", "passenger_train"], ["test_tube", "train"]]
)
def test_classes_that_sound_like_splits_stay_classes(tmp_path, tops):
    dataset = read_folder(put(tmp_path, *(f"{top}/1.png" for top in tops)))
    assert (dataset.classes, dataset.splits) == (tuple(tops), None)


def test_splits_beside_another_folder_are_refused(tmp_path):
    classes(tmp_path, "seg_train", "seg_test")
    put(tmp_path, "seg_pred/1.png", "seg_pred/2.png")
    with pytest.raises(DatasetError, match=r"both splits \('seg_test', 'seg_train'\) and other .*'seg_pred'"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "tops", [["site1", "site2"], ["fold1", "fold2", "fold3"], ["train1", "train2"], ["2021", "2022"]]
)
def test_folders_of_the_same_names_are_asked_about(tmp_path, tops):
    classes(tmp_path, *tops)
    for labelled in (True, False):
        with pytest.raises(
            DatasetError, match=r"hold folders of the same names \('cats', 'dogs'\).*--split-by"
        ):
            read_folder(tmp_path, labelled=labelled)
    grouped = read_folder(tmp_path, split_by="folder")
    assert grouped.classes == ("cats", "dogs")
    assert sorted(set(grouped.groups.tolist())) == sorted(tops)
    assert grouped.splits is None
    plain = read_folder(tmp_path, split_by="none")
    assert (plain.classes, plain.groups, plain.splits) == (tuple(sorted(tops)), None, None)


def test_a_single_shared_name_and_a_stray_file_are_asked_about_too(tmp_path):
    put(tmp_path, "site1/ants/1.png", "site2/ants/1.png")
    with pytest.raises(DatasetError, match=r"the same names \('ants'\)"):
        read_folder(tmp_path)
    put(tmp_path / "b", "s1/ants/1.png", "s1/bees/1.png", "s1/thumb.png", "s2/ants/1.png", "s2/bees/1.png")
    with pytest.raises(DatasetError, match=r"the same names"):
        read_folder(tmp_path / "b")


@pytest.mark.parametrize("inner", ["images", "JPG", "raw", "photos"])
def test_folders_that_only_store_files_are_not_asked_about(tmp_path, inner):
    dataset = read_folder(put(tmp_path, f"cats/{inner}/1.png", f"dogs/{inner}/1.png"))
    assert dataset.classes == ("cats", "dogs")


def test_splits_inside_the_classes_are_not_dropped_in_silence(tmp_path):
    put(tmp_path, *(f"{name}/{split}/1.png" for name in ("cats", "dogs") for split in ("train", "test")))
    with pytest.raises(
        DatasetError, match=r"the splits \('test', 'train'\) lie inside the folders 'cats', 'dogs'; put"
    ):
        read_folder(tmp_path)
    assert read_folder(tmp_path, split_by="none").classes == ("cats", "dogs")


@pytest.mark.parametrize("inner", [("cats", "dogs"), ("train/cats", "train/dogs", "test/cats", "test/dogs")])
def test_one_folder_around_all_is_said(tmp_path, inner):
    dataset = read_folder(classes(tmp_path, "archive", inner=inner))
    said = "all images lie in the one folder 'archive', which holds folders itself"
    assert dataset.reading.notes[0].startswith(said)
    with pytest.raises(DatasetError, match=rf"at least 2 classes, got 1: 'archive'; {said}.*archive$"):
        require_labelled(dataset)
    assert read_folder(tmp_path / "archive").classes == ("cats", "dogs")


def test_folders_of_other_names_are_not_asked_about(tmp_path):
    assert read_folder(put(tmp_path, "cats/tabby/1.png", "dogs/collie/1.png")).classes == ("cats", "dogs")


def test_a_group_is_never_torn(tmp_path):
    put(
        tmp_path,
        *(f"site{i}/{name}/{k}.png" for i in range(4) for name in ("ants", "bees") for k in range(3)),
    )
    dataset = load_dataset(tmp_path, split_by="folder")
    split = make_split(dataset.labels, groups=dataset.groups)
    assert not set(dataset.groups[split.train]) & set(dataset.groups[split.test])


def test_images_beside_groups_are_named(tmp_path):
    classes(tmp_path, "site1", "site2")
    put(tmp_path, "stray.png")
    with pytest.raises(DatasetError, match=r"beside the folders of the groups: 'stray.png'"):
        read_folder(tmp_path, split_by="folder")


def test_empty_class_folders_in_splits_are_said(tmp_path):
    classes(tmp_path, "train", "test")
    (tmp_path / "train" / "cows").mkdir()
    assert read_folder(tmp_path).reading.notes == ("no images in the folder 'train/cows'",)


def test_split_by_is_for_folders(tmp_path):
    with pytest.raises(InputError, match="unknown split_by"):
        load_dataset(tmp_path, split_by="site")
    for data in ("digits", np.zeros((2, 4, 5, 3), np.uint8)):
        with pytest.raises(InputError, match="split_by"):
            load_dataset(data, split_by="folder")
        assert len(load_dataset(data, split_by="none")) >= 2
