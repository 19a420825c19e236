"""The page of a ranking: the candidates, accuracy against depth, and how alike their embeddings are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.page import draw
from featx.report.plots import fill_cell, name_cells, plain_axes, shorten
from featx.report.provenance import how_it_was_done
from featx.report.svg import INK, Plot, new_axes
from featx.report.table import Table, capitalized, format_three, plain_table
from featx.results.ranking import SCORES, RankingResult

_LINES = ("-", "--", ":", "-.")


def ranking_view(result: RankingResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show which backbone or layer has the best embeddings, and what a score would have chosen."""
    data, kind = result.dataset, result.input_kind
    name, depth, alike = str(data.get("name")), depth_plot(result), cka_plot(result)
    first, *rest = result.sentences() or [""]
    pairs = zip(result.candidates, result.spaces, strict=False)
    spaces = {
        f"{c.backbone} {c.layer}": s for c, s in pairs if c is result.best() or not result.several_layers
    }
    lead = "Scores and probe are of the same embeddings, from one pass through each backbone."
    times = ", ".join(f"{backbone} {seconds:.1f} s" for backbone, seconds in result.seconds.items())
    head, *costs = result.cost_lines()
    return {
        "title": f"{name}: ranking",
        "heading": name,
        "subtitle": f"{data.get('n'):,} {kind}s · {data.get('n_classes')} classes",
        "verdict": first,
        "doubt": result.is_open,
        "more": " ".join(rest),
        "warnings": result.notes,
        "tested": result.tested,
        "units": capitalized(result.units_note),
        "candidates": _candidates(result),
        "costs": plain_table([title.capitalize() for title in head], costs) if costs else None,
        "next_steps": result.next_steps,
        "depth": None if depth is None else draw(depth, "depth"),
        "cka": None if alike is None else draw(alike, "cka", wide=True),
        "cka_images": result.cka_images,
        "how": how_it_was_done(result, lead, {"Time of extraction": times}, spaces),
    }


def depth_plot(result: RankingResult) -> Plot | None:
    """Draw the probe's accuracy of each layer; None unless there are several layers."""
    shown = [(c, c.probe) for c in result.candidates if c.probe is not None]
    best = result.best()
    if not result.several_layers or len(shown) < 2 or best is None:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_axes(560, 320, left=50, bottom=44, right=10, top=12)
    tips: list[str] = []
    ink = INK["--probe"]
    for c, probe in shown:
        axes.vlines(c.depth, probe.low, probe.high, color=ink, lw=1.6, alpha=0.35)
        axes.plot(c.depth, probe.value, "o", ms=7, mfc=ink, mec=INK["--card"], gid=f"tip-{len(tips)}")
        tips.append(f"{c.backbone} {c.layer}, {c.dim} values: top-1 {probe}")
    backbones = list(dict.fromkeys(c.backbone for c, _ in shown))
    for i, backbone in enumerate(backbones):
        own = [(c.depth, probe.value) for c, probe in shown if c.backbone == backbone]
        axes.plot(*zip(*own, strict=True), _LINES[i % len(_LINES)], color=ink, lw=1.2, label=backbone)
    if len(backbones) > 1:
        axes.legend(loc="lower right", frameon=False, fontsize=10, labelcolor=INK["--ink"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(axes, "layer, in the order of computation", "top-1 accuracy of the probe")
    alt = f"Accuracy of {len(shown)} layers against depth; the best is {best.layer} of {best.backbone}."
    return Plot(figure, alt, tips)


def cka_plot(result: RankingResult) -> Plot | None:
    """Draw CKA between every two candidates as shades; None where there is only one candidate."""
    n = len(result.cka)
    if n < 2:
        return None
    names = [shorten(f"{c.backbone.rpartition(':')[2]} {c.layer}", 30) for c in result.candidates]
    cell, margin = (34, 190) if n <= 12 else (18, 190)
    whole = margin + n * cell + 10
    figure, axes = new_axes(whole, whole, left=margin, bottom=margin, right=10, top=10)
    tips: list[str] = []
    for i, line in enumerate(result.cka):
        for j, value in enumerate(line):
            if math.isfinite(value):
                shade = 0.05 + 0.85 * min(max(value, 0.0), 1.0)
                fill_cell(axes, i, j, INK["--probe"], shade, len(tips), f"{value:.2f}" if n <= 12 else "", 10)
                tips.append(f"{names[i]}, {names[j]}: {value:.2f}")
    name_cells(axes, n, names, 10)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.patch.set_visible(False)
    return Plot(figure, f"Debiased CKA between {n} candidates.", tips)


def _candidates(result: RankingResult) -> Table:
    shown = [s for s in SCORES if any(c.scores.get(s) is not None for c in result.candidates)]
    more = ["Against the best"] if result.tested else []
    titles = ("Backbone", "Layer", "Values", "Probe top-1 [95 %]", *more, *(SCORES[s] for s in shown))
    rows = [
        (
            c.backbone,
            c.layer,
            c.dim,
            c.probe or "–",
            *([c.against_best().replace("-", "–")] if more else []),
            *(format_three(c.scores.get(s)) for s in shown),
        )
        for c in result.ranked()
    ]
    for key, title in (("tau", "Kendall tau"), ("weighted_tau", "weighted tau")):
        if result.correlations:
            taus = (format_three((result.correlations.get(s) or {}).get(key)) for s in shown)
            rows.append((title, "with the probe", "", "", *("" for _ in more), *taus))
    return plain_table(titles, rows, style="numbers")
