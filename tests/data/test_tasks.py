"""Columns of labels and numbers in memory, and a dataset of several tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx.data import Task, from_arrays, load_dataset
from featx.errors import DatasetError

N = 8
IMAGES = np.arange(N * 12, dtype=np.uint8).reshape(N, 2, 2, 3)
COLUMNS = {
    "species": ["cat", "dog"] * 4,
    "legs": [4.0, 2.0, 4.0, 2.0, np.nan, 4.0, 2.0, 4.0],
    "age": [0.5, 1.0, None, 2.0, 3.0, 4.0, 5.0, 6.0],
}


@pytest.fixture
def dataset():
    return from_arrays(IMAGES, COLUMNS)


@pytest.mark.parametrize("given", [COLUMNS, pd.DataFrame(COLUMNS)])
def test_floats_with_a_fraction_are_numbers_and_all_else_are_classes(given):
    dataset = from_arrays(IMAGES, given)
    kinds = {name: task.kind for name, task in dataset.tasks.items()}
    assert kinds == {"species": "classes", "legs": "classes", "age": "number"}
    assert dataset.classes == ("cat", "dog")
    assert dataset.tasks["legs"].classes == ("2", "4")
    assert dataset.tasks["legs"].values.tolist() == [1, 0, 1, 0, -1, 1, 0, 1]


def test_what_a_column_is_can_be_said():
    dataset = load_dataset(IMAGES, COLUMNS, label="species", target=["legs"])
    assert {n: t.kind for n, t in dataset.tasks.items()} == {"species": "classes", "legs": "number"}


def test_an_array_of_two_dimensions_has_a_task_a_column():
    dataset = from_arrays(IMAGES, np.column_stack([np.arange(N) % 2, np.arange(N) / 3]))
    assert {n: t.kind for n, t in dataset.tasks.items()} == {"0": "classes", "1": "number"}


def test_a_first_task_with_gaps_is_not_the_labels():
    dataset = from_arrays(IMAGES, {"a": ["x", None] * 4, "b": ["u", "v"] * 4})
    assert (dataset.label_name, list(dataset.targets)) == ("b", ["a"])
    dataset = from_arrays(IMAGES, {"a": ["x", None] * 4, "b": [0.5] * 8})
    assert dataset.labels is None


def test_subsets_keep_every_task_aligned(dataset):
    part = dataset.subset([6, 0])
    assert part.tasks["age"].values.tolist() == [5, 0.5]
    assert part.tasks["legs"].values.tolist() == [0, 1]
    assert part.labels.tolist() == [0, 0]


def test_a_limit_draws_from_the_classes_of_the_first_task():
    images = np.zeros((40, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(40)
    first = ["rare"] * 4 + ["common"] * 36
    first[10] = None
    dataset = from_arrays(images, {"a": first, "age": np.arange(40) + 0.5})
    limited = dataset.limit(10)
    assert 0 in limited.tasks["a"].values
    assert 1 in limited.tasks["a"].values
    rows = [int(id) for id in limited.ids]
    assert limited.tasks["age"].values.tolist() == [row + 0.5 for row in rows]


def test_tasks_are_selected_by_name(dataset):
    chosen = dataset.select(label="legs", target="age")
    assert list(chosen.tasks) == ["legs", "age"]
    assert chosen.labels is None
    with pytest.raises(DatasetError, match="arrays: unknown label 'leg'; did you mean legs"):
        dataset.select(label="leg")
    with pytest.raises(DatasetError, match="arrays: age holds numbers; ask for it as a target"):
        load_dataset(dataset, label="age")


def test_tasks_are_columns_of_a_frame(dataset):
    frame = dataset.targets_frame()
    assert frame.index.tolist() == dataset.ids
    assert frame["species"].tolist() == COLUMNS["species"]
    assert frame["legs"].tolist() == ["4", "2", "4", "2", None, "4", "2", "4"]
    assert frame["age"].dtype == np.float64
    assert from_arrays(IMAGES, COLUMNS["species"]).targets_frame().columns.tolist() == ["label"]


@pytest.mark.parametrize(
    ("labels", "asked", "message"),
    [
        ({"a": [1] * 7}, {}, r"labels\['a'\]: expected one value for each of the 8 inputs, got 7"),
        ({"a": ["x", ()] * 4}, {}, r"labels, column a, \[1\]: expected a class name or a whole number"),
        ({"a": ["x"] * 8, "b": ["y"] * 8}, {"target": "b"}, r"column b, \[0\]: expected a finite number"),
        ({"a": [0.5] * 8}, {"target": "b"}, "labels: unknown column 'b'"),
        ([0, 1] * 4, {"label": "a"}, "choose columns by name, and labels has none"),
        ({}, {}, "there is no column"),
    ],
)
def test_bad_columns_are_named(labels, asked, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(IMAGES, labels, **asked)


def test_targets_of_another_length_or_name_are_refused(dataset):
    with pytest.raises(DatasetError, match="targets: x has 3 values for 8 inputs"):
        type(dataset)("d", dataset.images, targets={"x": Task("x", np.zeros(3))})
    with pytest.raises(DatasetError, match="targets: label is already the name of the labels"):
        type(dataset)("d", dataset.images, np.zeros(8, int), targets={"label": Task("label", np.zeros(8))})
