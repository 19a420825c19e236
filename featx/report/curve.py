"""The page of a learning curve: the verdict, the figure, every number, where fine-tuning overtakes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from featx.inputs.samples import Sample
from featx.report.curve_plot import CLOSER, learning_plot, line_styles, worth_a_closer_look
from featx.report.page import draw
from featx.report.provenance import (
    SPLIT,
    describe_forward_passes,
    format_count,
    format_count_range,
    how_it_was_done,
)
from featx.report.table import (
    WORDS,
    Cell,
    Column,
    Table,
    capitalized,
    format_bounds,
    format_three,
    kind_of,
    make_table,
    plain_table,
)
from featx.report.verdict import Fact
from featx.results import CurveLevel, CurveMethod, CurveResult
from featx.results.formats import format_seconds, format_shots

_CROSSING = (
    " The crossing of a fine-tuned method is the last point from which it stays above the best probe of each "
    "number of {kind}s, between two of them on the logarithm; "
)
#: Of results of earlier versions.
_OVER_DRAWS = (
    "Intervals are Student's t over draws, on fixed test {kind}s: they say how the mean varies with the "
    "{kind}s drawn from this data, not with other test {kind}s."
    f"{_CROSSING}its interval resamples the draws, the best probe chosen anew each time."
)
_OVER_BOTH = (
    "A point estimates the accuracy on new test {kind}s after training on so many new {kind}s of each class. "
    "Its interval is Wilson's with the variance over draws and test {kind}s together (Student's for errors); "
    "that two draws share training {kind}s is allowed for (Nadeau and Bengio 2003)."
    f"{_CROSSING}the probe is chosen on half of the draws and test {{kind}}s and scored on the others, and "
    "the interval has every point at which no difference is shown. Methods cannot be told apart from the "
    "highest where all pairs, tested together, show no difference at 5 % (max-T)."
)


def curve_view(result: CurveResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show accuracy by number of training inputs, and where fine-tuning overtakes frozen features."""
    data = result.dataset
    name = str(data.get("name") or "learning curve")
    styles, kind = line_styles(result.methods), result.input_kind
    subtitle = [
        f"{len(data.get('classes') or ())} classes",
        f"{format_count(data.get('n_train'))} {kind}s to draw from",
        f"{format_count(data.get('n_test'))} test {kind}s",
        f"{result.n_draws} draw{'' if result.n_draws == 1 else 's'}",
        ", ".join(dict.fromkeys(m.backbone for m in result.methods if m.backbone)),
        result.created[:10],
    ]
    plots = {
        "large": draw(learning_plot(result), "learning-large"),
        "small": draw(learning_plot(result, width=340, height=340), "learning-small"),
        "closer": None,
    }
    if worth_a_closer_look(result):
        small = learning_plot(result, width=340, height=300, last=CLOSER)
        plots["closer"] = draw(learning_plot(result, height=360, last=CLOSER), "closer-large")
        plots["closer_small"] = draw(small, "closer-small")
    return {
        "title": f"{name}: learning curve",
        "heading": name,
        "subtitle": " · ".join(subtitle),
        "foot": "Made by featx. The numbers are in curve.csv, every draw is in curve.json beside this page.",
        "headline": _headline(result),
        "facts": list(filter(None, (_highest(result, level) for level in _told(result.levels)))),
        "advice": result.advice,
        "warnings": result.warnings,
        "references": any(m.kind == "floor" for m in result.methods),
        "plots": plots,
        "keys": [(styles[m.id], result.named(m)) for m in result.ranked()],
        "intervals": result.intervals_over,
        "numbers": _numbers(result),
        "leaders": _leaders(result) if result.leaders else None,
        "notes": result.notes(),
        "costs": _costs(result),
        "how": _provenance(result),
    }


def _highest(result: CurveResult, level: CurveLevel) -> Fact | None:
    best = result.best(level)
    if best is None:
        return None
    top1 = result.metric(best, level)
    sure = f", {top1.low:.3f} to {top1.high:.3f}" if math.isfinite(top1.low) else ""
    shots = format_shots(level.per_class, result.input_kind)
    return Fact(shots, format_three(top1.value), f"{result.named(best)}{sure}")


