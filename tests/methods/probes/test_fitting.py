"""Fitting: selection, one's own classifiers, small and skewed and large data, and bad input."""

import warnings

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featx.errors import DatasetError, InputError, UnknownName
from featx.methods.probes import fit_plan, fit_probe, fitting, folds, probe_names, training_rows
from featx.methods.probes.temperature import fit_sharpness, log_probabilities
from featx.threads import run_in_threads


def skewed(counts=(60, 12), dim=8, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return (rng.normal(size=(len(y), dim)) + 0.7 * y[:, None]).astype(np.float32), y


@pytest.mark.parametrize("name", ["logreg", "svm", "knn", "boosting"])
def test_the_same_seed_gives_the_same_probe_whatever_the_number_of_threads(name, train, held_out):
    one, two = (fit_probe(name, *train, seed=7, n_jobs=n) for n in (1, 2))
    assert one.params == two.params
    assert one.cv_score == two.cv_score
    np.testing.assert_allclose(one.predict_proba(held_out[0]), two.predict_proba(held_out[0]), atol=1e-6)


def test_the_global_random_state_and_the_inputs_are_left_alone(train):
    X, y = train[0].copy(), train[1].copy()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fit_probe("svm", X, y, n_jobs=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(X, train[0])
    np.testing.assert_array_equal(y, train[1])


def test_the_fitted_logistic_regression_is_scikit_learns(train, held_out):
    fitted = fit_probe("logreg", *train, n_jobs=1)
    logistic = fitted.estimator.estimator_.steps[-1][1]
    assert logistic.warm_start is False
    settings = {"C": fitted.params["C"], "class_weight": fitted.params["class_weight"]}
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(**settings, tol=1e-8, max_iter=10_000)
    ).fit(*train)
    np.testing.assert_allclose(
        fitted.estimator.estimator_.predict_proba(held_out[0]),
        reference.predict_proba(held_out[0]),
        atol=0.01,
    )
    np.testing.assert_array_equal(fitted.predict(held_out[0]), reference.predict(held_out[0]))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_of_penalties_that_name_every_label_logistic_regression_takes_the_one_that_is_sure(n_classes):
    rng = np.random.default_rng(0)
    y = np.arange(15 * n_classes * 2) % n_classes
    X = 3 * rng.normal(size=(n_classes, 64))[y] + rng.normal(size=(len(y), 64))
    (X, new), (y, true) = np.split(X, 2), np.split(y, 2)
    fitted = fit_probe("logreg", X, y, n_jobs=1)
    strongest = make_pipeline(StandardScaler(), LogisticRegression(C=0.1 / 64)).fit(X, y)
    assert fitted.cv_score == 1
    assert (fitted.predict(new) == true).all()
    assert (strongest.predict(new) == true).all()
    assert log_loss(true, fitted.predict_proba(new)) < 0.1 * log_loss(true, strongest.predict_proba(new))


@pytest.mark.parametrize("name", probe_names())
@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 2, 40)])
def test_a_class_of_two_images_is_enough(name, counts):
    X, y = skewed(counts)
    fitted = fit_probe(name, X, y, n_jobs=1)
    assert np.isfinite(fitted.predict_proba(X)).all()


@pytest.mark.parametrize("name", probe_names())
@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 6, 6)])
def test_a_class_of_one_image_keeps_the_default_settings_and_says_so(name, counts):
    X, y = skewed(counts)
    fitted = fit_probe(name, X, y, n_jobs=1)
    assert fitted.cv_score is None
    assert np.isfinite(fitted.predict_proba(X)).all()
    if name not in ("forest", "boosting"):
        assert fitted.params
    if name in ("logreg", "svm", "ridge"):
        assert any("not selected" in note for note in fitted.notes)
    if name in ("svm", "forest"):
        assert any("too sure" in note for note in fitted.notes)


