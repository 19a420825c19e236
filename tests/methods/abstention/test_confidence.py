"""The least probability of a sure answer: its guarantee, and what happens where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from featx.methods.abstention import fit_confidence
from featx.methods.abstention.confidence import DELTA, EVEN_ODDS


def answers(confidence, right):
    """Probabilities of two classes and the true ones, with these confidences, right or wrong."""
    return np.column_stack([confidence, 1 - confidence]), np.where(right, 0, 1)


def slow_threshold(confidence, right, risk):
    """The search as the paper writes it, one set of answers after another, over those that may pass."""
    order = [i for i in np.argsort(confidence) if confidence[i] >= EVEN_ODDS]
    t = [float(confidence[i]) for i in order]
    level = DELTA / len(bin(len(t))[2:])
    fewest = next(m for m in range(1, 100_000) if (1 - risk) ** m <= level)
    low, high, found = 0, len(t) - fewest + 1, None
    while low < high:
        middle = (low + high) // 2
        chosen = [i for i in order if confidence[i] >= t[middle]]
        errors = sum(not right[i] for i in chosen)
        if binom.cdf(errors, len(chosen), risk) <= level:
            high, found = t.index(t[middle]), t[middle]
        else:
            low = middle + 1
    return found


@pytest.mark.parametrize("n", [30, 100, 101, 700])
def test_the_search_is_that_of_the_paper(n):
    rng = np.random.default_rng(n)
    for ties in (False, True):
        confidence = rng.uniform(0.4, 1, n)
        confidence = np.round(confidence, 1) if ties else confidence
        right = rng.random(n) < 1 - 0.25 * (1 - confidence)
        for sure in (0.8, 0.95):
            found = fit_confidence(*answers(np.maximum(confidence, 0.5), right), sure)
            expected = slow_threshold(np.maximum(confidence, 0.5), right, 1 - sure)
            assert found.guaranteed == (expected is not None)
            assert found.threshold == (sure if expected is None else expected)


@pytest.mark.parametrize(("n", "risk"), [(200, 0.06), (2000, 0.055), (2000, 0.2)])
def test_confidences_that_mean_nothing_pass_as_rarely_as_promised(n, risk):
    """Every set of answers has the same risk, above the one asked for: any threshold found is a false one."""
    rng = np.random.default_rng(0)
    false = [
        fit_confidence(*answers(rng.uniform(0.5, 1, n), rng.random(n) >= risk)).guaranteed for _ in range(400)
    ]
    assert np.mean(false) <= DELTA


def test_the_risk_of_the_sure_answers_is_as_promised():
    """The true risk above t is known here: errors have the probability 1 - t, uniform t on (0.5, 1)."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        confidence = rng.uniform(0.5, 1, 4000)
        found.append(fit_confidence(*answers(confidence, rng.random(4000) < confidence), 0.9))
    # The mean of 1 - t from the threshold to 1 is the risk of the sure answers.
    assert np.mean([(1 - one.threshold) / 2 > 0.1 for one in found]) <= DELTA
    assert all(one.guaranteed for one in found)
    # The lowest threshold of that risk is 0.8: most of what could be answered is.
    assert np.median([one.threshold for one in found]) < 0.85


def test_few_images_leave_the_probability_itself():
    found = fit_confidence(*answers(np.full(50, 0.99), np.ones(50, bool)))
    assert (found.threshold, found.guaranteed, found.answered, found.right) == (0.95, False, 1.0, 1.0)
    assert fit_confidence(*answers(np.full(200, 0.6), np.ones(200, bool))).threshold == 0.6


def test_an_answer_at_less_than_even_odds_is_never_sure():
    """Three classes: all right, also at a probability of 0.4."""
    rng = np.random.default_rng(2)
    highest = rng.uniform(0.4, 1, 1000)
    rest = (1 - highest[:, None]) / 2
    found = fit_confidence(np.hstack([highest[:, None], rest, rest]), np.zeros(1000, int))
    assert EVEN_ODDS <= found.threshold < 0.51
    assert found.guaranteed


def test_where_nothing_is_sure_nothing_is_right():
    found = fit_confidence(*answers(np.full(200, 0.6), np.arange(200) % 2 == 0))
    assert (found.answered, found.right, found.guaranteed) == (0.0, None, False)
