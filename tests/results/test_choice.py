"""The choice among methods: equally accurate, best calibrated, fastest, and never worse than a reference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from featx.metrics import Interval
from featx.results import MethodResult, advise, best_method, recommended
from featx.results.choice import choose
from featx.results.methods import HEAD
from featx.results.selection import BY_TRAINING, FineTuningTest


def method(name, top1, kind="probe", *, p=None, loss=0.2, fit=1.0, predict=0.02, curves=None, best=0.95):
    versus = None if p is None else {"p_value": p, "difference": top1 - best, "method": "best"}
    return MethodResult(
        name,
        name.upper(),
        kind,
        backbone="net",
        metrics={
            "top1": Interval(top1, top1 - 0.03, top1 + 0.03),
            "log_loss": Interval(loss, loss - 0.02, 1),
        },
        seconds={"extract": 5.0, "fit": fit, "predict_per_image": predict},
        versus_best=versus,
        curves=curves,
    )


def pair(difference, p=0.01, mode="finetune-full"):
    return FineTuningTest(
        "svm", mode, "net", BY_TRAINING, p, difference, difference - 0.02, difference + 0.02
    )


def test_the_most_accurate_is_recommended_where_nothing_speaks_for_another():
    methods = [method("svm", 0.95), method("lda", 0.948, p=0.8), method("knn", 0.945, p=0.5)]
    assert choose(methods).pick.name == "svm"
    assert choose(methods).better == ""
    assert "None of the 2 others that are as accurate is clearly better calibrated" in advise(methods, 400)
    assert "The other method that is as accurate is not clearly better" in advise(methods[:2], 400)
    assert "as accurate" not in advise([methods[0], method("knn", 0.9, p=0.2)], 400)


def test_of_equally_accurate_methods_the_best_calibrated_is_recommended_and_the_advice_says_why():
    methods = [method("rbf", 0.95, loss=0.244), method("logreg", 0.945, p=0.7, loss=0.092)]
    assert recommended(methods).name == "logreg"
    said = advise(methods, 400)
    assert said.startswith("Use LOGREG on frozen net features: top-1 0.945")
    assert (
        "RBF has top-1 0.950, no difference shown (p = 0.70); this one is better calibrated "
        "(log loss 0.092 against 0.244)."
    ) in said
    methods[1].metrics["log_loss"] = Interval(0.235, 0.215, 1)
    assert recommended(methods).name == "rbf", "within one standard error of the lowest log loss"


@pytest.mark.parametrize(
    ("top1", "p", "taken"),
    [
        (0.941, 0.4, True),
        (0.939, 0.4, False),  # more than a point below
        (0.945, 0.31, False),  # more than one standard error below
        (0.945, math.nan, False),  # not tested
        (0.95, 1.0, True),
    ],
)
def test_not_shown_to_be_worse_is_not_enough_to_be_as_accurate(top1, p, taken):
    methods = [method("rbf", 0.95, loss=0.3), method("logreg", top1, p=p, loss=0.1)]
    assert recommended(methods).name == ("logreg" if taken else "rbf")


def test_one_test_image_less_is_as_accurate_where_it_is_more_than_a_point():
    methods = [method("rbf", 0.95, loss=0.3), method("logreg", 0.90, p=1.0, loss=0.1)]
    assert recommended(methods).name == "rbf"
    for m, right in zip(methods, (19, 18), strict=True):
        m.confusion = [[right - 9, 20 - right], [0, 9]]
    assert recommended(methods).name == "logreg"


def test_seconds_do_not_matter_but_twice_as_long_and_a_minute_more_does():
    slow, fast = method("boosting", 0.95, fit=59.0), method("lda", 0.948, p=0.8, fit=0.2)
    assert recommended([slow, fast]) is slow
    slow.seconds["fit"] = 300.0
    assert recommended([slow, fast]) is fast
    assert "faster to train (0.20 s against 5.0 min)" in advise([slow, fast], 400)
    fast.metrics["log_loss"] = Interval(0.5, 0.45, 1)
    assert recommended([slow, fast]) is slow, "calibration comes before time"


def test_a_smaller_network_that_is_as_accurate_is_recommended():
    large = method("svm", 0.95, predict=0.2)
    small = replace(method("svm", 0.95, p=1.0), backbone="small")
    assert recommended([large, small]) is small
    said = advise([large, small], 400)
    assert (
        "SVM on net has the same top-1; this one is faster to predict (20 against 200 ms an image)." in said
    )
    small.seconds["predict_per_image"] = 0.12
    assert recommended([large, small]) is large


def test_the_order_of_the_methods_changes_nothing():
    methods = [
        method("a", 0.95, loss=0.3),
        method("b", 0.95, p=1.0, loss=0.1, fit=400.0),
        method("c", 0.945, p=0.5, loss=0.11),
        method("d", 0.945, p=0.6, loss=0.105),
    ]
    for turn in range(4):
        assert recommended([*methods[turn:], *methods[:turn]]).name == "d"


def test_a_new_head_works_on_frozen_features():
    head = method(HEAD, 0.96, "finetune", fit=1.1)
    full = method("finetune-full", 0.91, "finetune", p=0.01, best=0.96, fit=548.0)
    svm = method("svm", 0.91, p=0.01, best=0.96, fit=2.1)
    assert recommended([head, full, svm]) is head
    said = advise([head, full, svm], 400)
    assert "on frozen net features" in said
    assert "Fine-tuning did not pay: its best mode, FINETUNE-FULL, reached 0.910" in said
    assert "Fine-tuning took 91 times as long" in said
    only_head = advise([head, svm], 400)
    assert "No network was fine-tuned, only a new head trained on frozen features" in only_head
    assert not head.trains_network
    assert full.trains_network


def test_a_head_that_is_not_shown_to_be_worse_is_recommended_in_place_of_fine_tuning():
    full = method("finetune-full", 0.95, "finetune", fit=548.0)
    head = method(HEAD, 0.93, "finetune", p=0.2, fit=1.0)
    assert recommended([full, head]) is head
    assert recommended([full, head], pair(0.02)) is full


def test_a_pair_of_a_probe_and_a_head_in_an_older_file_is_not_about_fine_tuning():
    head, svm = method(HEAD, 0.95, "finetune"), method("svm", 0.93, p=0.02)
    full = method("finetune-full", 0.94, "finetune", p=0.5, fit=300.0)
    old = pair(0.02, mode=HEAD)
    assert not old.pays
    assert recommended([head, svm, full], old) is head
    assert "Fine-tuning paid off" not in advise([head, svm, full], 400, fine_tuning=old)


def test_a_fine_tuning_that_kept_its_head_does_not_compete():
    head, svm = method(HEAD, 0.95, "finetune"), method("svm", 0.93, p=0.02)
    full = method(
        "finetune-full", 0.96, "finetune", p=0.5, fit=300.0, curves={"best_epoch": 0, "epoch": [0, 1]}
    )
    assert full.ended_at_start
    assert not replace(full, curves={"best_epoch": 1, "epoch": [0, 1]}).ended_at_start
    assert not replace(head, curves={"best_epoch": 0, "epoch": [0, 1]}).ended_at_start
    assert best_method([full, head, svm]) is head
    assert recommended([full, head, svm]) is head
    assert full.in_table([full, head]) == "FINETUNE-FULL (= new head)"
    assert "Fine-tuning gained nothing: no epoch (FINETUNE-FULL) in 5.1 min was better" in advise(
        [full, head, svm], 400, optimism=0.01
    )
    assert "the best of 2 methods" in advise([full, head, svm], 400, optimism=0.01)


def test_an_ensemble_without_a_gain_is_named_and_not_recommended():
    ensemble = replace(method("ensemble", 0.95), backbone=None)
    svm = method("svm", 0.95, p=1.0)
    assert recommended([ensemble, svm]) is svm
    assert "ENSEMBLE has the highest top-1, 0.950, but is not shown to be better than every" in advise(
        [ensemble, svm], 400
    )


def test_the_best_single_method_is_taken_in_place_of_an_ensemble_that_is_not_shown_better():
    ensemble = replace(method("ensemble", 0.96), backbone=None)
    methods = [method("knn", 0.90, p=0.06, best=0.96), method("svm", 0.95, p=0.4, best=0.96)]
    assert recommended([ensemble, *methods]).name == "svm"


@pytest.mark.parametrize("top1", [0.0, 0.5])
def test_a_method_that_is_right_no_more_often_than_one_answer_is_never_recommended(top1):
    bad = method("logreg", top1)
    bad.confusion = [[0, 10], [10, 0]] if top1 == 0 else [[10, 0], [10, 0]]
    assert recommended([bad]) is None
    assert "no more than the same answer to every test image" in advise([bad], 20)
    assert recommended([method("logreg", 0.0)]) is None, "without a confusion matrix either"


def test_a_flattery_that_rounds_to_nothing_is_not_told():
    assert "flatters" not in advise([method("a", 0.95), method("b", 0.9, p=0.01)], 400, optimism=0.0004)
    assert "flatters" in advise([method("a", 0.95), method("b", 0.9, p=0.01)], 400, optimism=0.0006)


def test_what_was_not_tested_is_not_shown_to_be_worse():
    full, svm = method("finetune-full", 0.96, "finetune", fit=500.0), method("svm", 0.93)
    assert recommended([full, svm]) is svm
    ensemble = replace(method("ensemble", 0.96), backbone=None)
    assert recommended([ensemble, svm]) is svm
    assert "not shown to be better than every single method" in advise([ensemble, svm], 400)


def test_a_method_without_a_log_loss_is_not_called_worse_calibrated():
    methods = [method("rbf", 0.95, loss=math.nan), method("logreg", 0.95, p=1.0, loss=0.1)]
    assert recommended(methods).name == "rbf"
    assert "nan" not in advise(methods, 400)
    assert recommended([methods[1], methods[0]]).name == "rbf"


def test_a_hundredth_of_a_nat_is_no_better_calibration():
    methods = [method("lda", 1.0), method("logreg", 1.0, p=1.0)]
    for m, loss in zip(methods, (0.001, 0.0001), strict=True):
        m.metrics["log_loss"] = Interval(loss, loss, 1)
    assert recommended(methods).name == "lda"
    methods[0].metrics["log_loss"] = Interval(0.02, 0.019, 1)
    assert recommended(methods).name == "logreg"


def test_a_pair_that_speaks_against_the_recommendation_is_not_its_reason():
    head = method(HEAD, 0.96, "finetune")
    methods = [
        head,
        method("finetune-full", 0.95, "finetune", p=0.6, best=0.96, fit=300.0),
        method("svm", 0.91, p=0.01, best=0.96),
    ]
    assert recommended(methods, pair(0.04)) is head
    said = advise(methods, 400, fine_tuning=pair(0.04))
    assert "paid off" not in said
    assert (
        "No difference from fine-tuning is shown: FINETUNE-FULL reached 0.950 (−1.0 points, p = 0.60)" in said
    )


def test_a_difference_that_is_not_that_of_the_recommended_method_names_the_method():
    methods = [
        method("rbf", 0.95, loss=0.3),
        method("logreg", 0.945, p=0.7, loss=0.1),
        method("finetune-full", 0.90, "finetune", p=0.01, fit=300.0),
    ]
    said = advise(methods, 400)
    assert said.startswith("Use LOGREG")
    assert "FINETUNE-FULL, reached 0.900 (−5.0 points against RBF, p = 0.010)" in said


def test_a_best_method_that_does_not_beat_every_reference_is_named():
    majority = replace(method("majority", 0.4, "floor"), backbone=None)
    methods = [method("rbf", 0.6, best=0.6), method("logreg", 0.59, p=0.9, best=0.6), majority]
    for m, p in zip(methods, (0.06, 0.04), strict=False):
        m.versus_references = {"majority": p}
    said = advise(methods, 400)
    assert said.startswith("Use LOGREG")
    assert "RBF has the highest top-1, 0.600, but is not shown to be better than every reference." in said
