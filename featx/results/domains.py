"""What a comparison of domains says, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"domains"``
``source``                object: ``name``, ``n_train`` and ``n_test`` (labelled images that trained, and
                          those held out from them), ``top1`` (``{value, low, high}``: the source-only
                          classifier on these held-out images of its own domain); from the command line also
                          ``source``, the path of the data, here and in ``target``
``target``                object: ``name``, ``n_train`` (images whose labels no method but
                          ``target-trained`` has seen), ``n_test`` (images that all methods are scored on)
``classes``               names of the classes, those of the source
``backbone``              whose embeddings they are
``classifier``            name of the classifier behind every method
``space``                 the space the embeddings live in (weights, layer, ...)
``methods``               list of objects, as below
``advice``                what it comes to, in plain sentences
``forward_passes``, ...   ``failures``, ``environment``, ``seed``, ``created``, ``seconds_total``, ``command``
                          and ``warnings`` are those of a comparison of classifiers
========================  ==================================================================================

One method: ``name`` (``"source-only"``, ``"coral"``, ..., ``"target-trained"``), ``title``, ``kind``
(``"source"``, ``"adapted"`` or ``"bound"``), ``metrics`` (as in a comparison of classifiers, on the target's
test images), ``seconds`` (adapting and fitting), ``params`` (of the classifier), ``versus_source`` (null for
source-only, else ``{p_value, difference, low, high, effect}``: an exact paired test of top-1 on the same test
images; ``difference`` = this method's - source-only's) and ``notes``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.advice import ALPHA
from featx.results.comparison import SCHEMA, aligned
from featx.results.formats import format_p, format_points
from featx.results.writing import plain, write_atomically

if TYPE_CHECKING:
    import pandas


@dataclass
class DomainMethod:
    """One way to classify the target's images. The fields are those of ``methods`` above."""

    name: str
    title: str
    kind: str
    metrics: dict[str, Interval]
    seconds: float
    params: dict[str, Any] = field(default_factory=dict)
    versus_source: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in ("source", "adapted", "bound"):
            raise InputError(
                f"method {self.name!r}: kind must be source, adapted or bound, got {self.kind!r}"
            )

    @property
    def top1(self) -> Interval:
        """Top-1 accuracy on the target's test images."""
        return self.metrics["top1"]

    @property
    def differs(self) -> bool:
        """Whether the paired test against source-only shows a difference (p <= 0.05)."""
        return self.versus_source is not None and self.versus_source["p_value"] <= ALPHA


@dataclass
class DomainResult:
    """Source-only, adapted and target-trained classifiers on one target. The fields are those above."""

    source: dict[str, Any]
    target: dict[str, Any]
    classes: list[str]
    backbone: str
    classifier: str
    methods: list[DomainMethod]
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

    kind: ClassVar[str] = "domains"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN becomes None."""
        content = {"schema": SCHEMA, "kind": self.kind}
        return plain(content | {f.name: getattr(self, f.name) for f in fields(DomainResult)})

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
        """One row a method, in the order in which they were tried.

        Returns
        -------
        pandas.DataFrame
            Columns ``name, title, kind``; for each metric ``top1, top1_low, top1_high``, ...;
            ``difference, difference_low, difference_high, p_value`` against source-only; ``seconds``.
        """
        import pandas

        rows = []
        for m in self.methods:
            row: dict[str, Any] = {"name": m.name, "title": m.title, "kind": m.kind}
            for name, interval in m.metrics.items():
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            against = m.versus_source or {}
            row |= {
                "difference": against.get("difference", math.nan),
                "difference_low": against.get("low", math.nan),
                "difference_high": against.get("high", math.nan),
                "p_value": against.get("p_value", math.nan),
                "seconds": m.seconds,
            }
            rows.append(row)
        return pandas.DataFrame(rows)

    def table(self) -> str:
        """A plain-text table for a terminal."""
        lines = [["method", "top-1 [95 %]", "points vs source [95 %]", "p", "balanced", "log loss", "s"]]
        for m in self.methods:
            lines.append(
                [
                    m.title,
                    str(m.top1),
                    points_against(m) or "-",
                    format_p(m.versus_source["p_value"]) if m.versus_source else "-",
                    f"{m.metrics['balanced_accuracy'].value:.3f}",
                    f"{m.metrics['log_loss'].value:.3f}",
                    f"{m.seconds:.1f}",
                ]
            )
        return "\n".join([self.heading(), "", *aligned(lines)])

    def heading(self) -> str:
        """What was trained where and tested on what, in one line."""
        source, target = self.source, self.target
        return (
            f"{source['name']} -> {target['name']}: {source['n_train']} labelled source and "
            f"{target['n_train']} unlabelled target images, {target['n_test']} test images, "
            f"{len(self.classes)} classes, {self.classifier} on {self.backbone}"
        )


def points_against(m: DomainMethod) -> str:
    """The difference from source-only in points with its interval; empty for source-only itself."""
    if m.versus_source is None:
        return ""
    low, high = (format_points(m.versus_source[bound]) for bound in ("low", "high"))
    return f"{format_points(m.versus_source['difference'])} [{low}, {high}]"


def advise_domains(source: Interval, methods: Sequence[DomainMethod]) -> str:
    """What the shift costs, which adaptation helps or harms, and how much of the way it goes.

    Parameters
    ----------
    source : Interval
        Top-1 of the source-only classifier on its own domain.
    methods : sequence of DomainMethod
        Source-only first.
    """
    base = next(m for m in methods if m.kind == "source")
    bound = next(m for m in methods if m.kind == "bound")
    adapted = sorted((m for m in methods if m.kind == "adapted"), key=lambda m: -m.top1.value)
    said = [
        f"The classifier trained on the source has {base.top1.value:.3f} of the target's test images right, "
        f"and {source.value:.3f} of its own domain's; trained on labelled target images, it has "
        f"{bound.top1.value:.3f}."
    ]
    helps = [m for m in adapted if m.differs and m.top1.value > base.top1.value]
    harms = [m for m in adapted if m.differs and m.top1.value < base.top1.value]
    if helps:
        best, gap = helps[0], bound.top1.value - base.top1.value
        share = f", {100 * (best.top1.value - base.top1.value) / gap:.0f} % of that gap" if gap > 0 else ""
        said.append(f"{best.title} gains most without any target label: {_points(best)}{share}.")
        if len(helps) > 1:
            said.append("So do, by less, " + ", ".join(f"{m.title} ({_points(m)})" for m in helps[1:]) + ".")
    elif adapted:
        said.append(
            "No adaptation shows a gain: use the source's classifier as it is, or label target images."
        )
    if harms:
        said.append("Harmful here: " + ", ".join(f"{m.title} ({_points(m)})" for m in harms) + ".")
    return " ".join(said)


def _points(m: DomainMethod) -> str:
    assert m.versus_source is not None
    p = format_p(m.versus_source["p_value"])
    return f"{format_points(m.versus_source['difference'])} points, p {p if p.startswith('<') else '= ' + p}"
