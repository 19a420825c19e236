"""The tests of a comparison: one family of all pairs, references, and one fair pair for fine-tuning."""

from __future__ import annotations

import numpy as np
import pytest

from featx.metrics import compare_pairs, mcnemar_exact, selection_optimism
from featx.results.selection import BY_TEST, BY_TRAINING
from featx.studies.comparison.paired_tests import choose_pair, compare_methods, validation_score
from featx.studies.evaluation import Method, Outcome


def outcome(name: str, kind: str = "probe", cv_score: float = 0.0, val: float | None = None) -> Outcome:
    curves = None
    if kind == "finetune":
        curves = {"epoch": [1, 2], "val_accuracy": [val, 0.1], "val_loss": [0.5, 0.9], "best_epoch": 1}
        curves = curves if val is not None else curves | {"val_accuracy": [None, None]}
    backbone = None if kind == "floor" else "net"
    return Outcome(Method(name, name, kind, backbone), seconds={}, cv_score=cv_score, curves=curves)


@pytest.fixture
def right():
    """Seven methods on 200 images; the first two are references."""
    rng = np.random.default_rng(0)
    shares = [0.1, 0.3, 0.9, 0.85, 0.8, 0.9, 0.88]
    return rng.random((7, 200)) < np.array(shares)[:, None]


def compared(outcomes, right, units=None, **more):
    def single(i, j):
        return mcnemar_exact(right[i], right[j], units=units).to_dict()

    best = 2 + int(right[2:].mean(axis=1).argmax())
    constant = np.arange(right.shape[1]) < 20
    options = {"units": units, "n_boot": 200, "seed": 0, "constant": constant} | more
    return compare_methods(outcomes, right, best, single, **options), best


METHODS = [
    outcome("majority", "floor"), outcome("pixels", "floor"), outcome("svm", cv_score=0.8),
    outcome("knn", cv_score=0.9), outcome("forest"), outcome("head", "finetune", val=0.7),
    outcome("full", "finetune", val=0.8),
]  # fmt: skip


def test_tests_against_the_best_are_those_of_the_family_of_all_pairs(right):
    tests, best = compared(METHODS, right)
    family = compare_pairs(right[2:], seed=0)
    assert tests.versus_best[best] is None
    for i in range(7):
        test = tests.versus_best[i]
        if i == best:
            continue
        assert test["method"] == METHODS[best].method.name
        if i < 2:
            assert "p_adjusted" not in test
            assert test["p_holm"] is None
        else:
            assert test["p_adjusted"] == family.p_adjusted[i - 2, best - 2] <= test["p_holm"] + 1e-9
            assert test["difference"] == pytest.approx(right[i].mean() - right[best].mean())
            assert test["low_adjusted"] == family.low[i - 2, best - 2]
            assert test["detectable"] > 0


def test_each_method_is_tested_against_each_reference_one_sidedly(right):
    tests, _ = compared(METHODS, right)
    assert tests.versus_references[:2] == [None, None]
    for p in tests.versus_references[2:]:
        assert set(p) == {"majority", "pixels"}
        assert max(p.values()) < 0.01
    # A constant answer that is right as often leaves nothing to show, though the majority class is far below.
    tests, _ = compared(METHODS, right, constant=np.arange(200) < 176)
    for p in tests.versus_references[2:]:
        assert p["majority"] > 0.05
        assert p["pixels"] < 0.01


def test_units_make_copies_count_once(right):
    once, _ = compared(METHODS, right)
    units = np.tile(np.arange(200), 3)
    three, _ = compared(METHODS, np.tile(right, 3), units, constant=np.tile(np.arange(200) < 20, 3))
    blind, _ = compared(METHODS, np.tile(right, 3), constant=np.tile(np.arange(200) < 20, 3))
    for a, b, c in zip(once.versus_best, three.versus_best, blind.versus_best, strict=True):
        if a is not None:
            assert b["p_value"] == pytest.approx(a["p_value"])
            assert b["low"] == pytest.approx(a["low"], abs=0.002)
            assert c["high"] - c["low"] < 0.7 * (a["high"] - a["low"])


