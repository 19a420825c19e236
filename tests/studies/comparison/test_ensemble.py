"""Several backbones in a comparison: their ensemble, its weights, and what each member adds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures import BACKBONE, OTHER, write_photos
from scipy.special import softmax
from sklearn.base import clone

import featx
from featx import compare, load_dataset, load_model
from featx.cli import main
from featx.data.splits import make_split
from featx.errors import InputError
from featx.methods.probes import fit_probe, held_out_probabilities
from featx.methods.probes.folds import make_folds
from featx.methods.probes.temperature import fit_sharpness, log_scores

TWO = [BACKBONE, OTHER]
QUICK = {"weights": None, "image_size": 32, "baseline": "none", "n_boot": 50}
SHADES = {"one": (120, 100, 100), "two": (100, 120, 100), "three": (105, 105, 115)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("ensemble") / "shades", 24, colours=SHADES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(photos, cache):
    plain = {"engine": "torch", "precision": "fp32"}
    return compare(photos, backbones=TWO, classifiers=["logreg", "knn"], cache=cache, **plain, **QUICK)


def test_train_makes_the_same_ensemble(photos, result, cache, tmp_path, monkeypatch):
    """The same members and weights as in the comparison, before and after a file."""
    monkeypatch.setattr("featx.methods.probes.fitting.probe_names", lambda: ("logreg", "knn"))
    dataset = load_dataset(photos)
    split = make_split(dataset.labels, test_size=0.25, seed=0)
    dataset.splits = np.where(np.isin(np.arange(len(dataset)), split.test), "test", "train")
    quick = {"weights": None, "image_size": 32, "cache": cache}
    model = featx.train(dataset, classifier="ensemble", backbone=TWO, **quick)
    ensemble = result.methods[-1]
    assert model.info["params"] == ensemble.params
    assert model.info["validation"]["n"] == result.ensemble["n_held_out"]
    assert model.save(tmp_path / "m").stat().st_size < 200_000
    again = load_model(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == again.save(tmp_path / "again").read_bytes()
    images = [photos / dataset.ids[i] for i in split.test]
    predicted = again.predict(images, cache=cache)
    assert predicted == model.predict(images, cache=cache)
    right = [one.label == path.parent.name for one, path in zip(predicted, images, strict=True)]
    assert np.mean(right) == ensemble.top1
    rows = [one.predict_proba(np.ones((1, 512), np.float32)) for one in again.members]
    weights = [member["weight"] for member in result.ensemble["members"]]
    np.testing.assert_allclose(
        again.predict_proba(np.ones((1, 1024), np.float32)), np.tensordot(weights, rows, 1), atol=1e-12
    )
    with pytest.raises(InputError, match=r"weights='w' is the checkpoint of one backbone, .* has 2"):
        again.predict(images, weights="w")


def test_the_ensemble_is_one_more_method(result, tmp_path):
    assert [m.name for m in result.methods][-1] == "ensemble"
    ensemble = result.methods[-1]
    assert (ensemble.kind, ensemble.backbone) == ("probe", None)
    members = result.ensemble["members"]
    assert [m["backbone"] for m in members] == TWO
    assert sum(m["weight"] for m in members) == pytest.approx(1)
    assert result.ensemble["n_held_out"] == 54
    assert ensemble.params[TWO[0]]["weight"] == members[0]["weight"]
    by_name = {(m.name, m.backbone): m for m in result.methods}
    for j, member in enumerate(members):
        assert member["top1"] == by_name[member["classifier"], member["backbone"]].top1
        # Without one of two the ensemble is the other one.
        other = members[1 - j]["top1"]
        assert member["adds"]["difference"] == pytest.approx(ensemble.top1 - other)
        adds = member["adds"]
        assert adds["p_value"] <= adds["p_adjusted"] <= 1
        assert adds["low_adjusted"] <= adds["low"] + 1e-9
        assert adds["high"] - 1e-9 <= adds["high_adjusted"]
    best = max(m["top1"] for m in members)
    assert result.ensemble["versus_best_member"]["difference"] == pytest.approx(ensemble.top1 - best)
    fits = [by_name[m["classifier"], m["backbone"]].seconds["fit"] for m in members]
    assert ensemble.seconds["fit"] > sum(fits)
    assert "what each backbone adds" in result.advice

    report = result.save(tmp_path / "out").read_text(encoding="utf-8")
    assert "What each backbone adds to the ensemble" in report
    assert "p-values and intervals are adjusted for all these tests" in report
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["ensemble"]["best_member"] in TWO
    assert type(result).from_dict(content).ensemble == content["ensemble"]


def test_one_backbone_or_a_wish_makes_none(capsys, photos, tmp_path):
    assert compare(photos, backbones=BACKBONE, classifiers="lda", **QUICK).ensemble is None
    command = ["compare", str(photos), "-o", str(tmp_path), "--backbone", *TWO, "--classifiers", "lda"]
    command += ["--weights", "random", "--image-size", "32", "--baseline", "none", "--quiet"]
    assert main([*command, "--no-ensemble"]) == 0
    assert "Ensemble" not in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["ensemble"] is None


def test_with_one_image_of_a_class_the_weights_are_equal(tmp_path):
    data = tmp_path / "data"
    write_photos(data / "train", 1, colours=SHADES)
    write_photos(data / "test", 4, colours=SHADES, seed=500)
    result = compare(data, backbones=TWO, classifiers=["logreg"], **QUICK)
    assert result.ensemble["n_held_out"] == 0
    assert [m["weight"] for m in result.ensemble["members"]] == [0.5, 0.5]


def rows_of(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (rng.normal(size=(n, 5)) + np.eye(3, 5)[y]).astype(np.float32), y


@pytest.mark.parametrize("name", ["logreg", "lda", "svm"])
def test_held_out_probabilities_are_of_models_that_did_not_see_the_row(name):
    X, y = rows_of(90)
    fitted = fit_probe(name, X, y, seed=1)
    rows, found = held_out_probabilities(fitted, X, y, seed=1)
    assert rows.tolist() == list(range(90))
    scores = np.empty_like(found)
    folds = make_folds(y, None, 1)
    for train, held in folds:
        model = clone(fitted.estimator.estimator).fit(X[train], y[train])
        scores[held] = log_scores(model, X[held], "margins")
    for train, held in folds:
        expected = softmax(scores[held] * fit_sharpness(scores[train], y[train]), axis=1)
        np.testing.assert_allclose(found[held], expected, atol=2e-3)


def test_two_rows_a_class_can_be_held_out_from_discriminant_analysis():
    X, y = rows_of(6)
    rows, found = held_out_probabilities(fit_probe("lda", X, y), X, y)
    assert (len(rows), found.shape) == (6, (6, 3))
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_of_many_rows_a_sample_is_held_out(monkeypatch):
    X, y = rows_of(300)
    fitted = fit_probe("lda", X, y)
    monkeypatch.setattr("featx.methods.probes.held_out.SELECTION_ROWS", 60)
    rows, found = held_out_probabilities(fitted, X, y)
    assert (len(rows), found.shape) == (60, (60, 3))
    assert np.bincount(y[rows]).tolist() == [20, 20, 20]
    np.testing.assert_allclose(found.sum(axis=1), 1)
