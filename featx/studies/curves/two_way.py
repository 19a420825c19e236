"""Estimate how a mean over draws and test inputs varies with both, and its interval.

A point of a learning curve is a mean over J draws of training inputs and n units of test inputs. What it
estimates is the accuracy, on new test inputs, of the method trained on as many inputs drawn from the
population as in a draw. With x_ju the answer to unit u after draw j,

    x_ju = truth + a_j + b_u + c_ju,    Var(mean) = Var(mean of a_j) + Var(mean of b_u and c_ju).

*Test inputs.* The units are independent, so the second term is the variance of the unit means (each over all
draws) over n. This contains the interaction c as well, whatever the draws have in common.

*Training inputs.* The draws come from one pool of training inputs and overlap: two draws of k out of N inputs
share k/N, and so a_j and a_i are correlated by rho = k/N, if a is a sum over training inputs, and less
otherwise. The variance R of the J draw means, less the part E that the interaction has in it, estimates
s = Var(a) (1 - rho), and

    Var(mean of a_j) = Var(a) (1/J + (1 - 1/J) rho) = s/J + s rho / (1 - rho)

(C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), with training
inputs in place of test inputs). The last term is due to the pool, and does not depend on k if a is a sum:
Var(a) is proportional to 1/k, and rho to k. Where draws share more than half of their inputs, s says little
about it, and nothing where they share all. There the pool's term is that of the largest level with a rho of
at most one half. Effects that are not sums become smaller faster than 1/k, which makes it too large at most.

Units take the place of inputs throughout. For metrics that are no means over inputs, x_ju is the metric of
draw j plus the influence of unit u (`featx.metrics.jackknife`); many units are taken together in parts.

``tests/benchmarks/bench_curve_null.py`` prints how often 95 % intervals hold the truth. The two-way bootstrap
(A. B. Owen and D. Eckles, "Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 6
(2012)) counts E twice, and knows nothing of the pool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from featx.metrics import Interval

#: Draws that share more than this of their inputs do not tell how much other pools would change.
MOST_OVERLAP = 0.5


@dataclass(frozen=True)
class Pool:
    """What is known, at each level, of the variance that is due to the pool of training inputs.

    Attributes
    ----------
    overlap : ndarray of shape (n_levels,)
        Share of training inputs that two draws have in common, rho above.
    source : ndarray of shape (n_levels,), int
        The level whose draws tell the pool's term of each level.
    known : bool
        Whether any level has an overlap up to `MOST_OVERLAP`. Otherwise the pool's term is left out, and
        intervals hold for this pool only.
    """

    overlap: np.ndarray
    source: np.ndarray
    known: bool

    @classmethod
    def of(cls, overlap: np.ndarray) -> Pool:
        """Return the pool of levels in increasing order."""
        overlap = np.asarray(overlap, dtype=np.float64)
        few = np.flatnonzero(overlap <= MOST_OVERLAP)
        places = np.arange(len(overlap))
        return cls(overlap, np.minimum(places, few[-1]) if len(few) else places, bool(len(few)))

    def weights(self) -> np.ndarray:
        """Return sqrt(rho / (1 - rho)) of the source of each level, (n_levels,); 0 where nothing is known."""
        if not self.known:
            return np.zeros(len(self.overlap))
        rho = self.overlap[self.source]
        return np.sqrt(rho / (1 - rho))

    def matrix(self) -> np.ndarray:
        """Return W (n_levels, n_levels): the pool's covariance of all levels is W s W'."""
        found = np.zeros((len(self.overlap),) * 2)
        found[np.arange(len(found)), self.source] = self.weights()
        return found


@dataclass(frozen=True)
class Estimate:
    """Combinations of means: their values and the parts of their variances, ndarrays of shape (m,)."""

    value: np.ndarray
    test: np.ndarray  # the part due to test inputs
    training: np.ndarray  # the part due to training inputs
    doubt: np.ndarray  # of `training`: sum of squared variances over their degrees of freedom
    n_parts: int

    def df(self, test: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom by Satterthwaite's formula, at least 1, with `test` as that part."""
        total = test + self.training
        parts = test**2 / (self.n_parts - 1) + self.doubt
        return np.maximum(1.0, total**2 / np.where(parts > 0, parts, 1.0))


