"""What groups change is said aloud: those on both sides of a split, and a split that leaves them out."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from pictures import QUICK, picture

from featx.data import from_arrays
from featx.data.features import Features
from featx.data.splits import make_split
from featx.metrics import Interval
from featx.studies.comparison import compare
from featx.studies.comparison.group_effect import (
    describe_shared_groups,
    note_shared_groups,
    plural_of,
    subtract,
    subtract_by_unit,
)
from featx.studies.curves import learning_curve
from featx.studies.evaluation import Cell

COLOURS = ((200, 30, 50), (40, 160, 60))


def features_of_groups(n_groups: int = 8, per_group: int = 30, seed: int = 0) -> Features:
    """Rows that a class moves along one axis, in a direction of its own in each group."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    labels = np.tile(np.arange(2), n_groups * per_group // 2)
    rows = rng.normal(0, 1, (len(groups), 12))
    own = rng.normal(0, 6, (n_groups, 12))
    sign = rng.choice([-2.0, 2.0], (n_groups, 1))
    rows += own[groups]
    rows[:, 0] += 1.2 * (2 * labels - 1)
    rows += np.where(labels == 1, 1, -1)[:, None] * sign[groups] * own[groups] / 6
    ids = [f"{i:03d}" for i in range(len(groups))]
    space = {"backbone": {"architecture": "net"}, "preprocessing": {}}
    return Features(rows.astype(np.float32), ids, labels, ("a", "b"), groups=groups, space=space)


OPTIONS = {"classifiers": ["logreg"], "baseline": "none", "n_boot": 20, "verbose": False}


@pytest.fixture(scope="module")
def grouped():
    return compare(features_of_groups(), **OPTIONS)


def test_the_same_probe_is_evaluated_on_splits_without_regard_to_groups(grouped):
    found = grouped.group_effect
    (probe,) = found["methods"]
    assert (probe["name"], found["groups"], found["test_groups"], found["draws"]) == ("logreg", 8, 2, 3)
    assert found["n_test"] == grouped.dataset["n_test"] == 60
    assert probe["by_group"]["value"] == pytest.approx(grouped.methods[1].top1)
    assert probe["without"]["value"] > probe["by_group"]["value"]
    assert probe["difference"] == pytest.approx(probe["by_group"]["value"] - probe["without"]["value"])
    assert probe["low"] < probe["difference"] < probe["high"]


def test_the_accuracy_without_regard_to_groups_is_the_mean_of_plain_splits(grouped):
    from featx.methods.probes import fit_probe

    features = features_of_groups()
    x, y = features.embeddings, np.asarray(features.labels)
    right = []
    for seed in range(3):
        split = make_split(y, test_size=60 / 240, seed=seed)
        assert len(split.test) == 60
        fitted = fit_probe("logreg", x[split.train], y[split.train], seed=0)
        right.append(fitted.predict(x[split.test]) == y[split.test])
    assert grouped.group_effect["methods"][0]["without"]["value"] == pytest.approx(np.mean(right))


def test_one_sentence_has_the_numbers_in_table_report_and_file(grouped, tmp_path):
    said = grouped.advice[grouped.advice.index("Leaving groups out") :]
    assert said.startswith("Leaving groups out changed the top-1 accuracy of logistic regression from ")
    assert "95 % interval" in said
    assert "With 2 test groups this is rough: the interval is over 60 images" in said
    grouped.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["group_effect"]["methods"][0]["low"] == grouped.group_effect["methods"][0]["low"]
    assert "Leaving groups out changed" in content["advice"]
    assert "Leaving groups out changed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert type(grouped).read_json(tmp_path / "results.json").group_effect == grouped.group_effect


def test_with_enough_test_groups_they_are_the_units():
    found = compare(features_of_groups(24, 10), **OPTIONS)
    effect = found.group_effect
    assert effect["test_groups"] >= 3
    assert not effect["rough"]
    assert "rough: the interval" not in found.advice
    (probe,) = effect["methods"]
    # Inputs of a group are right or wrong together: over inputs the interval would be narrower.
    plain = compare(features_of_groups(24, 10), **OPTIONS | {"checks": False}).group_effect["methods"][0]
    assert plain["by_group"] == probe["by_group"]
    interval = found.methods[1].metric("top1")
    assert probe["by_group"]["low"] == pytest.approx(interval.low)


