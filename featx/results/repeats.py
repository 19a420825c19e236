"""A comparison on several drawn splits: each method's metrics on each split, and their means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from featx.errors import InputError
from featx.metrics import METRICS, Interval
from featx.results.formats import format_metric, format_test
from featx.results.methods import Test, TestedMethod
from featx.results.reading import quoted
from featx.results.shown import Shown
from featx.results.tables import Lines


@dataclass
class RepeatedMethod(TestedMethod):
    """One method on all splits; the package's docstring describes the fields (``repeats``)."""

    name: str
    title: str
    kind: str
    backbone: str | None
    metrics: dict[str, list[float]]
    means: dict[str, Interval]
    seconds: list[float | None] = field(default_factory=list)
    versus_best: dict[str, Any] | None = field(default=None, metadata={"json": Test | None})
    earlier_run: list[str | None] = field(default_factory=list)

    def mean(self, metric: str) -> Interval:
        """Return the mean of a metric, or NaN if it was not measured."""
        return self.means.get(metric, Interval(math.nan))


@dataclass
class Repeats(Shown):
    """All methods on several drawn splits; the package's docstring describes the fields."""

    seeds: list[int]
    n_train: list[int]
    n_test: list[int]
    metric: str
    methods: list[RepeatedMethod]

    def best(self) -> RepeatedMethod | None:
        """Return the method that the others were tested against; None if all are references."""
        return next((m for m in self.methods if not m.is_reference and m.versus_best is None), None)

    def of(self, name: str, backbone: str | None) -> RepeatedMethod | None:
        """Return a method by name and backbone, or None."""
        return next((m for m in self.methods if (m.name, m.backbone) == (name, backbone)), None)

    def mean(self, name: str, backbone: str | None, metric: str) -> float:
        """Return the mean of a metric of one method, or NaN."""
        found = self.of(name, backbone)
        return math.nan if found is None else found.mean(metric).value

    @property
    def title(self) -> str:
        """The mean of the metric, in words: ``mean top-1 accuracy``."""
        return f"mean {METRICS[self.metric].title.removeprefix('mean ')}"

    def digits(self, value: float) -> str:
        """Format a value of the metric as tables show it."""
        return format_metric(self.metric, Interval(value))

    def lines(self) -> Lines:
        """Return the cells of a table, the headings first."""
        lines = [["method", f"{self.title} [95 %]", "lowest", "highest", "fit s", "p vs best (Holm)"]]
        for m in self.methods:
            values = m.metrics[self.metric]
            times = [t for t in m.seconds if t is not None]
            time = f"{sum(times) / len(times):.1f}" if times else "-"
            test = "best" if m is self.best() else format_test(m.p_adjusted)
            mean = format_metric(self.metric, m.mean(self.metric))
            ends = self.digits(min(values)), self.digits(max(values))
            lines.append([m.in_table(self.methods), mean, *ends, time, test])
        return lines

    def check(self) -> None:
        """Raise `InputError` for methods without one value per split (a damaged file)."""
        if not (n := len(self.seeds)):
            raise InputError("repeats: there are no seeds")
        if self.metric not in METRICS:
            raise InputError(f"repeats: {quoted(self.metric)} is not a metric")
        for m in self.methods:
            if self.metric not in m.metrics or any(len(values) != n for values in m.metrics.values()):
                raise InputError(f"repeats: {quoted(m.name)} has not one value for each of {n} seeds")
