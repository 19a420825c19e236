"""Results read back: of the right types all through, or one error that names the place."""

from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest

from featx.errors import InputError
from featx.metrics import Interval, predict_answers, take_answers
from featx.report import render
from featx.results import (
    DENSE_CLASSES,
    ComparisonResult,
    Confusion,
    CurveResult,
    MethodResult,
    confusion_of,
)


def method(name="lda", confusion=((2, 0), (1, 1)), **about):
    metrics = {"top1": Interval(0.75, 0.5, 1.0), "log_loss": Interval(0.3)}
    rows = confusion if isinstance(confusion, Confusion) else [list(row) for row in confusion]
    return MethodResult(name, name, "probe", "net", metrics=metrics, confusion=rows, **about)


def written():
    """A comparison as its file has it."""
    result = ComparisonResult({"name": "x", "classes": ["a", "b"], "n_test": 4}, [method()])
    return json.loads(json.dumps(result.to_dict()))


def changed(content, place, value):
    """The same with a value put at a place such as ``methods.0.name``."""
    *inside, last = place.split(".")
    at = content
    for name in inside:
        at = at[int(name) if isinstance(at, list) else name]
    at[last] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("methods", 3, "methods must be a list, got 3"),
        ("methods", [3], r"methods\[0\] must be an object"),
        ("methods.0.name", 3, r"methods\[0\]\.name must be a text, got 3"),
        ("methods.0.kind", "spam", "kind must be one of probe"),
        ("methods.0.metrics", [], r"methods\[0\]\.metrics must be an object"),
        ("methods.0.metrics.top1", 0.5, r"metrics\.top1 must be an object"),
        ("methods.0.metrics.top1.value", "high", r"top1\.value must be a number, got 'high'"),
        ("methods.0.metrics.top1.value", 10**400, "must be a number, got int"),
        ("methods.0.seconds", {"fit": "x"}, r"seconds\.fit must be a number"),
        ("methods.0.versus_best", {"p_value": []}, r"versus_best\.p_value must be a number"),
        ("methods.0.image_size", 10**30, "must be a whole number"),
        ("methods.0.image_size", True, "must be a whole number"),
        ("methods.0.notes", [None], r"notes\[0\] must be a text"),
        ("methods.0.curves", {"epoch": {}}, r"curves\.epoch must be a list"),
        ("methods.0.confusion", [[1, 2]], "a confusion matrix of 1 classes, expected 2"),
        ("methods.0.confusion", [[1, 2], [3]], "not a square of counts"),
        ("methods.0.confusion", [[1, -2], [3, 4]], "not a square of counts"),
        (
            "methods.0.confusion",
            {"n_classes": 10**12, "rows": [], "columns": [], "counts": []},
            "a confusion matrix of 1000000000000 classes",
        ),
        (
            "methods.0.confusion",
            {"n_classes": 2, "rows": [5], "columns": [0], "counts": [1]},
            "outside its 2 classes",
        ),
        (
            "methods.0.confusion",
            {"n_classes": 2, "rows": [0], "columns": [], "counts": [1]},
            "differ in length",
        ),
        ("methods.0.mistakes", [{"id": "x"}], r"mistakes\[0\]\.true is missing"),
        ("dataset", None, "dataset must be an object"),
        ("dataset.classes", "ab", r"dataset\.classes must be a list"),
        ("dataset.n_test", "4", r"dataset\.n_test must be a whole number"),
        ("hygiene", {"notes": 3}, r"hygiene\.notes must be a list"),
        ("repeats", {"seeds": []}, "is missing"),
        ("repeats", {"seeds": [], "n_train": [], "n_test": [], "metric": "top1", "methods": []}, "no seeds"),
        ("failures", [{"id": 3}], r"failures\[0\]\.id must be a text"),
        ("created", 3, "created must be a text"),
    ],
)
def test_a_value_of_another_type_is_named(place, value, message):
    with pytest.raises(InputError, match=f"a damaged comparison result: .*{message}"):
        ComparisonResult.from_dict(changed(written(), place, value))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 200_000,
        b"1" * 5000,
        b"NaN",
        b'{"schema": NaN}',
        b"{}",
        b"[]",
        b"null",
        b'"x"',
    ],
)
@pytest.mark.parametrize("kind", [ComparisonResult, CurveResult])
def test_a_file_of_any_content_is_one_error_that_names_it(tmp_path, kind, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json: not a"):
        kind.read_json(tmp_path / "r.json")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place, message in (
        (tmp_path / "pipe", "not a regular file"),
        ("a\0b", "null"),
        (tmp_path, "regular"),
    ):
        with pytest.raises(InputError, match=message):
            ComparisonResult.read_json(place)


def test_all_cells_of_a_small_matrix_and_those_above_zero_of_a_large_one():
    rng = np.random.default_rng(0)
    for n in (3, DENSE_CLASSES, DENSE_CLASSES + 1):
        truth, predicted = rng.integers(0, n, (2, 50))
        slow = np.zeros((n, n), int)
        np.add.at(slow, (truth, predicted), 1)
        found = confusion_of(truth, predicted, n)
        assert isinstance(found, list) == (n <= DENSE_CLASSES)
        assert found == slow.tolist()
        assert [found[i] for i in (0, n - 1, -1)] == slow[[0, n - 1, -1]].tolist()
        cells = Confusion.of(found)
        assert cells == Confusion.of(slow)
        assert cells.totals() == slow.sum(axis=1).tolist()
        assert cells.right() == slow.diagonal().tolist()
        off = slow - np.diag(slow.diagonal())
        assert sum(count for count, _, _ in cells.wrong()) == off.sum()
        assert [count for count, _, _ in cells.wrong()] == sorted(off[off > 0].tolist(), reverse=True)
        with pytest.raises(IndexError):
            cells[n]


def many(n=3000):
    """A comparison with thousands of classes, one test image each."""
    truth = np.arange(n)
    matrix = confusion_of(truth, np.where(truth % 3 == 0, (truth + 1) % n, truth), n)
    classes = [f"class {i}" for i in range(n)]
    dataset = {"name": "many", "classes": classes, "n_train": 2 * n, "n_test": n}
    return ComparisonResult(dataset, [method("a", matrix), method("b", matrix)])


def test_thousands_of_classes_come_back_from_a_small_file_and_make_a_small_page(tmp_path):
    result = many()
    tracemalloc.start()
    result.write_json(tmp_path / "r.json")
    again = ComparisonResult.read_json(tmp_path / "r.json")
    page = render(again)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert again.to_dict() == result.to_dict()
    assert again.methods[0].confusion == result.methods[0].confusion
    assert (tmp_path / "r.json").stat().st_size < 1_000_000
    assert len(page) < 1_000_000
    assert peak < 60_000_000  # all cells of one matrix are 9 million
    assert "All 3,000 classes are too many to draw" in page
    assert "class 0 taken for class 1" in page


def test_answers_predicted_in_parts_are_those_of_all_probabilities(monkeypatch):
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 60)
    y = rng.integers(0, 4, 60)
    said = take_answers(y, p, p.argmax(axis=1))
    assert np.array_equal(said.true, p[np.arange(60), y] / p.sum(axis=1))
    monkeypatch.setattr("featx.metrics.answers._TOGETHER", 40)  # parts of 10 rows
    for one, other in zip(predict_answers(y, np.arange(60), 4, p.__getitem__), said, strict=True):
        np.testing.assert_array_equal(one, other)
