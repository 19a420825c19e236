"""Test sets drawn again and again: how often intervals hold the true score, and tests reject equal methods.

Every function returns shares of the samples. Images come one by one, or in groups whose images resemble each
other: `sizes` is the number of images of each group, `icc` their intra-class correlation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from featx.metrics import (
    Interval,
    compare_pairs,
    compare_with_references,
    holm_over_pairs,
    mcnemar_exact,
    mcnemar_mid_p,
    mean_interval,
    proportion_interval,
    score_anomalies,
    score_answers,
    score_numbers,
    selection_optimism,
    sign_flip_test,
    take_answers,
)
from featx.metrics.classes import compute_metrics, per_image_summands, split_sums

ALPHA = 0.05
_MANY = 200_000  # images that stand for all there are


def group(sizes) -> np.ndarray | None:
    """The group of each image; None where each is its own."""
    return None if max(sizes) == 1 else np.repeat(np.arange(len(sizes)), sizes)


def rates(rng: np.random.Generator, n_methods: int, sizes, accuracy: float, icc: float) -> np.ndarray:
    """The chance of each method to get each image right (n_methods, n): beta, one value for each group."""
    shape = (n_methods, len(sizes))
    odds = (1 - icc) / icc if icc else np.inf
    each = rng.beta(accuracy * odds, (1 - accuracy) * odds, shape) if icc else np.full(shape, accuracy)
    return np.repeat(each, sizes, axis=1)


def holds(interval: Interval, truth: float) -> bool:
    """Whether an interval has a true value, but for rounding errors."""
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


def proportions(sizes, accuracy: float, icc: float, samples: int, seed: int = 0, **how) -> tuple[float, ...]:
    """How often the interval of top-1 has the true one, how often it lies above, and its mean width."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        p = rates(rng, 1, sizes, accuracy, icc)[0]
        interval = proportion_interval(rng.random(len(p)) < p, **({"units": group(sizes)} | how))
        found.append((holds(interval, accuracy), interval.low > accuracy, interval.high - interval.low))
    return tuple(np.mean(found, axis=0).tolist())


def answers(rng, sizes, n_classes: int, skill: float, icc: float = 0.0, certainty: float = 1.0, prior=None):
    """Labels and probabilities of a classifier; at a certainty of 1 they are calibrated if `icc` is 0."""
    shares = np.full(n_classes, 1 / n_classes) if prior is None else np.asarray(prior)
    of = np.repeat(np.arange(len(sizes)), sizes)
    y = rng.choice(n_classes, len(sizes), p=shares)[of]
    own, common = rng.normal(size=(len(of), n_classes)), rng.normal(size=(len(sizes), n_classes))[of]
    z = np.sqrt(1 - icc) * own + np.sqrt(icc) * common + skill * np.eye(n_classes)[y]
    logits = certainty * skill * z + np.log(shares)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return y, p / p.sum(axis=1, keepdims=True)


@cache
def true_scores(n_classes: int, skill: float, certainty: float, prior: tuple[float, ...] | None) -> dict:
    y, p = answers(
        np.random.default_rng(1), np.ones(_MANY, int), n_classes, skill, certainty=certainty, prior=prior
    )
    sums = per_image_summands(y, take_answers(y, p, p.argmax(axis=1))).sum(axis=0).reshape(1, -1)
    return {
        name: float(v[0])
        for name, v in compute_metrics(*split_sums(sums, np.array([_MANY]), n_classes)).items()
    }


def classes(
    sizes, n_classes: int, skill: float, samples: int, *, icc=0.0, certainty=1.0, prior=None, seed=0
) -> dict[str, float]:
    """How often the interval of each metric of classes has the true value."""
    rng = np.random.default_rng(seed)
    truth = true_scores(n_classes, skill, certainty, prior)
    hits = dict.fromkeys(truth, 0)
    for k in range(samples):
        y, p = answers(rng, sizes, n_classes, skill, icc, certainty, prior)
        given = take_answers(y, p, p.argmax(axis=1))
        for name, interval in score_answers(y, given, units=group(sizes), n_boot=200, seed=k).items():
            hits[name] += holds(interval, truth[name])
    return {name: hit / samples for name, hit in hits.items()}


