"""Metrics against scikit-learn, and their intervals."""

import time

import numpy as np
import pytest
import simulated_scores
from sklearn import metrics as sk

from featx.errors import InputError
from featx.metrics import Metric, classes, names_for, score_answers, take_answers
from featx.metrics.classes import compute_metrics, per_image_summands, split_sums

METRICS = names_for("classes")


def score(y_true, proba, predictions, **options):
    return score_answers(y_true, take_answers(y_true, proba, predictions), **options)


def answers(n=200, k=4, seed=0, skill=2.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    z = rng.normal(size=(n, k)) + skill * np.eye(k)[y]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return y, p, p.argmax(axis=1)


def slow_calibration_error(y, p, predicted):
    """Expected calibration error, bin by bin, as Guo et al. write it."""
    confidence = p[np.arange(len(y)), predicted]
    error = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs((predicted == y)[inside].mean() - confidence[inside].mean())
            error += inside.sum() / len(y) * gap
    return error


def slow_scores(y, p, predicted):
    """The reference, with scikit-learn's own functions."""
    macro = {"average": "macro", "zero_division": 0}
    present = np.unique(y)
    return {
        "top1": sk.accuracy_score(y, predicted),
        "balanced_accuracy": np.mean([(predicted[y == c] == c).mean() for c in present]),
        "macro_precision": sk.precision_score(y, predicted, **macro),
        "macro_recall": sk.recall_score(y, predicted, **macro),
        "macro_f1": sk.f1_score(y, predicted, **macro),
        "log_loss": sk.log_loss(y, p, labels=np.arange(p.shape[1])),
        "calibration_error": slow_calibration_error(y, p, predicted),
    }


@pytest.mark.parametrize(("n", "k"), [(200, 4), (30, 12), (50, 2)])
def test_the_values_are_scikit_learns(n, k):
    y, p, predicted = answers(n, k)
    result = score(y, p, predicted, n_boot=0)
    assert tuple(result) == METRICS
    expected = slow_scores(y, p, predicted)
    for name in METRICS:
        assert result[name].value == pytest.approx(expected[name], abs=1e-12), name
        assert np.isnan([result[name].low, result[name].high]).all()


def test_classes_without_test_images_or_predictions_are_scored_as_scikit_learn_does():
    y = np.array([0, 0, 1, 1, 1])
    predicted = np.array([0, 3, 1, 1, 0])
    p = np.full((5, 5), 0.1)
    p[np.arange(5), predicted] = 0.6
    expected = slow_scores(y, p, predicted)
    for name, interval in score(y, p, predicted, n_boot=0).items():
        assert interval.value == pytest.approx(expected[name], abs=1e-12), name


def test_one_class_alone_can_be_scored():
    result = score([0, 0], [[1.0], [1.0]], [0, 0])
    assert result["top1"].value == result["macro_f1"].value == 1
    assert result["log_loss"].value == result["calibration_error"].value == 0


def test_a_prediction_that_is_not_the_argmax_is_believed():
    y, p, _ = answers(40)
    predicted = p.argmin(axis=1)
    result = score(y, p, predicted, n_boot=0)
    assert result["top1"].value == (predicted == y).mean()
    assert result["calibration_error"].value == pytest.approx(slow_calibration_error(y, p, predicted))


def test_every_resample_is_scored_as_if_it_were_the_test_set():
    y, p, predicted = answers(25, 6)
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 25, (20, 25))
    counts = np.stack([np.bincount(d, minlength=25) for d in drawn]).astype(float)
    sums = counts @ per_image_summands(y, take_answers(y, p, predicted))
    fast = compute_metrics(*split_sums(sums, np.full(20, 25.0), 6))
    for b, rows in enumerate(drawn):
        slow = slow_scores(y[rows], p[rows], predicted[rows])
        for name in METRICS:
            assert fast[name][b] == pytest.approx(slow[name], abs=1e-12), name


def test_intervals_contain_their_values_and_shrink_with_more_images():
    small, large = (score(*answers(n)) for n in (100, 2000))
    for name in METRICS:
        for interval in (small[name], large[name]):
            assert interval.low <= interval.value <= interval.high
        assert large[name].high - large[name].low < small[name].high - small[name].low


def test_the_interval_of_top1_is_near_the_normal_one():
    y, p, predicted = answers(1000)
    top1 = score(y, p, predicted, n_boot=4000)["top1"]
    half = 1.96 * np.sqrt(top1.value * (1 - top1.value) / 1000)
    assert top1.low == pytest.approx(top1.value - half, abs=0.005)
    assert top1.high == pytest.approx(top1.value + half, abs=0.005)


def test_a_method_without_a_mistake_is_not_held_to_be_infallible():
    y = np.arange(20) % 2
    top1 = score(y, np.eye(2)[y] * 0.8 + 0.1, y)["top1"]
    assert top1.value == top1.high == 1
    assert top1.low == pytest.approx(0.025 ** (1 / 20))
    wrong = score(y, np.eye(2)[y] * 0.8 + 0.1, 1 - y)["top1"]
    assert wrong.value == wrong.low == 0
    assert wrong.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_no_interval_has_zero_width_where_all_is_right():
    y = np.arange(50) % 5
    found = score(y, np.eye(5)[y] * 0.95 + 0.01, y)
    for name, interval in found.items():
        assert interval.low <= interval.value <= interval.high, name
        assert interval.high - interval.low > 0.01, name
    # Where classes have ten images each, the mean of their recalls is a share of 50.
    assert found["balanced_accuracy"].low == pytest.approx(0.025 ** (1 / 50))
    uneven = np.repeat([0, 1], [48, 2])
    assert score(uneven, np.eye(2)[uneven], uneven)["balanced_accuracy"].low < 0.65


