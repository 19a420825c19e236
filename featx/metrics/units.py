"""Sum values over the independent units of a test set: groups of images, and copies of one picture.

Images of one unit resemble each other, so that 20 images of one scene tell less than 20 images of 20 scenes.
Everything here takes `units`, the number of the unit of each image, or None where every image is a unit of
its own; what is resampled, flipped and counted are the units.
"""

from __future__ import annotations

import numpy as np

from featx.errors import InputError


def number_units(units, n: int) -> np.ndarray | None:
    """Return the unit of each of n images as 0, 1, ..., or None where every image is a unit of its own.

    Parameters
    ----------
    units : array-like of shape (n,), int, or None
        Equal numbers are one unit.
    n : int
        Number of images.

    Raises
    ------
    InputError
        `units` are not n integers.
    """
    if units is None:
        return None
    given = np.asarray(units)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise InputError(
            f"units must be {n} integers, one for each image, got {given.dtype} of shape {given.shape}"
        )
    numbers, codes = np.unique(given, return_inverse=True)
    return None if len(numbers) == n else codes.astype(np.int64)


def count_units(codes: np.ndarray | None, n: int) -> int:
    """Return the number of units of n images, given `number_units`."""
    return n if codes is None else int(codes.max()) + 1


def sum_by_unit(values: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
    """Sum values (..., n) over the images of each unit, ndarray of shape (..., n_units), float64."""
    x = np.asarray(values, dtype=np.float64)
    if codes is None:
        return x
    n_units = count_units(codes, len(codes))
    rows = x.reshape(-1, x.shape[-1])
    # One bincount for all rows: row i counts into places i * n_units + code.
    places = codes + n_units * np.arange(len(rows))[:, None]
    sums = np.bincount(places.ravel(), rows.ravel(), minlength=len(rows) * n_units)
    return sums.reshape(*x.shape[:-1], n_units)


def count_images(codes: np.ndarray | None, n: int) -> np.ndarray:
    """Return the number of images of each unit, ndarray of shape (n_units,), float64."""
    return sum_by_unit(np.ones(n), codes)


def least_size(sizes: np.ndarray) -> float:
    """Return how many independent images n images are worth if those of each unit are all alike.

    This is (sum n_u)^2 / sum n_u^2, the number of units where all have the same size (L. Kish, "Survey
    Sampling", 1965, section 11.7).

    Parameters
    ----------
    sizes : ndarray of shape (n_units,)
        Images of each unit.
    """
    return float(sizes.sum()) ** 2 / float((sizes**2).sum())


def draw_counts(rng: np.random.Generator, n_draws: int, n_units: int) -> np.ndarray:
    """Return how often each unit is in each bootstrap resample, ndarray of shape (n_draws, n_units)."""
    places = rng.integers(0, n_units, (n_draws, n_units)) + n_units * np.arange(n_draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=n_draws * n_units)
    return counts.reshape(n_draws, n_units).astype(np.float64)
