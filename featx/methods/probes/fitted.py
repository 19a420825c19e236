"""A probe fitted on the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import joblib
import numpy as np

from featx.errors import InputError
from featx.methods.probes.arguments import check_rows
from featx.methods.probes.fitters import Fitter, SklearnFitter
from featx.methods.probes.probe import TaskName
from featx.methods.probes.row_blocks import RowBlocks
from featx.methods.probes.term_counts import TermCounts
from featx.threads import limit_threads

# Rows of more bytes are predicted in blocks.
_TOGETHER = 2**28
# With smaller matrices one thread of BLAS or OpenMP is faster than several.
_SMALL = 5_000_000


@dataclass
class FittedProbe:
    """A probe fitted on the training rows.

    Attributes
    ----------
    name, title : str
        Name in files, and in reports.
    estimator : scikit-learn classifier or regressor
        The fitted estimator.
    params : dict
        The chosen settings, and others worth reporting, as JSON.
    cv_score : float or None
        Out-of-fold score of the chosen settings: balanced accuracy, or R²; of a protocol, the score by which
        it chooses. None where no row could be held out, for a reference without settings, and for an
        estimator of your own without a grid.
    seconds : float
        Wall time of selection and fitting.
    kind : {"probe", "floor"}
        A probe, or a reference ("floor" as in ``results.json``).
    notes : list of str
        Remarks for the reader of its result.
    task : {"classes", "numbers"}
        What it predicts.
    fitter : Fitter
        What fitted it.
    """

    name: str
    title: str
    estimator: Any
    params: dict[str, Any]
    cv_score: float | None
    seconds: float
    kind: Literal["probe", "floor"] = "probe"
    notes: list[str] = field(default_factory=list)
    task: TaskName = "classes"
    fitter: Fitter = field(default_factory=SklearnFitter, repr=False)

    @property
    def classes(self) -> np.ndarray:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.estimator.classes_

    def predict(self, X) -> np.ndarray:
        """Predict the label, or the number (float64), of each row; ndarray of shape (n,)."""
        predicted = self._in_blocks(self.estimator.predict, X)
        return predicted if self.task == "classes" else np.asarray(predicted, np.float64)

    def predict_proba(self, X) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        return self._in_blocks(self.estimator.predict_proba, X)

    def _in_blocks(self, predict, X) -> np.ndarray:
        """Predict rows in memory, or in blocks if there are many: each step of a pipeline copies its rows."""
        if isinstance(X, TermCounts):
            return predict(X)
        if not isinstance(X, RowBlocks) and np.size(X) * 4 <= _TOGETHER:
            rows = self._rows(X)
            with threads_for(rows):
                return predict(rows)
        blocks = X if isinstance(X, RowBlocks) else RowBlocks(X if hasattr(X, "shape") else np.asarray(X))
        with threads_for(blocks):
            return np.concatenate([predict(self._rows(rows)) for _, rows in blocks.blocks()])

    def _rows(self, X) -> np.ndarray:
        rows = check_rows(X)
        expected = getattr(self.estimator, "n_features_in_", rows.shape[1])
        if rows.shape[1] != expected:
            raise InputError(
                f"{self.name} was fitted on {expected} features per image, got {rows.shape[1]}; "
                "use embeddings of the same backbone and layer"
            )
        return rows


@contextmanager
def threads_for(rows: np.ndarray | RowBlocks, jobs: int | None = None) -> Iterator[None]:
    """Compute in the block by at most `jobs` threads (None: no limit), and by one where the rows are few."""
    with limit_threads(1 if rows.size < _SMALL else jobs):
        if jobs is None:
            yield
            return
        with joblib.parallel_config("threading", n_jobs=jobs):
            yield
