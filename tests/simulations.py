"""Experiments in which no method is better than another, thousands at a time."""

from __future__ import annotations

from functools import cache

import numpy as np

from featx.metrics import (
    corrected_interval,
    corrected_resampled_t_test,
    holm,
    holm_over_pairs,
    rank_methods,
    sign_flip_test,
)
from featx.metrics.paired import flip_probabilities

ALPHA = 0.05


def equal_methods(rng: np.random.Generator, n_methods: int, n_images: int, accuracy: float, shared: float):
    """Whether each method has each image right (n_methods, n_images): all alike, and alike in what is hard.

    An image is easy or hard for all methods with probability `shared`, else a matter of each method's luck.
    """
    together = rng.random(n_images) < shared
    for_all = rng.random(n_images) < accuracy
    own = rng.random((n_methods, n_images)) < accuracy
    return np.where(together, for_all, own)


def disagreements(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Images that only one of two methods gets right."""
    return int((a & ~b).sum()), int((b & ~a).sum())


@cache
def mcnemar_p_values(n_only_a: int, n_only_b: int) -> tuple[float, float]:
    """Of the exact test and its mid-p variant, without the intervals that take most of their time."""
    further, as_far = flip_probabilities(np.repeat([1.0, -1.0, 0.0], [n_only_a, n_only_b, 1]))
    return further + as_far, further + as_far / 2 if n_only_a + n_only_b else 1.0


def mcnemar_rates(n_images: int, accuracy: float, experiments: int, seed: int = 0) -> tuple[float, float]:
    """How often the exact test and its mid-p variant find a difference between two equal methods."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for _ in range(experiments):
        a, b = equal_methods(rng, 2, n_images, accuracy, 0.5)
        hits += np.array(mcnemar_p_values(*disagreements(a, b))) < ALPHA
    return float(hits[0]) / experiments, float(hits[1]) / experiments


def sign_flip_rate(n_images: int, experiments: int, n_flips: int = 999, seed: int = 0) -> float:
    """How often the sign-flip test finds a difference between skewed errors of the same distribution."""
    rng = np.random.default_rng(seed)
    hits = 0
    for k in range(experiments):
        common = rng.exponential(1.0, n_images)
        a, b = common * rng.lognormal(0, 0.5, (2, n_images))
        hits += sign_flip_test(a, b, n_flips=n_flips, seed=k).p_value < ALPHA
    return hits / experiments


def split_differences(
    rng: np.random.Generator, n_images: int, n_splits: int, experiments: int, features: int = 4
) -> np.ndarray:
    """Differences (experiments, n_splits) in accuracy of two classifiers that are equally good by symmetry.

    Each experiment draws a dataset of two classes, and two sets of features of it that are equally telling
    and independent given the class. Two linear discriminants, each on a set of its own, are trained and
    tested on the same random splits in 4 : 1, so that training sets overlap as they do in a real comparison.
    """
    n_test = n_images // 5
    found = np.empty((experiments, n_splits))
    for e in range(experiments):
        y = np.arange(n_images) % 2
        x = rng.standard_normal((2, n_images, features)) + 0.5 * y[:, None]
        order = rng.permuted(np.tile(np.arange(n_images), (n_splits, 1)), axis=1)
        test, train = order[:, :n_test], order[:, n_test:]
        right = []
        for own in x:
            rows, labels = own[train], y[train]
            share = labels[..., None] / labels.sum(1)[:, None, None]
            rest = (1 - labels)[..., None] / (1 - labels).sum(1)[:, None, None]
            means = (rows * rest).sum(1), (rows * share).sum(1)
            centred = rows - np.where(labels[..., None], means[1][:, None], means[0][:, None])
            scatter = np.einsum("sni,snj->sij", centred, centred)
            w = np.linalg.solve(scatter, (means[1] - means[0])[..., None])
            middle = (means[0] + means[1]) / 2
            right.append(((((own[test] - middle[:, None]) @ w)[..., 0] > 0) == y[test]).mean(1))
        found[e] = right[0] - right[1]
    return found


def resampled_rates(
    n_images: int, n_splits: int, experiments: int, seed: int = 0
) -> tuple[float, float, float]:
    """Rejections by the corrected test, by the plain one, and how often the corrected interval has the 0."""
    rng = np.random.default_rng(seed)
    differences = split_differences(rng, n_images, n_splits, experiments)
    n_test = n_images // 5
    sizes = {"n_train": n_images - n_test, "n_test": n_test}
    corrected = [corrected_resampled_t_test(d, **sizes).p_value < ALPHA for d in differences]
    plain = [corrected_resampled_t_test(d, n_train=1, n_test=0).p_value < ALPHA for d in differences]
    intervals = [corrected_interval(d, **sizes) for d in differences]
    covered = [i.low <= 0 <= i.high for i in intervals]
    return float(np.mean(corrected)), float(np.mean(plain)), float(np.mean(covered))


def family_rates(n_methods: int, n_images: int, experiments: int, seed: int = 0) -> tuple[float, ...]:
    """How often some of several equal methods is told apart.

    By any test against the best, by Holm's adjustment of these, by Holm's over all pairs, and by Holm's of
    the tests against a method that was chosen beforehand.
    """
    rng = np.random.default_rng(seed)
    hits = np.zeros(4)
    for _ in range(experiments):
        right = equal_methods(rng, n_methods, n_images, 0.9, 0.5)
        best = int(right.sum(1).argmax())
        p = np.ones((n_methods, n_methods))
        for i in range(n_methods):
            for j in range(i):
                p[i, j] = p[j, i] = mcnemar_p_values(*disagreements(right[i], right[j]))[0]
        chosen, fixed = np.delete(p[best], best), p[0, 1:]
        for k, found in enumerate((chosen, holm(chosen), holm_over_pairs(p)[best], holm(fixed))):
            hits[k] += (found < ALPHA).any()
    return tuple((hits / experiments).tolist())


def friedman_rates(n_methods: int, n_datasets: int, experiments: int, seed: int = 0) -> tuple[float, float]:
    """Rejections by the F form and by the chi-square form of Friedman's test."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for _ in range(experiments):
        test = rank_methods(rng.random((n_datasets, n_methods)))
        hits += [test.p_value < ALPHA, test.p_value_chi_square < ALPHA]
    return float(hits[0]) / experiments, float(hits[1]) / experiments
