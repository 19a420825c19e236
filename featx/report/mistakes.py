"""Where methods go wrong: recall by class, frequent confusions, the most confident mistakes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape

from featx.metrics import Interval
from featx.report.methods import Scale, axis
from featx.report.plots import confusions
from featx.results import Confusion, MethodResult

SHOWN_MISTAKES = 24
SHOWN_CLASSES = 20
SHOWN_PAIRS = 8


def recalls(method: MethodResult) -> list[float]:
    """The share of each class's test images that the method got right; NaN for a class without any."""
    counts = Confusion.of(method.confusion)
    pairs = zip(counts.right(), counts.totals(), strict=True)
    return [right / total if total else math.nan for right, total in pairs]


def recall_by_class(shown: Sequence[MethodResult], classes: Sequence[str]) -> str:
    """One line a class, the worst of the first method on top, a mark for each method.

    Classes without a mistake share one line.
    """
    by_method = [recalls(m) for m in shown]
    order = [i for i in range(len(by_method[0])) if math.isfinite(by_method[0][i])]
    order.sort(key=lambda i: (by_method[0][i], min(r[i] for r in by_method)))
    perfect = [classes[i] for i in order if all(r[i] == 1 for r in by_method)]
    order = [i for i in order if any(r[i] < 1 for r in by_method)]
    drawn, rest = order[:SHOWN_CLASSES], len(order) - SHOWN_CLASSES
    scale = Scale([Interval(r[i]) for r in by_method for i in drawn])
    grid = "".join(f'<i class="grid" style="left:{scale.at(t):.2f}%"></i>' for t in scale.ticks)
    rights = [Confusion.of(m.confusion).right() for m in shown]
    totals = Confusion.of(shown[0].confusion).totals()
    lines = []
    for i in drawn:
        said = "; ".join(
            f"{m.title}: {right[i]} of {totals[i]}" for m, right in zip(shown, rights, strict=True)
        )
        marks = "".join(
            f'<i class="dot {m.kind}" style="left:{scale.at(r[i]):.1f}%;top:{top}%"></i>'
            for m, r, top in zip(shown, by_method, (36, 68), strict=False)
        )
        lines.append(
            f'<span>{escape(classes[i])}</span><span class="dw" role="img" aria-label="{escape(said)}" '
            f'title="{escape(said)}">{grid}{marks}</span>'
            f'<span class="num muted">{rights[0][i]}/{totals[i]}</span>'
        )
    if lines:
        lines.append(f'<span></span><span class="muted">{axis(scale, 4)}</span><span></span>')
    legend = "".join(
        f'<span class="{m.kind}"><span class="mark"></span>{escape(m.title)}</span>' for m in shown
    )
    more = f"{rest} more classes are not drawn. " if rest > 0 else ""
    if perfect:
        named = ", ".join(perfect[:SHOWN_CLASSES]) + (" …" if len(perfect) > SHOWN_CLASSES else "")
        more += f"No mistakes in {len(perfect)} of {len(by_method[0])} classes: {named}."
    return (
        f'<p class="legend">{legend}</p><div class="bars">{"".join(lines)}</div>'
        f'<p class="after muted"><small>{escape(more)}</small></p>'
    )


def frequent_confusions(method: MethodResult, classes: Sequence[str]) -> str:
    """The pairs of classes that the method confuses most often."""
    pairs = confusions(method, classes)
    if not pairs:
        return "<p>None: every test image was right.</p>"
    lines = "".join(
        f'<li><b class="num">{count} ×</b><span>{escape(true)} taken for {escape(predicted)}</span></li>'
        for count, true, predicted in pairs[:SHOWN_PAIRS]
    )
    rest = sum(count for count, _, _ in pairs[SHOWN_PAIRS:])
    more = f'<li><b class="num">{rest} ×</b><span class="muted">other pairs</span></li>' if rest else ""
    return f'<ul class="pairs">{lines}{more}</ul>'


def confident_mistakes(
    method: MethodResult, other: MethodResult | None, thumbnails: Mapping[str, bytes]
) -> str:
    """The most confident mistakes of a method as a gallery.

    A mistake that ``other`` makes as well, with the same wrong class, is marked: two methods that learned
    differently and agree against the label are a reason to look at the label.
    """
    again = {(m.id, m.predicted) for m in other.mistakes} if other is not None else set()
    tiles = []
    for mistake in sorted(method.mistakes, key=lambda m: -m.probability)[:SHOWN_MISTAKES]:
        data = thumbnails.get(mistake.id)
        alt = escape(f"{mistake.true}, taken for {mistake.predicted}: {mistake.id}")
        picture = (
            f'<img alt="{alt}" title="{escape(mistake.id)}" loading="lazy" src="{data_uri(data)}">'
            if data
            else f'<span class="none" title="{escape(mistake.id)}"><small>no preview</small></span>'
        )
        also = ""
        if other is not None and (mistake.id, mistake.predicted) in again:
            also = f'<small class="also">so says {escape(other.title)}: check the label</small>'
        probability = "" if math.isnan(mistake.probability) else f" · {100 * mistake.probability:.0f} %"
        tiles.append(
            f'<li>{picture}<span class="said">{escape(mistake.predicted)}{probability}</span>'
            f"<small>labelled {escape(mistake.true)}</small>{also}</li>"
        )
    return f'<ul class="mistakes">{"".join(tiles)}</ul>'


def data_uri(image: bytes) -> str:
    """A JPEG, PNG or WebP file as a ``data:`` address."""
    kind = "jpeg"
    if image.startswith(b"\x89PNG"):
        kind = "png"
    elif image[8:12] == b"WEBP":
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
