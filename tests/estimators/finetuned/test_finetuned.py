"""Use fine-tuning as a classifier of scikit-learn."""

from __future__ import annotations

import doctest
import pickle
import random
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import COLOURS, QUICK, picture
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, FineTunedClassifier
from featx.errors import FeatxError, InputError, ModelMismatch, UnknownName
from featx.estimators.finetuned import classifier as classifier_module

SQUEEZE = QUICK | {"backbone": "squeezenet1_1", "device": "cpu", "random_state": 0}


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """Layers are trained in float32, also on a machine with bfloat16."""
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)


def classifier(mode="head", **options):
    return FineTunedClassifier(**(SQUEEZE | {"mode": mode} | options))


def layers(mode, **options):
    """A short training that changes the layers visibly."""
    return classifier(mode, epochs=2, lr_backbone=0.02, unfreeze=1, early_stopping=False, **options)


@pytest.fixture(scope="module")
def images():
    """(images, names): ten small pictures of each of three colours."""
    X = [np.array(picture(rgb, 100 * k + i)) for k, rgb in enumerate(COLOURS.values()) for i in range(10)]
    return np.stack(X), np.repeat(list(COLOURS), 10)


def losses(fitted):
    return [(entry["epoch"], entry["train_loss"], entry["val_loss"]) for entry in fitted.history_]


# Fit and predict


@pytest.mark.parametrize("mode", ["head", "last", "gradual", "full"])
def test_every_mode_learns_and_says_how(images, mode):
    X, y = images
    model = classifier(mode, epochs=None if mode == "head" else 2)
    assert model.fit(X, y) is model
    assert is_classifier(model)
    assert model.score(X, y) >= 0.9
    assert model.classes_.tolist() == sorted(COLOURS)
    assert model.n_features_in_ == 1
    assert model.recipe_.mode == mode
    assert model.n_iter_ == model.history_[-1]["epoch"] >= 1
    assert 0 <= model.best_epoch_ <= model.n_iter_
    proba, scores = model.predict_proba(X), model.decision_function(X)
    assert proba.shape == scores.shape == (30, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[scores.argmax(axis=1)])


def test_further_fields_of_the_recipe_are_given_as_a_dict(images):
    model = classifier("full", epochs=1, lr_backbone=0.01, recipe={"ema": 0.5, "layer_decay": 0.7})
    recipe = model.fit(*images).recipe_
    assert (recipe.ema, recipe.layer_decay, recipe.lr_backbone, recipe.lr_search) == (0.5, 0.7, 0.01, ())
    with pytest.raises(FeatxError, match="recipe field 'emma'; did you mean ema"):
        classifier("full", recipe={"emma": 0.5}).fit(*images)
    with pytest.raises(FeatxError, match="epochs is a parameter of its own"):
        classifier("full", recipe={"epochs": 5}).fit(*images)


def test_the_score_of_two_classes_is_the_log_odds(images):
    X, y = images[0][:20], images[1][:20]
    model = classifier().fit(X, y)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(model.decision_function(X), np.log(proba[:, 1] / proba[:, 0]), rtol=1e-6)


def test_an_image_is_the_same_as_path_pil_bytes_and_array(images, photos):
    paths = sorted(photos.rglob("*.png"))
    model = classifier().fit(paths, [path.parent.name for path in paths])
    few = paths[::5]
    expected = model.predict_proba(few)
    pil = [
        picture(COLOURS[path.parent.name], 1000 * list(COLOURS).index(path.parent.name) + int(path.stem))
        for path in few
    ]
    forms = [
        list(map(str, few)),
        [path.read_bytes() for path in few],
        pil,
        [np.array(image) for image in pil],
    ]
    for form in [*forms, np.stack(forms[-1]), pd.Series(map(str, few))]:
        np.testing.assert_allclose(model.predict_proba(form), expected, rtol=1e-4, atol=1e-6)


def test_what_is_given_takes_the_place_of_the_default_recipe(images):
    model = classifier("last", epochs=1, batch_size=7, lr_head=0.05, unfreeze=2, augment=False).fit(*images)
    recipe = model.recipe_
    assert (recipe.epochs, recipe.batch_size, recipe.lr_head) == (1, 7, 0.05)
    assert (recipe.unfreeze, recipe.augment, recipe.momentum) == (2, False, 0.9)


# Labels


