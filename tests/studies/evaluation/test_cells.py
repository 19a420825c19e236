"""Cells: the key names everything that decides the outcome, and the outcome depends on nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx import Features, compare, learning_curve
from featx.data.splits import Split
from featx.data.tasks import Task
from featx.engines import resolver
from featx.methods.adaptation import CORAL
from featx.methods.probes import CLASSIFIERS, REGRESSORS, Probe, device_products, fit_probe
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation import Cell, LabelledRows, cells, probe_method, run_cells
from featx.studies.evaluation.methods import AdaptedProbe, DetectorMethod


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 12)
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(36, 8))).astype(np.float32)
    return LabelledRows(x, y, 3, np.arange(36) // 2)


SPLIT = Split(np.arange(0, 36, 2), np.arange(1, 36, 2))


@pytest.fixture
def cell(rows):
    return Cell(probe_method("lda"), rows, SPLIT, seed=3)


def shifted(array, at):
    changed = array.copy()
    changed[at] = changed[at - 12]
    return changed


OTHERS = {
    "method": lambda c: replace(c, method=probe_method("ridge")),
    "a training row": lambda c: replace(c, rows=replace(c.rows, x=shifted(c.rows.x, 20))),
    "a test row": lambda c: replace(c, rows=replace(c.rows, x=shifted(c.rows.x, 21))),
    "a label": lambda c: replace(c, rows=replace(c.rows, y=shifted(c.rows.y, 20))),
    "a group": lambda c: replace(c, rows=replace(c.rows, groups=shifted(c.rows.groups, 20))),
    "no groups": lambda c: replace(c, rows=replace(c.rows, groups=None)),
    "classes": lambda c: replace(c, rows=replace(c.rows, n_classes=4)),
    "split": lambda c: replace(c, split=Split(SPLIT.test, SPLIT.train)),
    "validation": lambda c: replace(c, split=replace(SPLIT, val=SPLIT.train[:4])),
    "seed": lambda c: replace(c, seed=4),
    "a device": lambda c: replace(c, rows=replace(c.rows, device="cuda")),
    "what is kept": lambda c: replace(c, keep="small_answers"),
    "an adapter": lambda c: replace(c, method=AdaptedProbe("lda", "LDA", classifier="lda", adapter=CORAL())),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_decides_the_outcome_is_in_the_key(cell, what):
    assert OTHERS[what](cell).key != cell.key


def test_names_for_people_and_rows_that_are_not_looked_at_are_not_in_the_key(cell):
    other = replace(cell, method=probe_method("lda", "another backbone"))
    assert other.key == cell.key
    few = Split(SPLIT.train[:-2], SPLIT.test)
    unused = replace(cell, split=few, rows=replace(cell.rows, x=shifted(cell.rows.x, SPLIT.train[-1])))
    assert unused.key == replace(cell, split=few).key


def test_an_adapter_is_in_the_key_with_its_parameters(cell):
    def key(regularization, unlabelled):
        adapter = CORAL(regularization=regularization)
        method = AdaptedProbe("coral", "CORAL", classifier="lda", adapter=adapter, unlabelled=unlabelled)
        return replace(cell, method=method).key

    assert len({key(1.0, SPLIT.test), key(2.0, SPLIT.test), key(1.0, SPLIT.test[:9])}) == 3


def test_a_detector_is_in_the_key_with_its_parameters(cell):
    found = {
        replace(cell, method=DetectorMethod(name, name, contamination=share), keep="values").key
        for name in ("knn", "isolation-forest")
        for share in (0.05, 0.1)
    }
    assert len(found) == 4


def test_a_cell_gives_what_its_probe_says(cell):
    (outcome,) = run_cells([cell])
    train, test = SPLIT.train, SPLIT.test
    x, y, groups = cell.rows.x, cell.rows.y, cell.rows.groups
    fitted = fit_probe("lda", x[train], y[train], groups=groups[train], seed=3)
    probabilities = fitted.predict_proba(x[test])
    assert np.array_equal(outcome.labels, probabilities.argmax(axis=1))
    np.testing.assert_allclose(outcome.answers.sure, probabilities.max(axis=1))
    assert outcome.params == fitted.params
    (small,) = run_cells([replace(cell, keep="small_answers")])
    assert (small.labels.dtype, small.answers.sure.dtype) == (np.uint8, np.float32)
    assert np.array_equal(small.labels, outcome.labels)
    for name in ("sure", "true"):
        np.testing.assert_allclose(getattr(small.answers, name), getattr(outcome.answers, name), rtol=1e-6)


def test_outcomes_come_in_order_and_each_is_kept_as_soon_as_it_is_there(cell, tmp_path):
    grid = [cell, replace(cell, method=probe_method("ridge"))]
    found = run_cells(grid, Checkpoints(tmp_path / "c"))
    assert next(found).method.name == "lda"
    again = Checkpoints(tmp_path / "c")
    outcomes = list(run_cells(grid, again))
    assert [o.method.name for o in outcomes] == ["lda", "ridge"]
    assert [o.earlier_run is not None for o in outcomes] == [True, False]
    assert (again.found, again.added) == (1, 1)


def made(targets=None, labels=True):
    rng = np.random.default_rng(1)
    y = np.repeat(np.arange(3), 12)
    return Features(
        embeddings=(rng.normal(size=(3, 8))[y] + rng.normal(size=(36, 8))).astype(np.float32),
        ids=[f"{i}.png" for i in range(36)],
        labels=y if labels else None,
        classes=("a", "b", "c") if labels else None,
        space={"backbone": {"architecture": "made"}},
        targets=targets or {},
    )


def test_a_regressor_is_kept_and_found_by_its_definition(tmp_path, monkeypatch):
    numbers = np.random.default_rng(2).normal(size=36)
    features = made({"size": Task("size", numbers)}, labels=False)
    options = {"target": "size", "regressors": ["ridge", "knn"], "baseline": "none", "n_boot": 20}
    first = compare(features, **options, resume=tmp_path)
    met, run = [], cells.Cell.run
    monkeypatch.setattr(cells.Cell, "run", lambda c, **more: met.append(c.method.name) or run(c, **more))
    again = compare(features, **options, resume=tmp_path)
    assert met == []
    assert repr([m.metrics for m in again.methods]) == repr([m.metrics for m in first.methods])  # NaN
    assert all(m.earlier_run for m in again.methods)
    assert any(w.startswith("3 of 3 methods were taken from an earlier run") for w in again.warnings)
    build = REGRESSORS["knn"].build
    changed = replace(REGRESSORS["knn"], build=lambda task: (build(task)[0], {"knn__n_neighbors": [2]}))
    monkeypatch.setitem(REGRESSORS, "knn", changed)
    other = compare(features, **options, resume=tmp_path)
    assert met == ["knn"]
    train = np.setdiff1d(np.arange(36), [int(id.removesuffix(".png")) for id in other.ids])
    fitted = fit_probe("ridge", features.embeddings[train], numbers[train], task="numbers", seed=0)
    assert next(m for m in other.methods if m.name == "ridge").params == fitted.params


def test_predicted_numbers_that_cannot_be_are_predicted_again(rows, tmp_path):
    cell = Cell(probe_method("ridge", task="numbers"), replace(rows, n_classes=None), SPLIT, 0, "values")
    record, _ = cell.run()
    assert cell.is_valid(record | {"cv_score": float(record["cv_score"])})
    for broken in (record["values"][:-1], record["values"] * np.nan, record["values"].tolist(), None):
        assert not cell.is_valid(record | {"values": broken})
    assert not cell.is_valid(record | {"labels": record["values"]})


def test_records_of_an_older_format_are_computed_again(tmp_path, monkeypatch):
    options = {"classifiers": "lda", "baseline": "none", "n_boot": 20, "resume": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(cells, "_FORMAT", cells._FORMAT - 1)
        compare(made(), **options)
    assert not any(m.earlier_run for m in compare(made(), **options).methods)
    assert all(m.earlier_run for m in compare(made(), **options).methods)


def _toy(task):
    model = Pipeline([("scale", StandardScaler()), ("logreg", LogisticRegression(C=1.0))])
    return model, {"logreg__C": [0.1, 1.0]}


def test_a_probe_that_is_added_to_the_table_reaches_every_study(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "toy", Probe("toy", "A toy of a probe", _toy))
    compared = compare(made(), classifiers=["toy"], baseline="none", n_boot=20)
    assert [m.title for m in compared.methods] == ["Most frequent class", "A toy of a probe"]
    assert "A toy of a probe" in compared.save(tmp_path / "compare").read_text(encoding="utf-8")
    curve = learning_curve(made(), classifiers="toy", shots=[2, 5], seeds=2)
    assert {draw.method for draw in curve.draws} == {"toy"}
    assert "A toy of a probe" in curve.save(tmp_path / "curve").read_text(encoding="utf-8")


def test_studies_on_a_device_find_what_they_find_on_the_cpu(monkeypatch):
    used, put = [], device_products.Place.put
    monkeypatch.setattr(resolver, "find_device", lambda device: "cpu")
    monkeypatch.setattr(device_products, "WORTH", 0)
    monkeypatch.setattr(device_products.Place, "put", lambda place, a: used.append(1) or put(place, a))
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.normal(size=(2, 6))[y] + rng.normal(size=(60, 6))).astype(np.float32)
    data = Features(x, [f"{i}.png" for i in range(60)], y, ("a", "b"))
    given = {"classifiers": ["logreg", "knn"], "checks": False, "verbose": False}
    studies = (
        (partial(compare, n_boot=0), "methods"),
        (partial(learning_curve, shots=[4], seeds=3, n_jobs=2), "draws"),
    )
    for study, part in studies:
        cpu = getattr(study(data, **given), part)
        assert not used
        device = getattr(study(data, device="cuda", **given), part)
        assert used
        used.clear()
        for a, b in zip(device, cpu, strict=True):
            for name, value in a.metrics.items():
                one, other = (getattr(v, "value", v) for v in (value, b.metrics[name]))
                assert one == pytest.approx(other, abs=1e-4), name
