"""Scores of draws in parts, what draws have in common, and units of test images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from featx.metrics import Answers, score_answers
from featx.studies.curves.drawing import draw, find_levels
from featx.studies.curves.scores import MOST_PARTS, divide_into_parts, is_share, measure_pool, score_draws
from featx.studies.curves.summary import _intervals
from featx.studies.curves.two_way import Pool

POOL = Pool.of(np.array([0.2, 1.0]))


def outcomes(y, n_draws=4, n_classes=3, seed=0):
    """Answers as cells keep them, of one method at two levels."""
    rng = np.random.default_rng(seed)
    found = []
    for accuracy in (0.7, 0.9):
        for _ in range(n_draws):
            right = rng.random(len(y)) < accuracy + 0.05 * rng.standard_normal()
            labels = np.where(right, y, (y + 1) % n_classes).astype(np.uint8)
            sure = rng.uniform(0.5, 0.9, len(y)).astype(np.float32)
            found.append(
                SimpleNamespace(answers=Answers(labels, sure, np.where(right, sure, 0.1), n_classes))
            )
    return found


def repeated(found, times):
    return [
        SimpleNamespace(answers=Answers(*(np.repeat(a, times) for a in o.answers[:3]), o.answers.n_classes))
        for o in found
    ]


def test_each_draw_has_the_metrics_of_its_answers():
    y = np.random.default_rng(1).integers(0, 3, 50)
    found = outcomes(y)
    scores = score_draws(found, y, (1, 2, 4), POOL)
    for outcome, metrics in zip(found, scores.draws, strict=True):
        a = outcome.answers
        wide = Answers(a.labels.astype(int), a.sure.astype(float), a.true.astype(float), 3)
        assert metrics == pytest.approx({n: i.value for n, i in score_answers(y, wide, n_boot=0).items()})
    for name, values in scores.metrics.items():
        assert values.shape == (1, 2, 4, 50)
        assert values.mean(axis=3).ravel() == pytest.approx([m[name] for m in scores.draws])


def test_six_copies_of_each_test_image_change_no_interval():
    y = np.random.default_rng(2).integers(0, 3, 60)
    found = outcomes(y)
    once = score_draws(found, y, (1, 2, 4), POOL)
    units = np.repeat(np.arange(60), 6)
    copied = score_draws(repeated(found, 6), np.repeat(y, 6), (1, 2, 4), POOL, units=units)
    unaware = score_draws(repeated(found, 6), np.repeat(y, 6), (1, 2, 4), POOL)
    for name in once.metrics:
        one, six, plain = (_intervals(name, s.metrics[name][0], s)[1] for s in (once, copied, unaware))
        assert (six.value, six.low, six.high) == pytest.approx((one.value, one.low, one.high), abs=1e-9)
        if is_share(name):
            assert plain.high - plain.low < 0.95 * (one.high - one.low)


def test_few_draws_or_units_have_no_interval():
    y = np.arange(12) % 3
    one_draw = score_draws(outcomes(y, 1), y, (1, 2, 1), POOL)
    one_unit = score_draws(outcomes(y), y, (1, 2, 4), POOL, units=np.zeros(12, int))
    for scores in (one_draw, one_unit):
        assert not scores.has_intervals
        assert np.isnan(_intervals("top1", scores.metrics["top1"][0], scores)[0].low)


def test_many_units_are_divided_into_parts_of_equal_size():
    parts = divide_into_parts(None, 5 * MOST_PARTS)
    assert (np.bincount(parts) == 5).all()
    units = np.repeat(np.arange(400), 3)
    parts = divide_into_parts(units, 1200, seed=1)
    assert (np.bincount(parts) == 6).all()
    assert all(len(set(parts[units == u])) == 1 for u in range(400))


def test_draws_have_k_of_n_images_in_common_and_all_units_where_these_are_few():
    y = np.repeat([0, 1], 20)
    train = np.arange(40)
    levels, _ = find_levels((1, 5, 10, 15, "all"), (20, 20))
    draws = [draw(y, train, 2, number=i, seed=0) for i in range(3)]
    pool = measure_pool(y, draws, levels, np.arange(40), 2)
    assert pool.overlap == pytest.approx([0.05, 0.25, 0.5, 0.75, 1.0])
    assert pool.source.tolist() == [0, 1, 2, 2, 2]
    # Five scenes a class: from 5 images on every draw has all scenes.
    scenes = np.arange(40) // 4
    draws = [draw(y, train, 2, number=i, seed=0, groups=scenes) for i in range(3)]
    assert measure_pool(y, draws, levels, scenes, 2).overlap == pytest.approx([0.2, 1, 1, 1, 1])