LABELS = st.one_of(
    st.tuples(
        st.sampled_from([np.int8, np.int64, np.uint16]), st.sets(st.integers(0, 120), min_size=2, max_size=3)
    ),
    st.tuples(st.just(np.float64), st.sets(st.integers(-9, 9), min_size=2, max_size=3)),
    st.tuples(st.just(bool), st.just({False, True})),
    st.tuples(
        st.sampled_from([str, object]),
        st.sets(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, max_size=3
        ),
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LABELS)
def test_any_kind_of_label_comes_back_with_its_dtype(images, kind):
    dtype, values = kind
    chosen = np.array(sorted(values), dtype=dtype)
    y = chosen[np.arange(12) % len(chosen)]
    model = classifier(epochs=2).fit(images[0][:12], y)
    assert model.classes_.tolist() == chosen.tolist()
    predicted = model.predict(images[0])
    assert predicted.dtype == y.dtype
    assert set(predicted.tolist()) <= set(chosen.tolist())
    again = classifier(epochs=2).fit(images[0][:12], y.tolist())
    assert again.predict(images[0]).tolist() == predicted.tolist()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y"),
        (np.linspace(0, 1, 30), "Unknown label type: continuous"),
        ([float("nan"), *[1.0, 2.0] * 14, 1.0], r"y\[0\] is missing"),
        (["a", "b", None] * 10, r"y\[2\] is missing"),
        (["a"] * 30, "at least 2 classes, got 1 class: 'a'"),
        (["a", "b"], "one label for each of the 30 images, got 2"),
        (np.zeros((30, 2), int), "1d array"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(images, y, message):
    with pytest.raises(ValueError, match=message) as caught:
        classifier().fit(images[0], y)
    assert len(str(caught.value).splitlines()) == 1


# Parameters


def test_nothing_is_loaded_or_checked_before_fit():
    model = FineTunedClassifier("no-such-backbone", mode="sideways")
    assert clone(model).get_params() == model.get_params()
    assert vars(model) == model.get_params()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "sideways"}, UnknownName, "fine-tuning mode"),
        ({"backbone": "no-such-backbone"}, UnknownName, "no-such-backbone"),
        ({"precision": "int8"}, InputError, "int8"),
        ({"validation_fraction": 1.0}, InputError, r"validation_fraction must lie between 0 and 1, got 1\.0"),
        ({"early_stopping": "yes"}, InputError, "early_stopping must be True or False, got 'yes'"),
        ({"random_state": -1}, InputError, "random_state"),
        ({"lr_head": -1.0}, InputError, "lr_head"),
        ({"epochs": 0}, InputError, "epochs"),
    ],
)
def test_parameters_are_checked_by_fit(images, options, error, message):
    with pytest.raises(error, match=message):
        classifier(**options).fit(*images)


def test_an_unfitted_classifier_does_not_predict(images):
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(images[0])


def test_there_is_no_sample_weight(images):
    with pytest.raises(TypeError, match="sample_weight"):
        classifier().fit(*images, sample_weight=np.ones(30))


# Chance


@pytest.mark.parametrize("mode", ["head", "last"])
def test_the_same_random_state_gives_the_same_predictions_and_another_another(images, mode):
    X, y = images
    first, again, other = (
        classifier(mode, epochs=2, random_state=seed).fit(X, y) for seed in (3, np.int64(3), 4)
    )
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    assert losses(first) == losses(again) != losses(other)


def test_a_random_state_object_is_drawn_from_and_none_is_fresh(images):
    def fitted(state):
        return losses(classifier(epochs=2, random_state=state).fit(*images))

    assert fitted(np.random.RandomState(5)) == fitted(np.random.RandomState(5))
    assert fitted(None) != fitted(None)


