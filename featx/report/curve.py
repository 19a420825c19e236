"""The page of a learning curve: what it says, the figure, every number, where fine-tuning overtakes."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from html import escape

from featx.metrics import Interval
from featx.report.curve_plot import CLOSER, LineStyle, learning_plot, line_styles, worth_a_closer_look
from featx.report.document import document, figure
from featx.report.provenance import _count, _details, _facts, _flat, _plural, _range, _table
from featx.results import CurveLevel, CurveMethod, CurveResult, write_atomically
from featx.results.formats import format_seconds

FOOT = "Made by featx. The numbers are in curve.csv, every draw is in curve.json beside this page."

_MARKS = {
    "o": '<circle cx="17" cy="6" r="4"/>',
    "s": '<rect x="13.5" y="2.5" width="7" height="7"/>',
    "^": '<path d="M17 1.5 21.5 10H12.5Z"/>',
    "v": '<path d="M17 10.5 21.5 2H12.5Z"/>',
    "D": '<path d="M17 1 22 6 17 11 12 6Z"/>',
    "P": '<path d="M15.3 2h3.4v2.3H21v3.4h-2.3V10h-3.4V7.7H13V4.3h2.3Z"/>',
    "X": '<path d="m14 2 3 2.6L20 2l1.5 1.4L18.9 6l2.6 2.6L20 10l-3-2.6-3 2.6-1.5-1.4L15.1 6l-2.6-2.6Z"/>',
}


def render_curve(result: CurveResult) -> str:
    """Lay out a learning curve as a self-contained HTML page.

    Parameters
    ----------
    result : CurveResult
        What to show.

    Returns
    -------
    str
        The page.
    """
    sections = [_verdict(result), _figure(result), _numbers(result), _costs(result), _provenance(result)]
    data = result.dataset
    name = str(data.get("name") or "learning curve")
    n_classes = len(data.get("classes") or ())
    subtitle = " · ".join(
        [
            f"{n_classes} classes",
            f"{_count(data.get('n_train'))} images to draw from",
            f"{_count(data.get('n_test'))} test images",
            f"{result.n_draws} draw{'' if result.n_draws == 1 else 's'}",
            ", ".join(dict.fromkeys(m.backbone for m in result.methods if m.backbone)),
            result.created[:10],
        ]
    )
    return document(f"{name}: learning curve", name, subtitle, sections, FOOT)


def write_curve_report(path: str | os.PathLike[str], result: CurveResult) -> None:
    """Write :func:`render_curve`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_curve(result))


def _verdict(result: CurveResult) -> str:
    tiles = []
    for level in _told(result.levels):
        best = result.best(level)
        if best is None:
            continue
        top1 = result.metric(best, level)
        sure = f", {top1.low:.3f} to {top1.high:.3f}" if math.isfinite(top1.low) else ""
        plural = "" if level.per_class == 1 else "s"
        tiles.append(
            f'<div class="tile"><dt>{level.per_class:.4g} image{plural} per class</dt>'
            f'<dd><span class="big num">{top1.value:.3f}</span>'
            f"<small>{escape(result.named(best))}{sure}</small></dd></div>"
        )
    warnings = "".join(f'<p class="warning" role="note">{escape(w)}</p>' for w in result.warnings)
    return (
        '<section class="card verdict" aria-label="Verdict"><p class="use">Learning curve</p>'
        f"<h2>{escape(_headline(result))}</h2>"
        f'<dl class="tiles">{"".join(tiles)}</dl><p class="advice">{escape(result.advice)}</p>{warnings}'
        "</section>"
    )


def _headline(result: CurveResult) -> str:
    last = result.levels[-1]
    if not result.crossings:
        best = result.best(last)
        return "Accuracy by number of images" if best is None else f"Highest in the end: {result.named(best)}"
    methods = {m.id: m for m in result.methods}
    within = [c for c in result.crossings if c.status == "within" and c.shots is not None]
    shown = [c for c in within if c.high is not None]
    if shown:
        first = min(shown, key=lambda c: c.shots or math.inf)
        title = result.named(methods[first.method, first.backbone])
        return f"{title} overtakes frozen features at about {first.shots:.2g} images per class"
    if any(c.status == "before" and c.shares.get("before", 0) >= 0.975 for c in result.crossings):
        return "Fine-tuning is ahead of frozen features at every number of images tried"
    return f"No crossing shown up to {last.per_class:.4g} images per class"


def _told(levels: Sequence[CurveLevel]) -> list[CurveLevel]:
    """Four levels at most, the ends among them."""
    n = len(levels)
    places = range(n) if n <= 4 else (0, round((n - 1) / 3), round(2 * (n - 1) / 3), n - 1)
    return [levels[i] for i in places]


def _figure(result: CurveResult) -> str:
    styles = line_styles(result.methods)
    keys = "".join(f"<li>{_key(styles[m.id])}{escape(result.named(m))}</li>" for m in result.ranked())
    hidden = ""
    if any(m.kind == "floor" for m in result.methods):
        hidden = " A floor that lies below is in the table only."
    large = figure(learning_plot(result), "learning-large")
    small = figure(learning_plot(result, width=340, height=340), "learning-small")
    near = ""
    if worth_a_closer_look(result):
        closer = learning_plot(result, height=360, last=CLOSER)
        closer_small = learning_plot(result, width=340, height=300, last=CLOSER)
        near = (
            f'<h3>The upper end, closer</h3><div class="large-screen">{figure(closer, "closer-large")}</div>'
            f'<div class="small-screen">{figure(closer_small, "closer-small")}</div>'
        )
    return (
        '<section class="card learning"><h2>Accuracy by number of training images</h2>'
        '<p class="lead">Mean over the draws; bars and bands are 95 % intervals over draws. Every method has '
        f"the same images in each draw.{hidden} Point at a mark for its numbers.</p>"
        f'<div class="large-screen">{large}</div><div class="small-screen">{small}</div>{near}'
        f'<ul class="keys">{keys}</ul></section>'
    )