def test_weights_are_chosen_where_they_raise_the_balanced_accuracy():
    X, y = skewed((150, 15))
    fitted = fit_probe("logreg", X, y, n_jobs=1)
    assert fitted.params["class_weight"] == "balanced"
    plain = LogisticRegression().fit(X, y)
    new, truth = skewed((300, 300), seed=5)
    rare = truth == 1
    assert (fitted.predict(new) == truth)[rare].mean() > (plain.predict(new) == truth)[rare].mean() + 0.1


def test_weights_are_no_setting_where_classes_are_even():
    assert "class_weight" not in fit_probe("logreg", *skewed((30, 25)), n_jobs=1).params


def test_groups_are_kept_together_in_selection_and_calibration():
    # Pairs of identical rows with random labels: a split inside a pair would look like perfect learning.
    rng = np.random.default_rng(0)
    base, labels = rng.normal(size=(60, 6)), rng.integers(0, 2, 60)
    X, y, pairs = np.repeat(base, 2, axis=0), np.repeat(labels, 2), np.repeat(np.arange(60), 2)
    leaking = fit_probe("knn", X, y, n_jobs=1)
    honest = fit_probe("knn", X, y, groups=[f"patient {p}" for p in pairs], n_jobs=1)
    assert leaking.cv_score > 0.9
    assert honest.cv_score < 0.7
    assert leaking.predict_proba(X).max(axis=1).mean() > honest.predict_proba(X).max(axis=1).mean()


def test_one_group_a_class_leaves_nothing_to_select_with(train):
    fitted = fit_probe("svm", *train, groups=train[1], n_jobs=1)
    assert fitted.cv_score is None
    assert any("one group" in note for note in fitted.notes)


def test_half_precision_features_and_integer_pixels_are_taken(train):
    X, y = train
    assert fit_probe("ridge", X.astype(np.float16), y, n_jobs=1).predict(X.astype(np.float16)).shape == (60,)
    pixels = (X / X.max() * 255).astype(np.uint8)
    assert (fit_probe("pixels", pixels, y, n_jobs=1).predict(pixels) == y).mean() > 0.6


def test_constant_features_do_no_harm(train):
    X, y = train
    with_constants = np.hstack([X, np.zeros((60, 3), np.float32), np.full((60, 2), 7, np.float32)])
    for name in ("logreg", "lda", "naive-bayes", "boosting"):
        fitted = fit_probe(name, with_constants, y, n_jobs=1)
        assert (fitted.predict(with_constants) == y).mean() > 0.7


def test_a_large_set_is_selected_on_a_sample_and_fitted_on_all(monkeypatch):
    monkeypatch.setattr(fitting, "SELECTION_ROWS", 60)
    monkeypatch.setattr(training_rows, "SELECTION_ROWS", 60)
    monkeypatch.setattr(folds, "ENOUGH", 70)
    X, y = skewed((200, 150, 6))
    held = []
    real = fitting.predict_out_of_fold
    monkeypatch.setattr(
        fitting, "predict_out_of_fold", lambda *a, **k: held.append((len(a[1]), len(a[4]))) or real(*a, **k)
    )
    fitted = fit_probe("knn", X, y, n_jobs=1)
    assert any("selected on a stratified sample of" in note for note in fitted.notes)
    assert held == [(64, 5), (356, 1)]  # for the temperature one fold of all rows
    assert fitted.estimator.estimator_.steps[-1][1].n_samples_fit_ == 356


def test_without_a_choice_the_last_fit_runs_beside_the_one_for_held_rows(monkeypatch):
    monkeypatch.setattr(folds, "ENOUGH", 20)
    X, y = skewed((60, 60))
    held, counts, real = [], [], fitting.predict_out_of_fold
    monkeypatch.setattr(
        fitting, "predict_out_of_fold", lambda *a, **k: held.append(len(a[4])) or real(*a, **k)
    )
    monkeypatch.setattr(
        fitting,
        "run_in_threads",
        lambda work, calls, n: counts.append(len(calls)) or run_in_threads(work, calls, n),
    )
    one, two = (fit_probe("boosting", X, y, n_jobs=n) for n in (1, 2))
    assert (held, counts) == ([1, 1], [2, 2])
    assert one.cv_score == two.cv_score
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-6)


