"""A comparison of anomaly detectors, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"anomaly"``
``dataset``               object: ``name``, ``n_train`` (normal images that trained, all problems), ``n_test``
                          and, from the command line, ``source``, the paths of the data (list)
``protocol``              ``"one-class"`` (each class is normal once, all others are anomalies) or ``"given"``
                          (the classes of ``normal`` are, together)
``normal``                names of the normal classes
``backbone``, ``space``   whose embeddings they are, and the space they live in
``contamination``         share of new normal images that each detector's threshold is to flag
``detectors``             list of objects, as below
``advice``, ...           and the other fields of `featx.results.base.AdvisedResult`
========================  ==================================================================================

One detector: ``name``, ``title``; ``auroc`` and ``fpr95`` (``{value, low, high}``: means over the problems,
as `featx.metrics.anomalies` defines them); ``false_alarms`` and ``found`` (shares of the normal and
of the anomalous test images below its threshold, means); ``problems``, a list of ``{normal, n_train, auroc,
fpr95}``; ``seconds`` (fitting and scoring, all problems).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.base import AdvisedResult, Column, DatasetFacts
from featx.results.methods import worth
from featx.results.reading import quoted
from featx.results.shown import Shown
from featx.results.tables import Lines, flatten_row, metric_column


# One of ``problems`` in a file.
class _Problem(TypedDict):
    normal: str
    n_train: int
    auroc: Interval
    fpr95: Interval


@dataclass
class DetectorResult(Shown):
    """One detector on all problems; the fields are those above."""

    name: str
    title: str
    auroc: Interval
    fpr95: Interval
    false_alarms: float
    found: float
    problems: list[dict[str, Any]] = field(metadata={"json": list[_Problem]})
    seconds: float

    def metric(self, name: str) -> Interval:
        """Return a metric by name: its mean over the problems."""
        return {"auroc": self.auroc, "fpr95": self.fpr95}[name]


@dataclass
class AnomalyResult(AdvisedResult):
    """Anomaly detectors on the same test images; the fields are those above."""

    kind: ClassVar[str] = "anomaly"
    title: ClassVar[str] = "comparison of detectors"
    rows: ClassVar[str] = "detectors"
    columns: ClassVar[Sequence[Column]] = (
        Column("detector", "title"),
        metric_column("auroc", interval=True),
        metric_column("fpr95", "FPR at 95 % recall", interval=True),
        Column("false alarms", "false_alarms"),
        Column("found", "found"),
        Column("s", "seconds", "{:.1f}"),
    )

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    protocol: str
    normal: list[str]
    backbone: str
    detectors: list[DetectorResult]
    contamination: float
    space: dict[str, Any] = field(default_factory=dict)

    def ranked(self) -> list[DetectorResult]:
        return sorted(self.detectors, key=lambda d: -worth(d, "auroc"))

    def tables(self) -> list[tuple[str, Lines]]:
        """Return the detectors and, where each class was normal once, the AUROC of each class."""
        tables, ranked = super().tables(), self.ranked()
        if len(self.normal) > 1 and self.protocol == "one-class":
            lines = [
                [name, *(f"{d.problems[i]['auroc'].value:.3f}" for d in ranked)]
                for i, name in enumerate(self.normal)
            ]
            tables.append(("", [["normal class", *(d.name for d in ranked)], *lines]))
        return tables

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each detector and problem.

        The cells are ``detector, normal, n_train``, and ``auroc`` and ``fpr95`` with ``_low`` and ``_high``.
        """
        return [{"detector": d.name} | flatten_row(problem) for d in self.ranked() for problem in d.problems]

    def heading(self) -> str:
        what = f"each of {len(self.normal)} classes normal once"
        if self.protocol == "given":
            what = f"normal: {', '.join(self.normal)}"
        data = self.dataset
        sizes = f"{data.get('n_train', '?')} training and {data.get('n_test', '?')} test {self.input_kind}s"
        said = f"{data.get('name', '')}: {what}; {sizes}, {self.backbone}"
        return f"{said}; {self.units_note}" if self.units_note else said

    def check(self) -> None:
        n = len(self.normal) if self.protocol == "one-class" else 1
        for detector in self.detectors:
            if len(detector.problems) != n:
                raise InputError(f"{quoted(detector.name)}: not one result for each of {n} problems")


def advise_detectors(detectors: Sequence[DetectorResult], kind: str = "image") -> str:
    """Say which detector tells anomalies apart best, and where it is weakest."""
    best = max(detectors, key=lambda d: d.auroc.value)
    said = [
        f"{best.title}: an anomaly scores below a normal {kind} with probability {best.auroc} (AUROC); to "
        f"find 95 % of the anomalies, {best.fpr95} of the normal {kind}s are called anomalous, too."
    ]
    if len(detectors) > 1:
        said.append(f"It is the best of {len(detectors)} on these {kind}s, which flatters it a little.")
    if len(best.problems) > 1:
        worst = min(best.problems, key=lambda p: p["auroc"].value)
        said.append(f"Hardest: {worst['normal']} as the normal class ({worst['auroc']}).")
    near = [d.title for d in detectors if d is not best and d.auroc.high >= best.auroc.low]
    if near:
        said.append(f"Within each other's intervals of AUROC: {', '.join(near)}.")
    return " ".join(said)
