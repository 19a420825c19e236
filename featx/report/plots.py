"""Draw the figures of comparisons: cost, confusion matrices, training curves, predicted against true numbers.

A plot has the placeholder colours of `featx.report.svg`, an alternative text, and texts to show on hovering.
Kinds differ by shape as well as colour: probes are circles, fine-tuned baselines diamonds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.report.svg import INK, Plot, new_axes, new_figure
from featx.report.table import competing, kind_of
from featx.results import Confusion, MethodResult, RegressionResult, ranked_methods
from featx.results.formats import format_metric, format_seconds
from featx.terminal import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKER = {"probe": "o", "finetune": "D"}
NUMBERED = 30  # most classes of a confusion matrix whose cells show their counts
DRAWN = 500  # most classes of a confusion matrix that is drawn at all
NAMED = 100  # most classes of a confusion matrix with named rows and columns
#: Most points in the scatter plot: the first test inputs.
POINTS = 3000
#: Generous width of a letter at font size 11, as the reader's font is unknown.
LETTER = 6.6


def methods_with_cost(methods: Iterable[MethodResult]) -> list[MethodResult]:
    """Return the competing methods with known accuracy and training time, the best first."""
    return [m for m in competing(ranked_methods(methods)) if m.cost > 0 and math.isfinite(m.top1)]


def cost_plot(methods: Iterable[MethodResult], emphasised: Iterable[MethodResult] = ()) -> Plot | None:
    """Draw top-1 against seconds to a trained method (log scale), with 95 % intervals.

    Names are written beside the `emphasised` methods, the fine-tuned baselines and the Pareto front. Returns
    None if fewer than two methods have a cost.
    """
    methods = list(methods)
    shown = methods_with_cost(methods)
    if len(shown) < 2:
        return None
    figure, axes = new_axes(450, 320, left=50, bottom=44, right=6, top=8)
    axes.set_xscale("log")
    tips, ends = [], []
    for i, m in enumerate(reversed(shown)):
        interval, colour = m.metric("top1"), INK[f"--{kind_of(m)}"]
        low, high = (b if math.isfinite(b) else m.top1 for b in (interval.low, interval.high))
        ends += [low, high]
        axes.vlines(m.cost, low, high, color=colour, lw=1.6, alpha=0.35)
        mark: dict[str, Any] = {"ms": 8, "mfc": colour, "mec": INK["--card"], "mew": 1.2, "gid": f"tip-{i}"}
        axes.plot(m.cost, m.top1, MARKER[kind_of(m)], **mark)
        tips.append(f"{m.named(methods)}: top-1 {interval}, {format_seconds(m.cost)} to train")
    left, right = min(m.cost for m in shown), max(m.cost for m in shown)
    room = max(0.14 * math.log10(right / left), 0.15)
    axes.set_xlim(left / 10**room, right * 10**room)
    space = max(0.06 * (max(ends) - min(ends)), 0.005)
    axes.set_ylim(min(ends) - space, max(ends) + space)
    plain_axes(axes, "time to train: extraction and fit (log scale)", "top-1 accuracy")
    _time_ticks(axes)
    tuned = (m for m in shown if m.trains_network)
    _label(axes, shown, list({id(m): m for m in (*emphasised, *pareto_front(shown), *tuned)}.values()))
    fastest, best = min(shown, key=lambda m: m.cost), shown[0]
    alt = (
        f"Top-1 accuracy against training time of {len(shown)} methods. Fastest: {fastest.named(methods)}, "
        f"{format_seconds(fastest.cost)}, top-1 {fastest.top1:.3f}. Most accurate: {best.named(methods)}, "
        f"{format_seconds(best.cost)}, top-1 {best.top1:.3f}."
    )
    return Plot(figure, alt, tips)


def confusion_plot(method: MethodResult, classes: Sequence[str], kind: str = "image") -> Plot | None:
    """Draw the confusion matrix of a method: rows true, columns predicted, shade the share of the true class.

    Returns None without a matrix, or with more than `DRAWN` classes: cells would be smaller than a pixel.
    """
    n = len(method.confusion)
    if not n or n > DRAWN:
        return None
    counts = Confusion.of(method.confusion)
    names = [shorten(c) for c in classes]
    cell = _cell_size(n)
    text = min(11.0, 0.95 * cell)
    longest = max(map(len, names)) if n <= NAMED else 0
    margin, side = 26 + 0.54 * text * longest, n * cell
    figure, axes = new_axes(margin + side + 8, margin + side + 8, left=margin, bottom=margin, right=8, top=8)
    tips: list[str] = []
    totals = counts.totals()
    for row, column, count in counts.cells():
        right, share = row == column, count / totals[row]
        shade = 0.12 + 0.78 * share if right else 0.25 + 0.6 * share
        colour = INK["--probe"] if right else INK["--wrong"]
        fill_cell(axes, row, column, colour, shade, len(tips), str(count) if n <= NUMBERED else "", text)
        what = "right" if right else f"taken for {classes[column]}"
        tips.append(f"{classes[row]}: {count} of {totals[row]} {what}")
    name_cells(axes, n, names if n <= NAMED else [], text)
    for spine in axes.spines.values():
        spine.set_color(INK["--line"])
    about: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 11, "color": INK["--muted"]}
    axes.annotate("true", (-margin + 9, side / 2), xycoords="axes pixels", rotation=90, **about)
    axes.annotate("predicted", (side / 2, -margin + 9), xycoords="axes pixels", **about)
    return Plot(figure, _confusion_in_words(method, classes, kind), tips)


def _cell_size(n: int) -> float:
    """Return the side of a cell in a matrix of n classes, in pixels."""
    if n <= 15:  # larger with few classes: the page widens a small figure, and its letters with it
        return max(29.0, min(130.0, 340 / n))
    return 20.0 if n <= NUMBERED else 14.0 if n <= 60 else 9.5 if n <= NAMED else 900 / n


def fill_cell(
    axes: Axes, row: int, column: int, colour: str, shade: float, tip: int, text: str, size: float
) -> None:
    """Fill one cell of a matrix with a shade from 0 to 1, and write a text in it."""
    from matplotlib.patches import Rectangle

    box = (column - 0.47, row - 0.47)
    axes.add_patch(Rectangle(box, 0.94, 0.94, fc=colour, alpha=shade, lw=0, gid=f"tip-{tip}"))
    if text:
        ink = INK["--card"] if shade > 0.6 else INK["--ink"]
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def name_cells(axes: Axes, n: int, names: Sequence[str], size: float) -> None:
    """Label the n rows and columns of a matrix; `names` is empty if there are too many."""
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    places = range(n) if names else []
    axes.set_xticks(places, names, rotation=90, fontsize=size, color=INK["--muted"], parse_math=False)
    axes.set_yticks(places, names, fontsize=size, color=INK["--muted"], parse_math=False)
    axes.tick_params(length=0, pad=4)


def curves_plot(method: MethodResult, loss_top: float | None = None, low: float | None = None) -> Plot | None:
    """Draw loss and accuracy on training and validation inputs over epochs; None without a history.

    `loss_top` ends the loss axis and `low` begins the accuracy axis, so that methods share their axes.
    """
    curves = method.curves
    if not curves or not curves.get("epoch"):
        return None
    from matplotlib.ticker import MaxNLocator

    epochs: list[Any] = curves["epoch"]
    figure = new_figure(420, 205)
    alts = []
    for i, (what, bottom, top) in enumerate((("loss", 0, loss_top), ("accuracy", low, 1.0))):
        axes = figure.add_axes(((34 + 212 * i) / 420, 40 / 205, 164 / 420, 137 / 205))
        for part, name, style, colour in (
            ("train", "training", "--", INK["--muted"]),
            ("val", "validation", "-", INK["--finetune"]),
        ):
            values = [math.nan if v is None else v for v in curves.get(f"{part}_{what}") or []]
            if not any(map(math.isfinite, values)):
                continue
            marker = "o" if len(epochs) <= 12 else ""
            axes.plot(epochs, values, style, color=colour, lw=1.8, marker=marker, ms=3.5, label=name)
            alts.append(f"{name} {what} from {values[0]:.3f} to {values[-1]:.3f}")
        if curves.get("best_epoch") is not None:
            axes.axvline(curves["best_epoch"], color=INK["--muted"], lw=1, ls=":")
        axes.set_ylim(bottom, top)
        plain_axes(axes, "epoch", "")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(min(epochs) - 0.4, max(epochs) + 0.4)
        axes.set_title(what, loc="left", fontsize=11, color=INK["--ink"], pad=8)
        if i == 0:
            legend = axes.legend(loc="upper right", frameon=False, fontsize=10, labelcolor=INK["--ink"])
            legend.set_in_layout(False)
    alt = f"Training of {method.title} over {len(epochs)} epochs: " + "; ".join(alts) + "."
    if curves.get("best_epoch") is not None:
        alt += f" Kept: epoch {curves['best_epoch']}."
    return Plot(figure, alt)


def scatter_plot(result: RegressionResult, best: MethodResult, task: str) -> Plot:
    """Draw the predictions of the best method against the true numbers, and the line of agreement."""
    truth, predicted = (np.asarray(v[:POINTS], np.float64) for v in (result.truth, result.predictions))
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    room = 0.05 * (high - low) or 1.0
    ends = (low - room, high + room)
    figure, axes = new_axes(440, 400, left=64, bottom=48, right=10, top=10)
    axes.plot(ends, ends, color=INK["--muted"], lw=1, ls=":")
    axes.scatter(truth, predicted, s=22, color=INK["--probe"], alpha=0.6, linewidths=0)
    axes.set(xlim=ends, ylim=ends)
    plain_axes(axes, f"true {task}".replace("$", r"\$"), "predicted")
    alt = (
        f"Predicted against true {task} on {len(truth)} test {result.input_kind}s by {best.title}: "
        f"R2 {best.metric('r2')}, mean absolute error {format_metric('mae', best.metric('mae'))}."
    )
    return Plot(figure, alt)


def shorten(name: str, length: int = 22) -> str:
    """Return a class name on one line, cut to `length`."""
    return shortened(" ".join(name.split()), length)


def frequent_confusions(method: MethodResult, classes: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return the confusions of a method as (count, true, predicted), the most frequent first."""
    wrong = Confusion.of(method.confusion).wrong()
    return [(count, classes[row], classes[column]) for count, row, column in wrong]


