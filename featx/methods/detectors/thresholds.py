"""Set the threshold of a detector by the scores of normal rows that it was not fitted on.

A detector scores the rows it was fitted on as more normal than new ones: with fewer rows than features, a
Mahalanobis distance puts all new rows beyond all training rows. So each part of the training rows is scored
by a detector that was fitted on the others, and the threshold is a quantile of these scores.
"""

from __future__ import annotations

import numpy as np

from featx.errors import InputError

#: Fewer units than this are too few to hold some out.
FEWEST_UNITS = 4
FEW_ROWS = 100
#: Seed of the division of rows into parts.
_SEED = 0


def held_out_parts(n: int, groups=None, most: int | None = None) -> list[np.ndarray]:
    """Divide the rows into at most `most` parts, each to be held out once.

    Parameters
    ----------
    n : int
        Number of rows.
    groups : array-like of shape (n,), optional
        The group of each row; rows of a group are in one part.
    most : int, optional
        Default: 5, or 10 with fewer than `FEW_ROWS` rows. A detector without a tenth of few rows differs less
        from the one on all rows than one without a fifth.

    Returns
    -------
    list of ndarray of int64
        Positions of the rows of each part. Rows of a part that leaves less than half of the rows to fit on
        are in none; the list is empty with fewer than `FEWEST_UNITS` rows or groups.

    Raises
    ------
    InputError
        `groups` is not of n rows.
    """
    if groups is not None and np.shape(groups) != (n,):
        raise InputError(f"groups must have one value for each of {n} rows, got shape {np.shape(groups)}")
    units = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    if n_units < FEWEST_UNITS:
        return []
    if most is None:
        most = 10 if n < FEW_ROWS else 5
    rng, n_parts = np.random.default_rng(_SEED), min(most, n_units)
    sizes = np.bincount(units)
    # The largest first, each into the part that has the fewest rows; equal ones in a drawn order.
    drawn = rng.permutation(n_units)
    part_of, filled = np.empty(n_units, np.int64), np.zeros(n_parts, np.int64)
    for unit in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        part_of[unit] = filled.argmin()
        filled[part_of[unit]] += sizes[unit]
    parts = [np.flatnonzero(part_of[units] == part) for part in range(n_parts)]
    return [part for part in parts if 2 * len(part) <= n]


def held_out_threshold(scores: np.ndarray, contamination: float) -> float:
    """Return the score that a new normal row falls below with probability `contamination`.

    A new score is equally likely to fall into each of the n + 1 gaps between n held-out scores, so the k-th
    lowest has a share of k / (n + 1) below it, on average; between them the quantile is interpolated (R. J.
    Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996),
    definition 6). With n < 1 / contamination - 1 it is the lowest score, with a share of 1 / (n + 1).

    Notes
    -----
    R. Laxhammar and G. Falkman, "Conformal prediction for distribution-independent anomaly detection in
    streaming vessel data", StreamKDD 2010; S. Bates, E. Candes, L. Lei, Y. Romano and M. Sesia, "Testing for
    outliers with conformal p-values", Annals of Statistics 51 (2023).
    """
    return float(np.quantile(scores, contamination, method="weibull"))


def conformal_p_values(scores: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the share of normal rows that are as unlike the others as each new row, or more.

    ``p(x) = (1 + #{i: s_i <= s(x)}) / (n + 1)`` with s_i the n held-out scores of normal rows (Bates et al.
    2023, equation 1): for a normal row, the probability of a p-value of at most p is p or less.
    """
    below = np.searchsorted(np.sort(held_out), scores, side="right")
    return (1 + below) / (len(held_out) + 1)
