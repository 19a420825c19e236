"""The advice says what the measurements say, and no more."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from featx.metrics import Interval
from featx.results import (
    ALPHA,
    FineTuningTest,
    MethodResult,
    RepeatedMethod,
    Repeats,
    advise,
    recommended,
)
from featx.results.selection import BY_TEST, BY_TRAINING


def method(name: str, top1: float, kind="probe", p=None, best=None, cost=10.0):
    versus = None
    if p is not None:
        gap = top1 - (top1 if best is None else best)
        versus = {"p_value": p, "difference": gap, "low": gap - 0.02, "high": gap + 0.02, "method": "best"}
    return MethodResult(
        name,
        {"svm": "Linear SVM", "full": "Full fine-tuning"}.get(name, name.title()),
        kind,
        backbone=None if kind == "floor" else "resnet50",
        metrics={"top1": Interval(top1, top1 - 0.03, top1 + 0.03)},
        seconds={"extract": cost / 2, "fit": cost / 2} if cost is not None else {},
        versus_best=versus,
    )


def test_a_probe_that_fine_tuning_cannot_be_told_apart_from_is_recommended():
    probe = method("svm", 0.94, p=0.4, best=0.95)
    tuned = method("full", 0.95, "finetune", cost=350.0)
    assert recommended([probe, tuned]) is probe
    said = advise([probe, tuned], 240)
    assert said.startswith(
        "Use linear SVM on frozen resnet50 features: "
        "top-1 0.940 (95 % interval 0.910 to 0.970) on 240 test images."
    )
    assert "No difference from fine-tuning is shown: full fine-tuning reached 0.950" in said
    assert "(+1.0 points, 95 % interval −1.0 to +3.0, p = 0.40)" in said, "fine-tuning minus probe"
    assert "Fine-tuning took 35 times as long (5.8 min against 10 s)." in said
    assert "equal" not in said


def test_fine_tuning_that_pays_is_recommended_with_how_much():
    tuned = method("full", 0.96, "finetune", cost=20.0)
    probe = method("svm", 0.90, p=0.0004, best=0.96)
    assert recommended([probe, tuned]) is tuned
    said = advise([probe, tuned], 400)
    assert said.startswith("Use full fine-tuning of resnet50: top-1 0.960")
    assert "Fine-tuning paid off: the best probe on frozen features, linear SVM, reached 0.900" in said
    assert "(fine-tuning: +6.0 points, 95 % interval +4.0 to +8.0, p < 0.001)" in said
    assert "Fine-tuning took 2.0 times as long" in said


def test_a_probe_significantly_better_than_fine_tuning_says_so():
    said = advise([method("svm", 0.95), method("full", 0.85, "finetune", p=0.01, best=0.95)], 240)
    assert "Fine-tuning did not pay: its best mode, full fine-tuning, reached 0.850 (−10.0 points" in said
    assert "about as long" in said


def test_a_tied_probe_that_is_slower_to_train_is_not_recommended():
    probe = method("boosting", 0.94, p=0.4, best=0.95, cost=100.0)
    tuned = method("head", 0.95, "finetune", cost=5.0)
    assert recommended([probe, tuned]) is tuned
    said = advise([probe, tuned], 240)
    assert "No difference from frozen features is shown" in said
    assert "less time" in said


def test_the_most_accurate_of_the_tied_probes_is_taken():
    tuned = method("full", 0.95, "finetune", cost=350.0)
    probes = [method("knn", 0.93, p=0.08, best=0.95), method("svm", 0.94, p=0.4, best=0.95)]
    assert recommended([*probes, tuned]).name == "svm"


def repeated(name: str, mean: float, kind="probe", p=None) -> RepeatedMethod:
    versus = None if p is None else {"p_value": p / 3, "p_holm": p, "method": "best"}
    return RepeatedMethod(
        name,
        {"svm": "Linear SVM"}.get(name, name.title()),
        kind,
        "resnet50",
        {"top1": [mean] * 3},
        {"top1": Interval(mean, mean - 0.02, mean + 0.02)},
        versus_best=versus,
    )


def test_the_adjusted_p_value_is_what_counts():
    tuned = method("full", 0.95, "finetune", cost=350.0)
    probe = method("svm", 0.93, p=0.01, best=0.95)
    assert recommended([probe, tuned]) is tuned
    probe.versus_best["p_holm"] = 0.06
    assert recommended([probe, tuned]) is probe
    said = advise([probe, tuned], 240)
    assert "No difference from fine-tuning is shown" in said
    assert "adjusted p = 0.060" in said
    probe.versus_best["p_holm"] = ALPHA
    assert recommended([probe, tuned]) is probe, "no difference is shown at 0.05 itself"


def test_several_splits_confirm_or_contradict_the_one():
    methods = [method("svm", 0.95), method("knn", 0.93, p=0.2, best=0.95)]
    sizes = {"seeds": [0, 1, 2], "n_train": [75] * 3, "n_test": [25] * 3, "metric": "top1"}

    def said(*over: RepeatedMethod) -> str:
        return advise(methods, 240, Repeats(**sizes, methods=list(over)))

    agreed = said(repeated("svm", 0.95), repeated("knn", 0.93, p=0.3))
    assert "mean top-1 accuracy is 0.950 [0.930, 0.970], the highest; the other method cannot be" in agreed
    open_ = said(repeated("knn", 0.95), repeated("svm", 0.93, p=0.3))
    assert "the highest is that of knn, 0.950, no difference shown (adjusted p = 0.30)" in open_
    assert open_.index("Over 3 splits") < open_.index("fine-tuned baseline")
    assert "Warning" not in open_
    against = said(repeated("knn", 0.95), repeated("svm", 0.93, p=0.01))
    assert "Warning: over 3 splits its mean top-1 accuracy is 0.930" in against
    assert "shown to be better (adjusted p = 0.010)" in against


def test_a_warning_of_a_reference_says_what_the_splits_say_where_they_decide():
    best = method("svm", 0.95)
    best.versus_references = {"pixels": 0.066}
    pixels = replace(method("pixels", 0.60, "floor"), backbone=None)
    over = [repeated("svm", 0.95), replace(repeated("pixels", 0.43), kind="floor", backbone=None)]
    repeats = Repeats([0, 1, 2, 3], [75] * 4, [25] * 4, "top1", over)
    said = advise([best, pixels], 100, repeats, n_units=1)
    assert "better than the reference, pixels (0.430 on average over 4 splits, adjusted p = 0.066)" in said
    assert "better than the reference, pixels (0.600)" in advise([best, pixels], 100, repeats, n_units=50)


def test_joules_stand_beside_the_seconds_where_they_are_known():
    tuned = method("full", 0.95, "finetune", cost=350.0)
    probe = method("svm", 0.94, p=0.4, best=0.95)
    tuned.joules, probe.joules = {"extract": 20.0, "fit": 9000.0}, {"extract": 20.0, "fit": 300.5}
    assert "(5.8 min against 10 s; 9.0 kJ against 320 J)" in advise([probe, tuned], 240)
    probe.joules["extract"] = None
    assert "J against" not in advise([probe, tuned], 240)


def test_a_much_cheaper_mode_that_ties_is_mentioned():
    tuned = method("full", 0.96, "finetune", cost=300.0)
    head = method("head", 0.95, "finetune", p=0.3, best=0.96, cost=10.0)
    probe = method("svm", 0.90, p=0.001, best=0.96)
    said = advise([tuned, head, probe], 240)
    assert "Head is not shown to be worse (0.950, p = 0.30) and 30 times faster to train." in said
    assert "not shown to be worse" not in advise([tuned, probe], 240)


def test_without_a_baseline_it_says_that_it_cannot_say():
    said = advise([method("svm", 0.95), method("knn", 0.93, p=0.2, best=0.95)], 240)
    assert "No fine-tuned baseline was run" in said
    assert "The other probe cannot be told apart" in said


def test_without_a_probe_it_says_that_it_cannot_say():
    assert "No probe on frozen features was run" in advise([method("full", 0.95, "finetune")], 240)


def test_probes_that_cannot_be_told_apart_are_counted():
    others = [method(n, 0.93, p=p, best=0.95) for n, p in (("knn", 0.2), ("lda", 0.3), ("ridge", 0.001))]
    assert "2 of the 3 other probes cannot be told apart" in advise([method("svm", 0.95), *others], 240)
    said = advise([method("svm", 0.95), *others[:2]], 240)
    assert "None of the 2 other probes can be told apart from it on these images." in said


def test_no_better_than_the_pixels_is_a_warning():
    floor = method("pixels", 0.94, "floor", p=0.6, best=0.95)
    assert "Warning: it is not shown to be better than the reference, pixels (0.940)" in advise(
        [method("svm", 0.95), floor], 240
    )
    beaten = method("pixels", 0.40, "floor", p=0.0, best=0.95)
    assert "Warning" not in advise([method("svm", 0.95), beaten], 240)


def test_without_a_paired_test_the_reference_must_lie_below_the_interval():
    svm = method("svm", 0.95)
    assert "Warning" in advise([svm, method("pixels", 0.93, "floor")], 240)
    assert "Warning" not in advise([svm, method("pixels", 0.90, "floor")], 240)


def test_few_test_images_are_said_to_be_few():
    assert "With only 20 test images all of this is rough" in advise([method("svm", 0.95)], 20)
    assert "rough" not in advise([method("svm", 0.95)], 200)


def test_embeddings_from_the_cache_are_said_to_be():
    probe = method("svm", 0.95)
    probe.seconds = {"extract": 0.0, "fit": 1.0}
    tuned = method("full", 0.94, "finetune", p=0.7, best=0.95, cost=90.0)
    assert "(90 s against 1.0 s, embeddings from the cache)" in advise([probe, tuned], 240)


def test_missing_tests_and_times_are_left_out():
    said = advise([method("svm", 0.95, cost=None), method("full", 0.94, "finetune", cost=None)], 240)
    assert "not tested in pairs" in said
    assert "nan" not in said
    assert "as long" not in said


@pytest.mark.parametrize("methods", [[], [method("majority", 0.1, "floor")], [method("svm", math.nan)]])
def test_nothing_measured_recommends_nothing(methods):
    assert recommended(methods) is None
    assert advise(methods, 10).startswith("Nothing to recommend")


def against(m: MethodResult, **p: float) -> MethodResult:
    """The method with one-sided p-values against references."""
    m.versus_references = p
    return m


def test_nothing_is_recommended_that_is_not_shown_to_be_better_than_a_guess():
    majority = method("majority", 0.09, "floor", p=0.02, best=0.15)
    methods = [against(method("svm", 0.15), majority=0.06), majority]
    assert recommended(methods) is None
    said = advise(methods, 200)
    assert said.startswith(
        "Nothing to recommend: no method is shown to be better than always giving the same"
    )
    assert "top-1 accuracy 0.150 [0.120, 0.180]; majority, 0.090 (adjusted p = 0.060)" in said
    methods[0].versus_references["majority"] = 0.04
    assert recommended(methods) is methods[0]


def test_a_method_below_the_pixels_is_never_recommended():
    pixels = method("pixels", 0.95, "floor", p=1.0, best=0.95)
    probes = [method("svm", 0.95), method("knn", 0.90, p=0.2, best=0.95)]
    methods = [*(against(m, pixels=0.5) for m in probes), pixels]
    assert recommended(methods) is None, "equal is not above"
    assert "no method is better than the reference, pixels" in advise(methods, 200)
    assert "p = " not in advise(methods, 200), "that of a test for the other direction"
    pixels.metrics["top1"] = Interval(0.93)
    assert recommended(methods).name == "svm"
    assert "not shown to be better than the reference, pixels (0.930)" in advise(methods, 200)
    against(methods[0], pixels=0.01)
    assert "Warning" not in advise(methods, 200)


def fair_pair(p: float, difference: float, **more) -> FineTuningTest:
    about = {"low": difference - 0.02, "high": difference + 0.02, "detectable": 0.031} | more
    return FineTuningTest(
        "svm",
        "full",
        "resnet50",
        **{"chosen_by": BY_TRAINING, "p_value": p, "difference": difference} | about,
    )


def test_one_pair_chosen_without_the_test_images_says_whether_fine_tuning_paid():
    svm, knn = method("svm", 0.93, p=0.3, best=0.95), method("knn", 0.94, p=0.4, best=0.95)
    tuned = method("full", 0.95, "finetune", cost=350.0)
    methods = [svm, knn, tuned]
    open_ = fair_pair(0.2, 0.02)
    assert recommended(methods, open_) is knn
    said = advise(methods, 240, fine_tuning=open_)
    assert (
        "No difference between fine-tuning and frozen features is shown: full fine-tuning reached 0.950, "
        "linear SVM 0.930, each chosen by the training images alone (+2.0 points, 95 % interval 0.0 to +4.0, "
        "p = 0.20)."
    ) in said
    assert "With these images, a difference of 3.1 points would be shown with 80 % power." in said
    shown = fair_pair(0.01, 0.02)
    assert recommended(methods, shown) is tuned, (
        "the pair decides, though the tests of all pairs show nothing"
    )
    assert "Fine-tuning paid off: full fine-tuning reached 0.950" in advise(methods, 240, fine_tuning=shown)


def test_where_the_test_images_chose_the_pair_it_is_said_and_adjusted():
    methods = [method("svm", 0.95), method("full", 0.91, "finetune", p=0.01, best=0.95)]
    pair = fair_pair(0.01, -0.04, chosen_by=BY_TEST, p_adjusted=0.08, low_adjusted=-0.09, high_adjusted=0.01)
    assert not pair.shown
    said = advise(methods, 240, fine_tuning=replace(pair, p_adjusted=0.03))
    assert "Fine-tuning did not pay" in said
    assert "as no training image could be held out to choose by" in said
    assert "(−4.0 points, adjusted 95 % interval −9.0 to +1.0, adjusted p = 0.030)" in said


def test_the_best_of_many_is_said_to_be_flattered():
    methods = [method("svm", 0.95), method("knn", 0.93, p=0.2, best=0.95)]
    said = advise(methods, 240, optimism=0.009)
    assert (
        "It is the best of 2 methods, and choosing it on these images flatters it by about 0.9 points."
        in said
    )
    assert "flatters" not in advise(methods, 240)


def test_probes_that_cannot_be_told_apart_come_with_the_power():
    knn, lda = method("knn", 0.93, p=0.2, best=0.95), method("lda", 0.94, p=0.3, best=0.95)
    knn.versus_best["detectable"], lda.versus_best["detectable"] = 0.05, 0.041
    said = advise([method("svm", 0.95), knn, lda], 240)
    assert (
        "a difference of 4.1 to 5.0 points, depending on the method, would be shown with 80 % power" in said
    )


def test_an_adjusted_p_value_comes_with_the_adjusted_interval():
    tuned = method("full", 0.85, "finetune", p=0.001, best=0.95)
    tuned.versus_best |= {"p_holm": 0.004, "p_adjusted": 0.003, "low_adjusted": -0.14, "high_adjusted": -0.06}
    said = advise([method("svm", 0.95), tuned], 240)
    assert "(−10.0 points, adjusted 95 % interval −14.0 to −6.0, adjusted p = 0.003)" in said


def test_an_ensemble_that_is_not_shown_to_add_anything_is_not_recommended():
    ensemble = replace(method("ensemble", 0.96), backbone=None)
    svm = method("svm", 0.95, p=0.3, best=0.96)
    assert recommended([ensemble, svm]) is svm
    svm.versus_best["p_value"] = 0.01
    assert recommended([ensemble, svm]) is ensemble
    assert recommended([ensemble]) is None, "it averages others, which would be here"


def test_methods_of_older_files_were_not_tested_against_references_and_are_recommended_as_then():
    methods = [method("svm", 0.95), method("pixels", 0.97, "floor", p=0.4, best=0.95)]
    assert recommended(methods) is methods[0]
    assert "Warning" in advise(methods, 240)


def test_what_is_as_good_without_a_network_is_named_with_its_cost():
    tfidf = method("tfidf", 0.94, "floor", p=0.6, best=0.95, cost=1.2)
    svm = method("svm", 0.95)
    assert (
        "Warning: it is not shown to be better than the reference, tfidf (0.940), which needs no network and "
        "was trained in 1.2 s."
    ) in advise([svm, tfidf], 240, kind="text")
    majority = method("majority", 0.94, "floor", p=0.6, best=0.95)
    assert "do not rely on it" in advise([svm, majority], 240, kind="text")


def test_a_network_below_what_needs_none_is_not_worth_its_cost():
    tfidf = method("tfidf", 0.96, "floor", p=1.0, best=0.95, cost=1.2)
    methods = [against(method("svm", 0.95), tfidf=0.9), tfidf]
    assert recommended(methods) is None
    assert (
        "That needs no network and was trained in 1.2 s, so a network is not worth its cost here."
        in advise(methods, 200, kind="text")
    )


def test_advice_counts_inputs_of_the_kind():
    probe = method("svm", 0.94, p=0.4, best=0.95)
    said = advise([probe, method("full", 0.95, "finetune", cost=350.0)], 80, optimism=0.02, kind="text")
    assert "on 80 test texts." in said
    assert "With only 80 test texts" in said
    assert "image" not in said
