"""What several splits say: the mean of each method with its interval, and each split behind it."""

from __future__ import annotations

import math
from html import escape

from featx.metrics import Interval
from featx.report.methods import KIND, Scale, axis, dot_and_whisker, verdict_of_test
from featx.results import RepeatedMethod, Repeats
from featx.results.formats import format_points, format_seconds


def over_splits(repeats: Repeats) -> str:
    """The section of the page."""
    n, share = len(repeats.seeds), sum(repeats.n_test) / (sum(repeats.n_train) + sum(repeats.n_test))
    what = "top-1 accuracy" if repeats.metric == "top1" else "R² (mean absolute errors rank and are tested)"
    return (
        f'<section class="card"><h2>Over {n} splits</h2><p class="lead">The same comparison on {n} drawn '
        f"splits (seeds {repeats.seeds[0]} to {repeats.seeds[-1]}, {100 * share:.0f} % of the images test), "
        f"the same ones for every method. Mark: mean {what}; whisker: its 95 % interval; ticks: the single "
        "splits. Splits of one dataset share most of their images; interval and test (corrected resampled "
        "t-test, adjusted for all pairs of competing methods) allow for that.</p>"
        f"{_table(repeats)}</section>"
    )


def _table(repeats: Repeats) -> str:
    drawn = "top1" if repeats.metric == "top1" else "r2"
    shown = [m for m in repeats.methods if m.kind != "floor"]
    scale = Scale([m.mean(drawn) for m in shown] + [Interval(v) for m in shown for v in m.metrics[drawn]])
    several = len({m.backbone for m in repeats.methods if m.backbone}) > 1
    best = repeats.best()
    column = "Mean" if repeats.metric == "top1" else "Mean abs.<br>error"
    head = (
        '<th scope="col">Method</th><th scope="col" class="plot" aria-label="Mean over splits, drawn">'
        f'{axis(scale, 6)}</th><th scope="col" class="n">{column}</th>'
        '<th scope="col" class="n" title="this method - the best mean">Against<br>the best</th>'
        '<th scope="col" class="n" title="mean over splits">Time to<br>fit</th>'
    )
    rows = "".join(_row(m, best, scale, drawn, several, repeats) for m in repeats.methods)
    return (
        '<table class="methods"><caption hidden>All methods over splits, the best mean first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(
    m: RepeatedMethod,
    best: RepeatedMethod | None,
    scale: Scale,
    drawn: str,
    several: bool,
    repeats: Repeats,
) -> str:
    mean = m.mean(repeats.metric)
    times = [t for t in m.seconds if t is not None]
    about = [KIND[m.kind], *([m.backbone] if several and m.backbone else [])]
    chip = '<span class="chip best">best mean</span>' if m is best else ""
    top = repeats.digits(mean.value)
    bounds = f"{repeats.digits(mean.low)}–{repeats.digits(mean.high)}" if math.isfinite(mean.low) else ""
    band = best.mean(drawn) if best is not None else None
    plot = dot_and_whisker(m.mean(drawn), m.kind, scale, band, "mean over splits", ticks=m.metrics[drawn])
    cells = [
        f'<th scope="row"><span class="mark" aria-hidden="true"></span>{escape(m.title)}'
        f"<small>{escape(' · '.join(about))} {chip}</small></th>",
        f'<td class="plot">{plot}</td>',
        f'<td class="n top1"><span class="top">{top}</span><small>{bounds}</small></td>',
        f'<td class="n" data-label="vs best">{_against(m, best, repeats)}</td>',
        f'<td class="n" data-label="fit">'
        f"{escape(format_seconds(sum(times) / len(times) if times else None))}</td>",
    ]
    return f'<tr class="{m.kind}">{"".join(cells)}</tr>'


def _against(m: RepeatedMethod, best: RepeatedMethod | None, repeats: Repeats) -> str:
    difference = (m.versus_best or {}).get("difference")
    if m is best or difference is None:
        return "–"
    said = (
        format_points(difference)
        if repeats.metric == "top1"
        else repeats.digits(difference).replace("-", "−")
    )
    return f"{said} {verdict_of_test(m.p_adjusted)}"
