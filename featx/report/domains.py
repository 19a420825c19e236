"""The page of a comparison of domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.provenance import how_it_was_done
from featx.report.scale import Scale
from featx.report.table import (
    Cell,
    Column,
    capitalized,
    describe_test,
    drawn_column,
    make_table,
    metric_column,
    number_column,
)
from featx.results import DomainMethod, DomainResult
from featx.results.domains import points_against
from featx.results.formats import format_seconds

# Drawn in the colours that the other reports give to references, probes and the fine-tuned baseline.
_STYLE = {"source": "reference", "adapted": "probe", "bound": "finetune"}
_ABOUT = {
    "source": "labelled source {}",
    "adapted": "and unlabelled target {}",
    "bound": "labelled target {}: the upper bound",
}


def domains_view(result: DomainResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show whether adapting to the target helps."""
    inputs = f"{result.input_kind}s"
    source, target = (str(domain["name"]) for domain in (result.source, result.target))

    def against(m: DomainMethod) -> Cell:
        if m.versus_source is None:
            return Cell("–")
        return Cell(points_against(m), describe_test(m.p, m.differs))

    def kind(m: DomainMethod) -> str:
        return _STYLE[m.kind]

    columns = [
        Column("Method", lambda m: Cell(m.title, _ABOUT[m.kind].format(inputs)), style=""),
        drawn_column("top-1", Scale([m.top1 for m in result.methods]), lambda m: m.top1, kind),
        metric_column("top1", lambda m: m.top1, first=True),
        number_column(
            "Against source only",
            against,
            "vs source",
            "top-1, this method - source only, with its 95 % interval, adjusted for all methods",
        ),
        metric_column("balanced_accuracy", lambda m: m.metrics["balanced_accuracy"]),
        metric_column("log_loss", lambda m: m.metrics["log_loss"], minor=True),
        number_column("Time", lambda m: format_seconds(m.seconds), hint="adapting and fitting"),
    ]
    adjusted = any(m.is_adjusted for m in result.methods)
    family = "; p-values and intervals allow for all methods together (max-T over joint sign flips)"
    lead = (
        f"{result.heading()}. No method saw a test {result.input_kind}. Differences are tested by exact "
        f"paired tests against source only{family if adjusted else ''}."
    )
    about = f"{len(result.classes)} classes", f"{result.classifier} on {result.backbone}", result.created[:10]
    return {
        "title": f"{source} to {target}",
        "heading": f"{source} → {target}",
        "subtitle": " · ".join(about),
        "advice": result.advice,
        "warnings": result.warnings,
        "units": capitalized(result.units_note),
        "methods": make_table(
            columns, result.methods, kind=kind, caption=f"All methods on the target's test {inputs}"
        ),
        "how": how_it_was_done(result, lead, {}, {result.backbone: result.space}),
    }
