"""Estimate how long a cell takes, before anything has run.

The seconds of a method are a sum of terms in the sizes of its cell, with coefficients fitted once to measured
times (``python tests/benchmarks/bench_cost.py``). They are seconds of one core of the machine on which they
were measured; `machine_speed` compares this machine with it. An estimate is right within a factor of about
two or three; what has run corrects it (`featx.studies.evaluation.time_left`).
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from featx.studies.evaluation.fine_tuning import FineTuning
from featx.studies.evaluation.methods import AdaptedProbe
from featx.threads import limit_threads

if TYPE_CHECKING:
    from featx.studies.evaluation.cells import Cell

#: Rows on which settings are selected, at most.
_SAMPLE = 4000
#: Seconds of `_multiply` on the machine on which the coefficients were measured.
REFERENCE_SECONDS = 0.0075
#: Seconds for each term of `terms`.
# fmt: off
COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "classes": {
        "logreg": (0.0432, 0, 6.28, 0.232, 0, 0.398),  # 0.62 to 1.27
        "svm": (0.0896, 0, 52.4, 0, 0, 0.639),  # 0.35 to 1.26
        "rbf-svm": (0.233, 0, 285, 0, 0, 2.25),  # 0.21 to 1.44
        "knn": (0.0441, 233, 0, 0, 0, 0.288),  # 0.85 to 1.18
        "lda": (0.0795, 112, 36.8, 0, 0, 0.356),  # 0.44 to 1.35
        "ridge": (0.0677, 0, 4.05, 0.25, 0, 0.0476),  # 0.62 to 1.22
        "forest": (0.545, 0, 386, 0, 0, 4.08),  # 0.23 to 1.25
        "boosting": (0.641, 0, 45.4, 0, 0, 0),  # 0.19 to 1.60
        "naive-bayes": (0.0333, 22.9, 4.94, 0.0066, 0, 0),  # 0.53 to 1.19
        "majority": (0.000985, 0.145, 0, 0.000473, 0, 3.18e-06),  # 0.87 to 1.10
        "pixels": (0.0425, 0, 11.1, 0.14, 0, 0.544),  # 0.55 to 1.30
    },
    "numbers": {
        "ridge": (0.0377, 0, 2.13, 0.313, 0, 0.0591),  # 0.89 to 1.06
        "svr": (0.062, 0, 232, 0, 0, 0.644),  # 0.35 to 1.21
        "knn": (0.0351, 0, 258, 0, 0, 0.273),  # 0.80 to 1.13
        "forest": (0.398, 0, 1.13e+03, 0, 0, 5.32),  # 0.65 to 1.21
        "mean": (0.00099, 0, 0.0556, 5.12e-05, 0, 0.000445),  # 0.99 to 1.01
        "pixels": (0.0369, 0, 38.2, 0.281, 0, 0.0736),  # 0.84 to 1.11
    },
}
# fmt: on
#: The probe whose times stand for those of a method that was not measured, such as an estimator of a user.
_TYPICAL = {"classes": "logreg", "numbers": "ridge"}


class Size(NamedTuple):
    """A method, and the numbers that decide how long it takes."""

    method: str
    n_train: int
    n_test: int
    dim: int
    n_classes: int  # 0: it predicts numbers
    fine_tuned: bool = False  # there is no estimate before a cell of it has run

    @classmethod
    def of(cls, cell: Cell) -> Size:
        """Return the size of a cell."""
        method = cell.method
        name = method.classifier if isinstance(method, AdaptedProbe) else method.name
        return cls(
            name,
            len(cell.split.train),
            len(cell.split.test),
            cell.rows.x.shape[1],
            cell.rows.n_classes or 0,
            isinstance(method, FineTuning),
        )


def estimate_seconds(size: Size) -> float | None:
    """Return the seconds of one core of this machine that a cell takes; None for fine-tuning."""
    return None if size.fine_tuned else reference_seconds(size) / machine_speed()


def reference_seconds(size: Size) -> float:
    """Return the seconds of one core of the machine on which the coefficients were measured."""
    task = "classes" if size.n_classes else "numbers"
    measured = COEFFICIENTS[task]
    return float(np.dot(measured.get(size.method, measured[_TYPICAL[task]]), terms(size)))


def terms(size: Size) -> list[float]:
    """Return the terms of the estimate: 1, nd, ndk, nd min(n, d), nmd and s^2 d, all but the first in 10^9.

    There are n training rows, s of them to select settings on, m test rows, d features and k classes.
    """
    n, m, d, k = size.n_train, size.n_test, size.dim, size.n_classes
    s = min(n, _SAMPLE)
    return [1.0, *(1e-9 * float(x) for x in (n * d, n * d * k, n * d * min(n, d), n * m * d, s * s * d))]


@cache
def machine_speed() -> float:
    """Return how fast one core of this machine is, compared with the one of the coefficients."""
    with limit_threads(1):
        _multiply()
        return REFERENCE_SECONDS / min(_multiply() for _ in range(5))


def _multiply() -> float:
    """Return the seconds of a small piece of work: products of matrices, and as much time in Python."""
    matrix = np.ones((512, 512), np.float32)
    began = time.perf_counter()
    for _ in range(3):
        matrix @ matrix
    sum(i * i for i in range(40_000))
    return time.perf_counter() - began