def test_nothing_is_measured_without_groups_of_several_inputs():
    features = features_of_groups()
    for groups in (None, np.arange(len(features))):
        found = compare(replace(features, groups=groups), **OPTIONS)
        assert found.group_effect is None
        assert "Leaving" not in found.advice


def test_a_second_run_takes_it_from_the_first(tmp_path, monkeypatch):
    first = compare(features_of_groups(), **OPTIONS, resume=tmp_path)

    def refused(self, **more):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(Cell, "run", refused)
    again = compare(features_of_groups(), **OPTIONS, resume=tmp_path)
    assert again.group_effect == first.group_effect


@pytest.mark.parametrize("a", [Interval(0.9, 0.8, 0.95), Interval(0.5, 0.0, 1.0)])
def test_the_interval_of_a_difference_combines_both(a):
    found = subtract(a, Interval(0.7, 0.6, 0.85))
    assert found.value == pytest.approx(a.value - 0.7)
    assert found.value - found.low == pytest.approx(math.sqrt((a.value - a.low) ** 2 + 0.15**2))
    assert found.high - found.value == pytest.approx(math.sqrt((a.high - a.value) ** 2 + 0.1**2))


def pictures_of_patients(**columns):
    images = [picture(COLOURS[i % 2], i) for i in range(40)]
    labels = [("crimson", "leaf")[i % 2] for i in range(40)]
    return replace(from_arrays(images, labels), **columns)


def test_a_column_of_groups_on_both_sides_is_said_aloud(tmp_path):
    patients = np.array([f"p{i // 10}" for i in range(40)], dtype=object)
    data = pictures_of_patients(group_like={"patient": patients})
    options = OPTIONS | {"cache": tmp_path / "cache"} | {k: v for k, v in QUICK.items() if k != "backbone"}
    found = compare(data, backbones=QUICK["backbone"], **options)
    said = (
        "all 4 patients are in training and in test: on new patients it may be less accurate; "
        "--group patient --split-by group measures that"
    )
    assert said in found.warnings
    assert found.shared_groups == [{"column": "patient", "values": 4, "shared": 4}]
    found.save(tmp_path / "out")
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert content["shared_groups"][0]["shared"] == 4
    assert said in content["warnings"]


def test_a_curve_says_it_too(tmp_path):
    patients = np.array([f"p{i // 10}" for i in range(40)], dtype=object)
    options = {name: value for name, value in QUICK.items() if name != "backbone"}
    found = learning_curve(
        pictures_of_patients(group_like={"patient": patients}),
        backbones=QUICK["backbone"],
        classifiers=["knn"],
        shots=[2],
        seeds=2,
        cache=tmp_path,
        verbose=False,
        **options,
    )
    assert any(warning.startswith("all 4 patients are in training and in test") for warning in found.warnings)


def test_a_probe_that_takes_long_is_not_fitted_again(monkeypatch):
    """Of a slow probe and a quick one, the quick one is evaluated again, whichever is ahead."""
    slow = {"logreg": 500.0, "knn": 0.5}
    run = Cell.run

    def with_seconds(self, **more):
        record, fit = run(self, **more)
        record["seconds"]["fit"] = slow.get(self.method.name, 0.0)
        return record, fit

    monkeypatch.setattr(Cell, "run", with_seconds)
    found = compare(features_of_groups(), **OPTIONS | {"classifiers": ["logreg", "knn"]})
    assert [one["name"] for one in found.group_effect["methods"]] == ["knn"]


class Study:
    """What `describe_shared_groups` reads of a study."""

    def __init__(self, labels, **columns):
        self.dataset = type("Data", (), {"group_like": {k: np.array(v, object) for k, v in columns.items()}})
        self.task = type("Task", (), {"values": np.array(labels)})


