"""A comparison of texts: TF-IDF is what a network must beat, and everything else works as for images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from texts import QUICK, reviews, write_bert

from featx import compare, extract, learning_curve
from featx.data import Dataset
from featx.data.tasks import Task
from featx.inputs.text import StringText
from featx.metrics import Interval
from featx.results import ComparisonResult, CurveResult
from featx.studies.curves.summary import advise

pytest.importorskip("transformers")

N = 24
TEXTS, LABELS = reviews(N // 2)
Y = np.array([label == "liked" for label in LABELS]).astype(int)
FAST = QUICK | {"classifiers": ["lda", "naive-bayes"], "baseline": "none", "n_boot": 20, "verbose": False}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    return [f"hf:{write_bert(root / name, seed=seed)}" for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return {"cache": tmp_path_factory.mktemp("cache")}


def method_of(result, name):
    """The method of this name, or the first one that has it."""
    return next(method for method in result.methods if method.name == name)


def dataset(**fields):
    return Dataset("reviews", [StringText(str(i), text) for i, text in enumerate(TEXTS)], **fields)


@pytest.fixture(scope="module")
def compared(networks, cache):
    return compare(TEXTS, LABELS, backbones=networks, **FAST, **cache)


def test_tfidf_is_a_reference_that_the_networks_are_tested_against(compared):
    tfidf = method_of(compared, "tfidf")
    assert (tfidf.kind, tfidf.backbone, tfidf.image_size) == ("floor", None, None)
    assert tfidf.title == "TF-IDF (words and characters), logistic regression"
    assert [m.name for m in compared.methods if m.is_reference] == ["majority", "tfidf"]
    for method in compared.methods:
        if method.competes:
            assert set(method.versus_references) == {"majority", "tfidf"}
    assert compared.dataset["kind"] == "text"


def test_the_ensemble_of_two_networks_is_tested_against_its_best_member(compared, networks):
    ensemble = compared.ensemble
    assert {member["backbone"] for member in ensemble["members"]} == set(networks)
    assert sum(member["weight"] for member in ensemble["members"]) == pytest.approx(1)
    assert 0 <= ensemble["versus_best_member"]["p_adjusted"] <= 1


def test_it_says_texts_and_is_read_back(compared, tmp_path):
    said = " ".join([compared.advice, compared.table(), *compared.warnings])
    assert "text" in said
    assert "image" not in said
    compared.save(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["dataset"]["kind"] == "text"
    assert (
        method_of(ComparisonResult.read_json(tmp_path / "results.json"), "tfidf").top1
        == method_of(compared, "tfidf").top1
    )


def test_a_second_run_sends_no_text_through_a_network(compared, networks, cache):
    again = compare(TEXTS, LABELS, backbones=networks[0], **FAST, **cache)
    assert again.forward_passes == 0
    assert method_of(again, "tfidf").top1 == method_of(compared, "tfidf").top1


def test_a_features_file_has_no_texts_to_learn_from(networks, cache):
    features = extract(TEXTS, LABELS, backbone=networks[0], verbose=False, **QUICK, **cache)
    result = compare(features, **{k: v for k, v in FAST.items() if k not in QUICK})
    assert "tfidf" not in {method.name for method in result.methods}
    missing = "compared from a features file: no TF-IDF reference and no fine-tuned baseline without texts"
    assert missing in result.warnings


def test_several_tasks_groups_and_numbers_have_it_too(networks, cache):
    stars = Task("stars", np.where(Y, 4.0, 1.0) + np.arange(N) % 2, None)
    genre = Task("genre", np.where(np.arange(N) < 3, -1, np.arange(N) // 2 % 2), ("film", "series"))
    data = dataset(labels=Y, classes=("no", "yes"), groups=np.arange(N) // 2, targets={"stars": stars})
    options = FAST | cache | {"backbones": networks[0], "regressors": ["ridge"]}
    results = compare(replace(data, targets={"stars": stars, "genre": genre}), **options)
    for name, task in results.tasks.items():
        assert {"tfidf"} < {method.name for method in task.methods}, name
    assert method_of(results.tasks["stars"], "tfidf").title.endswith("ridge regression")
    assert results.tasks["genre"].dataset["n_unlabelled"] == 3


def test_splits_are_repeated_for_it(networks, cache):
    result = compare(TEXTS, LABELS, backbones=networks[0], seeds=2, **FAST, **cache)
    (tfidf,) = (method for method in result.repeats.methods if method.name == "tfidf")
    assert len(tfidf.metrics["top1"]) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ["?!", "...", "!!", "?"] * (N // 4),
        [str(i) for i in range(N)],
        ["good", "bad"] * (N // 2),
    ],
    ids=["no word", "digits", "one word"],
)
def test_texts_of_hardly_anything_are_compared(texts, networks, cache):
    result = compare(texts, LABELS, backbones=networks[0], checks=False, **FAST, **cache)
    assert 0 <= method_of(result, "tfidf").top1 <= 1


def test_a_curve_says_from_how_many_labels_on_tfidf_keeps_up(networks, cache, tmp_path):
    options = QUICK | cache | {"classifiers": ["lda", "naive-bayes"], "verbose": False}
    result = learning_curve(TEXTS, LABELS, backbones=networks[0], shots=[1, 4], seeds=3, **options)
    assert [m.name for m in result.methods if m.is_reference] == ["tfidf"]
    (gap,) = result.reference_gaps
    assert gap.method == "tfidf"
    assert set(gap.differences) == {"1", "4"}
    tfidf, best = (result.metric(m, result.levels[-1]).value for m in (result.methods[0], result.methods[1]))
    assert gap.differences["4"].low <= gap.differences["4"].value <= gap.differences["4"].high
    assert gap.differences["4"].value <= tfidf - best + 0.5
    assert "TF-IDF is " in result.advice
    assert "image" not in result.advice
    for point in result.points:
        point.metrics["top1"] = Interval(0.9 if point.method == "tfidf" else 0.8)
    assert "has the highest mean top-1 of the methods on a network, 0.800" in advise(result)
    assert "which needs no network, has 0.900" not in advise(result)  # the gap says it
    assert "which needs no network, has 0.900." in advise(replace(result, reference_gaps=[]))
    for point in result.points:
        point.metrics["top1"] = Interval(0.7 if point.method == "tfidf" else 0.8)
    assert "has the highest mean top-1, 0.800" in advise(result)
    result.save(tmp_path)
    (read,) = CurveResult.read_json(tmp_path / "curve.json").reference_gaps
    assert read.shots == gap.shots
    assert read.differences["1"].value == pytest.approx(gap.differences["1"].value)
