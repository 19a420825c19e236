"""Tell which methods may be as good as the best one of a level, and how much its mean owes to the choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featx.studies.curves.two_way import Pool, TwoWay, difference_errors


@dataclass(frozen=True)
class Lead:
    """What the lead of the best method at a level says; methods are numbered as given."""

    not_told_apart: list[int]
    optimism: float


def compare_methods(
    values: np.ndarray,
    level: int,
    pool: Pool,
    size: float,
    best: int,
    *,
    n_resamples: int = 4000,
    coverage: float = 0.95,
    seed: int = 0,
) -> Lead:
    """Compare the best method of a level with all others, over draws and test inputs together.

    The largest of all pairs' |difference| / error has the quantile that it would have if all methods were
    equally good: any pair might have been the one that is read (max-T, as in `featx.metrics.pairs`). It is
    taken from normal vectors with the covariance of the means.

    The optimism is the mean deviation of the method that wins when such a vector is added to the supposed
    true means, those of `featx.metrics.selection_optimism`.

    Parameters
    ----------
    values : ndarray of shape (n_methods, n_levels, n_draws, n_parts)
        Top-1 accuracy of each draw on each part of the test inputs; several draws and parts.
    level : int
        Its place.
    pool, size
        As in `featx.studies.curves.scores.CurveScores`; `size` of top-1.
    best : int
        Number of the method with the highest mean.
    n_resamples : int, default=4000
        Normal vectors.
    coverage : float, default=0.95
        Probability of no false difference.
    seed : int, default=0
        Seed of the vectors.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    m = len(values)
    if m == 1:
        return Lead([], 0.0)
    means = values[:, level].mean(axis=(1, 2))
    # Only differences matter: what all methods have in common would be noise.
    values = values - values.mean(axis=0)
    # The pool's term is that of another level, whose means are put below those of this one.
    both = np.concatenate([values[:, level], values[:, pool.source[level]]])
    weights = np.zeros((2 * m, 2 * m))
    weights[np.arange(m), m + np.arange(m)] = pool.weights()[level]
    found = TwoWay(both, weights)
    covariance = found.covariance(np.eye(m, 2 * m))
    rng = np.random.default_rng(seed)
    vectors = rng.multivariate_normal(np.zeros(m), covariance, n_resamples, "ignore", method="eigh")
    one, other = np.triu_indices(m, 1)
    pairs = np.zeros((len(one), 2 * m))
    pairs[np.arange(len(one)), one], pairs[np.arange(len(one)), other] = 1, -1
    differences = found.estimate(pairs)
    errors, df = difference_errors(differences, size)
    # The normal quantile of the largest, then Student's for each pair's degrees of freedom.
    spread = np.sqrt(np.maximum((pairs[:, :m] @ covariance * pairs[:, :m]).sum(axis=1), 0))
    deviations = np.abs(vectors[:, one] - vectors[:, other])
    largest = np.divide(deviations, spread, where=spread > 0, out=np.zeros_like(deviations)).max(axis=1)
    critical = max(float(np.quantile(largest, coverage)), float(norm.ppf((1 + coverage) / 2)))
    shown = np.abs(differences.value) > student.isf(norm.sf(critical), df) * errors
    with_best = (one == best) | (other == best)
    alike = np.where(one == best, other, one)[with_best & ~shown]
    return Lead(sorted(alike.tolist()), _optimism(means, vectors))


def _optimism(means: np.ndarray, vectors: np.ndarray) -> float:
    """Return the mean deviation of the winner; see `featx.metrics.selection_optimism`."""
    noise = float((vectors - vectors.mean(axis=1, keepdims=True)).var(axis=0).sum()) / (len(means) - 1)
    spread = float(means.var(ddof=1))
    kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
    winner = (kept * means + vectors).argmax(axis=1)
    return max(0.0, float(vectors[np.arange(len(vectors)), winner].mean()))
