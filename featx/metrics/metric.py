"""Describe a metric: its name, which direction is better, its bounds, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Metric:
    """A metric, as tables, reports and scoring read it.

    Attributes
    ----------
    name, title : str
        Name in ``results.json``, and in tables and reports.
    higher_is_better : bool
    low, high : float
        Bounds of its values.
    task : {"classes", "numbers", "anomalies"}
        What is predicted.
    compute : callable, or None
        Returns its value for each of b resamples of the test images, ndarray of shape (b,). The arguments
        depend on the task: `featx.metrics.classes.ClassSums`; true and predicted numbers (n,) and how often
        each image is in a resample (b, n); or `featx.metrics.anomalies.RankedCounts`.
    per_image : callable, or None
        Instead of `compute`, for a metric of classes that is a mean over images: takes the true classes and
        the `featx.metrics.Answers`, returns a value for each image, ndarray of shape (n,).
    """

    name: str
    title: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    task: Literal["classes", "numbers", "anomalies"] = "classes"
    compute: Callable[..., np.ndarray] | None = None
    per_image: Callable[..., np.ndarray] | None = None
