import unicodedata
from decimal import Decimal

import numpy as np
import pytest
import torch
from PIL import Image

from featx.data import from_arrays, read_folder, read_table
from featx.data.labels import class_name, is_missing, merge_classes, parse_groups

NFC = unicodedata.normalize("NFC", "café")
NFD = unicodedata.normalize("NFD", "café")
BATCH = np.zeros((4, 6, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "value",
    [
        0,
        0.0,
        -0.0,
        "0",
        "0.0",
        " 0 ",
        "0.00",
        np.int8(0),
        np.uint64(0),
        np.float16(0),
        np.str_("0"),
        Decimal("0.0"),
    ],
)
def test_a_whole_number_is_one_class_however_it_comes(value):
    assert class_name(value) == "0"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "1"),
        ("1.0", "1"),
        ("-2.0", "-2"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("True", "True"),
        ("01", "01"),
        ("1.5", "1.5"),
        ("1e5", "1e5"),
        ("v1.0", "v1.0"),
        ("\tcat \n", "cat"),
        (NFD, NFC),
        (torch.tensor(3), "3"),
        (np.array(3.0), "3"),
        (1.5, None),
        (float("inf"), None),
        (Decimal("1.5"), None),
        (b"cat", None),
        ([1], None),
        (None, None),
    ],
)
def test_the_name_of_a_class(value, name):
    assert class_name(value) == name


def test_a_table_and_python_give_the_same_classes(tmp_path):
    values = [0.0, 1.0, 0.0, 10.0]
    for i in range(4):
        Image.fromarray(BATCH[i]).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,{value}\n" for i, value in enumerate(values))
    (tmp_path / "t.csv").write_text("path,label\n" + rows)
    table = read_table(tmp_path / "t.csv")
    for given in (values, np.array(values), [str(v) for v in values], [0, 1, 0, 10], torch.tensor(values)):
        dataset = from_arrays(BATCH, given)
        assert dataset.classes == table.classes == ("0", "1", "10")
        assert dataset.labels.tolist() == table.labels.tolist()


def test_names_that_differ_in_their_unicode_form_alone_are_one_class(tmp_path):
    assert NFC != NFD
    for folder in (f"train/{NFC}", "train/tee", f"test/{NFD}", "test/tee"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(BATCH[0]).save(tmp_path / folder / f"{NFD}.png")
    dataset = read_folder(tmp_path)
    assert dataset.classes == (NFC, "tee")
    assert all((tmp_path / id).is_file() for id in dataset.ids)
    assert all(image.read() for image in dataset.images)
    assert from_arrays(BATCH, [NFC, NFD, "x", "x"]).classes == (NFC, "x")


def test_classes_that_are_given_by_name_follow_the_rule():
    labels, classes = merge_classes([0, 1, 2], [NFC, NFD, "b"])
    assert (labels.tolist(), classes) == ([0, 0, 1], (NFC, "b"))
    dataset = from_arrays(BATCH, [0, 1, 0, 1], classes=[" a ", "b"])
    assert dataset.classes == ("a", "b")


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), np.datetime64("NaT"), np.float32("nan")])
def test_what_is_missing(value):
    assert is_missing(value)


def test_groups_follow_the_rule_of_classes():
    assert parse_groups(["1.0", "p", NFD], 3).tolist() == ["1", "p", NFC]
