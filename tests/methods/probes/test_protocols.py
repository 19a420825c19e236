"""The protocols of the literature: what they choose, on which rows, and that they say sound things."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError
from featx.methods.probes import CLASSIFIERS, Problem, fit_probe, probe_names
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
    # The penalty of big_vision is made for a thousand features, not for 24.
    assert (fitted.predict(X) == y).mean() > (0.5 if fitted.name == "lsr-fewshot" else 0.7)
    if fitted.name not in ("linear-probe", "dinov2-logreg"):  # of equal penalties an extreme one
        assert -np.log(p[np.arange(len(y)), y]).mean() < np.log(3)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("counts", [(1, 1), (2, 2, 9)])
def test_a_class_of_one_or_two_images_is_enough(name, counts):
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.random.default_rng(0).normal(size=(len(y), 6)) + y[:, None]
    assert np.isfinite(fit_probe(name, X, y, n_jobs=1).predict_proba(X)).all()


def slow_choice(Cs, X, y, fit, held):
    """Take the first of the best penalties in the order given, as both sources do."""
    best, score = None, -1
    for C in Cs:
        model = LogisticRegression(C=C, tol=1e-9, max_iter=10_000, solver="newton-cholesky")
        new = (model.fit(X[fit], y[fit]).predict(X[held]) == y[held]).mean()
        if new > score:
            best, score = C, new
    return best, score


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning:sklearn")
@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")
@pytest.mark.parametrize("weakest", [True, False])
def test_a_penalty_is_chosen_as_in_its_source(weakest, train):
    X, y = train[0].astype(float), train[1]
    held = np.arange(0, len(y), 4)
    Cs = np.logspace(-6, 5, 12)
    rule = protocols.choose_penalty(Cs, 0.2, weakest=weakest)
    chosen, score, _ = rule(X, y, None, held, 0, "top1", [])
    order = Cs[::-1] if weakest else Cs
    expected = slow_choice(order, X, y, np.setdiff1d(np.arange(len(y)), held), held)
    assert (chosen["C"], score) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_the_linear_probe_is_refitted_on_all_rows(train):
    X, y = train[0].astype(float), train[1]
    probe = fit_probe("linear-probe", X, y, validation=np.arange(0, len(y), 4), n_jobs=1)
    refit = LogisticRegression(C=probe.params["C"], tol=1e-9, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), refit.predict_proba(X), atol=2e-3)


def test_of_equal_penalties_each_protocol_takes_the_one_that_its_source_tries_first():
    # Far apart: every penalty is always right.
    y = np.repeat([0, 1, 2], 10)
    X = np.random.default_rng(0).normal(size=(30, 4)) + 20 * np.eye(3, 4)[y]
    weakest, strongest = (fit_probe(name, X, y, n_jobs=1) for name in ("linear-probe", "dinov2-logreg"))
    assert weakest.cv_score == strongest.cv_score == 1
    assert weakest.params["C"] == pytest.approx(1e6)
    assert strongest.params["C"] == pytest.approx(1e-6)


@pytest.mark.parametrize("counts", [(25, 20, 15), (4, 4, 4), (20, 20)])
def test_least_squares_are_those_of_big_vision(counts):
    """Against its formula, written out: float32, the larger system, one penalty for weights and bias."""
    y = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(0)
    X, new = (rng.normal(size=(n, 24)) * np.geomspace(0.1, 10, 24) + 3 for n in (len(y), 50))
    X += y[:, None] * 0.5
    X[:, 3] = 7.0  # a feature without variance
    mean, std = X.mean(axis=0), X.std(axis=0) + 1e-5
    padded = np.hstack([(X - mean) / std, np.full((len(X), 1), 100.0)])
    targets = 2.0 * (y[:, None] == np.arange(len(counts))) - 1.0
    weights = np.linalg.inv(padded.T @ padded + 2.0**10 * np.eye(25)) @ padded.T @ targets
    new[:, 3] = 7.0
    expected = np.hstack([(new - mean) / std, np.full((50, 1), 100.0)]) @ weights
    model = CLASSIFIERS["lsr-fewshot"].build(Problem(len(y), len(counts), 24))[0].fit(X, y)
    found = model.decision_function(new)
    np.testing.assert_allclose(
        found if found.ndim > 1 else found[:, None],
        expected[:, -len(np.atleast_2d(model.coef_)) :],
        atol=1e-8,
    )
    np.testing.assert_array_equal(model.predict(new), expected.argmax(axis=1))
    probe = fit_probe("lsr-fewshot", X, y, n_jobs=1)
    np.testing.assert_array_equal(probe.predict(new), expected.argmax(axis=1))


@pytest.mark.parametrize("k", [10, 20])
def test_votes_are_those_of_dinov2(k, train, held_out):
    """Its module takes the softmax over the most neighbours of all settings, and sums it over the first k."""
    X, new = (torch.nn.functional.normalize(torch.tensor(x), dim=1) for x in (train[0], held_out[0]))
    similar, near = (new @ X.T).topk(20, dim=1)
    weights = (similar / 0.07).softmax(dim=1)[:, :k]
    votes = torch.zeros(len(new), 3).index_put_(
        (torch.arange(len(new))[:, None], torch.tensor(train[1])[near[:, :k]]), weights, accumulate=True
    )
    model = NeighbourVotes(k).fit(*train)
    np.testing.assert_array_equal(model.predict(held_out[0]), votes.argmax(dim=1))
    np.testing.assert_allclose(
        model.predict_proba(held_out[0]), votes / votes.sum(dim=1, keepdim=True), atol=1e-4
    )


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
