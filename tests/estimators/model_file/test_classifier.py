"""Write every probe as arrays and rebuild it: the same probabilities bit by bit; every value is checked."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer

from featx.errors import InputError
from featx.estimators.model_file import describe, read_model_file, rebuild, write_model_file
from featx.methods.probes import fit_probe, probe_names

NAMES = probe_names(on_request=True)
COUNTS = {2: 12, 3: 12, 9: 6}


def rows(k, per_class, dim=24, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(k), per_class)
    centres = np.random.default_rng(9).normal(size=(k, dim))
    X = np.maximum(centres[labels] + 0.8 * rng.normal(size=(len(labels), dim)) + 1, 0)
    X[:, 3] = 0  # as a dead unit gives it
    return X.astype(np.float32), labels


@pytest.fixture(scope="module")
def fitted():
    made = {}

    def get(name, k):
        if (name, k) not in made:
            made[name, k] = fit_probe(name, *rows(k, COUNTS[k]), n_jobs=1).estimator
        return made[name, k]

    return get


@pytest.mark.parametrize("k", COUNTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_probe_says_the_same_after_a_file(name, k, fitted, tmp_path):
    probe = fitted(name, k)
    description, arrays = describe(probe, k)
    write_model_file(tmp_path / "m", {"classifier": description}, arrays)
    read, stored = read_model_file(tmp_path / "m")
    again = rebuild(read["classifier"], stored, k)
    for X in (rows(k, 40, seed=1)[0], rows(k, 1, seed=2)[0][:1], rows(k, 3)[0].astype(np.float64)):
        np.testing.assert_array_equal(again.predict_proba(X), probe.predict_proba(X))
        np.testing.assert_array_equal(again.predict(X), probe.predict(X))
    assert again.n_features_in_ == 24
    np.testing.assert_array_equal(again.classes_, np.arange(k))
    second, same = describe(again, k)
    assert second == description
    assert {name: array.tobytes() for name, array in same.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_what_no_model_holds_is_refused_by_name(fitted):
    probe = copy.deepcopy(fitted("logreg", 3))
    probe.estimator_.steps.insert(0, ("call", FunctionTransformer(print)))
    with pytest.raises(InputError, match="a FunctionTransformer cannot be kept"):
        describe(probe, 3)
    description, arrays = describe(fitted("logreg", 3), 3)
    description["estimator"]["steps"][0]["kind"] = "function"
    with pytest.raises(InputError, match=r"classifier\.scale: refused, a 'function' is nothing that"):
        rebuild(description, arrays, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_array_and_one_too_many_are_refused(name, fitted):
    description, arrays = describe(fitted(name, 3), 3)
    for gone in arrays:
        with pytest.raises(InputError, match=f"the array {gone} is missing"):
            rebuild(description, {key: array for key, array in arrays.items() if key != gone}, 3)
    with pytest.raises(InputError, match="holds an array that its classifier has not: 'more'"):
        rebuild(description, {**arrays, "more": np.zeros(3)}, 3)
    with pytest.raises(InputError, match="classes is 3, and the model has 4 names"):
        rebuild(description, arrays, 4)


@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_checked(name, fitted):
    """Values that are not finite, other types and other shapes are refused for every array of every probe."""
    description, arrays = describe(fitted(name, 3), 3)
    for key, array in arrays.items():
        changes = [array[None], array[..., None], np.concatenate([array.ravel(), array.ravel()])]
        if array.dtype.kind == "f":
            changes += [array.astype(np.int32)]
            for value in (np.nan, np.inf, -np.inf):
                spoilt = array.copy()
                spoilt[(0,) * array.ndim] = value
                changes.append(spoilt)
        else:
            changes += [array.astype(np.float64)]
            for value in (-2, 2**31 - 1, -(2**31)):
                spoilt = array.copy()
                spoilt[(0,) * array.ndim] = value
                changes.append(spoilt)
        for changed in changes:
            with pytest.raises(InputError, match="classifier"):
                rebuild(description, {**arrays, key: changed}, 3)


def test_a_temperature_stands_within_no_other(fitted):
    description, arrays = describe(fitted("knn", 3), 3)
    for kind in ({"kind": "tempered", "scores": "probabilities"}, {"kind": "temperature"}):
        nested = {**description, "estimator": {**kind, "estimator": description["estimator"]}}
        with pytest.raises(InputError, match="refused"):
            rebuild(nested, arrays, 3)


def test_scores_must_be_those_of_the_classifier(fitted):
    for name, scores in (
        ("knn", "margins"),
        ("svm", "probabilities"),
        ("knn", 3),
        ("naive-bayes", "margins"),
    ):
        description, arrays = describe(fitted(name, 3), 3)
        with pytest.raises(InputError, match="are no scores of its classifier"):
            rebuild({**description, "scores": scores}, arrays, 3)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(
    "name", ["svm", "ridge", "rbf-svm", "knn", "forest", "naive-bayes", "nearest-centroid"]
)
def test_a_temperature_of_version_0_1_says_the_same(name, k, fitted):
    """Files of version 0.1 hold scikit-learn's temperature, as written here."""
    X, y = rows(k, COUNTS[k])
    inner = clone(fitted(name, k).estimator)
    if name == "forest":
        inner.set_params(forest__n_estimators=20, forest__oob_score=False)
    old = CalibratedClassifierCV(inner, method="temperature", cv=3, ensemble=False).fit(X, y)
    (held,) = old.calibrated_classifiers_
    description, arrays = describe(held.estimator, k)
    inner = {key: value for key, value in description.items() if key not in ("features", "classes")}
    description = {"features": 24, "classes": k, "kind": "temperature", "estimator": inner}
    arrays["classifier.temperature.beta"] = held.calibrators[0].beta_
    new = rows(k, 40, seed=1)[0]
    again = rebuild(description, arrays, k)
    np.testing.assert_array_equal(again.predict(new), old.predict(new))
    if name != "naive-bayes":  # whose probabilities depended on the batch
        np.testing.assert_allclose(again.predict_proba(new), old.predict_proba(new), atol=1e-6)
    np.testing.assert_allclose(again.predict_proba(new[:1]), again.predict_proba(new)[:1], atol=1e-6)
    kept = rebuild(*describe(again, k), k)
    np.testing.assert_array_equal(kept.predict_proba(new), again.predict_proba(new))


