"""Features as tables, joined with others, and made of what people have at hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from featx.data.features import Failure, Features, load_features
from featx.data.tasks import Task
from featx.errors import FeaturesError, MissingExtra, OutputError

SPACE = {"backbone": {"architecture": "made"}, "precision": "fp32"}
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def made(ids="abcd", **changes):
    return Features(**{"embeddings": ROWS, "ids": list(ids), "space": SPACE} | changes)


def labelled(ids="abcd", names=("cat", "dog", "cat", "dog"), **changes):
    return made(ids, labels=list(names), **changes)


# What people have at hand


def test_names_are_labels():
    found = labelled()
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.labels.dtype == np.int64
    for values in (
        np.array(["10", "9", "10", "9"]),
        pd.Series(["10", "9", "10", "9"]),
        ("10", "9", "10", "9"),
    ):
        assert made(labels=values).classes == ("9", "10")
    assert labelled(classes=("fox", "dog", "cat")).labels.tolist() == [2, 1, 2, 1]
    with pytest.raises(FeaturesError, match=r"labels\[1\]: unknown class 'dog'; .*fox"):
        labelled(classes=("cat", "fox"))
    with pytest.raises(FeaturesError, match=r"labels\[0\] is blank"):
        labelled(names=(" ", "dog", "cat", "dog"))
    with pytest.raises(FeaturesError, match=r"labels\[1\] is a float"):
        labelled(names=("cat", float("nan"), "cat", "dog"))


def test_float64_becomes_float32_where_it_fits():
    rows = ROWS.astype(np.float64)
    rows[1, 2] = np.inf
    found = made(embeddings=rows)
    assert found.embeddings.dtype == np.float32
    np.testing.assert_array_equal(found.embeddings, rows.astype(np.float32))
    assert made(embeddings=ROWS.tolist()).embeddings.dtype == np.float32
    rows[3, 0] = -1e39
    with pytest.raises(FeaturesError, match=r"the value -1e\+39 in row 3 is too large for float32"):
        made(embeddings=rows)


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [3, 1]),
        (np.array([True, False, False, True]), [0, 3]),
        ([2, 0], [2, 0]),
        (-1, [3]),
        (np.int64(2), [2]),
        ("c", [2]),
        (["d", "a"], [3, 0]),
        (np.array(["b"]), [1]),
        ([], []),
        (pd.Series([False, True, True, False]), [1, 2]),
    ],
    ids=str,
)
def test_rows_are_chosen_as_in_a_frame(which, rows):
    found = labelled()[which]
    assert found.ids == [list("abcd")[i] for i in rows]
    np.testing.assert_array_equal(found.embeddings, ROWS[rows])
    assert found.classes == ("cat", "dog")
    assert found.space == SPACE


def test_rows_that_are_not_there_are_named():
    with pytest.raises(IndexError):
        made()[9]
    with pytest.raises(FeaturesError, match=r"unknown id 'aa'; did you mean a\? \(and 1 more\)"):
        made()[["a", "aa", "x"]]
    with pytest.raises(FeaturesError, match="expected whole numbers or a mask"):
        made()[1.5]
    with pytest.raises(TypeError, match="not iterable"):
        iter(made())


# Tables


def test_row_numbers_have_one_axis():
    for which in ([[0]], np.zeros((1, 2), int)):
        with pytest.raises(FeaturesError, match=r"expected a list of row numbers, got an array of shape \(1"):
            made()[which]


def test_tensors_are_rows():
    tensor = torch.from_numpy(ROWS.astype(np.float32))
    for rows in (tensor.clone().requires_grad_(), tensor.bfloat16()):
        np.testing.assert_array_equal(made(embeddings=rows).embeddings, tensor)


def test_the_frame_has_what_is_known_by_name():
    found = labelled(
        splits=["train", "train", "test", "test"],
        groups=[1, 1, 2, 2],
        targets={
            "height": Task("height", np.array([1.5, np.nan, 2, 3])),
            "site": Task("site", np.array([0, -1, 0, 0]), ("x",)),
        },
    )
    frame = found.to_frame()
    assert list(frame) == ["id", "label", "height", "site", "split", "group", "x0", "x1", "x2"]
    assert frame["label"].tolist() == ["cat", "dog", "cat", "dog"]
    assert frame["site"].dropna().tolist() == ["x", "x", "x"]
    assert frame["site"].isna().tolist() == [False, True, False, False]
    assert frame["group"].tolist() == ["1", "1", "2", "2"]
    assert np.isnan(frame["height"][1])
    np.testing.assert_array_equal(frame[["x0", "x1", "x2"]].to_numpy(), ROWS)
    assert frame["x0"].dtype == np.float32
    assert list(made().to_frame()) == ["id", "x0", "x1", "x2"]
    assert made(labels=[0, 1, 0, 1]).to_frame()["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(FeaturesError, match="a task is named 'x1'"):
        labelled(label_name="x1").to_frame()


def test_parquet_is_the_same_frame(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    found = labelled(embeddings=ROWS.astype(np.float16), splits=["train"] * 4)
    file = tmp_path / "p.parquet"
    found.to_parquet(file)
    pd.testing.assert_frame_equal(pd.read_parquet(file), found.to_frame(), check_dtype=False)
    assert pd.read_parquet(file)["x0"].dtype == np.float16
    assert json.loads(parquet.read_schema(file).metadata[b"featx_space"]) == SPACE
    with pytest.raises(OutputError, match="cannot write"):
        found.to_parquet(tmp_path / "none" / "p.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"featx\[parquet\]"):
        made().to_parquet(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("name", "instead"),
    [("p.csv", "to_frame().to_csv"), ("p.PARQUET", "to_parquet"), ("p.npy", "numpy.save")],
)
def test_a_table_is_not_saved_as_hdf5(tmp_path, name, instead):
    with pytest.raises(OutputError) as refused:
        made().save(tmp_path / name)
    assert "save writes HDF5" in str(refused.value)
    assert instead in str(refused.value)
    assert not list(tmp_path.iterdir())
    made().save(tmp_path / "v1.2")
    assert load_features(tmp_path / "v1.2").ids == list("abcd")


# Joining


def test_features_of_one_space_are_joined_and_classes_united_by_name():
    first = labelled(splits=["train"] * 4, failures=[Failure("x", "empty")])
    second = labelled(
        "efgh", ("fox", "cat", "fox", "cat"), splits=["test"] * 4, failures=[Failure("y", "no")]
    )
    found = Features.concat([first, second])
    assert found.ids == list("abcdefgh")
    assert [found.classes[i] for i in found.labels] == [
        "cat",
        "dog",
        "cat",
        "dog",
        "fox",
        "cat",
        "fox",
        "cat",
    ]
    assert found.splits.tolist() == ["train"] * 4 + ["test"] * 4
    assert [failure.id for failure in found.failures] == ["x", "y"]
    np.testing.assert_array_equal(found.embeddings, np.concatenate([ROWS, ROWS]))
    assert found.space == SPACE
    assert Features.concat([first]).ids == first.ids


def test_a_task_that_a_part_lacks_has_gaps():
    heights = {"height": Task("height", np.arange(4.0))}
    found = Features.concat([labelled(), made("efgh", targets=heights)])
    assert found.labels is None
    assert found.targets["label"].values.tolist() == [0, 1, 0, 1, -1, -1, -1, -1]
    assert found.targets["height"].values[4:].tolist() == [0, 1, 2, 3]
    assert not found.targets["height"].present[:4].any()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made("efgh", space={**SPACE, "precision": "bf16"}), "not in one space: .*precision"),
        (made("efgh", embeddings=ROWS[:, :2]), "not in one space: 3 and 2 values"),
        (made("xyzd"), "ids: 'd' comes twice"),
        (made("efgh", splits=["test"] * 4), "number 0 has no splits and others have"),
        (made("efgh", labels=[0, 1, 0, 1]), "number 1 has labels without names of classes"),
        (ROWS, r"expected Features, got ndarray \(number 1\)"),
    ],
)
def test_what_does_not_join_is_refused(other, message):
    with pytest.raises(FeaturesError, match=message):
        Features.concat([made(), other])


def test_concat_of_nothing_is_refused():
    with pytest.raises(FeaturesError, match="no features"):
        Features.concat([])


TABLE = pd.DataFrame(
    {"id": list("dbca"), "label": ["dog", "dog", "cat", "cat"], "mass": [4.5, 2.0, 3.0, 1.0]}
)


@pytest.mark.parametrize("table", [TABLE, TABLE.set_index("id"), TABLE.to_dict("list")], ids=str)
def test_a_table_is_joined_by_id(table):
    found = made().merge(table)
    assert found.ids == list("abcd")
    assert [found.classes[i] for i in found.labels] == ["cat", "dog", "cat", "dog"]
    assert found.targets["mass"].values.tolist() == [1, 2, 3, 4.5]
    np.testing.assert_array_equal(found.embeddings, ROWS)
    assert found.space == SPACE


def test_merged_columns_replace_those_of_their_name_and_keep_the_labels():
    found = labelled().merge({"file": list("abcd"), "site": [1, 1, 2, 2], "split": ["train"] * 4}, on="file")
    assert found.label_name == "label"
    assert found.classes == ("cat", "dog")
    assert found.targets["site"].classes == ("1", "2")
    assert found.splits.tolist() == ["train"] * 4
    found = labelled().merge(
        {"id": list("abcd"), "label": ["fox", "fox", "owl", "owl"], "group": [7, 7, 8, 8]}
    )
    assert found.classes == ("fox", "owl")
    assert found.groups.tolist() == ["7", "7", "8", "8"]
    assert found.targets == {}
    found = made().merge(TABLE, label="label")
    assert (found.label_name, found.targets) == ("label", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": [*"abcd", "e"]}, r"no image has the id 'e'; strict=False"),
        ({"id": [*"abc"]}, r"the table lacks 'd'; with strict=False"),
        ({"id": [*"aacd"]}, "id 'a' comes twice in the table"),
        ({"id": [1, 2, 3, 4]}, r"no id of the table \('1', '2', '3', '4'\) is the id of an image \('a'"),
        ({"id": ["a", None, "c", "d"]}, r"column id, \[1\] is None"),
        ({"key": [*"abcd"]}, "unknown column 'id'"),
        ({"id": [*"abcd"], "split": ["train", "dev", "test", "test"]}, r"splits\[1\] is 'dev'"),
    ],
)
def test_what_does_not_merge_is_named(change, message):
    table = {"label": ["x"] * len(next(iter(change.values()))), **change}
    with pytest.raises(FeaturesError, match=message):
        made().merge(table)


def test_ids_of_one_side_only_are_left_out_on_request():
    found = made().merge({"id": ["c", "zz", "a"], "label": ["cat", "fox", "dog"]}, strict=False)
    assert found.labels is None
    assert found.targets["label"].column().tolist() == ["dog", None, "cat", None]
    for table, message in ((3, "expected a data frame"), ({"id": list("abcd")}, "no column besides 'id'")):
        with pytest.raises(FeaturesError, match=message):
            made().merge(table)
    with pytest.raises(FeaturesError, match="no names of classes"):
        made(labels=[0, 1, 0, 1]).merge(TABLE)


def test_a_series_is_no_table():
    with pytest.raises(FeaturesError, match="expected a data frame or a dict of columns, got Series"):
        made().merge(TABLE.set_index("id")["label"])


def test_a_frame_goes_back_into_features():
    found = labelled(splits=["train", "test", "train", "test"])
    again = made().merge(found.to_frame()[["id", "label", "split"]])
    assert again.labels.tolist() == found.labels.tolist()
    assert again.splits.tolist() == found.splits.tolist()
