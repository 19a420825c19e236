"""Tests against the best method, adjusted for all that might have been made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def adjust_p_values(
    best: int, competing: Sequence[int], p_value: Callable[[int, int], float]
) -> dict[int, float]:
    """Compare the best method with each of the others; p-values adjusted by Holm over all pairs.

    Parameters
    ----------
    best : int
        The method that the others are compared with.
    competing : sequence of int
        All methods of the family, `best` among them; of none, there is nothing to adjust.
    p_value : callable
        Two-sided p-value of two of them.

    Returns
    -------
    dict of int to float
        Of each competing method but the best. All pairs are one family, because which method is the best is
        known from the same results. See `featx.metrics.holm_over_pairs`.
    """
    from featx.metrics import holm_over_pairs

    if not competing:
        return {}
    p = np.ones((len(competing), len(competing)))
    for a, i in enumerate(competing):
        for b, j in enumerate(competing[:a]):
            p[a, b] = p[b, a] = p_value(i, j)
    row = holm_over_pairs(p)[list(competing).index(best)]
    return {i: float(row[a]) for a, i in enumerate(competing) if i != best}