def _key(style: LineStyle) -> str:
    dashes = f' stroke-dasharray="{" ".join(map(str, style.dashes))}"' if style.dashes else ""
    return (
        f'<svg viewBox="0 0 34 12" aria-hidden="true" style="color:var({style.variable})">'
        f'<path d="M0 6H34" stroke="currentColor" stroke-width="2" fill="none"{dashes}/>'
        f'<g fill="currentColor">{_MARKS[style.mark]}</g></svg>'
    )


def _numbers(result: CurveResult) -> str:
    heads = "".join(f'<th scope="col">{escape(level.title)}</th>' for level in result.levels)
    best = {level.shots: result.best(level) for level in result.levels}
    rows = []
    for method in result.ranked():
        cells = "".join(
            _cell(result.metric(method, level), method is best[level.shots]) for level in result.levels
        )
        about = {"probe": "frozen features", "finetune": "fine-tuned", "floor": "floor"}[method.kind]
        rows.append(
            f'<tr><th scope="row">{escape(result.named(method))}<br><small>{about}</small></th>{cells}</tr>'
        )
    return (
        '<section class="card"><h2>Every number</h2><p class="lead">Top-1 on the test images by images per '
        "class, mean over draws with its 95 % interval below; highest mean of each column marked. The "
        "highest of several is slightly optimistic.</p>"
        '<div class="scroll"><table class="grid-of-numbers"><caption hidden>Top-1 by method and images per '
        f'class</caption><thead><tr><th scope="col">images per class</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cell(interval: Interval, top: bool) -> str:
    if not math.isfinite(interval.value):
        return "<td>–</td>"
    sure = f"<small>{interval.low:.3f}–{interval.high:.3f}</small>" if math.isfinite(interval.low) else ""
    return f'<td class="{"top" if top else ""}">{interval.value:.3f}{sure}</td>'


def _costs(result: CurveResult) -> str:
    """Median seconds to fit one draw, by level."""
    heads = ("method", *(level.title for level in result.levels))
    rows = [
        (result.named(m), *(format_seconds(_median_fit(result, m, level)) for level in result.levels))
        for m in result.ranked()
    ]
    return (
        '<section class="card"><h2>What it costs</h2><p class="lead">Median time to fit one draw, by images '
        "per class, on one thread, without extracting the embeddings.</p>"
        f'<div class="scroll">{_table(rows, heads)}</div></section>'
    )


def _median_fit(result: CurveResult, method: CurveMethod, level: CurveLevel) -> float:
    times = [
        d.seconds["fit"]
        for d in result.draws
        if (d.method, d.backbone, d.shots) == (method.name, method.backbone, level.shots)
    ]
    return statistics.median(times) if times else math.nan


def _provenance(result: CurveResult) -> str:
    data = result.dataset
    split = {"given": "as the dataset gives it", "drawn": "drawn, stratified by class"}
    n = result.forward_passes
    passes = f"{_plural(n, 'image')} went through a frozen network in this run, once for all cells"
    if not n:
        passes = "all from the cache, no image went through a frozen network in this run"
    facts = {
        "Data": f"{data.get('name', '')}, {_count(data.get('n_train'))} images to draw from and "
        f"{_count(data.get('n_test'))} test images, {len(data.get('classes') or ())} classes",
        "Split": split.get(str(data.get("split")), ""),
        "Images a class to draw from": _range(data.get("n_per_class_train")),
        "Draws": f"{result.n_draws}, nested: more shots take what fewer shots take",
        "Protocol": result.protocol or "",
        "Fine-tuning": result.recipe or "",
        "Embeddings": passes,
        "Cells": f"{result.cells.get('computed', 0):,} computed in this run, "
        f"{result.cells.get('resumed', 0):,} found finished",
        "Seed": result.seed,
        "Time of this run": "" if result.seconds_total is None else format_seconds(result.seconds_total),
        "Written": result.created,
    }
    lead = (
        "<p class='lead'>Intervals are Student's t over draws, on fixed test images: they say how the mean "
        "varies with the images drawn from this data, not with other test images. The crossing of a "
        "fine-tuned method is the last point from which it stays above the best probe of each number of "
        "images, between two of them on the logarithm; its interval resamples the draws, the best probe "
        "chosen anew each time.</p>"
    )
    parts = [lead, _facts(facts)]
    if result.command:
        parts.append(f"<h3>The same again</h3><pre><code>{escape(result.command)}</code></pre>")
    for backbone, space in result.spaces.items():
        parts.append(_details(f"Embeddings of {backbone}", _table(_flat(space))))
    if result.environment:
        parts.append(_details("Versions and machine", _table(_flat(result.environment))))
    if result.failures:
        rows = [(f.get("id", ""), f.get("reason", "")) for f in result.failures]
        parts.append(_details(f"Left out: {len(rows):,} unreadable", _table(rows, ("image", "reason"))))
    return f'<section class="card"><h2>How it was done</h2>{"".join(parts)}</section>'
