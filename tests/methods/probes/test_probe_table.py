"""The table of probes, and what every classifier in it promises."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featx.errors import InputError, UnknownName
from featx.methods.probes import CLASSIFIERS, Problem, fit_probe, get_probe, probe_names, reference_names

NINE = ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "forest", "boosting", "naive-bayes")


def test_the_table_has_nine_probes_and_references_for_each_kind_of_input():
    assert probe_names()[:9] == NINE
    assert reference_names() == ("majority", "pixels")
    assert reference_names(inputs="text") == ("majority", "tfidf")
    assert reference_names("numbers", "text") == ("mean", "tfidf")
    assert reference_names(inputs="clip") == ("majority", "filterbanks")
    assert reference_names("numbers", "clip") == ("mean", "filterbanks")
    assert set(CLASSIFIERS) == {*probe_names(on_request=True), "majority", "pixels", "tfidf", "filterbanks"}
    assert all(probe.title and probe.title != probe.name for probe in CLASSIFIERS.values())


def test_a_probe_is_found_whatever_its_case_and_underscores():
    assert get_probe("RBF_SVM") is CLASSIFIERS["rbf-svm"]


def test_an_unknown_probe_gets_the_nearest_names():
    with pytest.raises(UnknownName, match="unknown classifier 'logregg'; did you mean logreg"):
        get_probe("logregg")


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("size", [(2, 2, 1), (12, 12, 1280), (720, 12, 1280), (50_000, 100, 64)])
@pytest.mark.parametrize("imbalanced", [False, True])
def test_a_grid_fits_its_estimator_and_the_default_lies_within_it(name, size, imbalanced):
    estimator, grid = CLASSIFIERS[name].build(Problem(*size, 3, imbalanced))
    parameters = estimator.get_params()
    assert set(grid) <= set(parameters)
    for key, values in grid.items():
        assert parameters[key] in values
        clone(estimator).set_params(**{key: values[0]})
    assert set(CLASSIFIERS[name].shown) <= set(parameters)
    weighted = any("class_weight" in key or "priors" in key for key in grid)
    assert not weighted or imbalanced


@pytest.mark.parametrize(
    "name", ["logreg", "svm", "rbf-svm", "lda", "ridge", "naive-bayes", "pixels", "tfidf"]
)
def test_weights_are_a_setting_where_classes_are_imbalanced(name):
    _, grid = CLASSIFIERS[name].build(Problem(100, 3, 24, imbalanced=True))
    assert any("class_weight" in key or "priors" in key for key in grid)


@pytest.mark.parametrize(
    "name", ["logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "boosting", "naive-bayes"]
)
def test_scaling_is_inside_the_pipeline(name):
    estimator, _ = CLASSIFIERS[name].build(Problem(100, 3, 24))
    assert isinstance(estimator, Pipeline)
    assert estimator.steps[0][0] == "scale"


def test_probabilities_are_probabilities_and_their_argmax_is_the_label(fitted, held_out):
    proba, labels = fitted.predict_proba(held_out[0]), fitted.predict(held_out[0])
    assert proba.shape == (120, 3)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.classes[proba.argmax(axis=1)], labels)
    np.testing.assert_array_equal(fitted.classes, [0, 1, 2])


def test_every_probe_learns(fitted, held_out):
    accuracy = (fitted.predict(held_out[0]) == held_out[1]).mean()
    if fitted.name == "majority":
        assert accuracy == pytest.approx(1 / 3)
    else:
        assert accuracy > 0.7


def test_a_fitted_probe_says_what_was_chosen(fitted):
    assert json.loads(json.dumps(fitted.params)) == fitted.params
    assert fitted.seconds > 0
    assert fitted.notes == []
    assert (fitted.kind == "floor") == (fitted.name in reference_names())
    assert fitted.title == CLASSIFIERS[fitted.name].title
    if fitted.name == "majority":
        assert fitted.cv_score is None
    else:
        assert 0.6 < fitted.cv_score <= 1


def test_rows_of_another_width_are_refused(fitted):
    with pytest.raises(InputError, match=r"fitted on 24 features per image, got 7"):
        fitted.predict(np.zeros((2, 7)))
    with pytest.raises(InputError, match=r"shape \(24,\)"):
        fitted.predict_proba(np.zeros(24))


@pytest.mark.parametrize(
    "name", ["logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "boosting", "naive-bayes"]
)
def test_two_classes_work_as_well(name, train, held_out):
    few, rows = train[1] < 2, held_out[1] < 2
    fitted = fit_probe(name, train[0][few], train[1][few] + 5, n_jobs=1)
    proba = fitted.predict_proba(held_out[0][rows])
    assert proba.shape == (80, 2)
    labels = fitted.predict(held_out[0][rows])
    np.testing.assert_array_equal(np.array([5, 6])[proba.argmax(axis=1)], labels)
    assert (labels == held_out[1][rows] + 5).mean() > 0.75
    same = fit_probe(name, train[0][few], train[1][few], n_jobs=1)
    np.testing.assert_allclose(same.predict_proba(held_out[0][rows]), proba)


@pytest.mark.parametrize("name", ["svm", "ridge", "rbf-svm"])
def test_a_temperature_leaves_the_label_of_the_margin(name, train, held_out):
    fitted = fit_probe(name, *train, n_jobs=1)
    inner = fitted.estimator.estimator_
    np.testing.assert_array_equal(inner.predict(held_out[0]), fitted.predict(held_out[0]))


def test_a_temperature_makes_naive_bayes_less_sure_than_it_was(train, held_out):
    fitted = fit_probe("naive-bayes", *train, n_jobs=1)
    inner = fitted.estimator.estimator_
    rows, labels = held_out

    def loss(model):
        return -np.log(np.clip(model.predict_proba(rows)[np.arange(len(labels)), labels], 1e-16, 1)).mean()

    assert loss(fitted) < loss(inner)


def test_a_kept_model_does_not_carry_the_rows_of_its_folds(train):
    assert fit_probe("ridge", *train, n_jobs=1).estimator.cv == 5
