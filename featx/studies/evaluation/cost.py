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
REFERENCE_SECONDS = 0.0044
#: Seconds for each term of `terms`; beside them, the estimates of the measured times, relative to these.
# fmt: off
COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "classes": {
        "logreg": (0.0116, 76.2, 4.91, 0, 0, 0.0158),  # 0.39 to 2.17
        "svm": (0.018, 96.7, 2.82, 0.00422, 0, 0.0381),  # 0.27 to 2.95
        "rbf-svm": (0.117, 0, 229, 0, 0, 0.759),  # 0.21 to 7.22
        "knn": (0.0098, 180, 0, 0.0208, 0, 0),  # 0.36 to 2.28
        "lda": (0.0128, 65.7, 0.469, 0.0756, 0, 0.0122),  # 0.33 to 2.66
        "ridge": (0.0124, 6.79, 0.463, 0.0424, 0, 0),  # 0.37 to 3.26
        "forest": (1, 650, 0, 0, 0, 0),  # 0.5 to 1.5 on embeddings
        "boosting": (0.913, 0, 48.5, 0, 0, 0),  # 0.13 to 2.92
        "naive-bayes": (0.00599, 4.54, 0.503, 0, 0, 0.00183),  # 0.70 to 1.53
        "majority": (0.000591, 0.318, 0, 0, 0, 0),  # 0.74 to 1.25
        "pixels": (0.00892, 71.8, 1.71, 0, 0, 0.0238),  # 0.30 to 3.96
        "filterbanks": (0.0116, 76.2, 4.91, 0, 0, 0.0158),  # as logreg, of few numbers
        "tfidf": (0.0185, 2.29e+03, 77, 0, 0, 1.85),  # 0.45 to 2.42
    },
    "numbers": {
        "ridge": (0.00694, 1.6, 0, 0.0419, 0, 0),  # 0.34 to 2.40
        "svr": (0.0811, 50, 0, 0, 0, 0.343),  # 0.46 to 2.29
        "knn": (0.00981, 115, 0, 0.0408, 0, 0.00461),  # 0.34 to 2.41
        "forest": (0.337, 3.52e+03, 0, 0, 0, 1.44),  # 0.48 to 2.44
        "mean": (0.000556, 0.285, 0, 0, 0, 0),  # 0.84 to 1.11
        "pixels": (0.0047, 0, 0, 0.0363, 0, 0),  # 0.43 to 2.19
        "filterbanks": (0.00694, 1.6, 0, 0.0419, 0, 0),  # as ridge
        "tfidf": (0.0289, 1.97e+03, 0, 0, 0, 0),  # 0.64 to 1.43
    },
}
# fmt: on
#: The searches of the data checks, as methods of a `Size`, and their coefficients for `check_terms`.
COPIES, WRONG_LABELS = "search for copies", "search for wrong labels"
CHECK_COEFFICIENTS: dict[str, tuple[float, ...]] = {
    COPIES: (0.0013, 18, 0.36, 0.64),  # 0.36 to 2.28
    WRONG_LABELS: (0.0013, 14, 0.0033, 0.36),  # 0.44 to 4.72
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
