"""What a comparison of anomaly detectors says, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"anomaly"``
``dataset``               object: ``name``, ``n_train`` (normal images that trained, all problems), ``n_test``
                          and, from the command line, ``source``, the paths of the data (list)
``protocol``              ``"one-class"`` (each class is normal once, all others are anomalies) or ``"given"``
                          (the classes of ``normal`` are, together)
``normal``                names of the normal classes
``backbone``, ``space``   whose embeddings they are, and where they live
``contamination``         share of the training images that each detector's threshold leaves below it
``detectors``             list of objects, as below
``advice``                what it comes to, in plain sentences
``forward_passes``, ...   ``failures``, ``environment``, ``seed``, ``created``, ``seconds_total``, ``command``
                          and ``warnings`` are those of a comparison of classifiers
========================  ==================================================================================

One detector: ``name``, ``title``; ``auroc`` and ``fpr95`` (``{value, low, high}``: means over the problems,
as `featx.metrics.anomalies` defines them); ``false_alarms`` and ``found`` (shares of the normal and
of the anomalous test images below its threshold, means); ``problems``, a list of ``{normal, n_train, auroc,
fpr95}``; ``seconds`` (fitting and scoring, all problems).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from featx.metrics import Interval
from featx.results.comparison import SCHEMA, aligned
from featx.results.writing import plain, write_atomically

if TYPE_CHECKING:
    import pandas


@dataclass
class DetectorResult:
    """One detector on all problems. The fields are those above."""

    name: str
    title: str
    auroc: Interval
    fpr95: Interval
    false_alarms: float
    found: float
    problems: list[dict[str, Any]]
    seconds: float


@dataclass
class AnomalyResult:
    """Anomaly detectors on the same test images. The fields are those above."""

    dataset: dict[str, Any]
    protocol: str
    normal: list[str]
    backbone: str
    detectors: list[DetectorResult]
    contamination: float
    space: dict[str, Any] = field(default_factory=dict)
    advice: str = ""
    forward_passes: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds_total: float | None = None
    command: str | None = None
    warnings: list[str] = field(default_factory=list)

    kind: ClassVar[str] = "anomaly"

    def ranked(self) -> list[DetectorResult]:
        """The detectors, the highest AUROC first."""
        return sorted(self.detectors, key=lambda d: -d.auroc.value)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN becomes None."""
        content = {"schema": SCHEMA, "kind": self.kind}
        return plain(content | {f.name: getattr(self, f.name) for f in fields(AnomalyResult)})

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write ``results.json``, all of it or nothing.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        write_atomically(
            path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )

    def to_frame(self) -> pandas.DataFrame:
        """One row a detector and problem.

        Returns
        -------
        pandas.DataFrame
            Columns ``detector, normal, n_train``, and ``auroc`` and ``fpr95`` with ``_low`` and ``_high``.
        """
        import pandas

        rows = []
        for d in self.ranked():
            for problem in d.problems:
                row = {"detector": d.name, "normal": problem["normal"], "n_train": problem["n_train"]}
                for name in ("auroc", "fpr95"):
                    interval = problem[name]
                    row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
                rows.append(row)
        return pandas.DataFrame(rows)

    def table(self) -> str:
        """A plain-text table for a terminal: the detectors, then the AUROC of each normal class."""
        lines = [["detector", "AUROC [95 %]", "FPR at 95 % recall", "false alarms", "found", "s"]]
        for d in self.ranked():
            shares = f"{d.false_alarms:.3f}", f"{d.found:.3f}"
            lines.append([d.title, str(d.auroc), str(d.fpr95), *shares, f"{d.seconds:.1f}"])
        parts = [self.heading(), "", *aligned(lines)]
        if len(self.normal) > 1 and self.protocol == "one-class":
            each = [["normal class", *(d.name for d in self.ranked())]]
            for i, name in enumerate(self.normal):
                each.append([name, *(f"{d.problems[i]['auroc'].value:.3f}" for d in self.ranked())])
            parts += ["", *aligned(each)]
        return "\n".join(parts)

    def heading(self) -> str:
        """What was normal, in one line."""
        what = f"each of {len(self.normal)} classes normal once"
        if self.protocol == "given":
            what = f"normal: {', '.join(self.normal)}"
        return (
            f"{self.dataset['name']}: {what}; {self.dataset['n_train']} training and "
            f"{self.dataset['n_test']} test images, {self.backbone}"
        )


def advise_detectors(detectors: Sequence[DetectorResult]) -> str:
    """Which detector tells anomalies apart best, and where it is weakest."""
    best = max(detectors, key=lambda d: d.auroc.value)
    said = [
        f"{best.title}: an anomaly scores below a normal image with probability {best.auroc} (AUROC); to "
        f"find 95 % of the anomalies, {best.fpr95} of the normal images are called anomalous, too."
    ]
    if len(best.problems) > 1:
        worst = min(best.problems, key=lambda p: p["auroc"].value)
        said.append(f"Hardest: {worst['normal']} as the normal class ({worst['auroc']}).")
    near = [d.title for d in detectors if d is not best and d.auroc.high >= best.auroc.low]
    if near:
        said.append(f"Within each other's intervals of AUROC: {', '.join(near)}.")
    return " ".join(said)