def test_the_fair_pair_is_chosen_by_the_training_images(right):
    pair = compared(METHODS, right)[0].fine_tuning
    assert (pair.probe, pair.mode, pair.backbone, pair.chosen_by) == ("knn", "full", "net", BY_TRAINING)
    assert (pair.probe_score, pair.mode_score) == (0.9, 0.8)
    assert pair.difference == pytest.approx(right[6].mean() - right[3].mean())
    assert pair.p == pair.p_value == mcnemar_exact(right[6], right[3]).p_value
    assert pair.detectable == compare_pairs(right[[6, 3]]).detectable[0, 1]


def test_a_head_and_a_fine_tuning_that_kept_it_are_no_fine_tuning(right):
    kept = outcome("finetune-last", "finetune", val=0.95)
    kept.curves |= {"epoch": [0, 1], "best_epoch": 0}
    methods = [*METHODS[:5], outcome("finetune-head", "finetune", val=0.9), kept]
    tests, _ = compared(methods, right)
    assert tests.fine_tuning is None
    assert tests.selection["methods"] == 4
    assert "p_adjusted" in tests.versus_best[5]
    assert "p_adjusted" not in tests.versus_best[6]
    pair = compared([*methods[:6], METHODS[6]], right)[0].fine_tuning
    assert pair.mode == "full", "though the head has the higher validation accuracy"


def test_the_side_with_more_methods_has_no_advantage():
    """Nine probes and three fine-tuned baselines, all equally good: the best of nine is ahead by chance."""
    best, fair = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        right = rng.random((12, 100)) < 0.85
        scores = 0.85 + 0.03 * rng.normal(size=12)
        methods = [outcome(f"p{i}", cv_score=scores[i]) for i in range(9)]
        methods += [outcome(f"f{i}", "finetune", val=scores[9 + i]) for i in range(3)]
        means = right.mean(axis=1)
        best.append(means[9:].max() - means[:9].max())
        probe, mode, _ = choose_pair(methods, right)
        fair.append(means[mode] - means[probe])
    assert np.mean(best) < -0.015
    assert abs(np.mean(fair)) < 0.006


def test_without_validation_the_test_images_choose_and_the_pair_is_adjusted(right):
    methods = [*METHODS[:5], outcome("head", "finetune"), outcome("full", "finetune")]
    pair = compared(methods, right)[0].fine_tuning
    means = right.mean(axis=1)
    probe, mode = 2 + int(means[2:5].argmax()), 5 + int(means[5:].argmax())
    assert (pair.probe, pair.mode, pair.chosen_by) == (
        methods[probe].method.name, methods[mode].method.name, BY_TEST,
    )  # fmt: skip
    assert pair.p == pair.p_adjusted >= pair.p_value
    assert pair.gain.low == pair.low_adjusted <= pair.low


def test_without_fine_tuning_there_is_no_pair(right):
    assert compared(METHODS[:5], right[:5])[0].fine_tuning is None


def test_the_optimism_is_that_of_the_methods_that_compete(right):
    tests, _ = compared(METHODS, right)
    assert tests.selection == {"methods": 5, "optimism": selection_optimism(right[2:], n_boot=200, seed=0)}


def test_lower_is_better_for_errors():
    rng = np.random.default_rng(0)
    errors = np.abs(rng.normal(size=(4, 100))) * np.array([3.0, 2.0, 0.5, 0.6])[:, None]

    def single(i, j):
        return {"p_value": 0.5, "difference": float((errors[i] - errors[j]).mean())}

    tests = compare_methods(
        METHODS[:4], errors, 2, single, units=None, n_boot=100, seed=0, constant=errors[0] + 1, sign=-1
    )
    assert max(tests.versus_references[2].values()) < 0.05
    assert tests.versus_best[3]["low_adjusted"] < errors[3].mean() - errors[2].mean()
    assert tests.selection["optimism"] > 0


def test_the_validation_score_is_that_of_the_epoch_that_was_kept():
    curves = {
        "epoch": [1, 2, 3],
        "val_accuracy": [0.5, 0.7, 0.9],
        "val_loss": [2.0, 1.0, 1.5],
        "best_epoch": 2,
    }
    assert validation_score(curves) == (0.7, -1.0)
    assert validation_score({"epoch": [1], "val_accuracy": [None], "val_loss": [None]}) is None
    assert validation_score(None) is None