class TwoWay:
    """The variance components of several means over the same draws and test inputs.

    Parameters
    ----------
    x : ndarray of shape (k, n_draws, n_parts)
        Of each of k means, the values of all draws and parts of the test inputs; at least 2 of both.
    pool : ndarray of shape (k, k)
        `Pool.matrix`, or such weights of other means.
    """

    def __init__(self, x: np.ndarray, pool: np.ndarray):
        k, self.n_draws, self.n_parts = x.shape
        j, g = self.n_draws, self.n_parts
        by_draw, by_part = x.mean(axis=2), x.mean(axis=1)
        self.value = x.mean(axis=(1, 2))
        rows, columns = by_draw - self.value[:, None], by_part - self.value[:, None]
        rest = (x - by_draw[:, :, None] - columns[:, None]).reshape(k, -1)
        self.test = columns @ columns.T / (g - 1) / g
        self.draws = rows @ rows.T / (j - 1)  # R
        self.noise = rest @ rest.T / ((j - 1) * (g - 1)) / g  # E
        self.pool = pool

    def estimate(self, weights: np.ndarray) -> Estimate:
        """Return the combinations `weights` (m, k) of the means."""
        j, g, pooled = self.n_draws, self.n_parts, weights @ self.pool

        def squares(w: np.ndarray, matrix: np.ndarray) -> np.ndarray:
            return ((w @ matrix) * w).sum(axis=1)

        own_draws, own_noise = squares(weights, self.draws) / j, squares(weights, self.noise) / j
        pool_draws, pool_noise = squares(pooled, self.draws), squares(pooled, self.noise)
        training = np.maximum(own_draws - own_noise, 0) + np.maximum(pool_draws - pool_noise, 0)
        doubt = (own_draws + pool_draws) ** 2 / (j - 1) + (own_noise + pool_noise) ** 2 / ((j - 1) * (g - 1))
        return Estimate(weights @ self.value, squares(weights, self.test), training, doubt, g)

    def covariance(self, weights: np.ndarray) -> np.ndarray:
        """Return the covariance matrix (m, m) of combinations of the means, positive semidefinite.

        What the interaction has in the spread of the draws is taken off by a factor, for all combinations the
        same: taken off each, it would leave negative variances, and setting these to 0 would add to the rest.
        """

        def without_noise(w: np.ndarray) -> np.ndarray:
            draws, noise = w @ self.draws @ w.T, w @ self.noise @ w.T
            total = float(np.trace(draws))
            return draws * max(0.0, 1 - float(np.trace(noise)) / total) if total > 0 else draws

        own = without_noise(weights) / self.n_draws
        return weights @ self.test @ weights.T + own + without_noise(weights @ self.pool)


def share_intervals(found: Estimate, size: float, level: float = 0.95) -> list[Interval]:
    """Return the intervals of means of right answers, or of scores that behave like them.

    They are Wilson's score intervals with the effective number of inputs in place of n, and Student's
    quantile in place of the normal one. A mean over draws is no count, so that there is no exact interval.
    Two units are added before the variance is estimated, one that every draw gets right and one that every
    draw gets wrong: where nearly all answers are right the estimate would rest on very few inputs, and where
    all are, on none.

    Parameters
    ----------
    found : Estimate
    size : float
        Effective number of test inputs, if each draw answered alike.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927).
    """
    from scipy.stats import t as student

    v = np.clip(found.value, 0, 1)
    middle = (v * size + 1) / (size + 2)
    test = _with_two_units(found.test, v - middle, (-middle, 1 - middle), size)
    n = middle * (1 - middle) / (test + found.training)
    z2 = student.ppf((1 + level) / 2, found.df(test)) ** 2
    centre = (v + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (v * (1 - v) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, 1)
    return [
        Interval(*map(float, one)) for one in zip(v, np.minimum(low, v), np.maximum(high, v), strict=True)
    ]


def difference_errors(found: Estimate, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard errors and degrees of freedom of differences of shares.

    Two units are added, one that only the first method gets right and one that only the second does (D. G.
    Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based
    on paired data", Journal of Educational and Behavioral Statistics 37 (2012)), because two methods that
    answer a few inputs alike need not be equal.
    """
    middle = found.value * size / (size + 2)
    test = _with_two_units(found.test, found.value - middle, (-1 - middle, 1 - middle), size)
    return np.sqrt(test + found.training), found.df(test)


def _with_two_units(
    test: np.ndarray, shift: np.ndarray, added: tuple[np.ndarray, np.ndarray], size: float
) -> np.ndarray:
    """Return the variance of a mean over `size` units and two that are `added`, as distances from it."""
    squares = test * size * (size - 1) + size * shift**2 + added[0] ** 2 + added[1] ** 2
    return squares / (size + 2) / size


def student_intervals(
    found: Estimate, within: tuple[float, float] = (-math.inf, math.inf), level: float = 0.95
) -> list[Interval]:
    """Return Student's intervals of means of any numbers, clipped to a range; NaN bounds if none varies."""
    from scipy.stats import t as student

    error = np.sqrt(found.test + found.training)
    half = student.ppf((1 + level) / 2, found.df(found.test)) * error
    return [
        Interval(float(v), max(within[0], float(v - h)), min(within[1], float(v + h)))
        if h > 1e-12 * abs(v)
        else Interval(float(v))
        for v, h in zip(found.value, half, strict=True)
    ]
