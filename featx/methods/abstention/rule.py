"""Say when an answer is unsure, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featx.methods.abstention.confidence import Confidence
from featx.methods.abstention.familiarity import Familiarity

#: The reason for an image that is far from all training images; of other kinds of input, with their word.
UNLIKE = "unlike the training images"


@dataclass(frozen=True)
class UnsureRule:
    """Both thresholds of a model; either is None where it could not be found.

    Attributes
    ----------
    confidence : Confidence or None
    familiarity : Familiarity or None
    """

    confidence: Confidence | None
    familiarity: Familiarity | None

    def reasons(self, rows: np.ndarray, probabilities: np.ndarray, kind: str = "image") -> list[str]:
        """Return why each answer is unsure, ``""`` where it is sure.

        `rows` (n, d) are the embeddings of inputs of that `kind`, and `probabilities` (n, n_classes) those of
        their classes. That an input is unlike those of the training comes first: its probabilities mean
        little.
        """
        found = [""] * len(rows)
        if self.confidence is not None:
            threshold = self.confidence.threshold
            for i in np.flatnonzero(probabilities.max(axis=1) < threshold):
                found[i] = f"probability below {threshold:.2f}"
        if self.familiarity is not None:
            for i in np.flatnonzero(~(self.familiarity.distances(rows) <= self.familiarity.threshold)):
                found[i] = UNLIKE.replace("image", kind)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the thresholds as plain JSON data; ``distance`` is that of `familiarity`."""
        confidence = None if self.confidence is None else asdict(self.confidence)
        return {
            "confidence": confidence,
            "distance": None if self.familiarity is None else self.familiarity.threshold,
        }
