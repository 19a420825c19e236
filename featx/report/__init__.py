"""The page a person reads after a study: one self-contained HTML file.

Each study has a function that prepares its *view*, the plain values that a page shows, and a template that
lays them out. `page` fills templates, `table` and `scale` describe tables, `svg` and `plots` draw figures,
`provenance` tells how the study was done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.anomaly import anomaly_view
from featx.report.comparison import comparison_view, index_view, regression_view
from featx.report.curve import curve_view
from featx.report.domains import domains_view
from featx.report.page import fill_template
from featx.report.ranking import ranking_view
from featx.report.scores import scores_view
from featx.report.similarity import similarity_view
from featx.results import (
    AnomalyResult,
    ComparisonResult,
    CurveResult,
    DomainResult,
    RegressionResult,
    ScoresResult,
    write_atomically,
)
from featx.results.ranking import RankingResult
from featx.results.similarity import SimilarityResult

__all__ = ["render", "write_index", "write_report"]

#: Class of result, template, and function that makes the view; the first class that fits is used.
_PAGES: tuple[tuple[type, str, Any], ...] = (
    (RegressionResult, "regression.html", regression_view),
    (ComparisonResult, "comparison.html", comparison_view),
    (CurveResult, "curve.html", curve_view),
    (DomainResult, "domains.html", domains_view),
    (AnomalyResult, "anomaly.html", anomaly_view),
    (ScoresResult, "scores.html", scores_view),
    (RankingResult, "ranking.html", ranking_view),
    (SimilarityResult, "similarity.html", similarity_view),
)


def render(result: Any, samples: Mapping[Any, Sample] | None = None) -> str:
    """Lay out the result of any study as a self-contained HTML page.

    Parameters
    ----------
    result : ComparisonResult, CurveResult, DomainResult, ...
        What to show.
    samples : mapping of str to Sample, optional
        Id of an input (for two sets: name of the set and id) -> a small JPEG, PNG or WebP file, for which
        160 x 160 pixels are enough, a text, or a `ClipSample`. Inputs without one are listed too.
    """
    template, view = next((page, view) for kind, page, view in _PAGES if isinstance(result, kind))
    return fill_template(template, {"kind": result.input_kind} | view(result, samples or {}))


def write_report(
    path: str | os.PathLike[str], result: Any, samples: Mapping[Any, Sample] | None = None
) -> None:
    """Write the page of `render` atomically, or raise `OutputError`."""
    write_atomically(path, render(result, samples))


def write_index(
    path: str | os.PathLike[str],
    tasks: Mapping[str, ComparisonResult],
    folders: Mapping[str, str],
    forward_passes: int,
) -> None:
    """Write the page that links to the reports of several tasks, which lie in `folders` beside it."""
    write_atomically(path, fill_template("index.html", index_view(tasks, folders, forward_passes)))
