"""The page of a comparison that predicts a number."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from featx.report.document import document, figure
from featx.report.methods import KIND, Scale, axis, dot_and_whisker, verdict_of_test
from featx.report.mistakes import data_uri
from featx.report.plots import COLOUR, Plot, _plain_axes
from featx.report.provenance import how_it_was_done
from featx.report.repeats import over_splits
from featx.report.svg import INK, new_figure
from featx.results import ALPHA, MethodResult, RegressionResult
from featx.results.formats import format_metric, format_milliseconds, format_number, format_seconds

SHOWN_ERRORS = 12
#: Points of the scatter; of more test images, the first so many.
POINTS = 3000


def render_regression(result: RegressionResult, thumbnails: Mapping[str, bytes]) -> str:
    """Lay out a regression as a self-contained HTML page; see `featx.report.render`."""
    best = result.best()
    doubt = best is None or "Warning:" in result.advice
    headline = best.title if best is not None else "No verdict"
    data = result.dataset
    task = str(data.get("task") or "number")
    sections = [
        f'<section class="card verdict{" doubt" if doubt else ""}" aria-label="Verdict">'
        f'<p class="use">{"Use with caution" if doubt else "Recommended"}</p><h2>{escape(headline)}</h2>'
        f'<p class="advice">{escape(result.advice)}</p>'
        + "".join(f'<p class="warning" role="note">{escape(w)}</p>' for w in result.warnings)
        + "</section>",
        f'<section class="card"><h2>All {len(result.methods)} methods, same test images</h2>'
        '<p class="lead">Mark: R², the share of the variance that is explained (1 is perfect, 0 as good as '
        "the mean of the test images); whisker: its 95 % interval. “No difference shown”: the paired "
        "test of absolute errors against the best, adjusted for all pairs of competing methods, has p ≥ "
        f"{ALPHA}.</p>"
        f"{regression_table(result)}</section>",
    ]
    if result.repeats is not None:
        sections.append(over_splits(result.repeats))
    if best is not None and result.predictions:
        sections.append(
            f'<section class="card"><h2>Predicted against true, {escape(best.title)}</h2>'
            '<p class="lead">A test image a point; on the line the prediction is right.</p>'
            f"{figure(scatter_plot(result, task), 'scatter')}</section>"
        )
        sections.append(_largest_errors(result, best, thumbnails))
    sections.append(f'<section class="card"><h2>How it was done</h2>{how_it_was_done(result)}</section>')
    name = str(data.get("name") or "comparison")
    subtitle = [f"{data[key]:,} {what} images" for key, what in (("n_train", "training"), ("n_test", "test"))]
    subtitle += [", ".join(result.networks()), result.created[:10]]
    return document(
        f"{name}: how to predict {task}", f"{name}: {task}", " · ".join(filter(None, subtitle)), sections
    )


def regression_table(result: RegressionResult) -> str:
    """The methods with their intervals, the best one first."""
    best = result.best()
    scale = Scale([m.metric("r2") for m in result.methods if m.kind != "floor"])
    several = len({m.backbone for m in result.methods if m.backbone}) > 1
    head = (
        '<th scope="col">Method</th><th scope="col" class="plot" aria-label="R², drawn">'
        f'{axis(scale, 6)}</th><th scope="col" class="n">R²</th>'
        '<th scope="col" class="n" title="mean absolute error, in the unit of the target">Mean abs.<br>error'
        '</th><th scope="col" class="n" title="test of the absolute errors">Against<br>the best</th>'
        '<th scope="col" class="n" title="extraction and fit">Time to<br>train</th>'
        '<th scope="col" class="n minor" title="root of the mean squared error">RMSE</th>'
        '<th scope="col" class="n minor" title="rank correlation">Spearman</th>'
        '<th scope="col" class="n minor" title="one new image, the network included">ms per<br>image</th>'
    )
    rows = "".join(_row(m, best, scale, several) for m in result.ranked())
    return (
        '<table class="methods"><caption hidden>All methods on the same test images, the best first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def scatter_plot(result: RegressionResult, task: str) -> Plot:
    """Predictions of the best method against the true numbers, with the line on which they agree."""
    truth, predicted = (np.asarray(v[:POINTS], np.float64) for v in (result.truth, result.predictions))
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    room = 0.05 * (high - low) or 1.0
    ends = (low - room, high + room)
    drawing = new_figure(440, 400)
    axes = drawing.add_axes((64 / 440, 48 / 400, 366 / 440, 342 / 400))
    axes.plot(ends, ends, color=INK["--muted"], lw=1, ls=":")
    axes.scatter(truth, predicted, s=22, color=COLOUR["probe"], alpha=0.6, linewidths=0)
    axes.set(xlim=ends, ylim=ends)
    _plain_axes(axes, f"true {task}".replace("$", r"\$"), "predicted")
    best = result.best()
    assert best is not None
    alt = (
        f"Predicted against true {task} on {len(truth)} test images by {best.title}: R2 {best.metric('r2')}, "
        f"mean absolute error {format_metric('mae', best.metric('mae'))}."
    )
    return Plot(drawing, alt)


def _row(m: MethodResult, best: MethodResult | None, scale: Scale, several: bool) -> str:
    chip = '<span class="chip best">best</span>' if m is best else ""
    about = [KIND[m.kind], *([m.backbone] if several and m.backbone else [])]
    r2, mae = m.metric("r2"), m.metric("mae")
    band = best.metric("r2") if best is not None else None
    against = "–" if m is best else verdict_of_test(m.p_adjusted)
    spans = [
        f"{form(i.low)}–{form(i.high)}" if np.isfinite(i.low) else ""
        for i, form in ((r2, _three), (mae, format_number))
    ]
    cells = [
        f'<th scope="row"><span class="mark" aria-hidden="true"></span>{escape(m.title)}'
        f"<small>{escape(' · '.join(about))} {chip}</small></th>",
        f'<td class="plot">{dot_and_whisker(r2, m.kind, scale, band, "R²")}</td>',
        f'<td class="n top1"><span class="top">{_three(r2.value)}</span><small>{spans[0]}</small></td>',
        f'<td class="n" data-label="MAE">{format_number(mae.value)}<small>{spans[1]}</small></td>',
        f'<td class="n" data-label="vs best">{against}</td>',
        f'<td class="n" data-label="train">{escape(format_seconds(m.cost))}</td>',
        f'<td class="n minor" data-label="RMSE">{format_number(m.metric("rmse").value)}</td>',
        f'<td class="n minor" data-label="Spearman">{_three(m.metric("spearman").value)}</td>',
        f'<td class="n minor" data-label="ms/image">'
        f"{escape(format_milliseconds(m.seconds.get('predict_per_image')))}</td>",
    ]
    return f'<tr class="{m.kind}{" pick" if m is best else ""}">{"".join(cells)}</tr>'


def _largest_errors(result: RegressionResult, best: MethodResult, thumbnails: Mapping[str, bytes]) -> str:
    truth, predicted = np.asarray(result.truth), np.asarray(result.predictions)
    tiles = []
    for i in np.argsort(-np.abs(predicted - truth), kind="stable")[:SHOWN_ERRORS]:
        id = result.ids[i]
        data = thumbnails.get(id)
        picture = (
            f'<img alt="{escape(id)}" title="{escape(id)}" loading="lazy" src="{data_uri(data)}">'
            if data
            else f'<span class="none" title="{escape(id)}"><small>no preview</small></span>'
        )
        tiles.append(
            f'<li>{picture}<span class="said">{format_number(predicted[i])}</span>'
            f"<small>is {format_number(truth[i])}</small></li>"
        )
    return (
        f'<section class="card"><h2>Largest errors of {escape(best.title)}</h2>'
        '<p class="lead">Test images, the furthest off first: what was predicted, and what the table says. '
        f'Some may be wrong there.</p><ul class="mistakes">{"".join(tiles)}</ul></section>'
    )


def _three(x: float) -> str:
    return f"{x:.3f}".replace("-", "−") if np.isfinite(x) else "–"