def test_a_large_grouped_set_keeps_its_groups_in_the_sample(monkeypatch):
    monkeypatch.setattr(fitting, "SELECTION_ROWS", 60)
    monkeypatch.setattr(training_rows, "SELECTION_ROWS", 60)
    X, y = skewed((200, 150))
    fitted = fit_probe("ridge", X, y, groups=np.arange(350) // 3, n_jobs=1)
    assert fitted.cv_score is not None


def test_a_probe_with_a_limit_of_rows_is_fitted_on_a_stratified_sample(monkeypatch):
    small = fit_plan.get_probe("rbf-svm")
    monkeypatch.setattr(
        fit_plan, "get_probe", lambda name, task: type(small)(**{**vars(small), "max_rows": 50})
    )
    X, y = skewed((200, 100))
    fitted = fit_probe("rbf-svm", X, y, groups=np.arange(300), n_jobs=1)
    assert any("fitted on a stratified sample of 50 of 300" in note for note in fitted.notes)


def test_a_forest_is_judged_by_the_trees_that_did_not_draw_a_row(monkeypatch):
    X, y = skewed((20, 20))
    fitted = fit_probe("forest", X, y, n_jobs=1)
    forest = fitted.estimator.estimator_.steps[-1][1]
    held = forest.oob_decision_function_
    assert fitted.cv_score == pytest.approx((held.argmax(axis=1) == y).mean())
    scores = log_probabilities(held)
    assert fitted.estimator.temperature_ == pytest.approx(1 / fit_sharpness(scores, y))
    # Groups need folds, and so do weights, by which the trees would draw the rows; two folds are enough here.
    monkeypatch.setattr(fitting, "_FEW_FOLDS_ROWS_SLOW", 1)
    grouped = fit_probe("forest", X, y, groups=np.arange(40) // 2, n_jobs=1)
    weighted = fit_probe("forest", *skewed((20, 8)), n_jobs=1)
    assert 0.5 < grouped.cv_score < 1
    assert 0.5 < weighted.cv_score < 1


def test_ones_own_classifier_is_selected_over_its_grid(train, held_out):
    given = KNeighborsClassifier()
    for asked in (
        fit_probe("mine", *train, estimator=given, grid={"n_neighbors": [40, 5]}, n_jobs=1),
        fit_probe(("mine", given, {"n_neighbors": [40, 5]}), *train, n_jobs=1),
    ):
        assert asked.name == asked.title == "mine"
        assert asked.params == {"n_neighbors": 5}
        assert asked.cv_score > 0.6
        assert asked.kind == "probe"
        assert (asked.predict(held_out[0]) == held_out[1]).mean() > 0.5
    assert not hasattr(given, "classes_")


def test_ones_own_classifier_needs_no_grid(train):
    fitted = fit_probe(("mine", RandomForestClassifier(10, random_state=0)), *train)
    assert fitted.params == {}
    assert fitted.cv_score is None


def test_ones_own_margin_classifier_gets_a_temperature(train, held_out):
    fitted = fit_probe(("mine", make_pipeline(StandardScaler(), SGDClassifier(random_state=0))), *train)
    np.testing.assert_allclose(fitted.predict_proba(held_out[0]).sum(axis=1), 1, atol=1e-5)


def test_settings_that_are_objects_are_reported_as_text(train):
    fitted = fit_probe(("mine", SVC(), {"gamma": [np.float64(0.1), "scale"], "C": np.array([1.0])}), *train)
    assert fitted.params["gamma"] in (0.1, "scale")
    assert fitted.params["C"] == 1.0


def test_a_solver_that_did_not_converge_becomes_a_note_and_no_warning(train):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_probe(("mlp", MLPClassifier((4,), max_iter=2, random_state=0)), *train)
    assert fitted.notes == ["the solver stopped before it had converged, for some settings at least"]


class Noisy(DummyClassifier):
    def fit(self, X, y, sample_weight=None):
        warnings.warn("mind the gap", UserWarning, stacklevel=2)
        return super().fit(X, y, sample_weight)


def test_other_warnings_reach_the_caller(train):
    with pytest.warns(UserWarning, match="mind the gap"):
        fit_probe(("noisy", Noisy()), *train)


X3, Y3 = np.zeros((4, 3), np.float32), np.array([0, 0, 1, 1])
NAN = np.array([[0, 0, 0], [0, np.nan, 0], [0, 0, np.inf], [0, 0, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("logreg", X3[0], Y3), r"got float32, shape \(3,\)"),
        (("logreg", np.zeros((0, 3)), []), "features are empty"),
        (("logreg", np.zeros((4, 0)), Y3), r"features are empty: got shape \(4, 0\)"),
        (("logreg", np.array([["a"]] * 4), Y3), "must be numbers"),
        (("logreg", NAN, Y3), r"features of row 1 are not finite \(2 such rows\)"),
        (("logreg", X3, Y3[:3]), r"one label for each of 4 rows, got shape \(3,\)"),
        (("logreg", X3, ["a", "b", "a", "b"]), "labels must be integers"),
        (("logreg", X3, Y3.astype(float)), "labels must be integers"),
        (("", X3, Y3), "needs a name"),
        ((3, X3, Y3), "needs a name"),
        ((("a",), X3, Y3), "got 1 values"),
        ((("a", Ridge()), X3, Y3), "'a' must be a scikit-learn classifier instance, got Ridge"),
        ((("a", SVC), X3, Y3), "classifier instance, got SVC"),
        ((("a", 7), X3, Y3), "classifier instance, got int"),
        ((("a", SVC(), {"c": [1]}), X3, Y3), "SVC has no setting 'c'"),
        ((("a", SVC(), {"gama": [1]}), X3, Y3), r"'gama'; did you mean gamma\?"),
        ((("a", SVC(), {"C": []}), X3, Y3), "C needs a list of values"),
        ((("a", SVC(), {"C": 1.0}), X3, Y3), "C needs a list of values to try, got 1.0"),
        ((("a", SVC(), {"kernel": "rbf"}), X3, Y3), "kernel needs a list of values to try, got 'rbf'"),
    ],
)
def test_bad_input_is_explained_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        fit_probe(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [1, 2]}, r"one group for each of 4 rows, got shape \(2,\)"),
        ({"grid": {"C": [1]}}, "a grid was given for 'logreg' without an estimator"),
        ({"n_jobs": 0}, "n_jobs must be a positive number"),
        ({"n_jobs": 1.5}, "n_jobs must be a positive number"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(InputError, match=message):
        fit_probe("logreg", X3, Y3, **options)


def test_an_estimator_is_given_once():
    with pytest.raises(InputError, match="besides"):
        fit_probe(("a", SVC()), X3, Y3, estimator=SVC())


def test_one_class_cannot_be_trained():
    with pytest.raises(DatasetError, match=r"at least 2 classes, got 1 \(label 7 only\)"):
        fit_probe("logreg", X3, [7] * 4)


def test_an_unknown_probe_is_named():
    with pytest.raises(UnknownName, match="unknown classifier 'xgboost'"):
        fit_probe("xgboost", X3, Y3)


class OnlyLabels(NearestCentroid):
    predict_proba = decision_function = property()


def test_a_classifier_that_only_gives_labels_is_refused():
    with pytest.raises(InputError, match="neither predict_proba nor decision_function"):
        fit_probe(("labels", OnlyLabels()), X3, Y3)
