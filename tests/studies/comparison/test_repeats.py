"""Comparisons over several splits: equal to single ones, from one extraction, with corrected tests."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from pictures import BACKBONE, QUICK, picture, write_photos

from featx import compare, extract
from featx.cli import main
from featx.errors import InputError
from featx.metrics import corrected_resampled_t_test
from featx.report import render
from featx.results import ComparisonResult, RegressionResult
from featx.studies.across_datasets import compare_over_datasets
from featx.studies.comparison.repeats import adjust_p_values

SMALL = {"backbones": BACKBONE, "n_boot": 50} | {k: v for k, v in QUICK.items() if k != "backbone"}
FAST = {"classifiers": ["lda", "knn"], "baseline": "none"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("repeats")


@pytest.fixture(scope="module")
def hard_photos(home):
    """Classes that overlap, so that splits differ."""
    colours = {"a": (90, 90, 90), "b": (98, 96, 90), "c": (96, 104, 92)}
    return write_photos(home / "hard", 12, colours=colours)


@pytest.fixture(scope="module")
def result(hard_photos, home):
    return compare(hard_photos, **SMALL, **FAST, seeds=4, seed=3, cache=home / "cache")


def test_the_images_meet_the_network_once(result, hard_photos, home):
    assert result.forward_passes == 36
    assert compare(hard_photos, **SMALL, **FAST, seeds=2, cache=home / "cache").forward_passes == 0


def test_every_method_is_there_on_every_split_and_the_references_too(result):
    repeats = result.repeats
    assert repeats.seeds == [3, 4, 5, 6]
    assert (repeats.n_train, repeats.n_test) == ([27] * 4, [9] * 4)
    assert {m.name for m in repeats.methods} == {"majority", "pixels", "lda", "knn"}
    for method in repeats.methods:
        assert all(len(values) == 4 for values in method.metrics.values())
        assert len(method.seconds) == 4
        for name, mean in method.means.items():
            assert mean.value == pytest.approx(np.mean(method.metrics[name]))
            if np.ptp(method.metrics[name]):
                assert 0 <= mean.low <= mean.value <= mean.high
                assert mean.low < mean.high
            else:  # equal scores do not tell how much they may vary
                assert np.isnan([mean.low, mean.high]).all()


def test_each_split_gives_what_it_gives_alone(result, hard_photos, home):
    for k, seed in enumerate(result.repeats.seeds):
        alone = compare(hard_photos, **SMALL, **FAST, seed=seed, cache=home / "cache")
        assert alone.repeats is None
        for method in alone.methods:
            again = result.repeats.of(method.name, method.backbone)
            assert {name: values[k] for name, values in again.metrics.items()} == {
                name: interval.value for name, interval in method.metrics.items()
            }
    assert len({tuple(m.metrics["top1"]) for m in result.repeats.methods}) > 1, "splits and methods differ"


def test_the_best_mean_comes_first_and_the_others_are_tested_against_it(result):
    repeats = result.repeats
    best = repeats.best()
    competing = [m for m in repeats.methods if m.kind != "floor"]
    assert best is max(competing, key=lambda m: m.mean("top1").value)
    scores = np.array(best.metrics["top1"])
    for method in repeats.methods:
        if method is not best:
            test = corrected_resampled_t_test(np.array(method.metrics["top1"]) - scores, n_train=27, n_test=9)
            found = method.versus_best
            assert found["method"] == best.name
            assert (found["p_value"], found["difference"]) == (test.p_value, test.difference)
            # Of two competing methods there is one pair, so nothing to adjust; references do not compete.
            assert found["p_holm"] == (None if method.kind == "floor" else pytest.approx(test.p_value))


def test_results_json_keeps_every_split(result, tmp_path):
    result.write_json(tmp_path / "results.json")
    content = json.loads((tmp_path / "results.json").read_text())["repeats"]
    assert set(content) == {"seeds", "n_train", "n_test", "metric", "methods"}
    assert set(content["methods"][0]) == {
        "name", "title", "kind", "backbone", "metrics", "means", "seconds", "versus_best",
        "earlier_run",
    }  # fmt: skip
    again = ComparisonResult.read_json(tmp_path / "results.json")
    assert again.to_dict() == result.to_dict()
    assert again.repeats.best().name == result.repeats.best().name
    content["methods"][0]["metrics"]["top1"].pop()
    with pytest.raises(InputError, match="has not one value for each of 4 seeds"):
        ComparisonResult.from_dict(result.to_dict() | {"repeats": content})


def test_table_frame_advice_and_page_tell_of_the_splits(result):
    table = result.table()
    assert "over 4 splits (seeds 3 to 6):" in table
    assert table.count("Most frequent class (reference)") == 2
    frame = result.to_frame().set_index("name")
    assert frame.loc["lda", "mean_top1"] == pytest.approx(result.repeats.mean("lda", BACKBONE, "top1"))
    assert "over 4 splits" in result.advice.lower()
    page = render(result)
    assert "<h2>Over 4 splits</h2>" in page
    assert page.count('class="tick probe"') == 8


def test_datasets_are_ranked_by_the_mean_over_splits(result):
    means = {m.name: m.mean("top1").value for m in result.repeats.methods if m.kind != "floor"}
    found = compare_over_datasets({"one": result, "two": result})
    assert found.methods == tuple(sorted(means, key=means.get, reverse=True))


def test_fine_tuning_is_repeated_too(hard_photos, home):
    result = compare(hard_photos, **SMALL, classifiers="lda", baseline="head", seeds=2, cache=home / "cache")
    assert {m.name for m in result.repeats.methods} == {"majority", "pixels", "lda", "finetune-head"}


def test_a_number_is_repeated_by_its_error(home):
    root = home / "numbers"
    root.mkdir()
    rows = []
    for k in range(24):
        picture((40 + 8 * k, 90, 90), k).save(root / f"{k}.png")
        rows.append((f"{k}.png", 8 * k + (-1) ** k * 20))
    pd.DataFrame(rows, columns=["path", "red"]).to_csv(root / "t.csv", index=False)
    result = compare(
        root / "t.csv", target="red", **SMALL, regressors=["ridge", "knn"], seeds=3, cache=home / "cache"
    )
    repeats = result.repeats
    assert repeats.metric == "mae"
    shown = [m.mean("mae").value for m in repeats.methods]
    assert shown == sorted(shown), "a lower error is better"
    assert "over 3 splits" in result.table()
    assert "ver 3 splits its mean absolute error is" in result.advice
    assert "<h2>Over 3 splits</h2>" in render(result)
    assert RegressionResult.from_dict(result.to_dict()).to_dict() == result.to_dict()


@pytest.mark.parametrize("seeds", [0, -1, True, 2.0])
def test_numbers_of_splits_that_are_none_are_refused(photos, seeds):
    with pytest.raises(InputError, match="seeds must be a whole number from 1"):
        compare(photos, **SMALL, **FAST, seeds=seeds)


def test_data_with_its_own_split_is_refused_in_one_line_before_any_work(split_photos, tmp_path, capsys):
    with pytest.raises(InputError, match="split: comes with its own split, so 3 splits cannot be drawn"):
        compare(split_photos, **SMALL, **FAST, seeds=3)
    extract(split_photos, **QUICK).save(tmp_path / "f.h5")
    assert main(["compare", str(tmp_path / "f.h5"), "-o", str(tmp_path / "out"), "--seeds", "2"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"featx: {tmp_path / 'f.h5'}: comes with its own split")


def test_the_command_repeats(hard_photos, home, capsys):
    features = extract(hard_photos, **QUICK, cache=home / "cache")
    features.save(home / "f.h5")
    options = ["--classifiers", "lda", "--seeds", "2", "--seed", "5", "--quiet"]
    assert main(["compare", str(home / "f.h5"), "-o", str(home / "out"), *options]) == 0
    assert "over 2 splits (seeds 5 to 6):" in capsys.readouterr().out
    assert json.loads((home / "out" / "results.json").read_text())["repeats"]["seeds"] == [5, 6]


def test_one_split_says_nothing_of_splits(photos):
    result = compare(photos, **SMALL, **FAST)
    assert result.to_dict()["repeats"] is None
    assert "Over" not in result.advice
    assert "splits</h2>" not in render(result)


def test_pairs_are_adjusted_as_one_family():
    p = {(1, 0): 0.01, (2, 0): 0.2, (2, 1): 0.03}
    found = adjust_p_values(0, [0, 1, 2], lambda i, j: p[i, j])
    assert found == {1: pytest.approx(0.03), 2: pytest.approx(0.2)}
    assert adjust_p_values(1, [1], lambda i, j: math.nan) == {}
