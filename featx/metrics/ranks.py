"""Compare many methods on many datasets: average ranks, and which methods cannot be told apart.

Ranks can be averaged over datasets. Accuracies cannot: one point may be much on one dataset and nothing on
another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from featx.errors import InputError


@dataclass(frozen=True)
class RankComparison:
    """The ranks of several methods on several datasets, with their tests.

    Attributes
    ----------
    methods : tuple of str
        From the best average rank to the worst.
    ranks : tuple of float
        Average rank of each method; 1 is the best.
    datasets : tuple of str
        Names of the datasets.
    chi_square, p_value_chi_square : float
        Friedman's statistic, and its p-value from the chi-square distribution.
    f_statistic, p_value : float
        Iman and Davenport's form of it, which is less conservative, and its p-value.
    critical_difference : float
        Average ranks closer than this do not differ significantly (Nemenyi's test).
    groups : tuple of tuples of str
        The largest sets of methods without a significant difference, in the order of `methods`: one group of
        all methods where `p_value` is not below `alpha`.
    alpha : float
        Level of all tests.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    datasets: tuple[str, ...]
    chi_square: float
    p_value_chi_square: float
    f_statistic: float
    p_value: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    alpha: float = 0.05

    def __str__(self) -> str:
        lines = [
            f"{len(self.methods)} methods on {len(self.datasets)} datasets: Friedman chi2 = "
            f"{self.chi_square:.2f}, F = {self.f_statistic:.2f}, p = {self.p_value:.2g}; critical difference "
            f"{self.critical_difference:.2f}"
        ]
        lines += [f"{rank:5.2f}  {name}" for name, rank in zip(self.methods, self.ranks, strict=True)]
        lines += ["no difference shown: " + ", ".join(group) for group in self.groups]
        return "\n".join(lines)


def rank_methods(
    scores,
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> RankComparison:
    """Rank methods, and test them by Iman and Davenport's form of Friedman's test, then by Nemenyi's test.

    With average ranks R_j of k methods on N datasets,

        chi2 = 12 N / (k (k + 1)) (sum R_j^2 - k (k + 1)^2 / 4),    F = (N - 1) chi2 / (N (k - 1) - chi2),

    F with k - 1 and (k - 1)(N - 1) degrees of freedom. Two methods differ significantly where the F-test
    rejects at `alpha` and their average ranks differ by `critical_difference` or more.

    Parameters
    ----------
    scores : array-like of shape (n_datasets, n_methods)
        Ties get their mean rank; chi2 is not corrected for them, which is conservative.
    methods, datasets : sequence of str, optional
        Their names; default: ``"1"``, ``"2"``, ...
    higher_is_better : bool, default=True
        False for errors.
    alpha : float, default=0.05
        Level of both tests.

    Returns
    -------
    RankComparison

    Raises
    ------
    InputError
        There are fewer than two methods or datasets, scores are not finite, names are repeated or too few, or
        `alpha` is out of range.

    References
    ----------
    J. Demsar, "Statistical comparisons of classifiers over multiple data sets", Journal of Machine Learning
    Research 7 (2006), section 3.2.2; R. L. Iman and J. M. Davenport, "Approximations of the critical region
    of the Friedman statistic", Communications in Statistics A9 (1980).
    """
    from scipy.stats import chi2, f, rankdata

    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise InputError(
            "scores must be finite numbers of shape (n_datasets, n_methods), at least two of each, "
            f"got shape {x.shape}"
        )
    n, k = x.shape
    names = _names("methods", methods, k)
    places = _names("datasets", datasets, n)
    distance = critical_difference(k, n, alpha=alpha)
    average = rankdata(-x if higher_is_better else x, axis=1).mean(axis=0)
    statistic = 12 * n / (k * (k + 1)) * (float((average**2).sum()) - k * (k + 1) ** 2 / 4)
    statistic = max(statistic, 0.0)
    # F is infinite where all datasets agree on one order.
    room = n * (k - 1) - statistic
    ratio = (n - 1) * statistic / room if room > 1e-9 else math.inf
    p_value = float(f.sf(ratio, k - 1, (k - 1) * (n - 1)))
    order = np.argsort(average, kind="stable")
    ranks = average[order]
    ordered = [names[i] for i in order]
    return RankComparison(
        methods=tuple(ordered),
        ranks=tuple(ranks.tolist()),
        datasets=places,
        chi_square=statistic,
        p_value_chi_square=float(chi2.sf(statistic, k - 1)),
        f_statistic=ratio,
        p_value=p_value,
        critical_difference=distance,
        groups=_groups(ordered, ranks, distance if p_value < alpha else math.inf),
        alpha=alpha,
    )


def critical_difference(n_methods: int, n_datasets: int, *, alpha: float = 0.05) -> float:
    """Return Nemenyi's critical difference of average ranks, q sqrt(k (k + 1) / (6 N)).

    q is the upper `alpha` point of the studentised range of k groups with infinite degrees of freedom,
    divided by sqrt(2).

    Parameters
    ----------
    n_methods, n_datasets : int
        k and N, two or more of each.
    alpha : float, default=0.05
        Level of all pairs together.

    Raises
    ------
    InputError
        A number or `alpha` is out of range.

    References
    ----------
    P. B. Nemenyi, "Distribution-free multiple comparisons" (1963), as in J. Demsar (2006), section 3.2.2 and
    table 5a.

    Examples
    --------
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    if n_methods < 2 or n_datasets < 2:
        raise InputError(
            f"at least two methods and two datasets are compared, got {n_methods} and {n_datasets}"
        )
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, got {alpha}")
    return (
        _range_point(alpha, n_methods)
        / math.sqrt(2)
        * math.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))
    )


@cache
def _range_point(alpha: float, n_methods: int) -> float:
    """Return the upper `alpha` point of the studentised range; cached, as SciPy integrates numerically."""
    from scipy.stats import studentized_range

    return float(studentized_range.isf(alpha, n_methods, math.inf))


def _groups(names: Sequence[str], ranks: np.ndarray, distance: float) -> tuple[tuple[str, ...], ...]:
    """Return the longest runs of ranks that span less than the critical difference."""
    found: list[tuple[str, ...]] = []
    reached = 0
    for start in range(len(names)):
        end = start + int((ranks[start:] - ranks[start] < distance).sum())
        if end > reached and end - start > 1:
            found.append(tuple(names[start:end]))
        reached = max(reached, end)
    return tuple(found)


def _names(what: str, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    names = tuple(str(i + 1) for i in range(count)) if given is None else tuple(map(str, given))
    if len(names) != count or len(set(names)) < count:
        raise InputError(f"{what}: expected {count} different names, got {list(names)}")
    return names
