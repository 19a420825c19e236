"""Tables of methods: classifiers, regressors, and their means over repeated splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from featx.metrics import Interval
from featx.report.scale import Scale
from featx.report.table import (
    WORDS,
    Cell,
    Column,
    Table,
    competing,
    describe_test,
    drawn_column,
    format_three,
    kind_of,
    make_table,
    metric_column,
    number_column,
)
from featx.results import MethodResult, RegressionResult, RepeatedMethod, Repeats, ranked_methods
from featx.results.formats import format_milliseconds, format_number, format_points, format_seconds

CAPTION = "All methods on the same test {}s, the best first"
WHAT = "mean over splits"


def methods_table(
    methods: Sequence[MethodResult], best: MethodResult, pick: MethodResult | None, kind: str = "image"
) -> Table:
    """Return the table of classifiers: `best` has the highest top-1, `pick` (if any) is recommended."""

    def chips(m: MethodResult) -> list[tuple[str, str]]:
        return [("use", "use this")] * (m is pick) + [("best", "highest")] * (m is best)

    columns = [
        _name(methods, chips),
        _drawn("top1", "top-1", methods, best.metric("top1")),
        _metric("top1", first=True),
        _against(best, "top-1, this method - the best"),
        _time(),
        _metric("balanced_accuracy"),
        _metric("macro_f1", minor=True),
        _metric("log_loss", minor=True),
        _metric("calibration_error", short="Calib. error", minor=True),
        _per_input(kind),
    ]
    caption = CAPTION.format(kind)
    return make_table(columns, ranked_methods(methods), kind=kind_of, picked=pick, caption=caption)


def regression_table(result: RegressionResult) -> Table:
    """Return the table of regressors, the best first."""
    best, pick = result.best(), result.recommended()
    columns = [
        _name(result.methods, lambda m: [("best", "best")] * (m is best)),
        _drawn("r2", "R²", result.methods, best.metric("r2") if best is not None else None),
        _metric("r2", first=True),
        _metric("mae", format_number, short="Mean abs. error", bounds=True),
        _against(best, "mean absolute error, this method - the best", _format_difference),
        _time(),
        _metric("rmse", format_number, short="RMSE", minor=True),
        _metric("spearman", short="Spearman", minor=True),
        _per_input(result.input_kind),
    ]
    caption = CAPTION.format(result.input_kind)
    return make_table(columns, result.ranked(), kind=kind_of, picked=pick, caption=caption)


def repeats_table(repeats: Repeats) -> Table:
    """Return the table of means over splits, the best first; ticks in the drawing are single splits."""
    drawn = "top1" if repeats.metric == "top1" else "r2"
    shown, best = competing(repeats.methods), repeats.best()
    scale = Scale([m.mean(drawn) for m in shown] + [Interval(v) for m in shown for v in m.metrics[drawn]])

    band = best.mean(drawn) if best is not None else None
    form = format_points if repeats.metric == "top1" else _format_difference

    def mean_time(m: RepeatedMethod) -> str:
        times = [t for t in m.seconds if t is not None]
        return format_seconds(sum(times) / len(times) if times else None)

    columns = [
        _name(repeats.methods, lambda m: [("best", "best mean")] * (m is best)),
        drawn_column(WHAT, scale, lambda m: m.mean(drawn), kind_of, band, lambda m: m.metrics[drawn]),
        metric_column(repeats.metric, lambda m: m.mean(repeats.metric), repeats.digits, first=True),
        _against(best, "this method - the best mean", form),
        number_column("Time to fit", mean_time, "fit", WHAT),
    ]
    caption = "All methods over splits, the best mean first"
    return make_table(columns, repeats.methods, kind=kind_of, caption=caption)


def _name(methods: Sequence[Any], chips: Callable[[Any], Sequence[tuple[str, str]]]) -> Column:
    """Return the column of titles, with backbone and image size if there are several."""
    several = len({m.backbone for m in methods if m.backbone}) > 1
    sizes = len({getattr(m, "image_size", None) for m in competing(methods)} - {None}) > 1

    def show(m: Any) -> Cell:
        about = ["ended as the new head"] if m.ended_at_start else [WORDS[kind_of(m)]]
        if several and m.backbone:
            about.append(m.backbone)
        if sizes and m.image_size:
            about.append(f"{m.image_size} px")
        return Cell(m.title, " · ".join(about), chips(m))

    return Column("Method", show, style="")


def _drawn(name: str, what: str, methods: Sequence[MethodResult], band: Interval | None) -> Column:
    scale = Scale([m.metric(name) for m in competing(methods)])
    return drawn_column(what, scale, lambda m: m.metric(name), kind_of, band)


def _metric(name: str, form: Callable[[float], str] = format_three, **options: Any) -> Column:
    return metric_column(name, lambda m: m.metric(name), form, **options)


def _against(best: Any, hint: str, form: Callable[[float], str] = format_points) -> Column:
    """Return the column of the tested difference from the best method."""

    def show(m: Any) -> Cell:
        difference = (m.versus_best or {}).get("difference")
        said = "–" if m is best or difference is None else form(float(difference))
        return Cell(said, "" if m is best or math.isnan(m.p_adjusted) else describe_test(m.p_adjusted))

    return number_column("Against the best", show, "vs best", hint)


def _format_difference(x: float) -> str:
    return f"{x:+.4g}".replace("-", "−")


def _time() -> Column:
    return number_column("Time to train", lambda m: format_seconds(m.cost), "train", "extraction and fit")


def _per_input(kind: str) -> Column:
    def show(m: MethodResult) -> str:
        return format_milliseconds(m.seconds.get("predict_per_image"))

    return Column(f"ms per\n{kind}", show, "n minor", f"ms/{kind}", f"one new {kind}, the network included")
