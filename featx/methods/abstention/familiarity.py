"""Tell images that are unlike those of the training by their distance to the nearest of them.

The score of a row is the mean cosine distance to its two nearest training rows (Sun et al.,
"Out-of-distribution detection with deep nearest neighbors", ICML 2022; two neighbours as Bergman et al.,
"Deep nearest neighbor anomaly detection", 2020). Its threshold comes from training rows as if they were new:
a row is compared with those that are kept, without itself and its group. A new normal image exceeds it with
probability `FLAGGED` (`featx.methods.detectors.thresholds.held_out_threshold`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

#: Share of images like those of the training that are called unlike them.
FLAGGED = 0.01
NEIGHBOURS = 2
#: Rows that are kept, and numbers in them: 2 MiB in float16. More tell foreign images no better.
_MOST_ROWS, _MOST_NUMBERS = 1000, 2**20
#: Rows whose scores give the threshold.
_MOST_SCORES = 4000
_BLOCK = 1024


@dataclass(frozen=True)
class Familiarity:
    """Training rows and the largest distance of an image like them.

    Attributes
    ----------
    rows : ndarray of shape (m, d), float16
        Training rows, or a stratified sample of them, scaled to length 1.
    threshold : float
        An image with a greater distance is unlike the training images.
    """

    rows: np.ndarray
    threshold: float

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean cosine distance of rows (n, d) to their nearest two training rows, (n,) float32."""
        return _distances(_scaled(rows), self._known)

    @cached_property
    def _known(self) -> np.ndarray:
        return self.rows.astype(np.float32)


def fit_familiarity(
    rows: Any,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> Familiarity | None:
    """Keep some training rows, and find the threshold of the distance to them.

    Parameters
    ----------
    rows : ndarray of shape (n, d), or what is indexed like one
        Training rows.
    labels : ndarray of shape (n,)
        Every class is represented among the rows that are kept, if they are enough.
    groups : ndarray of shape (n,), optional
        Rows of a group say nothing about how far a new image is from one of them.
    seed : int, default=0
        Seed of the sample.

    Returns
    -------
    Familiarity or None
        None where no row has `NEIGHBOURS` others to be compared with.

    Notes
    -----
    With fewer than 99 scores the threshold is the largest of n, which a new normal image exceeds with
    probability 1 / (n + 1) on average over training sets, and more often or more rarely for one of them.
    """
    from featx.methods.detectors.thresholds import held_out_threshold  # with scikit-learn

    drawn = _sample(labels, max(NEIGHBOURS, min(_MOST_ROWS, _MOST_NUMBERS // rows.shape[1])), seed)
    kept = _scaled(rows[drawn]).astype(np.float16)
    known = kept.astype(np.float32)
    rest = np.setdiff1d(np.arange(len(rows)), drawn)
    rest = np.random.default_rng(seed).permutation(rest)[:_MOST_SCORES]
    asked = np.concatenate([drawn, rest])
    units = np.arange(len(rows)) if groups is None else np.asarray(groups)
    scores = _distances(_scaled(rows[asked]), known, units[asked], units[drawn])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    # A detector's scores are high for normal rows, and distances low.
    return Familiarity(kept, -held_out_threshold(-scores, FLAGGED))


def _sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draw `most` positions, from each class in turn."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, codes = np.unique(np.asarray(labels)[order], return_inverse=True)
    by_class = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    turn = np.empty(len(labels), np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _scaled(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1, float32; a row of zeros stays."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _distances(
    rows: np.ndarray,
    known: np.ndarray,
    units: np.ndarray | None = None,
    known_units: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mean distance of each row to the nearest ones of other units; infinite if these are few."""
    found = np.full(len(rows), np.inf, np.float32)
    if len(known) < NEIGHBOURS:
        return found
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        distances = 1 - rows[part] @ known.T
        if units is not None and known_units is not None:
            distances[units[part, None] == known_units[None, :]] = np.inf
        found[part] = np.partition(distances, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    return found
