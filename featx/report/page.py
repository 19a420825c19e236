"""The report as one HTML page that needs nothing but itself: no scripts, no network, no other files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from html import escape
from typing import Any

from featx.report.anomaly import render_anomaly
from featx.report.curve import render_curve
from featx.report.document import document, figure
from featx.report.domains import render_domains
from featx.report.ensemble import ensemble_section
from featx.report.hygiene import leaks_and_labels
from featx.report.methods import methods_table
from featx.report.mistakes import confident_mistakes, frequent_confusions, recall_by_class
from featx.report.plots import NAMED, confusion_plot, cost_plot, curves_plot, front
from featx.report.provenance import how_it_was_done
from featx.report.ranking import render_ranking
from featx.report.regression import render_regression
from featx.report.repeats import over_splits
from featx.report.similarity import render_similarity
from featx.report.verdict import verdict
from featx.results import (
    ALPHA,
    AnomalyResult,
    ComparisonResult,
    CurveResult,
    DomainResult,
    MethodResult,
    RegressionResult,
    advise,
    best_method,
    recommended,
    write_atomically,
)
from featx.results.formats import format_joules, format_seconds
from featx.results.ranking import RankingResult
from featx.results.similarity import SimilarityResult

_PAGES: dict[type, Any] = {
    CurveResult: render_curve,
    DomainResult: render_domains,
    AnomalyResult: render_anomaly,
    RankingResult: render_ranking,
}


def render(result: Any, thumbnails: Mapping[Any, bytes] | None = None) -> str:
    """Lay out a comparison as a self-contained HTML page.

    Parameters
    ----------
    result : ComparisonResult
        What to show.
    thumbnails : mapping of str to bytes, optional
        Image id -> a small JPEG (or PNG, WebP) file, for the images in ``mistakes`` and ``hygiene``;
        160 x 160 pixels are enough. Images without one are listed all the same.

    Returns
    -------
    str
        The page.
    """
    for kind, page in _PAGES.items():
        if isinstance(result, kind):
            return page(result)
    if isinstance(result, SimilarityResult):
        return render_similarity(result, thumbnails or {})
    if isinstance(result, RegressionResult):
        return render_regression(result, thumbnails or {})
    pick, best = recommended(result.methods), best_method(result.methods)
    sections = []
    if pick is None or best is None:
        said = escape(result.advice or advise(result.methods, result.dataset.get("n_test") or 0))
        sections.append(f'<section class="card verdict doubt"><h2>No verdict</h2><p>{said}</p></section>')
    else:
        sections += [
            verdict(result, best, pick),
            _all_methods(result, best, pick),
            over_splits(result.repeats) if result.repeats is not None else "",
            ensemble_section(result.ensemble),
            _cost(result, best, pick),
            _errors(result, pick),
            _gallery(result, pick, thumbnails or {}),
        ]
    sections += [
        leaks_and_labels(result, thumbnails or {}),
        _training(result),
        f'<section class="card"><h2>How it was done</h2>{how_it_was_done(result)}</section>',
    ]
    name = str(result.dataset.get("name") or "comparison")
    return document(f"{name}: which method to use", name, _subtitle(result), sections)


def write_report(
    path: str | os.PathLike[str], result: Any, thumbnails: Mapping[Any, bytes] | None = None
) -> None:
    """Write :func:`render`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render(result, thumbnails))


def _subtitle(result: ComparisonResult) -> str:
    data = result.dataset
    parts = []
    if data.get("classes"):
        parts.append(f"{len(data['classes'])} classes")
    for key, what in (("n_train", "training images"), ("n_test", "test images")):
        if data.get(key):
            parts.append(f"{data[key]:,} {what}")
    parts += [", ".join(result.networks()), result.created[:10]]
    return " · ".join(filter(None, parts))