def test_only_values_on_both_sides_count_and_the_label_is_no_group():
    split = make_split([0, 1] * 3, splits=["train"] * 3 + ["test"] * 3)
    study = Study(
        [0, 1] * 3,
        speaker=["x", "y", "z", "x", "y", "w"],
        author=["a", "b", "", "c", "", "d"],
        name=["zero", "one"] * 3,
    )
    found = describe_shared_groups(study, split)
    assert found == [{"column": "speaker", "values": 4, "shared": 2}]
    assert note_shared_groups(found)[0].startswith("2 of 4 speakers are in training and in test")


def test_recordings_are_groups_without_a_column():
    shared = [{"column": "recording", "values": 2, "shared": 1}]
    assert "; --split-by group measures that" in note_shared_groups(shared)[0]
    assert "1 of 2 recordings is in training" in note_shared_groups(shared)[0]
    assert "--group recording --split-by group" in note_shared_groups(shared, grouped=True)[0]


@pytest.mark.parametrize(
    ("column", "nouns"),
    [
        ("speaker", "speakers"),
        ("city", "cities"),
        ("box", "boxes"),
        ("day", "days"),
        (None, "groups"),
        ("speaker_id", "values of speaker_id"),
    ],
)
def test_groups_are_called_by_their_column(column, nouns):
    assert plural_of(column) == nouns


def easy_features(n_groups=4, per_group=30):
    """Rows whose class is plain in every group."""
    features = features_of_groups(n_groups, per_group)
    rows = np.random.default_rng(1).normal(0, 1, (len(features), 12)).astype(np.float32)
    rows[:, 0] += 4 * np.asarray(features.labels) - 2
    return replace(features, embeddings=rows)


def test_one_test_group_says_which_splits_tell_more_and_these_do():
    one = compare(easy_features(), **OPTIONS)
    assert one.recommended() is None
    assert "With only 1 independent unit among 30 test images no test can show" in one.advice
    assert "--seeds 4 leaves out each of the 4 groups in turn." in one.advice
    all_groups = compare(easy_features(), **OPTIONS, seeds=4)
    assert all_groups.recommended().name == "logreg"
    assert all_groups.recommended().versus_references["majority"] < 0.01
    assert "--seeds" not in all_groups.advice
    effect = all_groups.group_effect
    assert (effect["test_groups"], effect["n_test"], effect["splits"], effect["rough"]) == (4, 120, 4, False)
    mean = all_groups.repeats.of("logreg", "net").mean("top1").value
    assert effect["methods"][0]["by_group"]["value"] == pytest.approx(mean)


def test_splits_recommend_nothing_where_labels_say_nothing():
    features = easy_features(6)
    random = np.random.default_rng(3).permutation(np.asarray(features.labels))
    found = compare(replace(features, labels=random), **OPTIONS, seeds=6)
    assert found.recommended() is None


def test_splits_that_leave_out_all_groups_resume(tmp_path, monkeypatch):
    first = compare(easy_features(), **OPTIONS, seeds=4, resume=tmp_path)

    def refused(self, **more):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(Cell, "run", refused)
    again = compare(easy_features(), **OPTIONS, seeds=4, resume=tmp_path)
    assert again.group_effect == first.group_effect
    assert again.advice.split(" (")[0] == first.advice.split(" (")[0]


def test_shares_of_the_same_groups_are_compared_group_by_group():
    # With as many answers of each group, it is Student's paired interval of the groups' differences.
    from scipy import stats

    units = np.repeat(np.arange(5), 20)
    rng = np.random.default_rng(0)
    a, b = (
        rng.random(100) < np.repeat(level, 20)
        for level in ([0.5, 0.9, 0.7, 0.3, 0.6], [0.7, 1, 0.8, 0.5, 0.9])
    )
    found = subtract_by_unit((a, units), (b, units))
    d = a.reshape(5, 20).mean(1) - b.reshape(5, 20).mean(1)
    paired = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(d.mean())
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))
    assert subtract_by_unit((a, units), (a, units)) is None
