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

from featx.results.methods import ZERO_SHOT
from featx.studies.evaluation.fine_tuning import FineTuning
from featx.studies.evaluation.methods import AdaptedProbe
from featx.threads import limit_threads

if TYPE_CHECKING:
    from featx.studies.evaluation.cells import Cell

#: Rows on which settings are selected, at most.
_SAMPLE = 4000
# Most rows that models of the labels are fitted to, and rows whose nearest ones say how near copies are.
_CHECKED_ROWS, _NEAREST_OF = 10_000, 2000
#: Seconds of `_multiply` on the machine on which the coefficients were measured.
REFERENCE_SECONDS = 0.0076
#: Seconds for each term of `terms`; beside them, the estimates of the measured times, relative to these.
# fmt: off
COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "classes": {
        "logreg": (0.0162, 95.3, 9.39, 0.0796, 0, 0.00659),  # 0.31 to 3.13
        "svm": (0.013, 228, 2.81, 0, 0, 0.0184),  # 0.38 to 2.89
        "rbf-svm": (0.334, 0, 95.7, 0, 0, 1.94),  # 0.24 to 3.37
        "knn": (0.00555, 295, 0, 0, 0.0124, 0),  # 0.50 to 3.13
        "lda": (0.011, 160, 0, 0.081, 0, 0.00473),  # 0.40 to 2.28
        "ridge": (0.00919, 26.8, 0.784, 0.048, 0, 0),  # 0.44 to 2.31
        "forest": (1.1, 2280, 134, 0, 0, 1),  # 0.52 to 2.02
        "boosting": (1.01, 0, 45.4, 0, 0, 0),  # 0.45 to 2.24
        "naive-bayes": (0.00579, 19.1, 0.686, 0, 0, 0.00161),  # 0.67 to 1.49
        "majority": (0.00102, 0.55, 0, 0, 0, 0),  # 0.74 to 1.25
        "pixels": (0.0154, 124, 2.96, 0, 0, 0.0411),  # 0.30 to 3.96
        "filterbanks": (0.0162, 95.3, 9.39, 0.0796, 0, 0.00659),  # as logreg, of few numbers
        "tfidf": (0.0319, 3960, 133, 0, 0, 3.2),  # 0.45 to 2.42
    },
    "numbers": {
        "ridge": (0.0083, 4.87, 0, 0.0582, 0, 0),  # 0.42 to 2.29
        "svr": (0.14, 86.3, 0, 0, 0, 0.592),  # 0.46 to 2.29
        "knn": (0.0124, 196, 0, 0.00185, 0, 0.0133),  # 0.37 to 2.09
        "forest": (0.338, 3740, 0, 0, 0, 1.31),  # 0.52 to 2.28
        "mean": (0.00096, 0.492, 0, 0, 0, 0),  # 0.84 to 1.11
        "pixels": (0.00811, 0, 0, 0.0627, 0, 0),  # 0.43 to 2.19
        "filterbanks": (0.0083, 4.87, 0, 0.0582, 0, 0),  # as ridge
        "tfidf": (0.05, 3400, 0, 0, 0, 0),  # 0.64 to 1.43
    },
}
# fmt: on
#: The searches of the data checks, as methods of a `Size`, and their coefficients for `check_terms`.
COPIES, WRONG_LABELS = "search for copies", "search for wrong labels"
CHECK_COEFFICIENTS: dict[str, tuple[float, ...]] = {
    COPIES: (0.0022, 31, 0.63, 1.1),  # 0.36 to 2.28
    WRONG_LABELS: (0.0023, 24, 0.0057, 0.63),  # 0.44 to 4.72
}
#: The probe whose times stand for those of a method that was not measured, such as an estimator of a user.
_TYPICAL = {"classes": "logreg", "numbers": "ridge"}


class Size(NamedTuple):
    """A method, and the numbers that decide how long it takes."""

    method: str
    n_train: int
    n_test: int
    dim: float  # numbers in a row; for TF-IDF, the mean number of characters in a text
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
            cell.rows.width,
            cell.rows.n_classes or 0,
            isinstance(method, FineTuning),
        )


def estimate_seconds(size: Size) -> float | None:
    """Return the seconds of one core of this machine that a cell takes; None for fine-tuning."""
    return None if size.fine_tuned else reference_seconds(size) / machine_speed()


def reference_seconds(size: Size) -> float:
    """Return the seconds of one core of the machine on which the coefficients were measured."""
    if size.method in CHECK_COEFFICIENTS:
        return float(np.dot(CHECK_COEFFICIENTS[size.method], check_terms(size)))
    task = "classes" if size.n_classes else "numbers"
    measured = COEFFICIENTS[task]
    # Neither the most frequent class nor zero-shot classification learns anything.
    method = "majority" if size.method.startswith(ZERO_SHOT) else size.method
    return float(np.dot(measured.get(method, measured[_TYPICAL[task]]), terms(size)))


def terms(size: Size) -> list[float]:
    """Return the terms of the estimate: 1, nd, ndk, nd min(n, d), nmd and s^2 d, all but the first in 10^9.

    There are n training rows, s of them to select settings on, m test rows, d features and k classes.
    """
    n, m, d, k = size.n_train, size.n_test, size.dim, size.n_classes
    s = min(n, _SAMPLE)
    return [1.0, *(1e-9 * float(x) for x in (n * d, n * d * k, n * d * min(n, d), n * m * d, s * s * d))]


def check_terms(size: Size) -> list[float]:
    """Return the terms of the estimate of a data check, all but the first in 10^9.

    Of N rows in all, copies are searched for along main directions: 1, Nd, N^2 and N min(N, 2000). Models of
    the labels are fitted on s rows at most: 1, Nd, sd min(s, d) and s min(d, 128) k.
    """
    n, d, k = size.n_train + size.n_test, size.dim, size.n_classes
    s = min(size.n_train, _CHECKED_ROWS)
    found: tuple[float, ...] = (n * d, n * n, n * min(n, _NEAREST_OF))
    if size.method == WRONG_LABELS:
        found = (n * d, s * d * min(s, d), s * min(d, 128) * k)
    return [1.0, *(1e-9 * float(x) for x in found)]


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
