"""`fit_probe` chooses the settings that scikit-learn chooses, and predicts what its own fit predicts."""

import numpy as np
import pytest
from slow_probes import CONVERGED, fit_slowly, log_loss, matches

from featx.methods.probes import fit_probe

#: Probes that are not fitted by scikit-learn alone.
NAMES = ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "naive-bayes")
N_TEST = 1000


def embeddings(counts, dim, seed=0, per_group=1):
    """Rows like embeddings: not negative, correlated, of unequal scales; images of a group are alike."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    shape = np.random.default_rng(7)
    mix = np.linalg.qr(shape.normal(size=(dim, dim)))[0] * np.geomspace(2, 0.05, dim)
    centres = 0.12 * shape.normal(size=(len(counts), dim))
    groups = np.concatenate([np.arange(n) // per_group for n in counts]) + 10_000 * y
    codes = np.unique(groups, return_inverse=True)[1]
    own = rng.normal(size=(codes.max() + 1, dim))[codes] if per_group > 1 else 0
    noise = rng.normal(size=(len(y), dim))
    noise = noise if per_group == 1 else 0.8 * own + 0.6 * noise
    rows = np.maximum(noise @ mix + centres[y] * mix.std() * 5 + 0.2, 0)
    order = rng.permutation(len(y))
    return rows[order].astype(np.float32), y[order], codes[order] if per_group > 1 else None


CASES = {
    "balanced": ([50, 50, 50, 50], 32, 1, np.float32),
    "two classes, imbalanced": ([160, 40], 32, 1, np.float32),
    "imbalanced": ([100, 50, 25, 12], 32, 1, np.float32),
    "groups": ([51, 51, 51], 32, 3, np.float32),
    "float16": ([50, 50, 50, 50], 32, 1, np.float16),
    "few rows": ([12, 12, 12, 12], 100, 1, np.float32),
}


#: A kernel is slow by scikit-learn, and its fits do not depend on the type of the rows.
TRIED = [
    (name, case) for name in NAMES for case in CASES if name != "rbf-svm" or case in ("groups", "few rows")
]


@pytest.mark.parametrize(("name", "case"), TRIED)
def test_choice_and_predictions(name, case):
    counts, dim, per_group, dtype = CASES[case]
    X, y, groups = embeddings(counts, dim, per_group=per_group)
    X_test, y_test, _ = embeddings([N_TEST // len(counts)] * len(counts), dim, seed=1)
    X, X_test = X.astype(dtype), X_test.astype(dtype)
    slow = fit_slowly(name, X.astype(np.float32), y, X_test.astype(np.float32), groups, **CONVERGED)

    fitted = fit_probe(name, X, y, groups=groups, n_jobs=1)

    same = matches(slow.chosen, fitted.params)
    assert same or slow.is_tied(fitted.params, len(y)), f"{fitted.params}, scikit-learn {slow.chosen}"
    if same:
        log_p = np.log(fitted.predict_proba(X_test))
        right = fitted.predict(X_test) == y_test
        assert abs(right.mean() - (slow.log_p.argmax(axis=1) == y_test).mean()) <= 0.003
        assert log_loss(log_p, y_test) == pytest.approx(log_loss(slow.log_p, y_test), rel=0.01)
