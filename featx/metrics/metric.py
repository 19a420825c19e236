"""Describe a figure of merit: its name, which way is better, its bounds, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes
    ----------
    name : str
        As in ``results.json``.
    title : str
        As tables and reports show it.
    higher_is_better : bool
    low, high : float
        Bounds of its values.
    task : {"classes", "numbers", "anomalies"}
        What is predicted.
    compute : callable, or None
        Gives its value for each of b resamples of the test images, ndarray of shape (b,). What it takes
        depends on the task: `featx.metrics.classes.ClassSums`; true and predicted numbers, both (b, n); or
        `featx.metrics.anomalies.RankedCounts`.
    per_image : callable, or None
        Of a metric of classes that is a mean over images, in place of `compute`: takes the true classes and
        the `featx.metrics.answers.Answers`, gives a value for each image, ndarray of shape (n,).
    """

    name: str
    title: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    task: Literal["classes", "numbers", "anomalies"] = "classes"
    compute: Callable[..., np.ndarray] | None = None
    per_image: Callable[..., np.ndarray] | None = None
