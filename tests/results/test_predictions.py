"""Predictions of all test images: the file keeps them, and mistakes come in the right order."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from featx.errors import InputError, UnknownName
from featx.results import MethodResult, Predicted, TestPredictions, column_names
from featx.results.predictions import LONGEST_TEXT


def names(*values):
    return np.array(values, dtype=object)


CLASSES = TestPredictions(
    ["a.png", "=SUM(A1).png", "c,d.png", "e.png"],
    names("cat", "+dog", "cat", "3"),
    {
        "knn": Predicted(names("cat", "cat", "+dog", "cat"), np.array([0.9, 0.5, 0.8, 0.8])),
        "logreg net": Predicted(names("cat", "+dog", "cat", "3"), np.array([1 / 3, 1, 1, 1])),
    },
)
NUMBERS = TestPredictions(
    ["a", "b", "c"], np.array([1.0, 2.5, -3.0]), {"ridge": Predicted(np.array([1.5, 2.5, 0.25]))}
)


def test_the_file_is_safe_in_a_spreadsheet_and_read_back_as_it_was(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text(CLASSES.to_csv(), encoding="utf-8")
    head, first, second, *_ = csv.reader(file.read_text(encoding="utf-8").splitlines())
    assert head == ["id", "true", "knn", "knn probability", "logreg net", "logreg net probability"]
    assert first == ["a.png", "cat", "cat", "0.9", "cat", "0.333333"]
    assert second[:2] == ["'=SUM(A1).png", "'+dog"]
    found = TestPredictions.read_csv(file)
    assert found.ids == CLASSES.ids
    assert found.true.tolist() == CLASSES.true.tolist()
    for name, predicted in CLASSES.methods.items():
        assert found[name].values.tolist() == predicted.values.tolist()
        np.testing.assert_allclose(found[name].probability, predicted.probability, rtol=1e-5)
    assert list(CLASSES.to_frame().columns) == head


def test_numbers_have_no_probability(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text(NUMBERS.to_csv(), encoding="utf-8")
    assert file.read_text(encoding="utf-8").splitlines()[0] == "id,true,ridge"
    found = TestPredictions.read_csv(file, numbers=True)
    assert found["ridge"].values.tolist() == [1.5, 2.5, 0.25]
    assert [m["id"] for m in found.mistakes("ridge")] == ["c", "a", "b"]
    assert found.mistakes("ridge")[0] == {"id": "c", "true": -3.0, "predicted": 0.25, "error": 3.25}


def test_the_most_confident_mistake_comes_first():
    assert [(m["id"], m["probability"]) for m in CLASSES.mistakes("knn")] == [
        ("c,d.png", 0.8),
        ("e.png", 0.8),
        ("=SUM(A1).png", 0.5),
    ]
    assert CLASSES.mistakes("logreg net") == []
    with pytest.raises(UnknownName, match="unknown method 'kn'; did you mean knn"):
        CLASSES.mistakes("kn")


def test_backbones_tell_methods_of_one_name_apart():
    methods = [
        MethodResult(name=name, title=name, kind="probe", backbone=backbone, metrics={})
        for name, backbone in (("knn", "a"), ("knn", "b"), ("finetune-last", "a"), ("ensemble", None))
    ]
    assert column_names(methods) == ["knn a", "knn b", "finetune-last", "ensemble"]


@pytest.mark.parametrize("text", ["", "id,label\n", "id,true,a\n1,2\n", "id,true,true\n", "\0"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=r"p\.csv: no predictions of a comparison"):
        TestPredictions.read_csv(tmp_path / "p.csv")


TEXTS = TestPredictions(
    ["0", "1", "2"],
    names("good", "bad", "good"),
    {"lda": Predicted(names("good", "good", "bad"), np.array([0.9, 0.6, 0.8]))},
    ["=HYPERLINK(1), she said", "two\nlines\x1b[2J", "'quoted'"],
)


def test_texts_stand_beside_their_ids(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text(TEXTS.to_csv(), encoding="utf-8")
    head, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    assert head == ["id", "text", "true", "lda", "lda probability"]
    assert [row[1] for row in rows] == ["'=HYPERLINK(1), she said", "two\\nlines\\x1b[2J", "'quoted'"]
    found = TestPredictions.read_csv(file)
    assert found.texts == ["=HYPERLINK(1), she said", "two\\nlines\\x1b[2J", "'quoted'"]
    assert found.true.tolist() == TEXTS.true.tolist()
    assert list(found.methods) == ["lda"]
    assert list(TEXTS.to_frame().columns) == head
    assert repr(found).startswith("TestPredictions(test texts: 3;")


def test_mistakes_on_texts_have_the_text():
    expected = {"id": "2", "text": "'quoted'", "true": "good", "predicted": "bad", "probability": 0.8}
    assert TEXTS.mistakes("lda")[0] == expected


def test_a_text_is_no_longer_than_a_cell_of_a_spreadsheet_and_the_file_can_be_read(tmp_path):
    long = TestPredictions(["0", "1"], names("a", "a"), {}, ["\x1b" * 200_000, "y" * LONGEST_TEXT])
    file = tmp_path / "predictions.csv"
    file.write_text(long.to_csv(), encoding="utf-8")
    first, second = TestPredictions.read_csv(file).texts
    assert len(first) == LONGEST_TEXT
    assert first.endswith("…")
    assert second == "y" * LONGEST_TEXT
