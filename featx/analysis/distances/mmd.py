"""Maximum mean discrepancy with Gaussian kernels, and the permutation test of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.analysis.distances.units import check_units, match_sizes
from featx.analysis.rows import check_two_sets
from featx.errors import InputError

#: Scales of a mixture of kernels, in median distances.
MIXTURE = (0.25, 0.5, 1.0, 2.0, 4.0)
_AT_A_TIME = 256  # permutations


@dataclass(frozen=True)
class MMDTest:
    """Result of the permutation test of the hypothesis that two sets come from one distribution.

    Attributes
    ----------
    value : float
        Unbiased estimate of the squared MMD; may be below 0.
    p_value : float
        Share of the divisions of the union, random ones and the observed one, whose value is at least as
        large (Phipson and Smyth 2010, eq. 2): never 0.
    bandwidths : tuple of float
        Bandwidths of the kernels.
    n_permutations : int
    n_units : tuple of int
        Units that were permuted, of the first and of the second set: rows, without units.
    """

    value: float
    p_value: float
    bandwidths: tuple[float, ...]
    n_permutations: int
    n_units: tuple[int, int] = (0, 0)

    @property
    def least_p(self) -> float:
        """The smallest p-value that so few units allow; 0 where only `n_permutations` limits it.

        k of K units can be chosen in C(K, k) ways; of equal numbers, a division and its mirror image have one
        value.
        """
        k, m = self.n_units
        ways = math.comb(k + m, k) if k + m <= 60 else math.inf
        return (2 if k == m else 1) / ways


def mmd(X: Any, Y: Any, *, bandwidths: float | Sequence[float] | None = None) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy.

    ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over pairs of different rows, with the kernel
    ``k(a, b) = exp(-|a - b|^2 / (2 s^2))`` or the mean of several.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (m, d)
        n and m at least 2. It takes the memory of (n + m)^2 numbers.
    bandwidths : float or sequence of float, optional
        The s; by default the median distance between any two different rows of the union.

    References
    ----------
    A. Gretton et al., "A kernel two-sample test", JMLR 13 (2012), eq. 3 and section 8.
    """
    x, y = check_two_sets(X, Y)
    K, _ = _kernel(np.concatenate([x, y]), bandwidths, mixture=False)
    first = np.zeros((len(K), 1))
    first[: len(x)] = 1
    return float(_values(K, first, len(x))[0])


def mmd_test(
    X: Any,
    Y: Any,
    *,
    units: Any = None,
    bandwidths: float | Sequence[float] | None = None,
    mixture: bool = False,
    n_permutations: int = 1000,
    seed: int = 0,
) -> MMDTest:
    """Test by permutations whether the difference between two sets could be chance.

    Parameters
    ----------
    X, Y, bandwidths
        As for `mmd`.
    units : array-like of shape (n + m,), int, optional
        The unit of each row of X and then of Y, such as the scene of a frame. Whole units are permuted, and
        each counts the same, however many rows it has. Default: each row is its own unit.
    mixture : bool, default=False
        Without `bandwidths`: the mean of kernels of 1/4, 1/2, 1, 2 and 4 median distances.
    n_permutations : int, default=1000
    seed : int, default=0
        Seed of the permutations, and of the rows that are left out of units (see Notes).

    Raises
    ------
    InputError
        A set has fewer than two units, or an argument does not fit.

    Notes
    -----
    With units, a unit u of n_u rows stands for the mean of its rows in the space of the kernel:
    ``k(u, v) = sum_ij k(x_i, x_j) / (n_u n_v)``, and `mmd` is computed from pairs of different units. The
    level is exact where the units of both sets are drawn alike, whatever they have within. Where the units of
    one set have more rows than those of the other, rows drawn at random are left out until the sizes agree
    (`featx.analysis.distances.units.match_sizes`). A unit with rows in both sets counts as one in each, which
    makes the test find less, not more.
    """
    if n_permutations < 1:
        raise InputError(f"n_permutations must be at least 1, got {n_permutations}")
    x, y = check_two_sets(X, Y)
    n, rows, rng = len(x), np.concatenate([x, y]), np.random.default_rng(seed)
    parts = check_units(units, n, len(y))
    if parts is None:
        K, used = _kernel(rows, bandwidths, mixture)
    else:
        kept = match_sizes(parts, n, rng)
        n = int(parts[:n].max()) + 1
        if min(n, int(parts.max()) + 1 - n) < 2:
            raise InputError("a set is one unit: at least 2 independent units of each set are needed to test")
        K, used = _kernel(rows[kept], bandwidths, mixture)
        K = _between_units(K, parts[kept])
    first = np.zeros((len(K), 1))
    first[:n] = 1
    value = float(_values(K, first, n)[0])
    hits = 0
    for done in range(0, n_permutations, _AT_A_TIME):
        b = min(_AT_A_TIME, n_permutations - done)
        drawn = rng.permuted(np.repeat(first, b, axis=1), axis=0)
        # Divisions that differ from the observed one by rounding alone count as equal.
        hits += int((_values(K, drawn, n) >= value - 1e-12).sum())
    return MMDTest(value, (hits + 1) / (n_permutations + 1), used, n_permutations, (n, len(K) - n))


def _between_units(K: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the mean of K over the rows of each two units, with zeros on its diagonal."""
    order = np.argsort(parts, kind="stable")
    sizes = np.bincount(parts)
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(np.add.reduceat(K[np.ix_(order, order)], starts, axis=0), starts, axis=1)
    means = sums / np.outer(sizes, sizes)
    np.fill_diagonal(means, 0)
    return np.asarray(means)


def _kernel(
    rows: np.ndarray, bandwidths: float | Sequence[float] | None, mixture: bool
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the Gram matrix with zeros on its diagonal, and the bandwidths."""
    rows = rows - rows.mean(axis=0)  # nearer to the origin the squares cancel less
    lengths = np.einsum("ij,ij->i", rows, rows)
    squares = lengths[:, None] + lengths - 2 * (rows @ rows.T)
    np.clip(squares, 0, None, out=squares)
    if bandwidths is None:
        median = float(np.median(np.sqrt(squares[np.triu_indices(len(rows), 1)])))
        # More than half of the rows may be equal.
        median = median or float(np.sqrt(squares.max())) or 1.0
        used = tuple(median * scale for scale in (MIXTURE if mixture else (1.0,)))
    else:
        used = tuple(float(s) for s in np.atleast_1d(bandwidths))
        if not used or min(used) <= 0:
            raise InputError(f"bandwidths must be above 0, got {bandwidths!r}")
    K = sum(np.exp(squares / (-2 * s * s)) for s in used) / len(used)
    np.fill_diagonal(K, 0)
    return K, used


def _values(K: np.ndarray, first: np.ndarray, n: int) -> np.ndarray:
    """Return the squared MMD of b divisions: `first` (total, b) is 1 for the n rows of the first set.

    With r = K 1 and z a column, z.Kz sums pairs within the first set, z.r - z.Kz across; the rest is the
    second set.
    """
    m = len(K) - n
    within = np.einsum("ij,ij->j", first, K @ first)
    sums = K.sum(axis=1)
    touching = sums @ first
    other = sums.sum() - 2 * touching + within
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * (touching - within) / (n * m)
