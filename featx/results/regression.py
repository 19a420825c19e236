"""A comparison whose task is a number: other metrics, another order, the same file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from featx.errors import InputError
from featx.results.advice import ALPHA, FEW_TEST_IMAGES, describe, in_text, on_splits
from featx.results.comparison import ComparisonResult, _number, aligned
from featx.results.formats import format_milliseconds
from featx.results.methods import MethodResult
from featx.results.reading import built_fields
from featx.results.repeats import Repeats, said_of

NO_FINE_TUNING = (
    "a number is predicted: there is no fine-tuned baseline for it, so whether one would do better is open"
)


@dataclass
class RegressionResult(ComparisonResult):
    """A comparison of regressors on one split.

    As `ComparisonResult`, and ``results.json`` has in addition ``kind`` (``"number"``), ``truth``,
    ``predictions`` (of the best method) and ``ids``, all over the test images. ``metrics`` of a method are
    ``r2``, ``mae``, ``rmse`` and ``spearman``; ``versus_best`` is a paired sign-flip test of absolute errors
    against the method with the lowest ``mae``, its ``difference`` that of the mean absolute errors (above 0:
    worse), ``effect`` Cohen's d_z, and no ``p_mid``; ``confusion`` and ``mistakes`` are empty, ``dataset``
    has no classes.
    """

    truth: list[float] = field(default_factory=list)
    predictions: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    kind: ClassVar[str] = "number"

    def best(self) -> MethodResult | None:
        """The method with the lowest mean absolute error, floors excluded."""
        return best_regressor(self.methods)

    def ranked(self) -> list[MethodResult]:
        """The methods by mean absolute error, the lowest first, floors included."""
        best = self.best()
        return sorted(self.methods, key=lambda m: (_mae(m), m is not best, m.kind == "floor"))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN and infinities become None."""
        return super().to_dict() | {
            "kind": self.kind,
            "truth": self.truth,
            "predictions": self.predictions,
            "ids": self.ids,
        }

    @classmethod
    def from_dict(cls, content: Any) -> RegressionResult:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        InputError
            When ``content`` is no such comparison.
        """
        result = super().from_dict(content)
        assert isinstance(result, cls)
        try:
            rest = built_fields(RegressionResult, content, names=("truth", "predictions", "ids"))
        except InputError as error:
            raise InputError(f"a damaged comparison result: {error}") from error
        for name, values in rest.items():
            setattr(result, name, values)
        return result

    def table(self) -> str:
        """A plain-text table for a terminal, the best method first, floors included."""
        lines = [
            ["method", "MAE [95 %]", "RMSE", "R2 [95 %]", "Spearman", "fit s", "ms/image", "p vs best (Holm)"]
        ]
        best = self.best()
        several = len({m.backbone for m in self.methods if m.backbone}) > 1
        for m in self.ranked():
            title = f"{m.title} · {m.backbone}" if several and m.backbone else m.title
            lines.append(
                [
                    title + (" (floor)" if m.kind == "floor" else ""),
                    in_digits(m, "mae"),
                    format_number(m.metric("rmse").value),
                    str(m.metric("r2")),
                    _number(m.metric("spearman").value),
                    _number(m.seconds.get("fit"), "{:.1f}"),
                    format_milliseconds(m.seconds.get("predict_per_image")),
                    "best" if m is best else said_of(m.p_adjusted, ALPHA),
                ]
            )
        return "\n".join([self._heading(), "", *aligned(lines), *self._over_splits()])

    def _heading(self) -> str:
        data = self.dataset
        parts = [
            f"{data.get('n_train', '?')} training and {data.get('n_test', '?')} test images",
            f"{data.get('task', 'a number')} is predicted",
        ]
        return f"{data.get('name', '')}: {', '.join(parts + self.networks())}"


def best_regressor(methods: Iterable[MethodResult]) -> MethodResult | None:
    """The method with the lowest mean absolute error, floors excluded; None when there is none.

    At equal errors the one that the paired tests were made against.
    """
    found = [m for m in methods if m.kind != "floor" and math.isfinite(_mae(m))]
    return min(found, key=lambda m: (_mae(m), m.versus_best is not None), default=None)


def advise_numbers(methods: Iterable[MethodResult], n_test: int, repeats: Repeats | None = None) -> str:
    """What the measurements of a regression say, in a few plain sentences.

    Parameters
    ----------
    methods : iterable of MethodResult
        All methods, with ``versus_best`` filled in for all but the best.
    n_test : int
        Test images.
    repeats : Repeats, optional
        The same methods over several splits.
    """
    methods = list(methods)
    best = best_regressor(methods)
    if best is None:
        return "Nothing to recommend: no regressor on frozen features was measured."
    said = [
        f"Use {describe(best)}: mean absolute error {in_digits(best, 'mae')}, R2 {best.metric('r2')} on "
        f"{n_test} test images."
    ]
    others = [m for m in methods if m.kind == "probe" and m is not best]
    same = sum(m.p_adjusted >= ALPHA for m in others)
    if same:
        said.append(f"{same} of the {len(others)} other regressors cannot be told apart from it.")
    said.extend(on_splits(repeats, best))
    for floor in (m for m in methods if m.kind == "floor"):
        if not (_mae(best) < _mae(floor) and floor.p_adjusted < ALPHA):
            said.append(
                f"Warning: it is not shown to be better than the floor, {in_text(floor)} "
                f"({format_number(_mae(floor))}); do not rely on it."
            )
    if n_test < FEW_TEST_IMAGES:
        said.append(f"With only {n_test} test images all of this is rough; more would narrow the intervals.")
    return " ".join(said)


def format_number(x: float) -> str:
    """A quantity in the unit of the target, with four digits; ``-`` when unknown."""
    return f"{x:.4g}" if math.isfinite(x) else "-"


def in_digits(method: MethodResult, name: str) -> str:
    """A metric in the unit of the target, with its interval."""
    interval = method.metric(name)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return format_number(interval.value)
    return " ".join(
        [
            format_number(interval.value),
            f"[{format_number(interval.low)}, {format_number(interval.high)}]",
        ]
    )


def _mae(method: MethodResult) -> float:
    value = method.metric("mae").value
    return value if math.isfinite(value) else math.inf
