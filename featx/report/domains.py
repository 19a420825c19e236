"""The page of a comparison of domains."""

from __future__ import annotations

import os
from html import escape

from featx.report.document import document
from featx.report.methods import Scale, axis, dot_and_whisker
from featx.results import DomainMethod, DomainResult, write_atomically
from featx.results.domains import points_against
from featx.results.formats import format_p, format_seconds

# Drawn in the colours that the other reports give to floors, probes and the fine-tuned baseline.
_COLOUR = {"source": "floor", "adapted": "probe", "bound": "finetune"}
_ABOUT = {
    "source": "labelled source images",
    "adapted": "and unlabelled target images",
    "bound": "labelled target images: the upper bound",
}


def render_domains(result: DomainResult) -> str:
    """Lay out a comparison of domains as a self-contained HTML page."""
    source, target = (str(domain["name"]) for domain in (result.source, result.target))
    scale = Scale([m.top1 for m in result.methods])
    head = (
        '<th scope="col">Method</th><th scope="col" class="plot" aria-label="Top-1 accuracy, drawn">'
        f'{axis(scale, 6)}</th><th scope="col" class="n">Top-1</th>'
        '<th scope="col" class="n" title="top-1, this method - source only, with its 95 % interval">'
        "Against<br>source only</th>"
        '<th scope="col" class="n">Balanced<br>accuracy</th><th scope="col" class="n minor">Log<br>loss</th>'
        '<th scope="col" class="n" title="adapting and fitting">Time</th>'
    )
    rows = "".join(_row(m, scale) for m in result.methods)
    notes = "".join(f"<li>{escape(line)}</li>" for line in result.warnings)
    sections = [
        f'<section class="card verdict"><h2>Does adapting help?</h2><p>{escape(result.advice)}</p></section>',
        '<section class="card"><h2>All methods, same target test images</h2><p class="lead">Mark: top-1 '
        "accuracy; whisker: its 95 % interval. Adaptations saw the target's training images without labels; "
        "no method saw a test image.</p>"
        '<table class="methods"><caption hidden>All methods on the target\'s test images</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        + (f"<ul>{notes}</ul>" if notes else "")
        + "</section>",
        '<section class="card"><h2>How it was done</h2>'
        f"<p>{escape(result.heading())}. Seed {result.seed}; {result.forward_passes:,} images went through "
        "the frozen network in this run. Exact McNemar tests and paired bootstrap intervals.</p>"
        + (f"<p><code>{escape(result.command)}</code></p>" if result.command else "")
        + "</section>",
    ]
    about = f"{len(result.classes)} classes", f"{result.classifier} on {result.backbone}", result.created[:10]
    return document(f"{source} to {target}", f"{source} → {target}", " · ".join(about), sections)


def write_domains(path: str | os.PathLike[str], result: DomainResult) -> None:
    """Write :func:`render_domains`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_domains(result))


def _row(m: DomainMethod, scale: Scale) -> str:
    against = "–"
    if m.versus_source is not None:
        p = format_p(m.versus_source["p_value"])
        said = f"p {escape(p)}{'' if m.differs else ', n.s.'}"
        against = f"{points_against(m)} <small>{said}</small>"
    kind = _COLOUR[m.kind]
    return (
        f'<tr class="{kind}"><th scope="row"><span class="mark" aria-hidden="true"></span>{escape(m.title)}'
        f"<small>{_ABOUT[m.kind]}</small></th>"
        f'<td class="plot">{dot_and_whisker(m.top1, kind, scale)}</td>'
        f'<td class="n top1"><span class="top">{m.top1.value:.3f}</span>'
        f"<small>{m.top1.low:.3f}–{m.top1.high:.3f}</small></td>"
        f'<td class="n" data-label="vs source">{against}</td>'
        f'<td class="n" data-label="balanced">{m.metrics["balanced_accuracy"].value:.3f}</td>'
        f'<td class="n minor" data-label="log loss">{m.metrics["log_loss"].value:.3f}</td>'
        f'<td class="n" data-label="time">{escape(format_seconds(m.seconds))}</td></tr>'
    )
