"""A probability does not depend on the rows beside it: one row, shuffled rows and all rows say the same."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier

from featx.estimators.model_file import describe, rebuild
from featx.methods.probes import fit_probe, probe_names


def assert_alike(predict, rows):
    together = predict(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(predict(rows[order]), together[order], atol=1e-6)
    alone = np.concatenate([predict(rows[i : i + 1]) for i in range(0, len(rows), 40)])
    np.testing.assert_allclose(alone, together[::40], atol=1e-6)
    return together


def assert_all_alike(fitted, rows):
    together = assert_alike(fitted.predict_proba, rows)
    np.testing.assert_array_equal(fitted.predict(rows), fitted.classes[together.argmax(axis=1)])
    if fitted.kind == "probe":
        kept = rebuild(*describe(fitted.estimator, len(fitted.classes)), len(fitted.classes))
        np.testing.assert_allclose(assert_alike(kept.predict_proba, rows), together, atol=1e-12)


def test_probes_and_references(fitted, held_out):
    assert_all_alike(fitted, held_out[0])


@pytest.mark.parametrize("name", sorted(set(probe_names(on_request=True)) - set(probe_names())))
def test_protocols(name, train, held_out):
    assert_all_alike(fit_probe(name, *train, n_jobs=1), held_out[0])


def test_ones_own_margins(train, held_out):
    fitted = fit_probe(("mine", SGDClassifier(random_state=0)), *train, n_jobs=1)
    assert_alike(fitted.predict_proba, held_out[0])
    again = clone(fitted.estimator).fit(*train)
    assert_alike(again.predict_proba, held_out[0])


@pytest.mark.parametrize("name", ["naive-bayes", "svm", "boosting", "knn"])
def test_two_classes(name, train, held_out):
    two = train[1] < 2
    assert_all_alike(fit_probe(name, train[0][two], train[1][two], n_jobs=1), held_out[0])
