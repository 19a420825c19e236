"""A comparison counts groups and copies once, says so, and recommends nothing that was not shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featx import compare
from featx.data.features import Features
from featx.data.tasks import Task
from featx.errors import InputError
from featx.report import render
from featx.results import ComparisonResult, RegressionResult

QUICK = {"n_boot": 50, "verbose": False}
CLASSIFIERS = ["lda", "knn", "naive-bayes"]
N_CLASSES = 3


def features(n: int = 120, distance: float = 1.2, seed: int = 0, times: int = 1) -> Features:
    """Overlapping classes; 60 % of the rows train, and each test row comes `times` times."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % N_CLASSES
    x = rng.normal(size=(n, 8)) + distance * np.eye(8)[y]
    return made(x, 0.6, times, labels=y, classes=("a", "b", "c"))


def numbers(values=None, times: int = 1) -> Features:
    """Rows whose first column tells a number."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    values = x[:, 0] + 0.1 * rng.normal(size=80) if values is None else values
    return made(x, 0.5, times, numbers=values)


def made(x, share, times, *, labels=None, classes=None, numbers=None) -> Features:
    first = int(share * len(x))
    rows = np.concatenate([np.arange(len(x)), *[np.arange(first, len(x))] * (times - 1)])
    return Features(
        embeddings=x[rows].astype(np.float32),
        ids=[f"{i}.png" for i in range(len(rows))],
        labels=None if labels is None else labels[rows],
        classes=classes,
        targets={} if numbers is None else {"size": Task("size", numbers[rows])},
        splits=np.where(rows < first, "train", "test"),
        space={"backbone": {"architecture": "made up"}},
    )


@pytest.fixture(scope="module")
def once():
    return compare(features(), classifiers=CLASSIFIERS, **QUICK)


def test_copies_of_test_images_change_neither_intervals_nor_tests(once):
    result = compare(features(times=6), classifiers=CLASSIFIERS, **QUICK)
    assert result.units == {
        "images": 288, "units": 48, "groups": False, "copies": 240, "groups_per_class": None,
    }  # fmt: skip
    assert result.hygiene["copies_in_test"] == 240
    for a, b in zip(once.methods, result.methods, strict=True):
        assert b.top1 == pytest.approx(a.top1)
        assert b.metric("top1").low == pytest.approx(a.metric("top1").low, abs=0.002)
        assert (b.versus_best is None) == (a.versus_best is None)
        if a.versus_best is not None:
            assert b.versus_best["p_value"] == pytest.approx(a.versus_best["p_value"])
    said = "ntervals and tests count 48 different pictures as the units of 288 test images"
    assert said in result.heading()
    page = render(result)
    assert said in page
    assert "Copies within the test images: 240" in page
    assert "48 independent units among 288 test images" in result.advice
    assert "units" not in once.heading()


def test_groups_widen_the_intervals_and_a_label_that_follows_them_is_told(once):
    found = features()
    # Eight test images of a group are right or wrong together: they are one point.
    groups = np.arange(120) // 3 % 8 + 8 * (found.labels + N_CLASSES * (found.splits == "test"))
    result = compare(replace(found, groups=groups), classifiers=CLASSIFIERS, **QUICK)
    assert result.units["groups"]
    assert result.units["units"] == len(set(groups[found.splits == "test"].tolist()))
    assert result.units["groups_per_class"] == [16, 16, 16]
    assert any("each class has 16 groups" in note for note in result.findings)
    assert not any("groups" in warning for warning in result.warnings)
    few = np.arange(120) // 60 + 2 * (found.labels + N_CLASSES * (found.splits == "test"))
    result = compare(replace(found, groups=few), classifiers=CLASSIFIERS, **QUICK)
    (warning,) = (warning for warning in result.warnings if "groups" in warning)
    assert (
        "each class has 3 groups: where they are few (a 3, b 3, c 3), what tells the groups apart" in warning
    )
    mixed = np.arange(120) // 6
    result = compare(replace(found, groups=mixed), classifiers=CLASSIFIERS, **QUICK)
    assert result.units["groups_per_class"] is None


@pytest.mark.parametrize("seed", range(2))
def test_with_shuffled_labels_nothing_is_recommended_and_no_label_is_called_wrong(seed):
    found = features(seed=seed, distance=3.0)
    shuffled = replace(found, labels=np.random.default_rng(seed).permutation(found.labels))
    result = compare(shuffled, classifiers=CLASSIFIERS, **QUICK)
    assert result.recommended() is None
    assert result.advice.startswith("Nothing to recommend: no method is")
    assert result.hygiene["label_errors"]["images"] == 0
    assert not result.hygiene["label_errors"]["predictable"]
    assert any("are not shown to predict the labels" in note for note in result.findings)
    page = render(result)
    assert "<h2>Nothing to recommend</h2>" in page
    assert "No label is called wrong" in page
    assert 'class="chip use"' not in page
    assert "<h2>All 4 methods, same test images</h2>" in page


def test_a_wrong_label_is_still_found_where_labels_can_be_predicted():
    found = features(distance=6.0)
    found.labels[3] = 1
    result = compare(found, classifiers="lda", **QUICK)
    assert [entry["id"] for entry in result.hygiene["label_errors"]["list"]] == ["3.png"]


def test_the_file_gives_everything_back(once):
    again = ComparisonResult.from_dict(once.to_dict())
    assert again.to_dict() == once.to_dict()
    assert again.selection["methods"] == 3
    assert again.methods[1].versus_references == once.methods[1].versus_references


def test_an_older_file_without_the_new_fields_is_read_and_shown(once):
    content = once.to_dict()
    for key in ("units", "selection", "fine_tuning"):
        del content[key]
    for method in content["methods"]:
        del method["versus_references"]
        for key in ("p_adjusted", "low_adjusted", "high_adjusted", "detectable"):
            (method["versus_best"] or {}).pop(key, None)
    content["hygiene"].pop("copies_in_test")
    content["hygiene"]["label_errors"] = {"images": 0, "agreement": 0.9, "list": []}
    old = ComparisonResult.from_dict(content)
    assert old.recommended().name == once.best().name
    assert old.units_note == ""
    assert "by Holm&#39;s method" in render(old)


def test_copies_among_the_test_images_of_a_number_count_once():
    options = {"regressors": ["ridge", "knn"], "target": "size"} | QUICK
    once, six = compare(numbers(), **options), compare(numbers(times=6), **options)
    assert six.units == {"images": 240, "units": 40, "groups": False, "copies": 200}
    assert "count 40 different pictures" in six.heading()
    for a, b in zip(once.methods, six.methods, strict=True):
        assert b.metric("mae").low == pytest.approx(a.metric("mae").low, rel=0.1)
    worse, again = once.methods[2].versus_best, six.methods[2].versus_best
    assert again["low_adjusted"] == pytest.approx(worse["low_adjusted"], rel=0.1)
    assert "choosing it on these images flatters it by about" in once.advice
    assert RegressionResult.from_dict(once.to_dict()).to_dict() == once.to_dict()


def test_a_number_that_cannot_be_predicted_gets_no_regressor():
    unrelated = np.random.default_rng(1).exponential(size=80)
    result = compare(numbers(unrelated), regressors=["ridge", "knn", "svr"], target="size", **QUICK)
    assert result.recommended() is None
    assert result.advice.startswith(
        "Nothing to recommend: no method is shown to be better than always giving"
    )
    assert "<h2>Nothing to recommend</h2>" in render(result)


def test_a_file_whose_pair_is_not_among_its_methods_is_damaged(once):
    pair = {"probe": "lda", "mode": "gone", "backbone": "made up", "chosen_by": "training images"}
    content = once.to_dict() | {"fine_tuning": pair | {"p_value": 0.2, "difference": 0.01}}
    with pytest.raises(InputError, match="fine_tuning: 'gone' is not one of the methods"):
        ComparisonResult.from_dict(content)
