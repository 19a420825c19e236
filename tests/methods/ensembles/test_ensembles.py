"""Check equal weights of blocks, weights against other solvers, and ensembles on held-out rows only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError, UnknownName
from featx.methods.ensembles import BlockEnsemble, ConcatenatedBlocks, blend_weights
from featx.methods.probes.temperature import TemperatureClassifier


@parametrize_with_checks([ConcatenatedBlocks(), BlockEnsemble(cv=2), BlockEnsemble(cv=2, combine="stack")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def problem():
    """Three classes; two blocks that each know something, and one that knows nothing."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    known = [rng.normal(size=(300, d)) + 0.9 * np.eye(3)[y] @ rng.normal(size=(3, d)) for d in (4, 6)]
    return np.hstack([*known, 50 * rng.normal(size=(300, 20))]), y, [4, 6, 20]


def test_blocks_count_alike(problem):
    X, _, blocks = problem
    Z = ConcatenatedBlocks(blocks).fit_transform(X)
    for columns in (slice(0, 4), slice(4, 10), slice(10, 30)):
        width = columns.stop - columns.start
        np.testing.assert_allclose(
            Z[:, columns], StandardScaler().fit_transform(X[:, columns]) / np.sqrt(width), atol=1e-9
        )
        assert (Z[:, columns] ** 2).sum(axis=1).mean() == pytest.approx(1)


def test_a_constant_column_is_centred_only():
    X = np.column_stack([np.full(5, 0.1), np.arange(5.0)])
    np.testing.assert_allclose(ConcatenatedBlocks([1, 1]).fit_transform(X)[:, 0], 0, atol=1e-12)


def random_members(rng, m=4, n=200, k=5):
    y = rng.integers(0, k, n)
    scores = rng.normal(size=(m, n, k)) + rng.uniform(0, 2, (m, 1, 1)) * np.eye(k)[y]
    p = np.exp(scores)
    return p / p.sum(axis=2, keepdims=True), y


@pytest.mark.parametrize("seed", range(5))
def test_weights_agree_with_a_general_solver(seed):
    p, y = random_members(np.random.default_rng(seed))

    def loss(w):
        return -np.log(np.einsum("m,mn->n", w, p[:, np.arange(len(y)), y])).mean()

    reference = minimize(
        loss,
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(1e-12, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weights = blend_weights(p, y)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert loss(weights) <= reference.fun + 1e-7
    np.testing.assert_allclose(weights, reference.x, atol=2e-3)


def test_the_ensemble_is_its_out_of_fold_recipe_written_out(problem):
    X, y, blocks = problem
    ensemble = BlockEnsemble(blocks, LogisticRegression(max_iter=2000), random_state=3).fit(X, y)
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    parts = [X[:, :4], X[:, 4:10], X[:, 10:]]
    members = [LogisticRegression(max_iter=2000) for _ in parts]
    held = [
        cross_val_predict(m, p, y, cv=folds, method="predict_proba")
        for m, p in zip(members, parts, strict=True)
    ]
    weights = blend_weights(held, y)
    np.testing.assert_allclose(ensemble.weights_, weights, atol=1e-6)
    assert weights[2] < 0.05 < weights[:2].min()
    expected = sum(w * m.fit(p, y).predict_proba(p) for w, m, p in zip(weights, members, parts, strict=True))
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, atol=1e-6)

    stack = BlockEnsemble(blocks, LogisticRegression(max_iter=2000), "stack", random_state=3).fit(X, y)
    inputs = np.hstack([np.log(np.maximum(h, 1e-6)) for h in held])
    meta = LogisticRegression(max_iter=2000).fit(inputs, y)
    inputs = np.hstack(
        [np.log(np.maximum(m.predict_proba(p), 1e-6)) for m, p in zip(members, parts, strict=True)]
    )
    np.testing.assert_allclose(stack.predict_proba(X), meta.predict_proba(inputs), atol=1e-5)


def test_a_member_that_knows_its_training_rows_by_heart_gets_no_credit(problem):
    X, y, blocks = problem
    by_heart = KNeighborsClassifier(1)
    assert by_heart.fit(X[:, 10:], y).score(X[:, 10:], y) == 1
    ensemble = BlockEnsemble(blocks, make_pipeline(StandardScaler(), KNeighborsClassifier(9))).fit(X, y)
    assert ensemble.weights_[2] < 0.2


def test_together_they_know_more_than_one(problem):
    X, y, blocks = problem
    train, test = np.arange(300) < 150, np.arange(300) >= 150
    alone = [
        BlockEnsemble().fit(X[train][:, part], y[train]).score(X[test][:, part], y[test])
        for part in (slice(0, 4), slice(4, 10))
    ]
    for combine in ("weighted", "stack"):
        together = BlockEnsemble(blocks, combine=combine, random_state=0).fit(X[train], y[train])
        assert together.score(X[test], y[test]) > max(alone)
    equal = BlockEnsemble(blocks, combine="average").fit(X, y)
    np.testing.assert_allclose(equal.weights_, 1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: BlockEnsemble([4, 6]).fit(X, y), r"blocks of 4 \+ 6 columns do not make up 30"),
        (lambda X, y: ConcatenatedBlocks([30, 0]).fit(X), "blocks must be positive numbers of columns"),
        (lambda X, y: BlockEnsemble(combine="vote").fit(X, y), "unknown combination 'vote'"),
        (lambda X, y: BlockEnsemble(cv=1).fit(X, y), "cv must be a whole number of folds, at least 2, got 1"),
        (lambda X, y: BlockEnsemble(combine="stack").fit(X[:4], y[:4]), "stacking needs at least 2 rows"),
        (lambda X, y: blend_weights(np.ones((2, 3)), y), "probabilities must have shape"),
        (lambda X, y: blend_weights(np.ones((2, 300, 2)), y), "labels must lie in 0..1, got 0..2"),
    ],
)
def test_impossible_settings_are_named(problem, call, message):
    with pytest.raises((InputError, UnknownName), match=message):
        call(*problem[:2])


@pytest.mark.parametrize("combine", ["weighted", "average", "stack"])
def test_an_ensemble_says_the_same_of_one_row_as_of_many(problem, combine):
    X, y, blocks = problem
    model = BlockEnsemble(blocks, TemperatureClassifier(GaussianNB()), combine, cv=2, random_state=0).fit(
        X, y
    )
    together = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X[::-1])[::-1], together, atol=1e-9)
    alone = np.concatenate([model.predict_proba(row[None]) for row in X[::20]])
    np.testing.assert_allclose(alone, together[::20], atol=1e-9)
