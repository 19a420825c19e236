"""Folds and cross-validation."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx.methods.probes import fit_probe
from featx.methods.probes.fitters import SklearnFitter
from featx.methods.probes.fitters.fitter import limit_components
from featx.methods.probes.fitters.linear import LogisticFitter
from featx.methods.probes.folds import balanced_accuracy, fewest_rows, make_folds
from featx.methods.probes.logistic import fit_path
from featx.methods.probes.selection import expand, limit_neighbours, predict_out_of_fold
from featx.methods.probes.targets import Classes, Numbers
from featx.methods.probes.training_rows import TrainingRows


def out_of_fold(model, candidates, X, y, folds, fitter=None, **options):
    rows = TrainingRows(X, y)
    return predict_out_of_fold(fitter or SklearnFitter(), rows, model, candidates, folds, **options)


def accuracies_and_losses(model, candidates, X, y, folds, **options):
    found = out_of_fold(model, candidates, X, y, folds, **options)
    return np.array([balanced_accuracy(y[found.rows], row) for row in found.predicted]), found.losses


@pytest.mark.parametrize(("smallest", "expected"), [(1, 0), (2, 2), (4, 4), (5, 5), (9, 5)])
def test_there_are_as_many_folds_as_the_smallest_class_allows_and_five_at_most(smallest, expected):
    y = np.repeat([0, 1], [20, smallest])
    folds = make_folds(y, None, 0)
    assert len(folds) == expected
    for train, held in folds:
        assert set(y[train]) == set(y[held]) == {0, 1}
        assert not set(train) & set(held)
    if folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([h for _, h in folds])), np.arange(len(y)))


def test_folds_are_seeded():
    y = np.arange(40) % 2
    one, same, other = (make_folds(y, None, s)[0][1] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_no_group_is_on_both_sides_of_a_fold():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 3, 120), rng.integers(0, 24, 120)
    folds = make_folds(y, groups, 0)
    assert 2 <= len(folds) <= 5
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert set(y[train]) == {0, 1, 2}


def test_a_class_in_one_group_leaves_no_folds():
    assert make_folds(np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 3, 4, 4, 4]), 0) == []


def test_groups_of_which_each_is_needed_leave_no_folds():
    # Either half lacks a class: group 0 holds classes 0 and 1, group 1 holds 1 and 2, ...
    y = np.array([0, 1, 1, 2, 2, 0])
    groups = np.array([0, 0, 1, 1, 2, 2])
    for train, _ in make_folds(y, groups, 0):
        assert set(y[train]) == {0, 1, 2}


def test_a_grid_expands_with_its_first_setting_slowest():
    assert expand({"C": [1, 2], "w": [None, "b"]}) == [
        {"C": 1, "w": None},
        {"C": 1, "w": "b"},
        {"C": 2, "w": None},
        {"C": 2, "w": "b"},
    ]
    assert expand({}) == [{}]


def test_balanced_accuracy_is_scikit_learns():
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    assert balanced_accuracy(y, predicted) == pytest.approx(balanced_accuracy_score(y, predicted))


@pytest.mark.parametrize("jobs", [1, 2])
def test_scores_are_those_of_refitting_everything_in_every_fold(train, jobs):
    X, y = train
    folds = make_folds(y, None, 0)
    model = make_pipeline(StandardScaler(), KNeighborsClassifier())
    candidates = expand({"kneighborsclassifier__n_neighbors": [7, 3, 1]})
    scores, _ = accuracies_and_losses(model, candidates, X, y, folds, n_jobs=jobs)
    for score, candidate in zip(scores, candidates, strict=True):
        slow = cross_val_predict(model.set_params(**candidate), X, y, cv=folds)
        assert score == pytest.approx(balanced_accuracy_score(y, slow))


def test_settings_of_earlier_steps_are_refitted_too(train):
    X, y = train
    folds = make_folds(y, None, 0)
    model = make_pipeline(StandardScaler(), KNeighborsClassifier())
    candidates = expand({"standardscaler__with_std": [True, False]})
    scores, _ = accuracies_and_losses(model, candidates, X, y, folds)
    for score, candidate in zip(scores, candidates, strict=True):
        slow = cross_val_predict(model.set_params(**candidate), X, y, cv=folds)
        assert score == pytest.approx(balanced_accuracy_score(y, slow))
    assert scores[0] != scores[1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_logistic_path_scores_as_plain_refitting_does(train, n_classes):
    X, y = train[0][train[1] < n_classes], train[1][train[1] < n_classes]
    folds = make_folds(y, None, 0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    grid = {
        "logisticregression__C": [0.001, 0.1, 1.0],
        "logisticregression__class_weight": [None, "balanced"],
    }
    fast, losses = accuracies_and_losses(model, expand(grid), X, y, folds, fitter=LogisticFitter())
    slow, none = accuracies_and_losses(model, expand(grid), X, y, folds)
    np.testing.assert_allclose(fast, slow, atol=0.03)
    assert none is None
    for loss, candidate in zip(losses, expand(grid), strict=True):
        p = cross_val_predict(model.set_params(**candidate), X, y, cv=folds, method="predict_proba")
        assert loss == pytest.approx(log_loss(y, p), rel=0.02)


def test_of_candidates_that_are_about_as_accurate_the_one_of_the_lowest_loss_is_the_best():
    y = np.repeat([0, 1], 10)
    one, two, mixed = y.copy(), y.copy(), y.copy()
    one[0], two[:2] = 1, 1
    mixed[:3] = 1
    predicted = np.stack([two, y, y, one, two, mixed])
    # Without losses the first of the most accurate.
    assert Classes(0).best(y, predicted, None) == (1, pytest.approx(1.0))
    # One row more or less is within a standard error, two that are only worse are not.
    assert Classes(0).best(y, predicted, np.array([0.0, 0.5, 0.3, 0.2, 0.1, 0.1])) == (3, pytest.approx(0.95))
    assert Classes(0).best(y, predicted, np.array([0.0, 0.2, 0.2, 0.3, 0.1, 0.1])) == (1, pytest.approx(1.0))
    # Of a group, only the sum counts: two rows of one group are one error.
    groups = np.array([0, 0, *range(1, 19)])
    assert Classes(0).best(y, predicted, np.array([0.0, 0.5, 0.5, 0.5, 0.1, 0.1]), groups) == (
        0,
        pytest.approx(0.9),
    )


@pytest.mark.parametrize("noise", [2.5, 5.0])
def test_logistic_regression_is_about_as_sure_as_the_best_penalty_of_its_path(noise):
    """Where every penalty finds nearly the same labels, the strongest alone is far too unsure."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 4
    X = 2 * np.eye(4)[y] @ rng.normal(size=(4, 24)) + noise * rng.normal(size=(600, 24))
    train, held = np.arange(120), np.arange(120, 600)
    probe = fit_probe("logreg", X[train], y[train])
    chosen = log_loss(y[held], probe.estimator.predict_proba(X[held]))
    scaler = StandardScaler().fit(X[train])
    path = fit_path(scaler.transform(X[train]), y[train], [f / 24 for f in (0.1, 1, 10, 100, 1000)])
    losses = [log_loss(y[held], m.predict_proba(scaler.transform(X[held]))) for m in path]
    assert chosen < 1.1 * min(losses)
    assert max(losses) > 2 * min(losses)