def means(
    draw: Callable, truth: float, sizes, samples: int, icc: float = 0.0, seed: int = 0
) -> tuple[float, float]:
    """How often the interval of a mean of skewed values has the true one, and how often it lies above."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        own, common = draw(rng, sum(sizes)), np.repeat(draw(rng, len(sizes)), sizes)
        interval = mean_interval(np.where(rng.random(len(own)) < icc, common, own), units=group(sizes))
        found.append((holds(interval, truth), interval.low > truth))
    return tuple(np.mean(found, axis=0).tolist())


def numbers(
    sizes, noise: float, samples: int, *, icc=0.0, tails=None, n_boot=200, seed=0
) -> dict[str, float]:
    """How often the interval of each metric of numbers has the true value.

    The numbers are normal with a deviation of 1, the errors have one of `noise`: normal or, with `tails`,
    Student's with so many degrees of freedom, and alike within groups.
    """

    def draw(rng: np.random.Generator, sizes) -> tuple[np.ndarray, np.ndarray]:
        def values(shape):
            return rng.normal(size=shape) if tails is None else rng.standard_t(tails, shape)

        def both(make):
            own, common = make(sum(sizes)), np.repeat(make(len(sizes)), sizes)
            return np.where(np.repeat(rng.random(len(sizes)) < icc, sizes), common, own)

        y = both(lambda n: rng.normal(size=n))
        return y, y + noise * both(values)

    y, p = draw(np.random.default_rng(1), np.ones(_MANY, int))
    truth = {name: found.value for name, found in score_numbers(y, p, n_boot=0).items()}
    rng = np.random.default_rng(seed)
    hits = dict.fromkeys(truth, 0)
    for k in range(samples):
        y, p = draw(rng, sizes)
        for name, interval in score_numbers(y, p, units=group(sizes), n_boot=n_boot, seed=k).items():
            hits[name] += holds(interval, truth[name])
    return {name: hit / samples for name, hit in hits.items()}


def anomalies(
    bad, good, distance: float, samples: int, *, icc: float = 0.0, seed: int = 0
) -> dict[str, float]:
    """How often the intervals of AUROC and FPR95 have the true values; normal scores, a distance apart."""
    from scipy.stats import norm

    truth = {"auroc": norm.cdf(distance / np.sqrt(2)), "fpr95": norm.cdf(norm.ppf(0.95) - distance)}
    rng = np.random.default_rng(seed)
    sizes = np.r_[bad, good]
    anomalous = np.repeat(np.arange(len(sizes)) < len(bad), sizes)
    hits = dict.fromkeys(truth, 0)
    for k in range(samples):
        own, common = rng.normal(size=len(anomalous)), np.repeat(rng.normal(size=len(sizes)), sizes)
        scores = np.sqrt(1 - icc) * own + np.sqrt(icc) * common - distance * anomalous
        found = score_anomalies(scores, anomalous, units=group(sizes), n_boot=200, seed=k)
        for name in hits:
            hits[name] += holds(found.mean[name], truth[name])
    return {name: hit / samples for name, hit in hits.items()}


def equal_answers(rng, n_methods: int, sizes, accuracy: float, icc: float, shared: float = 0.5) -> np.ndarray:
    """Whether each method has each image right (n_methods, n); alike in a `shared` part of the groups."""
    p = rates(rng, n_methods, sizes, accuracy, icc)
    alike = np.repeat(rng.random(len(sizes)) < shared, sizes)
    right = rng.random(p.shape) < p
    return np.where(alike, right[:1], right)


def paired_levels(
    sizes, accuracy: float, icc: float, samples: int, *, blind=False, seed=0
) -> dict[str, float]:
    """How often tests of two equal methods reject, and the interval of their difference lacks 0.

    `blind` tests do not know the groups.
    """
    rng = np.random.default_rng(seed)
    units = None if blind else group(sizes)
    names = ("exact", "mid-p", "interval")
    hits = np.zeros(3)
    for _ in range(samples):
        a, b = equal_answers(rng, 2, sizes, accuracy, icc)
        exact = mcnemar_exact(a, b, units=units)
        mid = mcnemar_mid_p(a, b, units=units).p_value
        hits += (exact.p_value <= ALPHA, mid <= ALPHA, not holds(exact, 0.0))  # type: ignore[arg-type]
    return dict(zip(names, (hits / samples).tolist(), strict=True))


def paired_coverage(n: int, a: float, b: float, overlap: float, samples: int, seed: int = 0) -> float:
    """How often the interval of a difference has the true one; both methods are right on `overlap` images."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(samples):
        u = rng.random(n)
        first = u < a
        second = (u < overlap) | ((u >= a) & (u < a + b - overlap))
        hits += holds(mcnemar_exact(first, second), a - b)  # type: ignore[arg-type]
    return hits / samples


