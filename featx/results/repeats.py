"""The same comparison on several drawn splits: what each method reached on each of them, and over all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.formats import format_p
from featx.results.methods import Test
from featx.results.reading import built, shown


@dataclass
class RepeatedMethod:
    """One method on all the splits.

    Attributes
    ----------
    name, title, kind, backbone
        As of `MethodResult`.
    metrics : dict of str to list of float
        The value on each split, in the order of `Repeats.seeds`.
    means : dict of str to Interval
        Mean over the splits, with its 95 % interval.
    seconds : list of float or None
        The fit on each split.
    versus_best : dict or None
        None for the best one, else as `MethodResult.versus_best`, but of the corrected resampled t-test.
    earlier_run : list of str or None
        For each split when an earlier run computed it; None of what this run did.
    """

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
        """The mean of that metric, or an undefined interval (NaN) when it was not measured."""
        return self.means.get(metric, Interval(math.nan))

    @property
    def p_adjusted(self) -> float:
        """Of the test against the best, adjusted for the number of tests; a floor's is not adjusted."""
        test = self.versus_best or {}
        p = test.get("p_value") if test.get("p_holm") is None else test["p_holm"]
        return math.nan if p is None else float(p)


@dataclass
class Repeats:
    """All methods on several drawn splits.

    Attributes
    ----------
    seeds : list of int
        The seed of each split, and of everything drawn on it.
    n_train, n_test : list of int
        Images of each split.
    metric : str
        The one that ranks the methods and that is tested: ``"top1"``, or ``"mae"`` of a number.
    methods : list of RepeatedMethod
        The best mean first.
    """

    seeds: list[int]
    n_train: list[int]
    n_test: list[int]
    metric: str
    methods: list[RepeatedMethod]

    def best(self) -> RepeatedMethod | None:
        """The method that the others were tested against; None when there are only floors."""
        return next((m for m in self.methods if m.kind != "floor" and m.versus_best is None), None)

    def of(self, name: str, backbone: str | None) -> RepeatedMethod | None:
        """The method of that name on that backbone, if it is there."""
        return next((m for m in self.methods if (m.name, m.backbone) == (name, backbone)), None)

    def mean(self, name: str, backbone: str | None, metric: str) -> float:
        """Mean of a metric of one method; NaN where there is none."""
        found = self.of(name, backbone)
        return math.nan if found is None else found.mean(metric).value

    def digits(self, value: float) -> str:
        """A value of the metric: three decimals of an accuracy, four digits in the unit of a number."""
        return f"{value:.3f}" if self.metric == "top1" else f"{value:.4g}"

    def said(self, method: RepeatedMethod) -> str:
        """The mean of the metric of one method with its interval."""
        mean = method.mean(self.metric)
        bounds = f" [{self.digits(mean.low)}, {self.digits(mean.high)}]" if math.isfinite(mean.low) else ""
        return self.digits(mean.value) + bounds

    def rows(self, alpha: float) -> list[list[str]]:
        """Cells of a text table, the head first."""
        several = len({m.backbone for m in self.methods if m.backbone}) > 1
        name = "top-1" if self.metric == "top1" else self.metric.upper()
        lines = [["method", f"mean {name} [95 %]", "lowest", "highest", "fit s", "p vs best (Holm)"]]
        for m in self.methods:
            values = m.metrics[self.metric]
            times = [t for t in m.seconds if t is not None]
            lines.append(
                [
                    (f"{m.title} · {m.backbone}" if several and m.backbone else m.title)
                    + (" (floor)" if m.kind == "floor" else ""),
                    self.said(m),
                    self.digits(min(values)),
                    self.digits(max(values)),
                    f"{sum(times) / len(times):.1f}" if times else "-",
                    "best" if m is self.best() else said_of(m.p_adjusted, alpha),
                ]
            )
        return lines

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> Repeats | None:
        """From the JSON values that ``results.json`` has; null gives None.

        Raises
        ------
        InputError
            A method has not one value a split.
        """
        if content is None:
            return None
        found = built(cls, content, "repeats")
        n = len(found.seeds)
        for m in found.methods:
            if found.metric not in m.metrics or any(len(values) != n for values in m.metrics.values()):
                raise InputError(f"repeats: {shown(m.name)} has not one value for each of {n} seeds")
        if not n:
            raise InputError("repeats: there are no seeds")
        return found


def said_of(p_adjusted: float, alpha: float) -> str:
    """What an adjusted p-value says in a table: that no difference is shown, or how sure one is."""
    p = format_p(p_adjusted)
    return f"no difference shown (p {p})" if p_adjusted >= alpha else p
