"""Jackknife: the influence of a part is what leaving it out shows."""

from __future__ import annotations

import numpy as np
import pytest

from featx.metrics import Answers, score_answers
from featx.metrics.jackknife import jackknife_scores


@pytest.fixture
def answered():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 60)
    proba = rng.dirichlet(np.ones(4), 60)
    proba[np.arange(60), y] += 1
    proba /= proba.sum(axis=1, keepdims=True)
    labels = proba.argmax(axis=1)
    labels[::7] = (labels[::7] + 1) % 4
    return y, Answers(labels, proba.max(axis=1), proba[np.arange(60), y], 4)


def test_it_is_that_of_scoring_again_without_each_part(answered):
    y, given = answered
    parts = np.random.default_rng(1).permutation(60) % 13
    found = jackknife_scores(y, given, parts)
    plain = score_answers(y, given, n_boot=0)
    without = []
    for part in range(13):
        kept = parts != part
        rest = Answers(given.labels[kept], given.sure[kept], given.true[kept], 4)
        without.append(score_answers(y[kept], rest, n_boot=0))
    assert list(found) == list(plain)
    for name, (value, influence) in found.items():
        assert value == pytest.approx(plain[name].value)
        left = np.array([scores[name].value for scores in without])
        np.testing.assert_allclose(influence, 12 * (left.mean() - left), atol=1e-9)


def test_for_an_accuracy_and_single_images_it_is_right_or_wrong(answered):
    y, given = answered
    value, influence = jackknife_scores(y, given, np.arange(60))["top1"]
    np.testing.assert_allclose(value + influence, y == given.labels, atol=1e-9)
    assert jackknife_scores(y, given, np.zeros(60, int))["top1"][1].tolist() == [0.0]
