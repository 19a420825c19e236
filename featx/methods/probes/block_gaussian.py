"""Gaussian classes of a large training set, from sums over its blocks.

The formulas are those of `featx.methods.probes.fitters.gaussian`; here is what they need of the rows, without
all rows in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featx.methods.probes.block_moments import Moments, weighted_moments
from featx.methods.probes.fitters.gaussian import ClassMoments, Discriminant
from featx.methods.probes.training_rows import TrainingRows

# Covariances of classes that are in memory together; those of a thousand classes would take half a gigabyte.
_CLASS_BYTES = 2**27


def class_moments(sums: Moments) -> ClassMoments:
    """Return means and variances of standardised features within each class."""
    scaler, own = sums.scaler, sums.sums / sums.counts[:, None]
    variances = np.maximum(sums.squares / sums.counts[:, None] - own**2, 0) / scaler.scale_**2
    return ClassMoments(sums.counts, (sums.class_means - scaler.mean_) / scaler.scale_, variances)


class BlockDiscriminant(Discriminant):
    """What linear discriminant analysis needs of principal coordinates of standardised rows.

    Parameters
    ----------
    rows : TrainingRows
    train : ndarray of shape (n,), int
        Positions of the rows to fit to.
    sums : Moments
        Those of these rows.
    axes : ndarray of shape (p, d)
        Principal axes.
    """

    def __init__(self, rows: TrainingRows, train: np.ndarray, sums: Moments, axes: np.ndarray):
        self._rows, self._train, self._sums = rows, train, sums
        self._projection = axes.astype(np.float64) / sums.scaler.scale_
        self.codes = rows.codes[train]
        means = (sums.class_means - sums.scaler.mean_) @ self._projection.T
        # Variances are needed for a shrinkage by Ledoit and Wolf only, and come from its covariances.
        self.moments = ClassMoments(sums.counts, means, np.empty((len(means), 0)))
        self._within: dict[bytes, np.ndarray] = {}

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        key = weights.tobytes()
        if key not in self._within:
            sums, n = self._sums, self._sums.n
            # The mean of covariances that are weighted by numbers of rows is the one within classes.
            if not np.allclose(weights, sums.counts / n, rtol=1e-12):
                each = weights * n / sums.counts
                sums = weighted_moments(self._rows, self._train, each[self.codes])
            # Weights are equal within a class, so its weighted mean is its mean.
            own = self._sums.sums / self._sums.counts[:, None]
            scatter = sums.scatter - (own.T * (weights * n)) @ own
            self._within[key] = self._projection @ scatter @ self._projection.T / n
        return self._within[key]

    def _ledoit_wolf(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shrinkage of each class, and the variances to shrink to, (n_classes, p).

        With rows u that are standardised within the class, and their covariance S, the shrinkage is
        min(b, d) / d with b = (sum_i ||u_i||^4 / n - ||S||^2) / n and d = ||S - tr(S) / p I||^2.
        """
        k, p = self.moments.means.shape
        counts = self.moments.counts
        shares, variances, spreads = np.zeros(k), np.empty((k, p)), np.empty(k)
        step = max(1, _CLASS_BYTES // (8 * p**2))
        for first in range(0, k, step):
            some = slice(first, first + step)
            n = counts[some]
            S, fourth = np.zeros((len(n), p, p)), np.zeros(len(n))
            for c, z in self._centred_blocks(first, step):
                S[c] += z.T @ z
            S /= n[:, None, None]
            variances[some] = np.maximum(np.diagonal(S, axis1=1, axis2=2), 0)
            scales = np.sqrt(np.where(variances[some] > 0, variances[some], 1.0))
            S /= scales[:, :, None] * scales[:, None, :]
            for c, z in self._centred_blocks(first, step):
                fourth[c] += np.square(np.square(z / scales[c]).sum(axis=1)).sum()
            length, trace = np.square(S).sum(axis=(1, 2)), np.trace(S, axis1=1, axis2=2)
            b, d = (fourth / n - length) / n, length - trace**2 / p
            shares[some] = np.divide(np.minimum(b, d), d, out=np.zeros(len(n)), where=d > 1e-12 * length)
            spreads[some] = trace / p
        return shares, spreads[:, None] * np.where(variances > 0, variances, 1.0)

    def _centred_blocks(self, first: int, n_classes: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield centred coordinates of the rows of a class, with the class counted from `first`."""
        members = np.flatnonzero((self.codes >= first) & (self.codes < first + n_classes))
        blocks = self._rows.X.take(self._train[members])
        mean, projection = self._sums.scaler.mean_.astype(blocks.dtype), self._projection.astype(blocks.dtype)
        for place, raw in blocks.blocks():
            codes, z = self.codes[members[place]], (raw - mean) @ projection.T
            for c in np.unique(codes):
                yield c - first, z[codes == c] - self.moments.means[c].astype(z.dtype)
