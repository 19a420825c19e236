"""The protocols of the literature: what they choose, on which rows, and that they say sound things."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError
from featx.methods.probes import CLASSIFIERS, fit_probe, probe_names
from featx.methods.probes.catalogue import protocols
from featx.methods.probes.catalogue.protocols import NeighbourVotes, Prototypes
from featx.methods.probes.ridge import LeastSquaresProbe

NAMES = tuple(set(probe_names(on_request=True)) - set(probe_names()))


@parametrize_with_checks([NeighbourVotes(), Prototypes(), LeastSquaresProbe()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_protocols_are_there_on_request_only():
    assert set(NAMES) == {"linear-probe", "dinov2-logreg", "dinov2-knn", "lsr-fewshot", "nearest-centroid"}
    assert all(name in protocols.__doc__ for name in NAMES)


@pytest.fixture(scope="module", params=sorted(NAMES))
def fitted(request, train):
    return fit_probe(request.param, *train, n_jobs=1)


def test_a_protocol_learns_and_its_probabilities_are_sound(fitted, held_out):
    X, y = held_out
    p = fitted.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(p.argmax(axis=1), fitted.predict(X))
    assert (fitted.predict(X) == y).mean() > 0.7
    assert -np.log(np.maximum(p[np.arange(len(y)), y], 1e-16)).mean() < np.log(3)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("counts", [(1, 1), (2, 2, 9)])
def test_a_class_of_one_or_two_images_is_enough(name, counts):
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(y), 6)) + y[:, None]
    assert np.isfinite(fit_probe(name, X, y, n_jobs=1).predict_proba(X)).all()


def slow_choice(Cs, X, y, fit, held):
    found = []
    for C in sorted(Cs):
        model = LogisticRegression(C=C, tol=1e-9, max_iter=10_000, solver="newton-cholesky")
        model.fit(X[fit], y[fit])
        score = (model.predict(X[held]) == y[held]).mean()
        found.append((score, log_loss(y[held], model.predict_proba(X[held])), C))
    best = max(found)[0]
    least = min(loss for score, loss, _ in found if score == best)
    return min(C for score, loss, C in found if score == best and loss <= least + 1 / len(held)), best


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
def test_the_linear_probe_chooses_on_the_validation_part_and_is_refitted_on_both(train, held_out):
    X, y = (np.concatenate(pair) for pair in zip(train, held_out, strict=True))
    X = X.astype(float)
    held = np.arange(0, len(y), 4)
    fit = np.setdiff1d(np.arange(len(y)), held)
    probe = fit_probe("linear-probe", X, y, validation=held, n_jobs=1)
    C, score = slow_choice(protocols.LINEAR_PROBE_CS, X, y, fit, held)
    assert probe.params["C"] == pytest.approx(C)
    assert probe.cv_score == pytest.approx(score)
    refit = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), refit.predict_proba(X), atol=2e-3)


def test_of_penalties_that_are_as_often_right_the_strongest_is_not_taken_at_any_price():
    # Far apart: every penalty is always right, and the strongest hardly says so.
    y = np.repeat([0, 1, 2], 20)
    X = np.random.default_rng(0).normal(size=(60, 8)) + 20 * np.eye(3, 8)[y]
    probe = fit_probe("linear-probe", X, y, n_jobs=1)
    assert probe.cv_score == 1
    assert probe.predict_proba(X)[np.arange(60), y].min() > 0.8
    assert probe.params["C"] < 1


def test_both_grids_are_those_of_their_sources():
    for Cs, low, high in ((protocols.LINEAR_PROBE_CS, 1e-5, 1e6), (protocols.DINOV2_CS, 1e-6, 1e5)):
        assert len(Cs) == 45
        np.testing.assert_allclose([min(Cs), max(Cs)], [low, high])
        np.testing.assert_allclose(np.diff(np.log10(np.sort(Cs))), 0.25)


def test_mean_accuracy_over_classes_is_another_choice():
    y, predicted = np.array([0, 0, 0, 1]), np.zeros(4, int)
    assert protocols.accuracy(y, predicted, "top1") == 0.75
    assert protocols.accuracy(y, predicted, "per-class") == 0.5
    with pytest.raises(InputError, match="metric must be"):
        fit_probe("linear-probe", np.eye(4), y, metric="f1")
    with pytest.raises(InputError, match="positions of rows, 0 to 3"):
        fit_probe("linear-probe", np.eye(4), y, validation=[4])


def test_groups_are_not_torn_apart_by_the_choice(monkeypatch, train):
    seen = []
    real = protocols.validation_part
    monkeypatch.setattr(protocols, "validation_part", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    groups = np.arange(60) // 4
    fit_probe("dinov2-logreg", *train, groups=groups, n_jobs=1)
    ((fit, held),) = seen
    assert len(held)
    assert not set(groups[fit]) & set(groups[held])


def test_votes_are_those_of_a_loop(monkeypatch, train, held_out):
    monkeypatch.setattr(protocols, "_QUERY_BYTES", 8 * 60 * 7)  # blocks of 7 rows
    model = NeighbourVotes(10).fit(*train)
    found = model.votes(held_out[0], [3, 10])
    X = train[0] / np.linalg.norm(train[0], axis=1, keepdims=True)
    for i, row in enumerate(held_out[0]):
        similar = X @ (row / np.linalg.norm(row))
        order = np.argsort(-similar)
        for j, k in enumerate((3, 10)):
            w = np.exp(similar[order[:k]] / 0.07)
            expected = [w[train[1][order[:k]] == c].sum() / w.sum() for c in range(3)]
            np.testing.assert_allclose(found[j, i], expected, atol=1e-4)


def test_prototypes_are_nearest_means(train, held_out):
    means = np.stack([train[0][train[1] == c].mean(axis=0) for c in range(3)])
    nearest = ((held_out[0][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(Prototypes().fit(*train).predict(held_out[0]), nearest)
    assert CLASSIFIERS["nearest-centroid"].on_request