def _confusion_in_words(method: MethodResult, classes: Sequence[str], kind: str) -> str:
    counts = Confusion.of(method.confusion)
    total, right = sum(counts.counts), sum(counts.right())
    most = "; ".join(f"{t} taken for {p} ({c})" for c, t, p in frequent_confusions(method, classes)[:3])
    alt = f"Confusion matrix of {method.title}: {right} of {total} test {kind}s right."
    return alt + (f" Most frequent confusions: {most}." if most else "")


def pareto_front(methods: Sequence[MethodResult]) -> list[MethodResult]:
    """Return the methods for which no other is both faster to train and at least as accurate."""
    return [m for m in methods if not any(o.cost < m.cost and o.top1 >= m.top1 for o in methods)]


Box = tuple[float, float, float, float]


def _label(axes: Axes, shown: Sequence[MethodResult], named: Sequence[MethodResult]) -> None:
    """Write names beside their points, greedily, each at the first free place.

    A name stays in the frame, touches no other name, and touches at most one other point.
    """
    to_pixels = axes.transData.transform
    points = [(x - 6, y - 6, x + 6, y + 6) for x, y in (to_pixels((m.cost, m.top1)) for m in shown)]
    names: list[Box] = []
    frame = axes.get_window_extent()

    def touched(box: Box, others: Sequence[Box]) -> int:
        a, b, c, d = box
        return sum(min(c, t[2]) > max(a, t[0]) and min(d, t[3]) > max(b, t[1]) for t in others)

    def allowed(box: Box) -> bool:
        inside = frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1
        return inside and not touched(box, names) and touched(box, points) < 2

    for m in named:
        x, y = to_pixels((m.cost, m.top1))
        width, height = LETTER * len(m.title), 12.0
        places: list[tuple[int, int, Box, str]] = []
        for right, up in ((10, 0), (-10, 0), (8, 13), (-8, 13), (8, -13), (-8, -13), (0, 18), (0, -18)):
            # The end of the text that is fixed, whatever the reader's font.
            end, left = ("left", x + right) if right > 0 else ("right", x + right - width)
            if not right:
                end, left = "center", x - width / 2
            box = (left, y + up - height / 2, left + width, y + up + height / 2)
            if allowed(box):
                places.append((touched(box, points), len(places), box, end))
        if not places:
            continue  # the table and the tip name it; a label on a cluster of points would be ambiguous
        *_, box, end = min(places)
        names.append(box)
        at = {"left": box[0], "center": (box[0] + box[2]) / 2, "right": box[2]}[end], (box[1] + box[3]) / 2
        looks: dict[str, Any] = {"va": "center", "fontsize": 11, "color": INK["--ink"], "parse_math": False}
        axes.annotate(m.title, at, xycoords="figure pixels", ha=end, **looks)


def _time_ticks(axes: Axes) -> None:
    """Put ticks at familiar durations."""
    low, high = axes.get_xlim()
    known = [1e-3, 1e-2, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400]
    ticks = [t for t in known if low <= t <= high]
    if len(ticks) < 2:
        ticks = [low * (high / low) ** f for f in (0.15, 0.5, 0.85)]
    axes.set_xticks(ticks, [format_seconds(t).replace(".0 ", " ") for t in ticks])
    axes.set_xticks([], minor=True)


def plain_axes(axes: Axes, x: str, y: str) -> None:
    """Label the axes, and give them the plain look that all figures share."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK["--line"])
    axes.grid(axis="y", color=INK["--line"], lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10.5, labelcolor=INK["--muted"], pad=5)
    axes.set_xlabel(x, fontsize=11, color=INK["--muted"], labelpad=5)
    axes.set_ylabel(y, fontsize=11, color=INK["--muted"], labelpad=5)
    axes.patch.set_visible(False)
