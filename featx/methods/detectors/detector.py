"""Describe a detector, and turn the scores of one into labels by a threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import InputError
from featx.methods.detectors.thresholds import conformal_p_values, held_out_parts, held_out_threshold


@dataclass(frozen=True)
class Detector:
    """A detector in the table.

    Attributes
    ----------
    name, title : str
        Name in commands and files, and in reports.
    build : callable
        Takes the number of normal rows, the number of features, the contamination and a seed; returns the
        unfitted detector.
    """

    name: str
    title: str
    build: Callable[[int, int, float, int], Any]


class ThresholdDetector(OutlierMixin, BaseEstimator):
    """Base of detectors: `_learn` fits the normal rows, `_score` scores rows (n, d), higher = more normal."""

    contamination: float

    def fit(self, X, y=None, groups=None):
        """Fit to embeddings (n, d) of two normal images or more; `y` is ignored.

        `groups` (n,) names the rows that belong together (frames of a video, copies of a picture): they are
        held out together for the threshold.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        if not isinstance(self.contamination, int | float) or not 0 < self.contamination <= 0.5:
            raise InputError(f"contamination must lie above 0 and up to 0.5, got {self.contamination!r}")
        self._learn(rows)
        if groups is not None and np.shape(groups) == (len(rows),) == np.unique(groups).shape:
            groups = None  # every row is a group of its own
        scores = self._score_held_out(rows, groups)
        # With very few rows, none can be held out.
        self.n_held_out_ = len(scores)
        self.held_out_scores_ = scores if len(scores) else self._score(rows)
        self.offset_ = held_out_threshold(self.held_out_scores_, self.contamination)
        return self

    def score_samples(self, X) -> np.ndarray:
        """Return how normal each row is, ndarray of shape (n,)."""
        check_is_fitted(self)
        return self._score(validate_data(self, X, dtype=np.float64, reset=False))

    def decision_function(self, X) -> np.ndarray:
        """Return `score_samples` less the threshold `offset_`: below 0 is anomalous."""
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """Return 1 for normal rows, -1 for anomalous ones, ndarray of shape (n,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def p_values(self, X) -> np.ndarray:
        """Return the share of normal rows that are as unlike the others as each row, ndarray (n,)."""
        return conformal_p_values(self.score_samples(X), self.held_out_scores_)

    def _most_parts(self) -> int | None:
        """Return how many parts of the rows are held out in turn; None: the default of `held_out_parts`."""
        return None

    def _learn(self, rows: np.ndarray) -> None:
        raise NotImplementedError

    def _score(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _score_held_out(self, rows: np.ndarray, groups) -> np.ndarray:
        """Return the scores of training rows by detectors fitted without them; none if there are too few."""
        parts = held_out_parts(len(rows), groups, self._most_parts())
        scores = np.empty(len(rows))
        for part in parts:
            others = clone(self)
            others._learn(np.delete(rows, part, axis=0))
            scores[part] = others._score(rows[part])
        return scores[np.sort(np.concatenate(parts))] if parts else scores[:0]
