"""Divide two sets at random where some rows belong together: the rows of a unit are exchanged together.

The frames of one scene, or the copies of one picture, are one *unit*. Under the null hypothesis of a test
whole units, not rows, are exchangeable between the sets: dividing rows anew would put frames of one scene
into both sets, which makes random divisions more alike than two sets of different scenes ever are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import InputError

#: Fewest rows of a set in a random division.
_FEWEST_ROWS = 3
_TRIES = 100


def check_units(units: Any, n: int, m: int) -> np.ndarray | None:
    """Return the part of each of n + m rows, or None where each row is its own unit.

    A part is what one set has of a unit, numbered 0 .. n_parts - 1; those of the first set come first. A unit
    with rows in both sets has a part in each.

    Raises
    ------
    InputError
        `units` is not one whole number for each row.
    """
    if units is None:
        return None
    of = np.asarray(units)
    if of.shape != (n + m,) or of.dtype.kind not in "iu":
        raise InputError(
            f"units must be {n + m} whole numbers, one for each row of the first and then of the second set, "
            f"got {of.dtype} of shape {of.shape}"
        )
    first, second = (np.unique(side, return_inverse=True)[1] for side in (of[:n], of[n:]))
    parts = np.concatenate([first, second + first.max() + 1])
    return None if parts[-m:].max() + 1 == n + m else parts


def count_earlier(groups: np.ndarray) -> np.ndarray:
    """Return how many earlier rows are of the same group, int64 (n_rows,)."""
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    earlier = np.empty(len(codes), np.int64)
    earlier[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return earlier


def match_sizes(parts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a mask, bool (n_rows,), of rows to keep so that parts of both sets have the same sizes.

    The mean of few rows varies more than that of many, so units of one row and units of ten are not
    exchangeable, even if the rows have one distribution. A part at quantile q of the sizes in its own set
    keeps, drawn at random, no more rows than the part at quantile q of the other set has. Parts of the same
    sizes in both sets keep all.

    Parameters
    ----------
    parts : ndarray of shape (n_rows,), int
        From `check_units`.
    n : int
        Rows of the first set, which come first.
    rng : numpy.random.Generator
    """
    sizes, n_first = np.bincount(parts), parts[:n].max() + 1
    sides = sizes[:n_first], sizes[n_first:]
    most = np.empty_like(sizes)
    for own, other, place in ((0, 1, slice(n_first)), (1, 0, slice(n_first, None))):
        ranks = np.empty(len(sides[own]))
        ranks[np.lexsort((rng.random(len(sides[own])), sides[own]))] = np.arange(len(sides[own]))
        quantiles = (ranks + 0.5) / len(sides[own])
        most[place] = np.sort(sides[other])[(quantiles * len(sides[other])).astype(np.int64)]
    order = rng.permutation(len(parts))
    kept = np.empty(len(parts), bool)
    kept[order] = count_earlier(parts[order]) < most[parts[order]]
    return kept


def divide_units(parts: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a mask, bool (n_rows,), of the first set in a random division that keeps parts whole.

    It has n rows, or as near to n as whole parts in a random order allow; each set has at least 3 rows. Where
    the units of one set have far more rows than those of the other, random divisions differ more by chance
    than the sets do, not less.

    Parameters
    ----------
    parts, n, rng
        As in `match_sizes`.
    """
    sizes = np.bincount(parts)
    for _ in range(_TRIES):
        order = rng.permutation(len(sizes))
        rows = np.cumsum(sizes[order])[:-1]
        rows = rows[(rows >= _FEWEST_ROWS) & (rows <= len(parts) - _FEWEST_ROWS)]
        if len(rows):
            taken = np.cumsum(sizes[order]) <= rows[np.abs(rows - n).argmin()]
            chosen = np.zeros(len(sizes), bool)
            chosen[order[taken]] = True
            return chosen[parts]
    return np.arange(len(parts)) < n
