"""The result of a comparison of regressors: other metrics, another order, the same files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from featx.results.advice import why_nothing
from featx.results.base import Column
from featx.results.comparison import COSTS, METHOD, ComparisonResult
from featx.results.formats import format_metric, format_number
from featx.results.methods import ALPHA, MethodResult, admitted, best_method, shown_above, worth
from featx.results.repeats import Repeats
from featx.results.sentences import (
    describe,
    on_choice,
    on_few_tests,
    on_power,
    on_splits,
    warn_of_reference,
)
from featx.results.tables import metric_column

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
    worse), ``effect`` Cohen's d_z, and no ``p_mid``; ``detectable`` and the ``optimism`` of ``selection``
    have the unit of the number; ``fine_tuning`` is null, ``confusion`` and ``mistakes`` are empty,
    ``dataset`` has no classes.
    """

    kind: ClassVar[str] = "number"
    metric: ClassVar[str] = "mae"
    columns: ClassVar[Sequence[Column]] = (
        METHOD,
        metric_column("mae", "MAE", interval=True, form="{:.4g}"),
        metric_column("rmse", "RMSE", form="{:.4g}"),
        metric_column("r2", "R2", interval=True),
        metric_column("spearman", "Spearman"),
        *COSTS,
    )

    truth: list[float] = field(default_factory=list)
    predictions: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def task(self) -> str:
        return f"{self.dataset.get('task', 'a number')} is predicted"

    def recommended(self) -> MethodResult | None:
        return next(iter(admitted(self.methods, "mae")), None)


def advise_numbers(
    methods: Iterable[MethodResult],
    n_test: int,
    repeats: Repeats | None = None,
    *,
    n_units: int | None = None,
    optimism: float | None = None,
    kind: str = "image",
) -> str:
    """Say what to use and how sure that is; parameters as in `featx.results.advise`.

    Nothing is recommended if no regressor is shown to be better than the mean, or none is better than every
    other reference (on raw pixels, TF-IDF or filter banks).
    """
    methods = list(methods)
    best, pool = best_method(methods, "mae"), admitted(methods, "mae")
    few = on_few_tests(n_test, n_units, kind=kind)
    if best is None:
        return "Nothing to recommend: no regressor on frozen features was measured."
    if not pool:
        said = [why_nothing(methods, best, "mae", kind=kind), *on_splits(repeats, best), *few]
        return " ".join(said)
    pick = pool[0]
    error, r2 = format_metric("mae", pick.metric("mae")), pick.metric("r2")
    said = [f"Use {describe(pick)}: mean absolute error {error}, R2 {r2} on {n_test} test {kind}s."]
    if pick is best:
        said += on_choice(sum(not m.is_reference for m in methods), optimism, format_number, kind=kind)
    others = [m for m in methods if m.kind == "probe" and m is not best]
    same = [m for m in others if m.p_adjusted >= ALPHA]
    if same and pick is best:
        said.append(f"{len(same)} of the {len(others)} other regressors cannot be told apart from it.")
        said += on_power((m.detectable for m in same), format_number, kind=kind)
    said.extend(on_splits(repeats, pick))
    for reference in (m for m in methods if m.is_reference):
        above = shown_above(pick, reference)
        if above is None:
            above = worth(pick, "mae") > worth(reference, "mae") and reference.p_adjusted < ALPHA
        if not above:
            said.append(warn_of_reference(reference, format_number(reference.metric("mae").value)))
    return " ".join([*said, *few])
