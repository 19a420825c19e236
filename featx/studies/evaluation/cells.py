"""A cell: one method on one split.

A cell looks at nothing but what its key names, so it gives the same numbers alone, beside others, and after a
restart.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any, Literal

import numpy as np

from featx.data.splits import Split
from featx.energy import Meter, Reading
from featx.studies.checkpoints import key_of
from featx.studies.evaluation.methods import Fit, Method
from featx.studies.evaluation.outcomes import (
    fits_answers,
    fits_held_out,
    fits_metrics,
    fits_probabilities,
    fits_values,
)
from featx.studies.evaluation.rows import LabelledRows

#: Raised where older keys or records would be misread.
_FORMAT = 3
#: Bytes of a probability, and of any other number that is kept for each row.
_EACH = 8

#: What is kept of a cell: what scoring needs of its predicted classes, the predicted numbers, the metrics
#: alone, all probabilities of the test rows, or those of the training rows held out of folds.
Keep = Literal["answers", "values", "metrics", "probabilities", "held_out"]


@dataclass(frozen=True, eq=False)
class Cell:
    """A method on a split; `run` computes its outcome, `key` says which outcome it is."""

    method: Method
    rows: LabelledRows
    split: Split
    seed: int
    keep: Keep = "answers"
    fit: Fit | None = None  # already fitted on this split: it is then not fitted again

    @cached_property
    def key(self) -> str:
        """A digest of everything that decides the outcome.

        That is: the method's definition (a probe's estimator and grid with the parameters of every step),
        inputs, labels and groups of the rows it trains on and is tested on, seed, and the versions of the
        packages that compute.
        """
        import featx

        split, digest = self.split, self.rows.digest
        versions = {name: _version(name) for name in self.method.packages}
        return key_of(
            {
                "format": _FORMAT,
                "keep": self.keep,
                "method": self.method.name,
                "definition": self.method.define(self),
                "n_classes": self.rows.n_classes,
                "train": digest(split.train),
                "test": digest(split.test),
                "validation": None if split.val is None else digest(split.val),
                "seed": self.seed,
                "packages": versions | {"featx": featx.__version__},
            }
        )

    def run(self, *, n_jobs: int | None = None, meter: Meter | None = None) -> tuple[dict[str, Any], Fit]:
        """Fit the method on the training rows and evaluate it on the test rows.

        `n_jobs` are the threads of the fit (default: one a core), `meter` measures its energy. Returns the
        record (JSON values and arrays; see `featx.studies.evaluation.outcomes`) and the fitted method.
        """
        with meter.measure() if meter else contextlib.nullcontext(Reading()) as reading:
            fit = self.fit or self.method.fit(self, n_jobs)
        test, began = self.split.test, time.perf_counter()
        if self.keep == "probabilities":
            return {"probabilities": fit.predict(test)}, fit
        if self.keep == "held_out":
            return {"found": self._held_out(fit)}, fit
        record: dict[str, Any] = (
            {"values": fit.predict(test)} if self.keep == "values" else self._answers(fit)
        )
        spent = time.perf_counter() - began
        if self.keep == "metrics":
            record = {"metrics": self._metrics(record)}
        record |= {"seconds": {"fit": fit.seconds, "predict_per_image": spent / len(test)}}
        record |= {"joules": reading.joules, "params": fit.params, "notes": fit.notes}
        return record | {"curves": fit.curves, "cv_score": fit.cv_score}, fit

    def fits(self, record: Any) -> bool:
        """Whether what an earlier run left is a record of this cell, field by field."""
        test, k = self.split.test, self.rows.n_classes or 0
        if self.keep == "answers":
            return fits_answers(record, self.rows.y[test], k)
        if self.keep == "probabilities":
            return fits_probabilities(record, (len(test), k))
        if self.keep == "held_out":
            return fits_held_out(record, (len(self.split.train), k))
        return fits_metrics(record) if self.keep == "metrics" else fits_values(record, len(test))

    @property
    def most_bytes(self) -> int:
        """Bytes that the arrays of its record take at most."""
        test, train, k = len(self.split.test), len(self.split.train), (self.rows.n_classes or 0) + 1
        most = {"metrics": 0, "probabilities": test * k, "held_out": train * k}
        return _EACH * most.get(self.keep, 3 * test)

    def _answers(self, fit: Fit) -> dict[str, Any]:
        from featx.metrics import predict_answers

        found = predict_answers(self.rows.y, self.split.test, self.rows.n_classes or 0, fit.predict)
        return {"labels": found.labels, "sure": found.sure, "true": found.true}

    def _metrics(self, answers: dict[str, Any]) -> dict[str, float]:
        from featx.metrics import Answers, score_answers

        given = Answers(**answers, n_classes=self.rows.n_classes or 0)
        scores = score_answers(self.rows.y[self.split.test], given, n_boot=0)
        return {name: interval.value for name, interval in scores.items()}

    def _held_out(self, fit: Fit) -> tuple[np.ndarray, np.ndarray] | None:
        from featx.methods.probes import held_out_probabilities

        train, rows = self.split.train, self.rows
        groups = rows.groups_of(train)
        return held_out_probabilities(fit.model, rows.x[train], rows.y[train], groups=groups, seed=self.seed)


def _version(package: str) -> str | None:
    """The version of a package; None of what is not installed as one, such as a user's own module."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
