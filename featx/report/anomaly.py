"""The page of a comparison of anomaly detectors."""

from __future__ import annotations

import os
from html import escape

from featx.report.document import document
from featx.report.methods import Scale, axis, dot_and_whisker
from featx.results import AnomalyResult, DetectorResult, write_atomically
from featx.results.formats import format_seconds


def render_anomaly(result: AnomalyResult) -> str:
    """Lay out a comparison of anomaly detectors as a self-contained HTML page."""
    ranked = result.ranked()
    name = str(result.dataset["name"])
    sections = [
        f'<section class="card verdict"><h2>Which images are unlike the normal ones?</h2>'
        f"<p>{escape(result.advice)}</p></section>",
        '<section class="card"><h2>All detectors, same test images</h2><p class="lead">Mark: AUROC, the '
        "probability that an anomaly scores below a normal image; whisker: its 95 % interval. FPR95: normal "
        "images called anomalous where 95 % of the anomalies are found. At the threshold: shares called "
        f"anomalous when {100 * result.contamination:.3g} % of the training images are.</p>"
        f"{_detectors(ranked)}</section>",
        _by_class(result, ranked),
        '<section class="card"><h2>How it was done</h2>'
        f"<p>{escape(result.heading())}. Seed {result.seed}; {result.forward_passes:,} images went through "
        "the frozen network in this run. Intervals are bootstrap intervals over test images.</p>"
        + (f"<p><code>{escape(result.command)}</code></p>" if result.command else "")
        + "</section>",
    ]
    subtitle = f"{len(result.normal)} normal classes · {result.backbone} · {result.created[:10]}"
    return document(f"{name}: anomalies", name, subtitle, sections)


def write_anomaly(path: str | os.PathLike[str], result: AnomalyResult) -> None:
    """Write :func:`render_anomaly`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_anomaly(result))


def _detectors(ranked: list[DetectorResult]) -> str:
    scale = Scale([d.auroc for d in ranked])
    head = (
        '<th scope="col">Detector</th><th scope="col" class="plot" aria-label="AUROC, drawn">'
        f'{axis(scale, 6)}</th><th scope="col" class="n">AUROC</th><th scope="col" class="n">FPR95</th>'
        '<th scope="col" class="n">False alarms<br>at threshold</th>'
        '<th scope="col" class="n">Found<br>at threshold</th><th scope="col" class="n">Time</th>'
    )
    rows = "".join(
        '<tr class="probe"><th scope="row"><span class="mark" aria-hidden="true"></span>'
        f"{escape(d.title)}</th>"
        f'<td class="plot">{dot_and_whisker(d.auroc, "probe", scale, what="AUROC")}</td>'
        f'<td class="n top1"><span class="top">{d.auroc.value:.3f}</span>'
        f"<small>{d.auroc.low:.3f}–{d.auroc.high:.3f}</small></td>"
        f'<td class="n" data-label="FPR95">{d.fpr95.value:.3f}</td>'
        f'<td class="n" data-label="false alarms">{d.false_alarms:.3f}</td>'
        f'<td class="n" data-label="found">{d.found:.3f}</td>'
        f'<td class="n" data-label="time">{escape(format_seconds(d.seconds))}</td></tr>'
        for d in ranked
    )
    return (
        '<table class="methods"><caption hidden>All detectors on the same test images</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _by_class(result: AnomalyResult, ranked: list[DetectorResult]) -> str:
    if len(ranked[0].problems) < 2:
        return ""
    head = "".join(f'<th scope="col" class="n">{escape(d.title)}</th>' for d in ranked)
    order = sorted(range(len(result.normal)), key=lambda i: ranked[0].problems[i]["auroc"].value)
    rows = "".join(
        f'<tr class="probe"><th scope="row">{escape(result.normal[i])}</th>'
        + "".join(
            f'<td class="n" data-label="{escape(d.title)}">{d.problems[i]["auroc"].value:.3f}</td>'
            for d in ranked
        )
        + "</tr>"
        for i in order
    )
    return (
        '<section class="card"><h2>AUROC by normal class, hardest first</h2>'
        f'<table class="methods"><thead><tr><th scope="col">Normal class</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )
