"""Show where methods go wrong: recall by class, frequent confusions, the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featx.inputs.samples import Sample
from featx.metrics import Interval
from featx.report.page import Tile, draw, tile
from featx.report.plots import NAMED, confusion_plot, frequent_confusions
from featx.report.scale import Scale
from featx.report.table import Cell, Column, Table, kind_of, make_table
from featx.results import ComparisonResult, Confusion, MethodResult, best_method

SHOWN_MISTAKES = 24
SHOWN_CLASSES = 20
SHOWN_PAIRS = 8
#: Confusion matrices of more classes take the whole width.
SMALL = 15


def errors_view(result: ComparisonResult, pick: MethodResult) -> dict[str, Any] | None:
    """Show where the pick and the best method of the other kind go wrong; None without confusion matrices."""
    best = [
        best_method(m for m in result.methods if m.trains_network == trained and m.confusion)
        for trained in (False, True)
    ]
    shown = [m for m in best if m is not None]
    if pick.confusion:
        shown = [pick, *(m for m in shown if m.trains_network != pick.trains_network)]
    if not shown:
        return None
    n = len(shown[0].confusion)
    classes = [str(c) for c in result.dataset.get("classes") or range(n)]
    plots = [confusion_plot(m, classes, result.input_kind) for m in shown]
    pairs = frequent_confusions(shown[0], classes)
    return {
        "n": n,
        "unnamed": n > NAMED,
        "small": n <= SMALL,
        "legend": [(kind_of(m), m.named(result.methods)) for m in shown],
        "title": shown[0].named(result.methods),
        "recalls": recalls_table(shown, classes),
        "rest": describe_rest(shown, classes),
        "pairs": pairs[:SHOWN_PAIRS],
        "other_pairs": sum(count for count, _, _ in pairs[SHOWN_PAIRS:]),
        "figures": [
            draw(plot, f"confusion-{i}", m.named(result.methods), wide=n > SMALL)
            for i, (m, plot) in enumerate(zip(shown, plots, strict=True))
            if plot is not None
        ],
    }


def class_recalls(method: MethodResult) -> list[float]:
    """Return the recall of each class; NaN for a class without test images."""
    counts = Confusion.of(method.confusion)
    pairs = zip(counts.right(), counts.totals(), strict=True)
    return [right / total if total else math.nan for right, total in pairs]


def recalls_table(shown: Sequence[MethodResult], classes: Sequence[str]) -> Table:
    """Return the recalls of the classes that have mistakes, the worst of the first method on top."""
    by_method = [class_recalls(m) for m in shown]
    order = [i for i, r in enumerate(by_method[0]) if math.isfinite(r) and any(r[i] < 1 for r in by_method)]
    order = sorted(order, key=lambda i: (by_method[0][i], min(r[i] for r in by_method)))[:SHOWN_CLASSES]
    scale = Scale([Interval(r[i]) for r in by_method for i in order], labels=4)
    rights = [Confusion.of(m.confusion).right() for m in shown]
    totals = Confusion.of(shown[0].confusion).totals()

    def drawing(i: int) -> Cell:
        said = "; ".join(
            f"{m.title}: {right[i]} of {totals[i]}" for m, right in zip(shown, rights, strict=True)
        )
        points = [(r[i], kind_of(m)) for m, r in zip(shown, by_method, strict=True)]
        return Cell(drawing=scale.draw_points(points, said))

    columns = [
        Column("Class", lambda i: classes[i], style=""),
        Column("Recall, drawn", drawing, style="plot", scale=scale),
        Column("Right", lambda i: f"{rights[0][i]}/{totals[i]}"),
    ]
    return make_table(columns, order, style="bars", caption="Recall by class, the worst first")


def describe_rest(shown: Sequence[MethodResult], classes: Sequence[str]) -> str:
    """Say which classes the table of recalls leaves out."""
    by_method = [class_recalls(m) for m in shown]
    tested = [i for i, r in enumerate(by_method[0]) if math.isfinite(r)]
    perfect = [classes[i] for i in tested if all(r[i] == 1 for r in by_method)]
    rest = len(tested) - len(perfect) - SHOWN_CLASSES
    said = [f"{rest} more classes are not drawn."] if rest > 0 else []
    if perfect:
        named = ", ".join(perfect[:SHOWN_CLASSES]) + (" …" if len(perfect) > SHOWN_CLASSES else "")
        said.append(f"No mistakes in {len(perfect)} of {len(classes)} classes: {named}.")
    return " ".join(said)


def confident_mistakes(
    method: MethodResult, other: MethodResult | None, samples: Mapping[str, Sample]
) -> list[Tile]:
    """Return the most confident mistakes of a method.

    Those that `other` shares, with the same wrong class, are marked: if two different methods agree against
    the label, the label may be wrong.
    """
    again = {(m.id, m.predicted) for m in other.mistakes} if other is not None else set()
    tiles = []
    for mistake in sorted(method.mistakes, key=lambda m: -m.probability)[:SHOWN_MISTAKES]:
        probability = "" if math.isnan(mistake.probability) else f" · {100 * mistake.probability:.0f} %"
        both = other is not None and (mistake.id, mistake.predicted) in again
        tiles.append(
            tile(
                mistake.id,
                samples,
                said=f"{mistake.predicted}{probability}",
                small=f"labelled {mistake.true}",
                also=f"so says {other.title}: check the label" if both and other is not None else "",
                alt=f"{mistake.true}, taken for {mistake.predicted}: {mistake.id}",
            )
        )
    return tiles
