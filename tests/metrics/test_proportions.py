"""Intervals of shares and of other bounded scores."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_scores
from scipy.stats import beta, binomtest

from featx.errors import InputError
from featx.metrics import proportion_interval
from featx.metrics.proportions import Sizes, beta_interval, effective_size, score_interval
from featx.metrics.units import least_size


def right(n_right: int, n: int) -> np.ndarray:
    return np.arange(n) < n_right


@pytest.mark.parametrize(("k", "n"), [(50, 50), (49, 50), (0, 7), (3, 20), (918, 1000)])
def test_without_units_the_interval_is_the_exact_one(k, n):
    reference = binomtest(k, n).proportion_ci(0.95, method="exact")
    found = proportion_interval(right(k, n))
    assert (found.value, found.low, found.high) == pytest.approx((k / n, reference.low, reference.high))


def test_one_mistake_widens_the_interval():
    perfect, nearly = proportion_interval(right(50, 50)), proportion_interval(right(49, 50))
    assert (perfect.low, nearly.low) == pytest.approx((0.929, 0.894), abs=0.0005)
    assert proportion_interval(right(0, 1)).high == pytest.approx(0.975)


def test_copies_add_nothing():
    once = right(147, 153)
    found = proportion_interval(np.repeat(once, 6), units=np.repeat(np.arange(153), 6))
    assert (found.low, found.high) == pytest.approx(tuple(proportion_interval(once).__dict__.values())[1:])
    blind = proportion_interval(np.repeat(once, 6))
    assert blind.low > found.low + 0.015


def test_with_units_the_interval_is_that_of_korn_and_graubard():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 40)
    units = np.repeat(np.arange(40), sizes)
    x = rng.random(len(units)) < np.repeat(rng.beta(4, 2, 40), sizes)
    p, n = x.mean(), len(x)
    variance = sum(((x[units == u]).sum() - p * (units == u).sum()) ** 2 for u in range(40)) * 40 / 39 / n**2
    least = n**2 / sum(size**2 for size in sizes)
    mistaken = min(len(set(units[~x])), len(set(units[x])))
    blended = (mistaken * variance + p * (1 - p) / least) / (mistaken + 1)
    from scipy.stats import t

    size = p * (1 - p) / blended * (t.ppf(0.975, n - 1) / t.ppf(0.975, least - 1)) ** 2
    size = min(n, max(size, least))
    found = proportion_interval(x, units=units * 7 - 3)
    low, high = beta.ppf(0.025, size * p, size * (1 - p) + 1), beta.ppf(0.975, size * p + 1, size * (1 - p))
    assert (found.value, found.low, found.high) == pytest.approx((p, low, high))
    assert least < size < n


def test_units_of_one_image_are_no_units_and_one_unit_tells_nothing():
    x = right(15, 20)
    assert proportion_interval(x, units=np.arange(20)[::-1]) == proportion_interval(x)
    alone = proportion_interval(x, units=np.zeros(20, int))
    assert (alone.low, alone.high) == (0, 1)


def test_where_all_is_right_a_group_counts_once():
    found = proportion_interval(np.ones(100, bool), units=np.repeat(np.arange(20), 5))
    assert found.low == pytest.approx(0.025 ** (1 / 20))


def test_the_least_size_is_that_of_equal_units_or_less():
    assert least_size(np.full(12, 5.0)) == pytest.approx(12)
    assert least_size(np.array([1.0, 1.0, 1.0, 97.0])) < 1.1


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([1, 0], {}, "right must be booleans"),
        (np.zeros(0, bool), {}, "n at least 1"),
        ([True, False], {"units": [0]}, "units must be 2 integers"),
        ([True, False], {"units": [0.5, 1.0]}, "got float64"),
        ([True, False], {"level": 1.0}, "level must lie"),
    ],
)
def test_what_is_no_share_is_refused(x, options, message):
    with pytest.raises(InputError, match=message):
        proportion_interval(x, **options)


@pytest.mark.parametrize(("n", "p"), [(50, 0.94), (100, 0.97), (250, 0.99)])
def test_near_1_the_interval_holds_the_truth(n, p):
    covered, above, _ = simulated_scores.proportions(np.ones(n, int), p, 0.0, 400)
    assert covered >= 0.94
    assert above <= 0.04


@pytest.mark.parametrize(("groups", "of", "icc"), [(50, 5, 0.5), (25, 20, 0.9)])
def test_with_groups_the_interval_holds_the_truth_and_without_it_does_not(groups, of, icc):
    sizes = np.full(groups, of)
    assert simulated_scores.proportions(sizes, 0.9, icc, 300)[0] >= 0.94
    assert simulated_scores.proportions(sizes, 0.9, icc, 150, units=None)[0] < 0.88


def test_a_score_has_as_many_effective_images_as_its_variance_says():
    # A share of 400 independent images, whose variance is known.
    sizes = Sizes(1e9, 400.0)
    assert effective_size(0.8, 0.8 * 0.2 / 400, sizes, 80) == pytest.approx(400, rel=0.01)
    assert effective_size(1.0, 0.0, sizes, 0) == 400
    rng = np.random.default_rng(0)
    draws = rng.binomial(400, 0.8, 4000) / 400
    found, exact = score_interval(0.8, draws, Sizes(400, 400), 80), beta_interval(0.8, 400)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.003)
    # A correlation lies in -1..1.
    scaled = score_interval(0.6, 2 * draws - 1, Sizes(400, 400), 80, (-1, 1))
    assert (scaled.low, scaled.high) == pytest.approx((2 * found.low - 1, 2 * found.high - 1))
