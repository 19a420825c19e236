"""The page of a comparison that predicts a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.report.comparison import repeats_view, subtitle
from featx.report.gallery import Tile, tile
from featx.report.methods import regression_table
from featx.report.page import draw
from featx.report.plots import scatter_plot
from featx.report.provenance import comparison_provenance
from featx.results import ALPHA, RegressionResult
from featx.results.formats import format_number

SHOWN_ERRORS = 12


def regression_view(result: RegressionResult, thumbnails: Mapping[str, bytes]) -> dict[str, Any]:
    """Show which regressor to use, how sure that is, and where it is furthest off."""
    best = result.best()
    task = str(result.dataset.get("task") or "number")
    name = str(result.dataset.get("name") or "comparison")
    drawn = best if result.predictions else None
    return {
        "title": f"{name}: how to predict {task}",
        "heading": f"{name}: {task}",
        "subtitle": subtitle(result, []),
        "doubt": best is None or "Warning:" in result.advice,
        "pick": "No verdict" if best is None else best.title,
        "advice": result.advice,
        "warnings": result.warnings,
        "alpha": ALPHA,
        "n_methods": len(result.methods),
        "methods": regression_table(result),
        "repeats": repeats_view(result.repeats),
        "scatter": None if drawn is None else draw(scatter_plot(result, drawn, task), "scatter"),
        "errors": [] if drawn is None else _largest_errors(result, thumbnails),
        "how": comparison_provenance(result),
    }


def _largest_errors(result: RegressionResult, thumbnails: Mapping[str, bytes]) -> list[Tile]:
    truth, predicted = np.asarray(result.truth), np.asarray(result.predictions)
    worst = np.argsort(-np.abs(predicted - truth), kind="stable")[:SHOWN_ERRORS]
    return [
        tile(
            result.ids[i],
            thumbnails,
            said=format_number(predicted[i]),
            small=f"is {format_number(truth[i])}",
        )
        for i in worst
    ]