def test_the_value_does_not_depend_on_the_resamples():
    data = answers(157, 7)
    plain, drawn = score(*data, n_boot=0), score(*data, n_boot=20)
    assert {name: i.value for name, i in plain.items()} == {name: i.value for name, i in drawn.items()}


def test_copies_of_the_images_hardly_change_the_intervals_if_they_are_units():
    y, p, predicted = answers(80)
    once = score(y, p, predicted)
    six = [np.repeat(x, 6, axis=0) for x in (y, p, predicted)]
    known, blind = score(*six, units=np.repeat(np.arange(80), 6)), score(*six)
    for name in METRICS:
        width = once[name].high - once[name].low
        assert known[name].high - known[name].low == pytest.approx(width, rel=0.2), name
        assert blind[name].high - blind[name].low < 0.7 * width, name


def test_a_single_unit_leaves_little_to_say():
    y, p, predicted = answers(12)
    found = score(y, p, predicted, units=np.zeros(12, int))
    assert (found["top1"].low, found["top1"].high) == (0, 1)
    assert np.isnan(found["macro_f1"].low)


@pytest.mark.parametrize(("groups", "of", "icc"), [(50, 5, 0.5), (25, 8, 0.9)])
def test_the_intervals_hold_the_true_scores_of_grouped_images(groups, of, icc):
    rates = simulated_scores.classes(np.full(groups, of), 3, 2.0, 50, icc=icc)
    assert min(rates.values()) >= 0.9
    assert np.mean(list(rates.values())) >= 0.93


def test_the_same_seed_gives_the_same_intervals():
    data = answers(60)
    assert score(*data, n_boot=50, seed=1) == score(*data, n_boot=50, seed=1)
    assert score(*data, n_boot=50, seed=1) != score(*data, n_boot=50, seed=2)


def test_an_impossible_true_class_costs_a_finite_loss():
    loss = score([0, 1], [[0.0, 1.0], [0.0, 1.0]], [1, 1])["log_loss"]
    assert loss.value == pytest.approx(-np.log(np.finfo(float).eps) / 2)


def test_single_precision_probabilities_are_summed_in_double():
    y, p, predicted = answers(100)
    single = score(y, p.astype(np.float32), predicted, n_boot=0)
    double = score(y, p, predicted, n_boot=0)
    assert single["log_loss"].value == pytest.approx(double["log_loss"].value, rel=1e-5)


def test_ten_thousand_images_are_resampled_a_thousand_times_in_seconds():
    data = answers(10_000, 100)
    start = time.process_time()
    score(*data)
    assert time.process_time() - start < 6  # CPU time, with room for slow machines


GOOD = (np.array([0, 1]), np.array([[0.6, 0.4], [0.1, 0.9]]), np.array([0, 1]))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, [0, 1, 1], "y_true must be 2 integers"),
        (0, [0.0, 1.0], "got float64"),
        (0, [0, 2], r"y_true must lie in 0\.\.1, the columns of proba, got 0\.\.2"),
        (2, [-1, 1], r"predictions must lie in 0\.\.1"),
        (2, [[0], [1]], r"shape \(2, 1\)"),
        (1, [0.5, 0.5], r"shape \(n_images, n_classes\)"),
        (1, np.zeros((0, 2)), "be filled"),
        (1, [[0.6, 0.4], [3.0, 4.0]], "row 1 sums to 7"),
        (1, [[0.6, 0.4], [np.nan, 1.0]], "row 1 sums to nan"),
        (1, [[0.6, 0.4], [-0.5, 1.5]], "0 or more"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(position, value, message):
    arguments = list(GOOD)
    arguments[position] = value
    with pytest.raises(InputError, match=message):
        score(*arguments)


def test_a_negative_number_of_resamples_is_refused():
    with pytest.raises(InputError, match="n_boot must be 0 or more"):
        score(*GOOD, n_boot=-1)


def test_a_new_entry_of_the_table_is_scored_with_an_interval(monkeypatch):
    def kappa(sums):
        agreed = sums.hit.sum(axis=1) / sums.n
        by_chance = (sums.actual * sums.called).sum(axis=1) / sums.n**2
        return (agreed - by_chance) / (1 - by_chance)

    new = (
        Metric("kappa", "Cohen's kappa", low=-1.0, compute=kappa),
        Metric("confidence", "mean confidence", per_image=lambda y, given: given.sure),
    )
    monkeypatch.setattr(classes, "METRICS", (*classes.METRICS, *new))
    y, p, predicted = answers(300)
    found = score(y, p, predicted)
    assert found["kappa"].value == pytest.approx(sk.cohen_kappa_score(y, predicted))
    assert found["confidence"].value == pytest.approx(p.max(axis=1).mean())
    for name in ("kappa", "confidence"):
        assert found[name].low < found[name].value < found[name].high
    monkeypatch.undo()
    assert {name: found[name] for name in METRICS} == score(y, p, predicted)