def flip_levels(sizes, icc: float, samples: int, seed: int = 0) -> tuple[float, float]:
    """How often the sign-flip test rejects for skewed errors of equal methods, and its interval lacks 0."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for k in range(samples):
        own = rng.exponential(1.0, (2, sum(sizes)))
        common = np.repeat(rng.exponential(1.0, (2, len(sizes))), sizes, axis=1)
        a, b = np.where(np.repeat(rng.random(len(sizes)) < icc, sizes), common, own)
        test = sign_flip_test(a, b, units=group(sizes), n_flips=499, seed=k)
        hits += (test.p_value <= ALPHA, not holds(test, 0.0))  # type: ignore[arg-type]
    return tuple((hits / samples).tolist())


def family(
    n_methods: int, sizes, accuracy: float, icc: float, samples: int, *, numbers=False, seed=0
) -> dict[str, float]:
    """How often some of several equal methods is told from another: by Holm, by max-T, by an interval."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(3)
    for k in range(samples):
        scores = equal_answers(rng, n_methods, sizes, accuracy, icc)
        if numbers:
            scores = -(np.abs(scores - rng.random(scores.shape[1])) ** 0.5)
        found = compare_pairs(scores, units=group(sizes), n_flips=499, seed=k)
        apart = (found.low > 0) | (found.high < 0)
        hits += [(p <= ALPHA).any() for p in (holm_over_pairs(found.p_value), found.p_adjusted, 1.0 - apart)]
    return dict(zip(("Holm", "max-T", "intervals"), (hits / samples).tolist(), strict=True))


def references(n_methods: int, n_references: int, sizes, icc: float, samples: int, seed: int = 0) -> float:
    """How often some method is called better than a reference that is as good, or better."""
    rng = np.random.default_rng(seed)
    hits = 0
    for k in range(samples):
        scores = equal_answers(rng, n_methods + n_references, sizes, 0.8, icc)
        p = compare_with_references(
            scores[:n_methods], scores[n_methods:], units=group(sizes), n_flips=499, seed=k
        )
        hits += (p <= ALPHA).any()
    return hits / samples


def optimism(
    n_methods: int, n_images: int, accuracy: float, samples: int, seed: int = 0
) -> tuple[float, float]:
    """The mean excess of the best of several equal methods, and the mean estimate of it."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(samples):
        right = equal_answers(rng, n_methods, np.ones(n_images, int), accuracy, 0.0)
        score = right.mean(axis=1)
        # All are as good as their mean, whose chance does not add to the excess on average.
        found.append((score.max() - score.mean(), selection_optimism(right, n_boot=200, seed=k)))
    return tuple(np.mean(found, axis=0).tolist())
