"""The page of a comparison of anomaly detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.provenance import how_it_was_done
from featx.report.scale import Scale
from featx.report.table import (
    Column,
    Table,
    capitalized,
    drawn_column,
    format_three,
    make_table,
    metric_column,
    number_column,
)
from featx.results import AnomalyResult, DetectorResult
from featx.results.formats import format_seconds


def anomaly_view(result: AnomalyResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show which detector tells anomalies apart, and for which normal class that is hardest."""
    ranked = result.ranked()
    name = str(result.dataset["name"])
    lead = f"{result.heading()}. Intervals are 95 % intervals over test {result.input_kind}s."
    return {
        "title": f"{name}: anomalies",
        "heading": name,
        "subtitle": f"{len(result.normal)} normal classes · {result.backbone} · {result.created[:10]}",
        "advice": result.advice,
        "warnings": result.warnings,
        "units": capitalized(result.units_note),
        "share": f"{100 * result.contamination:.3g}",
        "detectors": _detectors(result, ranked),
        "by_class": _by_class(result, ranked) if len(ranked[0].problems) > 1 else None,
        "how": how_it_was_done(result, lead, {}, {result.backbone: result.space}),
    }


def _detectors(result: AnomalyResult, ranked: list[DetectorResult]) -> Table:
    columns = [
        Column("Detector", lambda d: d.title, style=""),
        drawn_column("AUROC", Scale([d.auroc for d in ranked]), lambda d: d.auroc, _kind),
        metric_column("auroc", lambda d: d.auroc, first=True),
        metric_column("fpr95", lambda d: d.fpr95),
        number_column("False alarms at threshold", lambda d: format_three(d.false_alarms), "false alarms"),
        number_column("Found at threshold", lambda d: format_three(d.found), "found"),
        number_column("Time", lambda d: format_seconds(d.seconds)),
    ]
    return make_table(
        columns, ranked, kind=_kind, caption=f"All detectors on the same test {result.input_kind}s"
    )


def _by_class(result: AnomalyResult, ranked: list[DetectorResult]) -> Table:
    order = sorted(range(len(result.normal)), key=lambda i: ranked[0].problems[i]["auroc"].value)
    columns = [Column("Normal class", lambda i: result.normal[i], style="")]
    for d in ranked:
        values = [format_three(problem["auroc"].value) for problem in d.problems]
        columns.append(Column(d.title, values.__getitem__, label=d.title))
    return make_table(columns, order)


def _kind(item: Any) -> str:
    return "probe"