def test_a_temperature_that_was_fitted_to_probabilities_themselves_is_told_by_its_factor(fitted):
    description, arrays = describe(fitted("naive-bayes", 3).estimator_, 3)
    inner = {key: value for key, value in description.items() if key not in ("features", "classes")}
    description = {"features": 24, "classes": 3, "kind": "temperature", "estimator": inner}
    p = fitted("naive-bayes", 3).estimator_.predict_proba(new := rows(3, 5, seed=1)[0])
    for beta, scores in ((4.0, 4 * p), (0.1, 0.1 * np.log(p + 1e-12))):
        again = rebuild(description, {**arrays, "classifier.temperature.beta": np.array(beta)}, 3)
        np.testing.assert_allclose(again.predict_proba(new), softmax(scores, axis=1), atol=1e-6)


def test_support_vectors_must_be_those_of_the_two_classes(fitted):
    description, arrays = describe(fitted("rbf-svm", 3), 3)
    key = "classifier.svm.0.n_support"
    with pytest.raises(InputError, match=r"classifier\.svm\.0: .* support vectors are not those"):
        rebuild(description, {**arrays, key: arrays[key] + 1}, 3)


def test_a_forest_shrinks_to_what_it_predicts_with(tmp_path):
    X, y = rows(9, 30)
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    description, arrays = describe(forest, 9)
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    assert sum(array.nbytes for array in arrays.values()) < 25 * nodes
    again = rebuild(description, arrays, 9)
    np.testing.assert_array_equal(again.predict_proba(X), forest.predict_proba(X))
    with pytest.raises(InputError, match="cannot be fitted again"):
        again.fit(X, y)
