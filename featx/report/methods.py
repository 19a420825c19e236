"""The table of methods, each with its interval drawn as dot and whisker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from featx.metrics import Interval
from featx.results import ALPHA, MethodResult, ranked_methods
from featx.results.formats import format_milliseconds, format_p, format_points, format_seconds

KIND = {"probe": "frozen features", "finetune": "fine-tuned", "floor": "floor"}


class Scale:
    """The accuracy axis shared by all rows: from a round number below every method's interval up to 1.

    Floors do not widen it (they would squeeze everything that matters into a corner); one that lies
    outside is drawn as an arrow at the edge.
    """

    def __init__(self, intervals: Sequence[Interval]):
        lows = [b for i in intervals for b in (i.low, i.value) if math.isfinite(b)]
        lowest = min(lows, default=0.0)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (1 - lowest) / s <= 6 or s == 0.25)
        self.step = step
        self.low = max(0.0, min(math.floor(lowest / step - 1e-9) * step, 1 - 2 * step))

    def at(self, value: float) -> float:
        """Where a value lies, in per cent of the width; negative when off the scale."""
        return 100 * (value - self.low) / (1 - self.low)

    @property
    def ticks(self) -> list[float]:
        """Round values on the axis, 1 included."""
        count = round((1 - self.low) / self.step)
        return [1 - self.step * (count - i) for i in range(count + 1)]


def methods_table(methods: Sequence[MethodResult], best: MethodResult, pick: MethodResult) -> str:
    """The table, the best method first.

    Parameters
    ----------
    methods : sequence of MethodResult
        All methods.
    best, pick : MethodResult
        The one with the highest top-1, and the one recommended (maybe the same).
    """
    scale = Scale([m.metric("top1") for m in methods if m.kind != "floor"])
    several = len({m.backbone for m in methods if m.backbone}) > 1
    sizes = len({m.image_size for m in methods if m.image_size and m.kind != "floor"}) > 1
    head = (
        '<th scope="col">Method</th>'
        '<th scope="col" class="plot" aria-label="Top-1 accuracy, drawn">'
        f'{axis(scale, 6)}</th><th scope="col" class="n">Top-1</th>'
        '<th scope="col" class="n" title="top-1, this method - the best">Against<br>the best</th>'
        '<th scope="col" class="n" title="extraction and fit">Time to<br>train</th>'
        '<th scope="col" class="n" title="mean of the recalls of the classes">Balanced<br>accuracy</th>'
        '<th scope="col" class="n minor">Macro<br>F1</th>'
        '<th scope="col" class="n minor" title="lower is better">Log<br>loss</th>'
        '<th scope="col" class="n minor" title="expected calibration error, lower is better">'
        "Calib.<br>error</th>"
        '<th scope="col" class="n minor" title="one new image, the network included">ms per<br>image</th>'
    )
    rows = "".join(_row(m, best, pick, scale, several, sizes) for m in ranked_methods(methods))
    return (
        '<table class="methods"><caption hidden>All methods on the same test images, the best first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def axis(scale: Scale, labels: int) -> str:
    """The numbers of a scale: all of them, or every second one when there are more than ``labels``."""
    ticks = scale.ticks if len(scale.ticks) <= labels else scale.ticks[::-1][::2]
    spans = "".join(f'<span style="left:{scale.at(t):.2f}%">{t:.2f}</span>' for t in ticks)
    return f'<span class="dw axis" aria-hidden="true">{spans}</span>'


def dot_and_whisker(
    interval: Interval,
    kind: str,
    scale: Scale,
    band: Interval | None = None,
    what: str = "top-1",
    ticks: Sequence[float] = (),
) -> str:
    """One interval on the scale, with grid lines and perhaps the band of the best one behind it.

    ``ticks`` are the single values that the interval is of.
    """
    parts = [f'<i class="grid" style="left:{scale.at(t):.2f}%"></i>' for t in scale.ticks]
    if band is not None and math.isfinite(band.low) and math.isfinite(band.high):
        left, right = max(scale.at(band.low), 0), scale.at(band.high)
        parts.append(f'<i class="band" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>')
    for value in ticks:
        if math.isfinite(value) and scale.at(value) >= 0:
            parts.append(f'<i class="tick {kind}" style="left:{scale.at(value):.2f}%"></i>')
    if math.isfinite(interval.value):
        parts.append(_mark(interval, kind, scale))
    label = escape(f"{what} {interval}")
    return f'<span class="dw" role="img" aria-label="{label}" title="{label}">{"".join(parts)}</span>'


def _mark(interval: Interval, kind: str, scale: Scale) -> str:
    whisker = ""
    if math.isfinite(interval.low) and math.isfinite(interval.high) and scale.at(interval.high) > 0:
        left, right = max(scale.at(interval.low), 0), scale.at(interval.high)
        whisker = f'<i class="whisk {kind}" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
    place = scale.at(interval.value)
    if place < 0:
        return f'<i class="off {kind}"></i>'
    return f'{whisker}<i class="dot {kind}" style="left:{place:.2f}%"></i>'


def _row(
    m: MethodResult, best: MethodResult, pick: MethodResult, scale: Scale, several: bool, sizes: bool
) -> str:
    top1 = m.metric("top1")
    chips = '<span class="chip use">use this</span>' if m is pick else ""
    if m is best:
        chips += '<span class="chip best">highest</span>'
    about = [KIND[m.kind]]
    if several and m.backbone:
        about.append(m.backbone)
    if sizes and m.image_size:
        about.append(f"{m.image_size} px")
    interval = f"{top1.low:.3f}–{top1.high:.3f}" if math.isfinite(top1.low) else ""
    classes = f"{m.kind} pick" if m is pick else m.kind
    per_image = escape(format_milliseconds(m.seconds.get("predict_per_image")))
    cells = [
        f'<th scope="row"><span class="mark" aria-hidden="true"></span>{escape(m.title)}'
        f"<small>{escape(' · '.join(about))} {chips}</small></th>",
        f'<td class="plot">{dot_and_whisker(top1, m.kind, scale, best.metric("top1"))}</td>',
        f'<td class="n top1"><span class="top">{_number(top1.value)}</span><small>{interval}</small></td>',
        f'<td class="n" data-label="vs best">{_against(m, best)}</td>',
        f'<td class="n" data-label="train">{escape(format_seconds(m.cost))}</td>',
        f'<td class="n" data-label="balanced">{_number(m.metric("balanced_accuracy").value)}</td>',
        f'<td class="n minor" data-label="F1">{_number(m.metric("macro_f1").value)}</td>',
        f'<td class="n minor" data-label="log loss">{_number(m.metric("log_loss").value)}</td>',
        f'<td class="n minor" data-label="calib. error">{_number(m.metric("calibration_error").value)}</td>',
        f'<td class="n minor" data-label="ms/image">{per_image}</td>',
    ]
    return f'<tr class="{classes}">{"".join(cells)}</tr>'


def _against(m: MethodResult, best: MethodResult) -> str:
    if m is best:
        return "–"
    difference = (m.versus_best or {}).get("difference")
    points = "" if difference is None else f"{format_points(float(difference))} "
    if math.isnan(m.p_value):
        return points or "–"
    return points + verdict_of_test(m.p_adjusted)


def verdict_of_test(p_adjusted: float) -> str:
    """What a cell of a table says of an adjusted p-value."""
    p = f"p {escape(format_p(p_adjusted))}"
    return f"<small>{'no difference <br>shown, ' if p_adjusted >= ALPHA else ''}{p}</small>"


def _number(x: float) -> str:
    return f"{x:.3f}" if math.isfinite(x) else "–"