def test_two_methods_that_err_on_other_rows_are_equals():
    y = np.repeat([0, 1], 10)
    better, other = y.copy(), y.copy()
    better[0], other[10:13] = 1, 0
    # Difference of 2 rows, standard error sqrt(1 + 3).
    best, score = Classes(0).best(y, np.stack([better, other]), np.array([0.2, 0.1]))
    assert (best, score) == (1, pytest.approx(0.85))


def test_of_numbers_the_best_has_the_lowest_error_then_comes_first():
    y = np.array([0.0, 1.0, 2.0])
    predicted = np.stack([y + 1, y + 0.5, y - 0.5])
    assert Numbers(0).best(y, predicted, None) == (1, 1 - 0.25 / y.var())
    assert Numbers(0).best(np.ones(3), np.ones((1, 3)), None) == (0, None)


def test_folds_of_few_rows_limit_neighbours_and_components():
    # Groups of unequal size may leave a fold less than half of the rows to train on.
    folds = [(np.arange(3), np.arange(3, 12)), (np.arange(3, 12), np.arange(3))]
    candidates = limit_neighbours([{"knn__n_neighbors": k} for k in (5, 3, 1)], fewest_rows(folds))
    assert candidates == [{"knn__n_neighbors": 3}, {"knn__n_neighbors": 1}]
    model = Pipeline([("pca", PCA(5)), ("knn", KNeighborsClassifier())])
    assert limit_components(model, 3).get_params()["pca__n_components"] == 3
    assert limit_components(model, 5).get_params()["pca__n_components"] == 5
    X = np.random.default_rng(0).normal(size=(12, 6))
    found = out_of_fold(model, candidates, X, np.arange(12) % 2, folds)
    assert found.predicted.shape == (2, 12)


def test_scores_are_those_of_refitting_and_losses_those_of_the_best_temperature(train):
    X, y = train
    folds = make_folds(y, None, 0)
    model = Pipeline([("scale", StandardScaler()), ("unit", Normalizer()), ("nb", GaussianNB())])
    candidates = [
        {"unit": unit, "nb__var_smoothing": s} for unit in ("passthrough", Normalizer()) for s in (1, 0.1)
    ]
    found = out_of_fold(model, candidates, X, y, folds, tempered=True)
    for i, candidate in enumerate(candidates):
        slow = cross_val_predict(
            clone(model).set_params(**candidate), X, y, cv=folds, method="predict_log_proba"
        )
        slow = (slow - slow.max(axis=1, keepdims=True))[found.rows]
        np.testing.assert_allclose(found.scores[i], slow, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found.predicted[i], slow.argmax(axis=1))
        losses = [
            -log_softmax(slow * b, axis=1)[np.arange(len(y)), y[found.rows]].mean()
            for b in np.geomspace(0.01, 10, 500)
        ]
        assert found.losses[i] == pytest.approx(min(losses), abs=0.02)


def test_the_estimator_itself_is_never_fitted(train):
    model = KNeighborsClassifier()
    out_of_fold(model, [{"n_neighbors": 1}], *train, make_folds(train[1], None, 0))
    assert not hasattr(model, "classes_")
