"""The page of a ranking: the candidates, accuracy against depth, and how alike their embeddings are."""

from __future__ import annotations

import math
import os
from html import escape

from featx.report.document import document, figure
from featx.report.plots import COLOUR, Plot, _plain_axes, shortened
from featx.report.svg import INK, new_figure
from featx.results import write_atomically
from featx.results.ranking import SCORES, RankingResult

_LINES = ("-", "--", ":", "-.")


def write_ranking(path: str | os.PathLike[str], result: RankingResult) -> None:
    """Write `render_ranking`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_ranking(result))


def render_ranking(result: RankingResult) -> str:
    """Lay out a ranking as a self-contained HTML page."""
    notes = "".join(f'<p class="warning" role="note">{escape(note)}</p>' for note in result.notes)
    sections = [
        f'<section class="card verdict"><h2>{escape(result.verdict())}</h2>{notes}</section>',
        '<section class="card"><h2>Candidates</h2><p class="lead">Of every score more is better. The probe '
        "is logistic regression on images it was not fitted on, with its 95 % interval over "
        f'images.</p><div class="scroll">{_table(result)}</div></section>',
    ]
    depth = depth_plot(result)
    if depth is not None:
        sections.append(
            f'<section class="card"><h2>Accuracy against depth</h2>{figure(depth, "depth")}</section>'
        )
    alike = cka_plot(result)
    if alike is not None:
        sections.append(
            '<section class="card"><h2>How alike the embeddings are</h2><p class="lead">Debiased linear CKA '
            f"on {result.cka_images} images: 1 is the same up to rotation and scale, 0 unrelated.</p>"
            f"{figure(alike, 'cka', wide=True)}</section>"
        )
    name = str(result.dataset.get("name"))
    subtitle = f"{result.dataset.get('n'):,} images · {result.dataset.get('n_classes')} classes"
    return document(f"{name}: ranking", name, subtitle, sections)


def depth_plot(result: RankingResult) -> Plot | None:
    """The probe's accuracy of each layer, with intervals; None unless there are several layers."""
    shown = [c for c in result.candidates if c.probe is not None]
    if not result.several_layers or len(shown) < 2:
        return None
    drawing = new_figure(560, 320)
    axes = drawing.add_axes((50 / 560, 44 / 320, 500 / 560, 264 / 320))
    tips: list[str] = []
    backbones = list(dict.fromkeys(c.backbone for c in shown))
    for c in shown:
        assert c.probe is not None
        axes.vlines(c.depth, c.probe.low, c.probe.high, color=COLOUR["probe"], lw=1.6, alpha=0.35)
        axes.plot(
            c.depth, c.probe.value, "o", ms=7, mfc=COLOUR["probe"], mec=INK["--card"], gid=f"tip-{len(tips)}"
        )
        tips.append(f"{c.backbone} {c.layer}, {c.dim} values: top-1 {c.probe}")
    for i, backbone in enumerate(backbones):
        own = [c for c in shown if c.backbone == backbone]
        axes.plot(
            [c.depth for c in own],
            [c.probe.value for c in own if c.probe is not None],
            _LINES[i % len(_LINES)],
            color=COLOUR["probe"],
            lw=1.2,
            label=backbone,
        )
    if len(backbones) > 1:
        axes.legend(loc="lower right", frameon=False, fontsize=10, labelcolor=INK["--ink"])
    _plain_axes(axes, "layer, in the order of computation", "top-1 accuracy of the probe")
    best = result.best()
    assert best is not None
    alt = f"Accuracy of {len(shown)} layers against depth; the best is {best.layer} of {best.backbone}."
    return Plot(drawing, alt, tips)


def cka_plot(result: RankingResult) -> Plot | None:
    """CKA between every two candidates as shades; None where there is only one candidate."""
    n = len(result.cka)
    if n < 2:
        return None
    from matplotlib.patches import Rectangle

    names = [shortened(f"{c.backbone.removeprefix('timm:')} {c.layer}", 30) for c in result.candidates]
    cell, margin = (34, 190) if n <= 12 else (18, 190)
    side = n * cell
    whole = margin + side + 10
    drawing = new_figure(whole, whole)
    axes = drawing.add_axes((margin / whole, margin / whole, side / whole, side / whole))
    tips: list[str] = []
    for i, line in enumerate(result.cka):
        for j, value in enumerate(line):
            if not math.isfinite(value):
                continue
            shade = min(max(value, 0.0), 1.0)
            axes.add_patch(
                Rectangle(
                    (j - 0.47, i - 0.47),
                    0.94,
                    0.94,
                    fc=COLOUR["probe"],
                    alpha=0.05 + 0.85 * shade,
                    lw=0,
                    gid=f"tip-{len(tips)}",
                )
            )
            tips.append(f"{names[i]}, {names[j]}: {value:.2f}")
            if n <= 12:
                ink = INK["--card"] if shade > 0.6 else INK["--ink"]
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=10, color=ink)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(range(n), names, rotation=90, fontsize=10, color=INK["--muted"], parse_math=False)
    axes.set_yticks(range(n), names, fontsize=10, color=INK["--muted"], parse_math=False)
    axes.tick_params(length=0, pad=4)
    axes.patch.set_visible(False)
    return Plot(drawing, f"Debiased CKA between {n} candidates.", tips)


def _table(result: RankingResult) -> str:
    shown = [s for s in SCORES if any(c.scores.get(s) is not None for c in result.candidates)]
    head = "".join(
        f'<th scope="col">{escape(title)}</th>'
        for title in ("Backbone", "Layer", "Values", *(SCORES[s] for s in shown), "Probe top-1 [95 %]")
    )
    rows = []
    for c in result.ranked():
        cells = [c.backbone, c.layer, str(c.dim), *(_number(c.scores.get(s)) for s in shown)]
        cells.append("–" if c.probe is None else str(c.probe))
        rows.append("<tr>" + "".join(f'<td class="num">{escape(cell)}</td>' for cell in cells) + "</tr>")
    for key, title in (("tau", "Kendall tau with the probe"), ("weighted_tau", "weighted tau")):
        if result.correlations:
            values = [_number((result.correlations.get(s) or {}).get(key)) for s in shown]
            rows.append(
                f'<tr><th scope="row" colspan="3">{title}</th>'
                + "".join(f'<td class="num">{value}</td>' for value in values)
                + "<td></td></tr>"
            )
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _number(x: float | None) -> str:
    return "–" if x is None or not math.isfinite(x) else f"{x:.3f}"
