"""Machines with an RBF kernel from shared distances, against scikit-learn's own."""

import numpy as np
import pytest
from sklearn.base import clone

from featx.estimators.model_file.classifier import describe, rebuild
from featx.methods.probes import Problem, fit_probe, get_probe
from featx.methods.probes.catalogue import kernels
from featx.methods.probes.fitters import SklearnFitter
from featx.methods.probes.fitters import kernels as fitters
from featx.methods.probes.fitters.kernels import KernelFitter, count_landmarks
from featx.methods.probes.selection import expand
from featx.methods.probes.training_rows import TrainingRows


def clusters(counts, dim=20, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    X = 0.7 * np.random.default_rng(9).normal(size=(len(counts), dim))[y] + rng.normal(size=(len(y), dim))
    return X.astype(np.float32), y


def setup(counts, monkeypatch=None, task="classes", name="rbf-svm"):
    X, y = clusters(counts)
    target = X[:, 0] * 2.0 + y if task == "numbers" else y
    rows = TrainingRows(X, target, task=task)
    imbalanced = task == "classes" and max(counts) > 1.5 * min(counts)
    estimator, grid = get_probe(name, task).build(Problem(len(y), len(counts), 20, 0, imbalanced))
    return rows, estimator.set_params(pca__svd_solver="full"), expand(grid)


@pytest.mark.parametrize(
    ("counts", "task", "name"),
    [((40, 30, 35), "classes", "rbf-svm"), ((50, 25), "classes", "rbf-svm"), ((60, 40), "numbers", "svr")],
)
def test_exact_machines_are_those_of_scikit_learn(counts, task, name, monkeypatch):
    monkeypatch.setattr(fitters, "_SELECT_EXACT", 1e-3)
    rows, estimator, candidates = setup(counts, task=task, name=name)
    part = rows.part(*rows.folds[0])
    found = KernelFitter().scores(part, estimator, candidates)
    np.testing.assert_allclose(found, SklearnFitter().scores(part, estimator, candidates), atol=5e-3)
    model = KernelFitter().fit(part, estimator, candidates[-1])
    known = clone(estimator).set_params(**candidates[-1]).fit(part.raw, part.y)
    decide = "predict" if task == "numbers" else "decision_function"
    np.testing.assert_allclose(
        getattr(model, decide)(part.raw_held), getattr(known, decide)(part.raw_held), atol=5e-3
    )
    if task == "classes":
        assert model.steps[-1][1].estimator.kernel == "rbf"
        description, arrays = describe(model, len(counts))
        read = rebuild(description, arrays, len(counts))
        np.testing.assert_allclose(
            read.decision_function(part.raw_held), model.decision_function(part.raw_held), atol=1e-5
        )


@pytest.mark.parametrize("counts", [(60, 40, 50), (40, 30), (60, 20, 30)])
def test_the_machine_of_a_nystroem_map_is_that_of_scikit_learn(counts, monkeypatch):
    monkeypatch.setattr(kernels, "EXACT_ROWS", 10)
    monkeypatch.setattr(fitters, "_SELECT", 1e-6)
    rows, estimator, candidates = setup(counts)
    estimator.set_params(nystroem__n_components=30, svm__tol=1e-6)
    part = rows.part(*rows.folds[0])
    found = KernelFitter().scores(part, estimator, candidates)
    np.testing.assert_allclose(found, SklearnFitter().scores(part, estimator, candidates), atol=0.02)
    for settings in candidates[:1] + candidates[-1:]:
        model = KernelFitter().fit(part, estimator, settings)
        known = clone(estimator).set_params(**settings).fit(part.raw, part.y)
        np.testing.assert_allclose(
            model.decision_function(part.raw_held), known.decision_function(part.raw_held), atol=5e-3
        )
        description, arrays = describe(model, len(counts))
        read = rebuild(description, arrays, len(counts))
        np.testing.assert_allclose(
            read.decision_function(part.raw_held), model.decision_function(part.raw_held), atol=1e-4
        )


def test_many_rows_get_a_nystroem_map_that_title_params_and_notes_name(monkeypatch):
    monkeypatch.setattr(kernels, "EXACT_ROWS", 100)
    X, y = clusters((80, 70))
    fitted = fit_probe("rbf-svm", X, y, n_jobs=1)
    assert fitted.title == "SVM with an rbf kernel (Nystroem)"
    assert fitted.params["landmarks"] == 150
    assert "kernel approximated by 150 landmarks of 150 training images (Nystroem)" in fitted.notes
    few = fit_probe("rbf-svm", X[::2], y[::2], n_jobs=1)
    assert few.title == "SVM with an rbf kernel"
    assert "landmarks" not in few.params


def test_the_number_of_landmarks_grows_with_the_square_root_of_the_rows():
    assert [count_landmarks(n) for n in (300, 600, 3200, 8000, 50_000)] == [300, 500, 913, 1607, 2000]


def test_repeated_landmarks_do_no_harm(monkeypatch):
    monkeypatch.setattr(kernels, "EXACT_ROWS", 10)
    X, y = clusters((30, 30))
    fitted = fit_probe("rbf-svm", np.tile(X, (3, 1)), np.tile(y, 3), n_jobs=1)
    assert np.isfinite(fitted.predict_proba(X)).all()
    assert (fitted.predict(X) == y).mean() > 0.9


def test_a_class_is_fitted_from_the_kernel_that_all_share(monkeypatch):
    rows, estimator, candidates = setup((30, 30, 30))
    calls = []
    monkeypatch.setattr(fitters, "_rbf", lambda d, g, out: calls.append(g) or np.exp(-g * d, out=out))
    KernelFitter().scores(rows.part(*rows.folds[0]), estimator, candidates)
    lengths, gammas = 2, 2
    assert len(calls) == 2 * lengths * gammas  # once for the training rows, once for those held out
