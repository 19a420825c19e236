"""The figures of the report: cost, confusion matrices, training curves.

Every function gives a figure in the stand-in colours of :mod:`featx.report.svg`, its alternative text, and
the texts to show on pointing. Shapes tell the kinds apart as well as colours do: probes are circles,
fine-tuned baselines diamonds, floors hollow squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featx.report.svg import INK, new_figure
from featx.results import Confusion, MethodResult, ranked_methods
from featx.results.formats import format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR = {"probe": INK["--probe"], "finetune": INK["--tuned"], "floor": INK["--floor"]}
MARKER = {"probe": "o", "finetune": "D", "floor": "s"}
NUMBERED = 30  # up to so many classes, the cells of a confusion matrix carry their counts
DRAWN = 500  # up to so many classes, it is drawn at all
NAMED = 100  # up to so many classes, its rows and columns carry their names


@dataclass
class Plot:
    """A figure, what it shows in words, and the texts to show on pointing (artists ``tip-<i>``)."""

    figure: Figure
    alt: str
    tips: list[str] = field(default_factory=list)


def cost_plot(methods: Iterable[MethodResult], emphasised: Iterable[MethodResult] = ()) -> Plot | None:
    """Top-1 against seconds to a trained method (log scale), with 95 % intervals.

    Labelled are the ``emphasised`` methods, the fine-tuned baselines, and those on the front: nothing
    else is faster and as good. None when fewer than two methods have a cost.
    """
    shown = [m for m in ranked_methods(methods) if m.kind != "floor" and m.cost > 0 and math.isfinite(m.top1)]
    if len(shown) < 2:
        return None
    named = _unique([*emphasised, *front(shown), *(m for m in shown if m.kind == "finetune")])
    figure = new_figure(450, 320)
    axes = figure.add_axes((50 / 450, 44 / 320, 394 / 450, 268 / 320))
    axes.set_xscale("log")
    tips = []
    for i, m in enumerate(reversed(shown)):
        interval = m.metric("top1")
        low, high = (b if math.isfinite(b) else m.top1 for b in (interval.low, interval.high))
        axes.vlines(m.cost, low, high, color=COLOUR[m.kind], lw=1.6, alpha=0.35)
        axes.plot(
            m.cost,
            m.top1,
            MARKER[m.kind],
            ms=8,
            mfc=COLOUR[m.kind],
            mec=INK["--card"],
            mew=1.2,
            gid=f"tip-{i}",
        )
        tips.append(f"{m.title}: top-1 {interval}, {format_seconds(m.cost)} to train")
    left, right = min(m.cost for m in shown), max(m.cost for m in shown)
    room = max(0.14 * math.log10(right / left), 0.15)
    axes.set_xlim(left / 10**room, right * 10**room)
    bottom = min(m.metric("top1").low if math.isfinite(m.metric("top1").low) else m.top1 for m in shown)
    top = max(m.metric("top1").high if math.isfinite(m.metric("top1").high) else m.top1 for m in shown)
    space = max(0.06 * (top - bottom), 0.005)
    axes.set_ylim(bottom - space, top + space)
    _plain_axes(axes, "time to train: extraction and fit (log scale)", "top-1 accuracy")
    _time_ticks(axes)
    _label(axes, shown, named)
    fastest, best = min(shown, key=lambda m: m.cost), shown[0]
    alt = (
        f"Top-1 accuracy against training time of {len(shown)} methods. Fastest: {fastest.title}, "
        f"{format_seconds(fastest.cost)}, top-1 {fastest.top1:.3f}. Most accurate: {best.title}, "
        f"{format_seconds(best.cost)}, top-1 {best.top1:.3f}."
    )
    return Plot(figure, alt, tips)


def confusion_plot(method: MethodResult, classes: Sequence[str]) -> Plot | None:
    """The confusion matrix of one method: rows true, columns predicted; right cells and wrong ones differ.

    Shade is the share of the true class. None when the method carries no matrix, or one of more than `DRAWN`
    classes, whose cells would be smaller than a pixel.
    """
    n = len(method.confusion)
    if not n or n > DRAWN:
        return None
    counts = Confusion.of(method.confusion)
    from matplotlib.patches import Rectangle

    names = [shortened(c) for c in classes]
    cell = 29.0 if n <= 15 else 20.0 if n <= NUMBERED else 14.0 if n <= 60 else 9.5 if n <= NAMED else 900 / n
    text = min(11.0, 0.95 * cell)
    longest = max(map(len, names)) if n <= NAMED else 0
    margin = 26 + 0.54 * text * longest
    side = n * cell
    width, height = margin + side + 8, margin + side + 8
    figure = new_figure(width, height)
    axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
    tips: list[str] = []
    totals = counts.totals()
    for row, column, count in counts.cells():
        total = totals[row]
        right, share = row == column, count / total
        shade = 0.12 + 0.78 * share if right else 0.25 + 0.6 * share
        colour = INK["--probe"] if right else INK["--wrong"]
        axes.add_patch(
            Rectangle(
                (column - 0.47, row - 0.47),
                0.94,
                0.94,
                fc=colour,
                alpha=shade,
                lw=0,
                gid=f"tip-{len(tips)}",
            )
        )
        what = "right" if right else f"taken for {classes[column]}"
        tips.append(f"{classes[row]}: {count} of {total} {what}")
        if n <= NUMBERED:
            ink = INK["--card"] if shade > 0.6 else INK["--ink"]
            axes.text(column, row, str(count), ha="center", va="center", fontsize=text, color=ink)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    for spine in axes.spines.values():
        spine.set_color(INK["--line"])
    if n <= NAMED:
        axes.set_xticks(range(n), names, rotation=90, fontsize=text, color=INK["--muted"], parse_math=False)
        axes.set_yticks(range(n), names, fontsize=text, color=INK["--muted"], parse_math=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0, pad=4)
    axes.text(-margin + 9, side / 2, "true", transform=_pixels(axes), rotation=90, **_axis_name())
    axes.text(side / 2, -margin + 9, "predicted", transform=_pixels(axes), **_axis_name())
    return Plot(figure, _confusion_in_words(method, classes), tips)


def curves_plot(method: MethodResult, loss_top: float | None = None, low: float | None = None) -> Plot | None:
    """Loss and accuracy over epochs, on training and validation images.

    Parameters
    ----------
    method : MethodResult
        With ``curves``; None is returned when there are none.
    loss_top, low : float, optional
        Upper end of the loss axis and lower end of the accuracy axis, to draw several methods alike.
    """
    curves = method.curves
    if not curves or not curves.get("epoch"):
        return None
    from matplotlib.ticker import MaxNLocator

    epochs: list[Any] = curves["epoch"]
    figure = new_figure(420, 205)
    alts = []
    for i, (what, top) in enumerate((("loss", loss_top), ("accuracy", 1.0))):
        axes = figure.add_axes(((34 + 212 * i) / 420, 40 / 205, 164 / 420, 137 / 205))
        for part, style in (("train", "--"), ("val", "-")):
            values = [math.nan if v is None else v for v in curves.get(f"{part}_{what}") or []]
            if not any(map(math.isfinite, values)):
                continue
            name = "training" if part == "train" else "validation"
            colour = INK["--muted"] if part == "train" else INK["--tuned"]
            marker = "o" if len(epochs) <= 12 else ""
            axes.plot(epochs, values, style, color=colour, lw=1.8, marker=marker, ms=3.5, label=name)
            alts.append(f"{name} {what} from {values[0]:.3f} to {values[-1]:.3f}")
        best = curves.get("best_epoch")
        if best is not None:
            axes.axvline(best, color=INK["--muted"], lw=1, ls=":")
        if what == "loss":
            axes.set_ylim(0, top)
        else:
            axes.set_ylim(low, 1.0)
        _plain_axes(axes, "epoch", "")
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


def shortened(name: str, length: int = 22) -> str:
    """A class name on one line, cut to a length that leaves room for the figure."""
    name = " ".join(name.split())
    return name if len(name) <= length else name[: length - 1] + "…"


def confusions(method: MethodResult, classes: Sequence[str]) -> list[tuple[int, str, str]]:
    """The confusions of a method as (count, true, predicted), the most frequent first."""
    wrong = Confusion.of(method.confusion).wrong()
    return [(count, classes[row], classes[column]) for count, row, column in wrong]


def _confusion_in_words(method: MethodResult, classes: Sequence[str]) -> str:
    counts = Confusion.of(method.confusion)
    total, right = sum(counts.counts), sum(counts.right())
    most = "; ".join(f"{t} taken for {p} ({c})" for c, t, p in confusions(method, classes)[:3])
    alt = f"Confusion matrix of {method.title}: {right} of {total} test images right."
    return alt + (f" Most frequent confusions: {most}." if most else "")


def front(methods: Sequence[MethodResult]) -> list[MethodResult]:
    """The methods than which nothing else is faster to train and at least as accurate."""
    return [m for m in methods if not any(o.cost < m.cost and o.top1 >= m.top1 for o in methods)]


def _unique(methods: Iterable[MethodResult]) -> list[MethodResult]:
    return list({id(m): m for m in methods}.values())


def _label(axes: Axes, shown: Sequence[MethodResult], named: Sequence[MethodResult]) -> None:
    """Write names beside their points, greedily, at the first of eight places that is free."""
    to_pixels = axes.transData.transform
    points = [to_pixels((m.cost, m.top1)) for m in shown]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    frame = axes.get_window_extent()
    for m in named:
        x, y = to_pixels((m.cost, m.top1))
        width, height = 6.0 * len(m.title), 12.0
        # (left edge, bottom, the end of the text that stays put whatever the font)
        places = [
            (x + ox, y + oy - height / 2, "left")
            if ox > 0
            else (x - width + ox, y + oy - height / 2, "right")
            if ox < 0
            else (x - width / 2, y + oy - height / 2, "center")
            for ox, oy in ((10, 0), (-10, 0), (8, 13), (-8, 13), (8, -13), (-8, -13), (0, 18), (0, -18))
        ]

        def clash(place: tuple[float, float, str], width: float = width, height: float = height) -> float:
            a, b, c, d = place[0], place[1], place[0] + width, place[1] + height
            hits = sum(min(c, t[2]) > max(a, t[0]) and min(d, t[3]) > max(b, t[1]) for t in taken)
            inside = frame.x0 <= a and c <= frame.x1 + 10 and frame.y0 <= b and d <= frame.y1
            return hits + (0 if inside else 10)

        place = min(places, key=clash)
        left, bottom, end = place
        if clash(place) >= 2:
            continue  # the table and the tip name it; a label on a heap of points names nothing
        taken.append((left, bottom, left + width, bottom + height))
        axes.annotate(
            m.title,
            (left + {"left": 0.0, "center": width / 2, "right": width}[end], bottom + height / 2),
            xycoords="figure pixels",
            ha=end,
            va="center",
            fontsize=11,
            color=INK["--ink"],
            parse_math=False,
        )


def _time_ticks(axes: Axes) -> None:
    """Ticks at durations that people know, as many as fit."""
    low, high = axes.get_xlim()
    known = [1e-3, 1e-2, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400]
    ticks = [t for t in known if low <= t <= high]
    if len(ticks) < 2:
        ticks = [low * (high / low) ** f for f in (0.15, 0.5, 0.85)]
    axes.set_xticks(ticks, [format_seconds(t).replace(".0 ", " ") for t in ticks])
    axes.set_xticks([], minor=True)


def _plain_axes(axes: Axes, x: str, y: str) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK["--line"])
    axes.grid(axis="y", color=INK["--line"], lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10.5, labelcolor=INK["--muted"], pad=5)
    axes.set_xlabel(x, fontsize=11, color=INK["--muted"], labelpad=5)
    axes.set_ylabel(y, fontsize=11, color=INK["--muted"], labelpad=5)
    axes.patch.set_visible(False)


def _axis_name() -> dict[str, Any]:
    return {"ha": "center", "va": "center", "fontsize": 11, "color": INK["--muted"]}


def _pixels(axes: Axes) -> Any:
    """Coordinates in pixels from the lower left corner of the axes."""
    from matplotlib.transforms import IdentityTransform, ScaledTranslation

    box = axes.get_window_extent()
    return IdentityTransform() + ScaledTranslation(box.x0, box.y0, IdentityTransform())