def test_global_random_states_are_neither_read_nor_moved(images):
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    classifier("last", epochs=1, random_state=None).fit(*images).predict(images[0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


# Early stopping


def test_early_stopping_sets_a_stratified_part_aside(images):
    kept = classifier(patience=2, validation_fraction=0.3).fit(*images)
    assert all(entry["val_loss"] is not None for entry in kept.history_)
    assert kept.best_epoch_ == kept.history_[int(np.argmin([e["val_loss"] for e in kept.history_]))]["epoch"]
    run = classifier(early_stopping=False, epochs=7).fit(*images)
    assert run.n_iter_ == run.best_epoch_ == 7
    assert all(entry["val_loss"] is None for entry in run.history_)


def test_epochs_that_are_asked_for_are_run_to_the_end_of_their_schedule():
    assert classifier("full", epochs=50)._recipe(20).patience == 50
    assert classifier("full", epochs=50, patience=4)._recipe(20).patience == 4
    assert classifier("head", epochs=50)._recipe(20).patience == classifier("head")._recipe(20).patience


def test_all_images_are_trained_on_once_the_validation_has_chosen(images):
    model = classifier(validation_fraction=0.3).fit(*images)
    assert [entry["epoch"] for entry in model.refit_history_] == list(range(1, model.best_epoch_ + 1))
    assert any("on all 30" in note for note in model.notes_)
    for kept in (classifier(recipe={"refit": False}), classifier(early_stopping=False, epochs=3)):
        assert kept.fit(*images).refit_history_ == []


def test_single_images_train_without_a_validation_part_and_say_so(images):
    with pytest.warns(UserWarning, match="single image"):
        model = classifier(epochs=3).fit(images[0][::10], images[1][::10])
    assert model.n_iter_ == 3
    assert any("no validation images" in note for note in model.notes_)


# Frozen embeddings


def test_the_embeddings_are_those_of_the_extractor_and_each_image_is_met_once(images, monkeypatch):
    import featx.engines.torch as engine

    X, y = images
    common = {name: value for name, value in SQUEEZE.items() if name != "random_state"}
    FeatureExtractor(**common).transform(X[:1] // 2)  # the engine has been compared with the reference
    calls = []
    original = engine.TorchEngine.__call__

    def counted(self, batch):
        calls.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(engine.TorchEngine, "__call__", counted)
    assert cross_val_score(classifier(), X, y, cv=3).mean() > 0.8
    assert sum(calls) == len(X)
    FeatureExtractor(**common).transform(X)
    cross_val_score(classifier(lr_head=1.0), X, y, cv=5)
    assert sum(calls) == len(X)


def test_predictions_are_in_the_precision_of_the_training_or_better(images, monkeypatch):
    model = classifier(precision="bf16", epochs=5).fit(*images)
    assert model._fitted.precision == "bf16"
    asked, original = [], classifier_module.network_embedder
    monkeypatch.setattr(
        classifier_module,
        "network_embedder",
        lambda backbone, run: asked.append(run.precision) or original(backbone, run),
    )
    expected = model.predict(images[0])
    model.set_params(precision="auto")  # which is fp32 here, as on a machine without bf16
    assert (model.predict(images[0]) == expected).mean() > 0.9
    assert asked == ["bf16", "fp32"]


def test_the_example_runs():
    assert doctest.testmod(classifier_module).failed == 0
    assert doctest.testmod(classifier_module).attempted > 0


# Warm start


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_a_warm_start_goes_on_where_the_fit_before_ended(images, mode):
    X, y = images[0], np.tile(list(COLOURS), 10)  # labels that cannot be learned at once
    model = classifier(mode, epochs=3, warm_start=True, early_stopping=False, augment=False).fit(X, y)
    before = model.predict_proba(X)
    model.fit(X, y)
    assert model.history_[0]["epoch"] == 0
    assert model.n_iter_ == 3
    reached = -np.log(before[np.arange(30), np.searchsorted(model.classes_, y)]).mean()
    assert model.history_[0]["train_loss"] == pytest.approx(reached, rel=1e-3)
    assert not np.array_equal(model.predict_proba(X), before)


def test_a_cold_start_forgets(images):
    model = classifier(epochs=3).fit(*images)
    before = losses(model)
    assert losses(model.fit(*images)) == before


def test_what_was_set_aside_is_not_trained_on_by_a_warm_start(images, monkeypatch):
    parts = []
    original = classifier_module.validation_part
    monkeypatch.setattr(
        classifier_module, "validation_part", lambda *a, **k: parts.append(original(*a, **k)) or parts[-1]
    )
    model = classifier(epochs=2, warm_start=True, random_state=None).fit(*images)
    model.fit(*images)
    np.testing.assert_array_equal(parts[0][1], parts[1][1])
    assert model.refit_history_ == []


def test_a_warm_start_after_a_training_on_all_images_sets_none_aside(images):
    model = classifier(epochs=2).fit(*images)
    assert model.refit_history_
    model.set_params(warm_start=True).fit(*images)
    assert [entry["val_loss"] for entry in model.history_] == [None] * 3
    assert any("no image was set aside" in note for note in model.notes_)


def test_a_warm_start_from_head_to_layers_and_not_back(images):
    X, y = images
    model = classifier(warm_start=True, early_stopping=False, epochs=5).fit(X, y)
    head = model.predict_proba(X)
    model.set_params(mode="last", epochs=1, lr_backbone=0.02).fit(X, y)
    reached = -np.log(head[np.arange(30), np.searchsorted(model.classes_, y)]).mean()
    assert model.history_[0]["train_loss"] == pytest.approx(reached, rel=1e-3)
    with pytest.raises(InputError, match="mode 'head' works on embeddings of the pretrained network"):
        model.set_params(mode="head").fit(X, y)


def test_a_warm_start_with_other_classes_or_another_backbone_is_refused(images):
    X, y = images
    model = classifier(epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(InputError, match=r"classes 'crimson', 'leaf', 'sky', and y holds 'leaf', 'sky'"):
        model.fit(X[10:], y[10:])
    with pytest.raises(ModelMismatch, match="architecture"):
        model.set_params(backbone="shufflenet_v2_x0_5").fit(X, y)


# Pickles


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_a_pickle_predicts_the_same_to_the_last_bit(images, tmp_path, mode, backbone):
    X, y = images
    model = layers(mode, backbone=backbone).fit(X, y)
    expected = model.predict_proba(X)
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert losses(again) == losses(model)
        twice = pickle.loads(pickle.dumps(again))  # before it has rebuilt anything
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        np.testing.assert_array_equal(twice.predict_proba(X), expected)


def test_a_pickle_holds_what_was_trained_and_nothing_that_was_not(images):
    sizes = {mode: len(pickle.dumps(layers(mode).fit(*images))) for mode in ("head", "last", "full")}
    network = sum(p.numel() * 4 for p in layers("head")._backbone().module.parameters())
    assert sizes["head"] < 30_000
    assert sizes["head"] + 50_000 < sizes["last"] < network / 2
    assert network < sizes["full"] < network + 100_000
    assert b"torch." not in pickle.dumps(layers("last").fit(*images))


def test_a_pickle_goes_on_by_a_warm_start(images):
    model = layers("last", warm_start=True).fit(*images)
    again = pickle.loads(pickle.dumps(model))
    assert losses(again.fit(*images)) == losses(model.fit(*images))


def test_other_weights_where_it_is_unpickled_are_one_clear_error(images, tmp_path):
    from torchvision.models import squeezenet1_1

    def write(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "own.pth")

    write(1)
    data = pickle.dumps(classifier(weights=str(tmp_path / "own.pth"), epochs=1).fit(*images))
    assert pickle.loads(data).predict(images[0]).shape == (30,)
    write(2)
    again = pickle.loads(data)
    with pytest.raises(ModelMismatch, match="weights_sha256") as caught:
        again.predict(images[0])
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, FeatxError)


def test_a_fitted_classifier_keeps_its_network_when_a_parameter_is_set(images):
    model = classifier(epochs=2).fit(*images)
    expected = model.predict(images[0])
    model.set_params(backbone="shufflenet_v2_x0_5")
    np.testing.assert_array_equal(model.predict(images[0]), expected)
    with pytest.raises(ModelMismatch, match="squeezenet1_1"):
        pickle.loads(pickle.dumps(model)).predict(images[0])


# Among scikit-learn's tools


def test_a_grid_over_modes_and_rates_is_the_same_serial_and_in_threads(images):
    X, y = images
    grid = {"mode": ["head", "last"], "lr_head": [0.1, 1.0]}
    searches = []
    for n_jobs in (1, 2):
        search = GridSearchCV(classifier(epochs=2, unfreeze=1), grid, cv=2, n_jobs=n_jobs)
        with joblib.parallel_backend("threading"):
            searches.append(search.fit(X, y))
    serial, threaded = searches
    np.testing.assert_allclose(
        threaded.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"], atol=1e-9
    )
    assert threaded.best_params_ == serial.best_params_


def test_training_in_threads_leaves_torch_its_number_of_threads(images):
    torch.set_num_threads(before := torch.get_num_threads())
    with joblib.parallel_backend("threading"):
        cross_val_score(classifier(epochs=30), *images, cv=6, n_jobs=3)
    assert torch.get_num_threads() == before


def test_processes_give_the_scores_of_a_serial_run(images):
    X, y = images
    serial = cross_val_score(classifier(), X, y, cv=2)
    np.testing.assert_allclose(cross_val_score(classifier(), X, y, cv=2, n_jobs=2), serial)
    # Layers are trained in the precision of the machine there, and in float32 in this process.
    assert cross_val_score(classifier("last", epochs=1), X, y, cv=2, n_jobs=2).min() > 0.6


def test_it_votes_beside_a_pipeline_and_is_calibrated(images):
    X, y = images
    common = {name: value for name, value in SQUEEZE.items() if name != "random_state"}
    pipe = make_pipeline(FeatureExtractor(**common), LogisticRegression(max_iter=500))
    vote = VotingClassifier([("tuned", classifier(epochs=5)), ("probe", pipe)], voting="soft").fit(list(X), y)
    assert vote.score(list(X), y) > 0.8
    calibrated = CalibratedClassifierCV(classifier(epochs=5), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_verbose_tells_of_every_epoch_on_standard_error(images, capsys):
    model = classifier("last", epochs=2, verbose=True).fit(*images)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("epoch ", "before"))]
    assert len(told) == len(model.history_) + len(model.refit_history_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(epochs=1).fit(*images)
    assert capsys.readouterr().err == ""
