"""Linear classifiers on all folds at once, against scikit-learn's own estimators."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from featx.estimators.model_file import describe, rebuild
from featx.methods.probes.catalogue import RowLength, scaled
from featx.methods.probes.fitters import linear
from featx.methods.probes.fold_losses import Softmax
from featx.methods.probes.fold_rows import StackedRows
from featx.methods.probes.newton_folds import FoldNewton
from featx.methods.probes.temperature import log_scores
from featx.methods.probes.training_rows import TrainingRows
from tests.methods.probes.conftest import clusters

LOGREG = scaled(("logreg", LogisticRegression(tol=1e-9, max_iter=20_000)))
SVM = scaled(("svm", LinearSVC(dual=False, tol=1e-10, max_iter=100_000)))
FITTERS = [(linear.LogisticFitter(), LOGREG), (linear.SvmFitter(), SVM)]


def logistic_objective(model, X, y, weights, C):
    """Scikit-learn's criterion in float64, and its gradient by coefficients and intercepts."""
    coef, intercept = model.coef_.astype(float), model.intercept_.astype(float)
    two = len(model.classes_) == 2
    z = X @ coef.T + intercept
    z = np.hstack([-z / 2, z / 2]) if two else z
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    target = (y[:, None] == model.classes_).astype(float)
    error = weights[:, None] * (np.exp(log_p) - target)
    error = error[:, 1:] if two else error
    value = -(weights * (log_p * target).sum(axis=1)).sum() + (coef**2).sum() / (2 * C)
    return value, error.T @ X + coef / C, error.sum(axis=0)


@pytest.fixture(autouse=True)
def _tight(monkeypatch):
    monkeypatch.setattr(linear, "_SELECTION", 1e-10)


@pytest.mark.parametrize(
    ("fitter", "pipeline"), [(linear.LogisticFitter(), LOGREG), (linear.SvmFitter(), SVM)]
)
@pytest.mark.parametrize("few", [True, False], ids=["own coordinates", "shared rows"])
@pytest.mark.parametrize(
    ("counts", "dim", "dtype"),
    [([30, 25, 17], 12, np.float64), ([12, 9], 40, np.float64), ([40, 22], 12, np.float32)],
)
def test_scores_of_each_fold_are_those_of_the_estimator(
    fitter, pipeline, few, counts, dim, dtype, monkeypatch
):
    monkeypatch.setattr(linear, "_FEW_ROWS", 1000 if few else 0)
    X, y = clusters(counts, dim=dim)
    rows = TrainingRows(X.astype(dtype), y)
    name = pipeline.steps[-1][0]
    candidates = [
        {f"{name}__C": C, f"{name}__class_weight": weight}
        for C in (0.1, 0.001)
        for weight in (None, "balanced")
    ]
    parts = rows.parts(rows.folds)
    found = fitter.fold_scores(parts, pipeline, candidates)
    for part, scores in zip(parts, found, strict=True):
        assert scores.shape == (4, len(part.held_out), len(counts))
        for one, candidate in zip(scores, candidates, strict=True):
            model = clone(pipeline).set_params(**candidate).fit(part.raw.astype(float), part.y)
            np.testing.assert_allclose(
                one, log_scores(model, part.raw_held.astype(float), "margins"), atol=2e-3
            )


@pytest.mark.parametrize(("counts", "dim"), [([30, 20, 10], 8), ([30, 20], 8), ([6, 5, 4], 40)])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_logistic_regression_has_almost_no_gradient(counts, dim, weight, dtype):
    X, y = clusters(counts, dim=dim, spread=3)
    part = TrainingRows(X.astype(dtype), y).whole
    model = linear.LogisticFitter().fit(part, LOGREG, {"logreg__C": 0.05, "logreg__class_weight": weight})
    last = model.steps[-1][1]
    assert last.coef_.dtype == dtype
    assert last.coef_.shape == (1 if len(counts) == 2 else len(counts), dim)
    x = part.rows.astype(float)
    exact = LogisticRegression(C=0.05, class_weight=weight, tol=1e-10, max_iter=20_000).fit(x, y)
    weights = len(y) / (len(counts) * np.bincount(y))[y] if weight else np.ones(len(y))
    value, by_coef, by_intercept = logistic_objective(last, x, y, weights, 0.05)
    assert value <= logistic_objective(exact, x, y, weights, 0.05)[0] * (1 + 2e-6)
    # Scikit-learn stops when no entry of the gradient of the mean is above 1e-4.
    assert np.abs(by_coef).max() < 1e-3 * len(y)
    assert np.abs(by_intercept).max() < 1e-3 * len(y)
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(x), atol=2e-3)


