"""Draw a learning curve: top-1 against inputs per class, one line with intervals per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.report.plots import plain_axes
from featx.report.svg import INK, Plot, new_axes
from featx.report.table import competing, kind_of
from featx.results import CurveLevel, CurveMethod, CurveResult
from featx.results.formats import format_mean_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Further probes repeat these colours with other dashes.
_COLOURS = tuple(f"--line-{i}" for i in range(1, 7))
_PROBE_MARKS = ("o", "s", "^", "v", "P", "X")
_TUNED_DASHES = ((5.0, 2.0), (1.6, 1.6), (7.0, 2.0, 1.6, 2.0), (3.0, 3.0))
_AGAIN = ((), (6.0, 2.0), (2.0, 2.0))
#: Number of levels in the second, closer figure.
CLOSER = 4


@dataclass(frozen=True)
class LineStyle:
    """The look of a method's line, the same in the figure and its legend."""

    variable: str
    mark: str
    dashes: tuple[float, ...]


def line_styles(methods: Sequence[CurveMethod]) -> dict[tuple[str, str | None], LineStyle]:
    """Return the styles: probes solid in colours, fine-tuning dashed with diamonds, references grey."""
    styles = {}
    n_probes = n_tuned = 0
    for method in methods:
        if kind_of(method) == "probe":
            turn, place = divmod(n_probes, len(_COLOURS))
            styles[method.id] = LineStyle(_COLOURS[place], _PROBE_MARKS[place], _AGAIN[turn % len(_AGAIN)])
            n_probes += 1
        elif kind_of(method) == "finetune":
            styles[method.id] = LineStyle("--finetune", "D", _TUNED_DASHES[n_tuned % len(_TUNED_DASHES)])
            n_tuned += 1
        else:
            styles[method.id] = LineStyle("--reference", "s", ())
    return styles


def learning_plot(
    result: CurveResult, *, width: int = 900, height: int = 460, last: int | None = None
) -> Plot:
    """Draw mean top-1 over the draws against inputs per class (log scale), with 95 % bands.

    References that would squeeze the others into a corner are left out. Width and height are in CSS pixels,
    below 600 for a phone; `last` is the number of levels to draw, those with the most inputs.
    """
    styles = line_styles(result.methods)
    levels, small = result.levels[-(last or 0) :], width < 600
    x = [level.per_class for level in levels]
    left, bottom = (44, 46) if small else (58, 50)
    figure, axes = new_axes(width, height, left, bottom, right=14, top=14)
    axes.set_xscale("log")
    low, high = _span(result, levels)
    tips: list[str] = []
    shown = [m for m in reversed(result.ranked()) if m.kind != "floor" or _visible(result, m, levels, low)]
    # Shift the points of one level slightly, so that they do not hide one another.
    spread = 0.012 if len(levels) > 1 else 0.0
    for i, method in enumerate(shown):
        style = styles[method.id]
        shift = math.exp(spread * (i - (len(shown) - 1) / 2))
        points = [
            (k * shift, p, level)
            for k, level in zip(x, levels, strict=True)
            if math.isfinite((p := result.metric(method, level)).value)
        ]
        colour = INK[style.variable]
        banded = [(k, p) for k, p, _ in points if math.isfinite(p.low)]
        if len(banded) > 1:
            lows, highs = [p.low for _, p in banded], [p.high for _, p in banded]
            axes.fill_between([k for k, _ in banded], lows, highs, color=colour, alpha=0.1, lw=0)
        for k, p in banded:
            axes.vlines(k, p.low, p.high, color=colour, lw=1.3, alpha=0.55)
        line = [k for k, _, _ in points], [p.value for _, p, _ in points]
        axes.plot(*line, color=colour, lw=1.9, dashes=style.dashes or (None, None))
        mark: dict[str, Any] = {"ms": 5 if small else 6.5, "mfc": colour, "mec": INK["--card"], "mew": 1.0}
        for k, p, level in points:
            axes.plot(k, p.value, style.mark, gid=f"tip-{len(tips)}", **mark)
            tips.append(f"{result.named(method)}, {level.title} per class: top-1 {p}")
    axes.set_ylim(low, high)
    _level_ticks(axes, x, small)
    plain_axes(axes, f"training {result.input_kind}s per class (log scale)", "top-1 accuracy")
    return Plot(figure, _in_words(result), tips)


def worth_a_closer_look(result: CurveResult) -> bool:
    """Return whether the methods end too close together to be told apart in the whole figure."""
    if len(result.levels) <= CLOSER + 1:
        return False
    low, high = _span(result, result.levels)
    end_low, end_high = _span(result, result.levels[-CLOSER:])
    return 2.5 * (end_high - end_low) < high - low


def _span(result: CurveResult, levels: Sequence[CurveLevel]) -> tuple[float, float]:
    """Return the range of accuracies of all competing methods."""
    shown = [result.metric(m, level) for m in competing(result.methods) for level in levels]
    bounds = [b for p in shown for b in (p.low, p.value, p.high) if math.isfinite(b)]
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    room = max(0.04 * (high - low), 0.01)
    return max(low - room, 0.0), min(high + room, 1.0 + 0.25 * room)


def _visible(result: CurveResult, method: CurveMethod, levels: Sequence[CurveLevel], low: float) -> bool:
    return any(result.metric(method, level).value >= low for level in levels)


def _level_ticks(axes: Axes, x: Sequence[float], small: bool) -> None:
    """Put a tick at each level, except those too close to the one before."""
    from matplotlib.ticker import NullLocator

    least = 0.09 if small else 0.045
    span = math.log(x[-1] / x[0]) if len(x) > 1 else 1.0
    kept: list[float] = []
    for k in x:
        if not kept or math.log(k / kept[-1]) >= least * span:
            kept.append(k)
    axes.set_xlim(x[0] * math.exp(-0.04 * span), x[-1] * math.exp(0.04 * span))
    axes.set_xticks(kept, [f"{k:.4g}" for k in kept])
    axes.xaxis.set_minor_locator(NullLocator())


def _in_words(result: CurveResult) -> str:
    first, last = result.levels[0], result.levels[-1]
    lines = [
        f"{result.named(m)} from {result.metric(m, first).value:.3f} to {result.metric(m, last).value:.3f}"
        for m in result.ranked()
    ]
    return (
        f"Top-1 accuracy from {format_mean_count(first.per_class)} to "
        f"{format_mean_count(last.per_class)} training {result.input_kind}s per class: "
        + "; ".join(lines)
        + "."
    )
