"""Bound the distances of all pairs of rows from below, by coordinates along few directions.

With a = (s_a, t_a) in an orthonormal basis, s_a being the first k coordinates and t_a the others,

    |a - b|^2 / 2 = (|a|^2 + |b|^2) / 2 - s_a . s_b - t_a . t_b,    t_a . t_b <= |t_a| |t_b|,

so the bound of all pairs is a product of matrices with k + 3 columns. Pairs that it leaves are measured in
full. Any orthonormal basis is right; one that keeps most of a distance leaves few pairs.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ROUNDING", "MainDirections", "centre_and_scale", "half_squares"]

#: Rounding error of a cosine in float32.
ROUNDING = 1e-5
#: Fewer rows are compared in full.
FEW_ROWS = 2048
#: Most main directions, and rows from which they are computed.
_DIRECTIONS, _BASIS_ROWS = 256, 2048
# Of at most so many features, all principal axes are computed.
_MOST_EXACT = 512
# Pairs that are measured at once.
_PAIRS = 2048


class MainDirections:
    """Rows of length 1 (or 0) in their main directions, the one of the largest variance first.

    Parameters
    ----------
    unit : ndarray of shape (n, d), float32

    Attributes
    ----------
    width : int
        Number of directions: d for few rows, which stay as they are.
    rotated : bool
        Whether the directions are the main ones.
    """

    def __init__(self, unit: np.ndarray):
        self.unit, self.rotated = unit, len(unit) > FEW_ROWS
        self._coordinates = unit @ _find_basis(unit) if self.rotated else unit
        self.width = self._coordinates.shape[1]
        self.squares = np.einsum("ij,ij->i", unit, unit)

    def bounds(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return A and B (n, k + 3): row i of A times row j of B is at least minus half the squared distance.

        Half the squared distance of rows of length 1 is 1 - cosine.
        """
        short = self._coordinates[:, :k]
        # What rounding errors took from a length would make the bound too high.
        rest = np.maximum(self.squares - np.einsum("ij,ij->i", short, short), 0) + ROUNDING
        rest, half = np.sqrt(rest)[:, None], self.squares[:, None] / 2
        one = np.ones_like(half)
        return np.hstack([short, rest, -half, one]), np.hstack([short, rest, one, -half])

    def products(self, first: slice | np.ndarray, second: slice | np.ndarray) -> np.ndarray:
        """Return minus half the squared distance of two sets of rows, in full, with rounding errors."""
        found = self.unit[first] @ self.unit[second].T
        found -= self.squares[first, None] / 2
        found -= self.squares[second] / 2
        return found

    def distances(self, pairs: np.ndarray) -> np.ndarray:
        """Return half the squared distance of each pair (m, 2) of rows, float64, without rounding errors."""
        return half_squares(self.unit, pairs)


def centre_and_scale(rows: np.ndarray) -> np.ndarray:
    """Return rows less their mean, scaled to length 1."""
    unit = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    return np.divide(unit, norms, out=unit, where=norms > 0)


def half_squares(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return 1 - cosine of each pair of rows of length 1, float64: half their squared distance."""
    gaps = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS):
        first, second = unit[pairs[start : start + _PAIRS].T].astype(np.float64)
        first -= second
        gaps[start : start + _PAIRS] = np.einsum("ij,ij->i", first, first) / 2
    return gaps


def _find_basis(unit: np.ndarray) -> np.ndarray:
    """Return orthonormal columns, those along which the rows vary most first."""
    d = unit.shape[1]
    sample = unit[np.linspace(0, len(unit) - 1, min(len(unit), _BASIS_ROWS)).astype(np.int64)]
    k = min(d, _DIRECTIONS)
    basis = np.eye(d, dtype=np.float32)
    if d > _MOST_EXACT:
        # One step of subspace iteration from seeded directions (Halko, Martinsson and Tropp 2011).
        start = np.random.default_rng(0).standard_normal((d, k), np.float32)
        basis = np.linalg.qr(sample.T @ (sample @ start))[0]
        sample = sample @ basis
    axes = np.linalg.eigh(sample.T @ sample)[1]
    return basis @ axes[:, : -k - 1 : -1]