def test_separable_rows_with_a_weak_penalty_are_solved():
    X, y = clusters([20, 20, 20], spread=0.05)
    part = TrainingRows(X, y).whole
    model = linear.LogisticFitter().fit(part, LOGREG, {"logreg__C": 1e4})
    x = part.rows.astype(float)
    exact = LogisticRegression(C=1e4, tol=1e-10, max_iter=20_000).fit(x, y)
    value = logistic_objective(model.steps[-1][1], x, y, np.ones(60), 1e4)[0]
    assert value <= logistic_objective(exact, x, y, np.ones(60), 1e4)[0] * (1 + 1e-4)


@pytest.mark.parametrize("counts", [[30, 20, 10], [30, 20]])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("length", [None, 3.0])
def test_fitted_svm_is_that_of_linear_svc(counts, weight, length):
    X, y = clusters(counts, spread=3)
    pipeline = scaled(
        ("pca", PCA(10, svd_solver="full")),
        ("rows", RowLength()),
        ("svm", LinearSVC(dual=False, tol=1e-10, max_iter=100_000)),
    )
    settings = {"rows__length": length, "svm__C": 0.02, "svm__class_weight": weight}
    found = linear.SvmFitter().fit(TrainingRows(X, y).whole, pipeline, settings)
    exact = clone(pipeline).set_params(**settings).fit(X.astype(float), y)
    assert found.steps[-1][1].coef_.shape == exact.steps[-1][1].coef_.shape
    np.testing.assert_allclose(found.decision_function(X), exact.decision_function(X), atol=3e-3)
    assert [type(step) for _, step in found.steps] == [type(step) for _, step in exact.steps]


@pytest.mark.parametrize(
    ("fitter", "pipeline"), [(linear.LogisticFitter(), LOGREG), (linear.SvmFitter(), SVM)]
)
@pytest.mark.parametrize("counts", [[12, 9, 7], [12, 9]])
def test_fitted_pipelines_are_saved_as_plain_arrays(fitter, pipeline, counts):
    X, y = clusters(counts)
    model = fitter.fit(TrainingRows(X, y).whole, pipeline, {})
    again = rebuild(*describe(model, len(counts)), len(counts))
    np.testing.assert_array_equal(again.decision_function(X), model.decision_function(X))


def test_a_loose_tolerance_changes_the_objective_as_little_as_stated():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(3, 50, 6)), rng.integers(0, 4, (3, 50))
    values = []
    for tol in (1e-2, 1e-12):
        loss = Softmax(codes, np.ones((3, 50)), 4)
        solver = FoldNewton(StackedRows(X), loss)
        W, b, _, converged = solver.solve(1.0, tol=tol)
        assert converged
        z = W @ X.transpose(0, 2, 1) + b[..., None]
        losses = -np.take_along_axis(log_softmax(z, axis=1), codes[:, None], axis=1).sum(axis=(1, 2))
        values.append(losses + (W**2).sum(axis=(1, 2)) / 2)
    assert np.all(values[0] >= values[1])
    assert np.all(values[0] <= values[1] * 1.01)


def test_too_few_steps_are_reported():
    X, y = clusters([20, 20, 20], spread=3)
    rows = StackedRows(X[None].astype(float))
    solver = FoldNewton(rows, Softmax(y[None], np.ones((1, 60)), 3))
    assert not solver.solve(1.0, tol=1e-12, max_iter=1)[3]


def test_folds_in_groups_have_the_scores_of_all_at_once(monkeypatch):
    X, y = clusters([20, 20, 20])
    rows = TrainingRows(X, y)
    parts = rows.parts(rows.folds)
    together = linear.LogisticFitter().fold_scores(parts, LOGREG, [{"logreg__C": 0.1}])
    monkeypatch.setattr(linear, "_MOST_SCORES", 400)
    apart = linear.LogisticFitter().fold_scores(parts, LOGREG, [{"logreg__C": 0.1}])
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