def _all_methods(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> str:
    legend = (
        '<p class="legend"><span class="probe"><span class="mark"></span>probe on frozen features</span>'
        '<span class="finetune"><span class="mark"></span>fine-tuned baseline</span>'
        '<span class="floor"><span class="mark"></span>floor: what any method must beat</span>'
        '<span><span class="band"></span>interval of the highest</span></p>'
    )
    return (
        f'<section class="card"><h2>All {len(result.methods)} methods, same test images</h2>'
        '<p class="lead">Mark: top-1 accuracy; whisker: its 95 % interval. “No difference shown”: the paired '
        "test against the highest, adjusted for all pairs of competing methods, has p ≥ "
        f"{ALPHA}.</p>{legend}"
        f"{methods_table(result.methods, best, pick)}"
        '<p class="narrow muted"><small>More metrics on a wider screen, all in results.csv.</small></p>'
        "</section>"
    )


def _cost(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> str:
    plot = cost_plot(result.methods, (pick, best))
    if plot is None:
        return ""
    return (
        '<section class="card"><h2>What accuracy costs</h2><p class="lead">Up is more accurate, left is '
        "faster to train. Point at a mark for its name.</p>"
        f'<div class="two">{figure(plot, "cost")}<div><h3>Worth their time</h3><p class="muted"><small>'
        "Nothing else here is faster to train and at least as accurate.</small></p>"
        f"{_front_list(result)}{_energy(result)}</div></div></section>"
    )


def _front_list(result: ComparisonResult) -> str:
    shown = [m for m in result.methods if m.kind != "floor" and m.cost > 0 and math.isfinite(m.top1)]
    lines = "".join(
        f'<li class="{m.kind}"><span class="grow"><span class="mark"></span>{escape(m.title)}</span>'
        f'<span class="num muted">{escape(_price(m))}</span><b class="num">{m.top1:.3f}</b></li>'
        for m in sorted(front(shown), key=lambda m: m.cost)
    )
    return f'<ul class="pairs">{lines}</ul>'


def _price(m: MethodResult) -> str:
    """Seconds to a trained method, and joules where they were counted."""
    return ", ".join([format_seconds(m.cost), *([] if math.isnan(m.energy) else [format_joules(m.energy)])])


def _energy(result: ComparisonResult) -> str:
    """What the joules are of; nothing where there are none."""
    if all(math.isnan(m.energy) for m in result.methods if m.kind != "floor"):
        return ""
    counted = result.environment.get("energy") or "what the machine counts"
    return (
        f'<p class="muted after"><small>Joules: {escape(str(counted))}, as the machine’s own counters have '
        "it, with whatever else ran meanwhile.</small></p>"
    )


def _errors(result: ComparisonResult, pick: MethodResult) -> str:
    probe = best_method(m for m in result.methods if m.kind == "probe" and m.confusion)
    tuned = best_method(m for m in result.methods if m.kind == "finetune" and m.confusion)
    shown = [m for m in (probe, tuned) if m is not None]
    if pick.confusion:
        shown = [pick, *(m for m in shown if m.kind != pick.kind)]
    if not shown:
        return ""
    n = len(shown[0].confusion)
    classes = [str(c) for c in result.dataset.get("classes") or range(n)]
    large = n > 15
    figures = []
    for i, m in enumerate(shown):
        plot = confusion_plot(m, classes)
        if plot is None:
            continue
        figures.append(figure(plot, f"confusion-{i}", m.title, wide=large))
    layout = "figures" if not large else ""
    unnamed = "<p class='muted'>Too many classes to name; point at a cell.</p>" if n > NAMED else ""
    lead = (
        "Rows are the true class, columns the predicted one; blue cells are right, red ones wrong, darker "
        "is a larger share of the class."
    )
    if not figures:
        unnamed, lead = "", f"All {n:,} classes are too many to draw; every confusion is in results.json."
    return (
        '<section class="card"><h2>Where they go wrong</h2>'
        f'<p class="lead">{lead}</p>'
        f'<div class="two"><div><h3>Recall by class, worst first</h3>{recall_by_class(shown, classes)}</div>'
        f"<div><h3>Frequent confusions of {escape(shown[0].title)}</h3>"
        f"{frequent_confusions(shown[0], classes)}</div></div>"
        f'{unnamed}<div class="{layout}" style="margin-top:26px">{"".join(figures)}</div></section>'
    )


def _gallery(result: ComparisonResult, pick: MethodResult, thumbnails: Mapping[str, bytes]) -> str:
    if not pick.mistakes:
        return ""
    other = best_method(m for m in result.methods if m.kind != pick.kind and m.mistakes)
    return (
        f'<section class="card"><h2>Most confident mistakes of {escape(pick.title)}</h2>'
        '<p class="lead">Test images it got wrong, the surest first, with the probability it gave the wrong '
        f"class. Some may be wrong labels.</p>{confident_mistakes(pick, other, thumbnails)}</section>"
    )


def _training(result: ComparisonResult) -> str:
    trained = [m for m in result.methods if m.kind == "finetune" and m.curves]
    losses, scores = (
        [
            v
            for m in trained
            for part in ("train", "val")
            for v in (m.curves or {}).get(f"{part}_{what}") or []
            if v
        ]
        for what in ("loss", "accuracy")
    )
    top = 1.05 * max(losses) if losses else None
    low = max(0.0, min(scores) - 0.05) if scores else None
    figures = []
    for i, m in enumerate(trained):
        plot = curves_plot(m, top, low)
        if plot is not None:
            epochs = len((m.curves or {})["epoch"])
            took = f"{epochs} epoch{'s' if epochs != 1 else ''}"
            figures.append(figure(plot, f"curves-{i}", m.title, took))
    if not figures:
        return ""
    return (
        '<section class="card"><h2>How the fine-tuning went</h2><p class="lead">On training images (dashed) '
        "and on validation images held out from them (solid); the test images played no part. "
        "The dotted line is the epoch that was kept.</p>"
        f'<div class="figures">{"".join(figures)}</div></section>'
    )