def _headline(result: CurveResult) -> str:
    last, kind = result.levels[-1], result.input_kind
    if not result.crossings:
        best = result.best(last)
        if best is None:
            return f"Accuracy by number of {kind}s"
        leader = result.leader(last)
        n_same = len(leader.not_told_apart) if leader else 0
        others = f"; {n_same} other{'' if n_same == 1 else 's'} may be as good" if n_same else ""
        return f"Highest in the end: {result.named(best)}{others}"
    methods = {m.id: m for m in result.methods}
    within = [c for c in result.crossings if c.status == "within" and c.shots is not None]
    shown = [c for c in within if c.high is not None]
    if shown:
        first = min(shown, key=lambda c: c.shots or math.inf)
        title = result.named(methods[first.method, first.backbone])
        return f"{title} overtakes frozen features at about {first.shots:.2g} {kind}s per class"
    if any(c.status == "before" and c.shares.get("before", 0) >= 0.975 for c in result.crossings):
        return f"Fine-tuning is ahead of frozen features at every number of {kind}s tried"
    return f"No crossing shown up to {format_shots(last.per_class, kind)}"


def _told(levels: Sequence[CurveLevel]) -> list[CurveLevel]:
    """Return at most four levels, the first and the last among them."""
    n = len(levels)
    places = range(n) if n <= 4 else (0, round((n - 1) / 3), round(2 * (n - 1) / 3), n - 1)
    return [levels[i] for i in places]


def _numbers(result: CurveResult) -> Table:
    """Return top-1 of every method at every level, with its interval."""

    def column(level: CurveLevel) -> Column:
        best = result.best(level)

        def show(method: CurveMethod) -> Cell:
            top1 = result.metric(method, level)
            return Cell(format_three(top1.value), format_bounds(top1), top=method is best)

        return Column(level.title, show, style="")

    first = Column(
        f"{result.input_kind}s per class", lambda m: Cell(result.named(m), WORDS[kind_of(m)]), style=""
    )
    columns = [first, *(column(level) for level in result.levels)]
    caption = f"Top-1 by method and {result.input_kind}s per class"
    return make_table(columns, result.ranked(), style="numbers", caption=caption)


def _leaders(result: CurveResult) -> Table:
    """Return the highest method of each level, how many others may be as good, and its optimism in points."""
    methods = {m.id: m for m in result.methods}
    n_others = sum(not m.is_reference for m in result.methods) - 1
    shown = [(level, leader) for level in result.levels if (leader := result.leader(level))]
    rows: list[tuple[str, ...]] = [
        ("highest mean", *(result.named(methods[one.method, one.backbone]) for _, one in shown)),
        ("may be as good", *(f"{len(one.not_told_apart)} of {n_others}" for _, one in shown)),
        ("too high by", *(f"{100 * one.optimism:.1f} points" for _, one in shown)),
    ]
    return plain_table(
        (f"{result.input_kind}s per class", *(level.title for level, _ in shown)), rows, style="numbers"
    )


def _costs(result: CurveResult) -> Table:
    """Return the median seconds to fit one draw, by level."""
    rows = [
        (result.named(m), *(format_seconds(_median_fit(result, m, level)) for level in result.levels))
        for m in result.ranked()
    ]
    return plain_table(("method", *(level.title for level in result.levels)), rows, style="numbers")


def _median_fit(result: CurveResult, method: CurveMethod, level: CurveLevel) -> float:
    times = [
        d.seconds["fit"]
        for d in result.draws
        if (d.method, d.backbone, d.shots) == (method.name, method.backbone, level.shots)
    ]
    return statistics.median(times) if times else math.nan


def _provenance(result: CurveResult) -> dict[str, Any]:
    data, kind = result.dataset, result.input_kind
    facts = {
        "Data": f"{data.get('name', '')}, {format_count(data.get('n_train'))} {kind}s to draw from and "
        f"{format_count(data.get('n_test'))} test {kind}s, {len(data.get('classes') or ())} classes",
        "Split": SPLIT.get(str(data.get("split")), ""),
        f"{capitalized(kind)}s a class to draw from": format_count_range(data.get("n_per_class_train")),
        "Draws": f"{result.n_draws}, nested: more shots take what fewer shots take",
        "Protocol": result.protocol,
        "Fine-tuning": result.recipe,
        "Embeddings": describe_forward_passes(result.forward_passes, kind)
        + (", once for all cells" if result.forward_passes else ""),
        "Cells": f"{result.cells.get('computed', 0):,} computed in this run, "
        f"{result.cells.get('resumed', 0):,} found finished",
    }
    return how_it_was_done(
        result,
        (_OVER_DRAWS if result.intervals == "draws" else _OVER_BOTH).format(kind=kind),
        facts,
        result.spaces,
    )
