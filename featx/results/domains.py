"""A comparison of domains, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"domains"``
``source``                object: ``name``, ``n_train`` and ``n_test`` (labelled images that trained, and
                          those held out from them), ``top1`` (``{value, low, high}``: the source-only
                          classifier on these held-out images of its own domain); from the command line also
                          ``source``, the path of the data, here and in ``target``
``target``                object: ``name``, ``n_train`` (images whose labels no method but
                          ``target-trained`` sees), ``n_test`` (images that all methods are scored on)
``classes``               names of the classes, those of the source
``backbone``              whose embeddings they are
``classifier``            name of the classifier behind every method
``space``                 the space the embeddings live in (weights, layer, ...)
``methods``               list of objects, as below
``selection``             null, or object: ``methods``, how many adaptations there are, and ``optimism``, the
                          expected excess of the best one's top-1 because these test images chose it
``advice``, ...           and the other fields of `featx.results.base.AdvisedResult`
========================  ==================================================================================

One method: ``name`` (``"source-only"``, ``"coral"``, ..., ``"target-trained"``), ``title``, ``kind``
(``"source"``, ``"adapted"`` or ``"bound"``), ``metrics`` (as in a comparison of classifiers, on the target's
test images), ``seconds`` (adapting and fitting), ``params`` (of the classifier), ``versus_source`` (null for
source-only, else ``{p_value, difference, low, high, effect, p_adjusted, low_adjusted, high_adjusted,
detectable}``: an exact paired test of top-1 on the same test images; ``difference`` = this method's -
source-only's; ``p_adjusted``, ``low_adjusted`` and ``high_adjusted`` allow for all methods that are tested
against source-only; ``detectable`` = the smallest difference that ``p_adjusted`` would show with 80 % power;
older files end with ``effect``) and ``notes``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.base import AdvisedResult, Column
from featx.results.formats import format_p, format_points, p_in_text
from featx.results.methods import ALPHA, Test, number_of
from featx.results.selection import Selection
from featx.results.sentences import on_choice, on_power
from featx.results.shown import Shown
from featx.results.tables import interval_record, metric_column

KINDS = ("source", "adapted", "bound")


# ``source`` and ``target`` in a file.
class _Domain(TypedDict, total=False):
    name: str
    kind: str
    n_train: int | None
    n_test: int | None
    top1: Interval


@dataclass
class DomainMethod(Shown):
    """One way to classify the target's images; see ``methods`` above."""

    name: str
    title: str
    kind: str
    metrics: dict[str, Interval]
    seconds: float
    params: dict[str, Any] = field(default_factory=dict)
    versus_source: dict[str, float] | None = field(default=None, metadata={"json": Test | None})
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"method {self.name!r}: kind must be source, adapted or bound, got {self.kind!r}"
            )

    def metric(self, name: str) -> Interval:
        """Return a metric by name, or NaN if it was not measured."""
        return self.metrics.get(name, Interval(math.nan))

    @property
    def top1(self) -> Interval:
        """Top-1 accuracy on the target's test images."""
        return self.metric("top1")

    @property
    def differs(self) -> bool:
        """Whether the tests against source-only show a difference (p <= 0.05)."""
        return self.p <= ALPHA

    @property
    def is_adjusted(self) -> bool:
        """Whether the tests of all methods were adjusted together; not in older files."""
        return math.isfinite(number_of(self.versus_source, "p_adjusted"))

    @property
    def p(self) -> float:
        """The p-value to read, against source-only; NaN for source-only itself."""
        return number_of(self.versus_source, "p_adjusted" if self.is_adjusted else "p_value")


def points_against(m: DomainMethod) -> str:
    """Return the difference from source-only in points, with the interval that goes with `DomainMethod.p`.

    It is empty for source-only itself.
    """
    if m.versus_source is None:
        return ""
    bounds = ("low_adjusted", "high_adjusted") if m.is_adjusted else ("low", "high")
    value, low, high = (format_points(number_of(m.versus_source, k)) for k in ("difference", *bounds))
    return f"{value} [{low}, {high}]"


@dataclass
class DomainResult(AdvisedResult):
    """Source-only, adapted and target-trained classifiers on one target; the fields are those above."""

    kind: ClassVar[str] = "domains"
    title: ClassVar[str] = "comparison of domains"
    rows: ClassVar[str] = "methods"
    columns: ClassVar[Sequence[Column]] = (
        Column("method", "title"),
        metric_column("top1", "top-1", interval=True),
        Column("points vs source [95 %]", lambda _, m: points_against(m) or "-"),
        Column("p", lambda _, m: format_p(m.p)),
        metric_column("balanced_accuracy", "balanced"),
        metric_column("log_loss"),
        Column("s", "seconds", "{:.1f}"),
    )

    source: dict[str, Any] = field(metadata={"json": _Domain})
    target: dict[str, Any] = field(metadata={"json": _Domain})
    classes: list[str]
    backbone: str
    classifier: str
    methods: list[DomainMethod]
    space: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] | None = field(default=None, metadata={"json": Selection | None})

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each method, in the order in which they were tried.

        The cells are ``name, title, kind``; for each metric ``top1, top1_low, top1_high``, ...; ``difference,
        difference_low, difference_high, p_value, p_adjusted`` against source-only; ``seconds``.
        """
        records = []
        for m in self.methods:
            row: dict[str, Any] = {"name": m.name, "title": m.title, "kind": m.kind}
            for name, interval in m.metrics.items():
                row |= interval_record(name, interval)
            against = Interval(*(number_of(m.versus_source, k) for k in ("difference", "low", "high")))
            row |= interval_record("difference", against)
            row |= {name: number_of(m.versus_source, name) for name in ("p_value", "p_adjusted")}
            row |= {"seconds": m.seconds}
            records.append(row)
        return records

    def heading(self) -> str:
        source, target = ({"name": "", "n_train": "?", "n_test": "?"} | d for d in (self.source, self.target))
        inputs = f"{self.input_kind}s"
        said = (
            f"{source['name']} -> {target['name']}: {source['n_train']} labelled source and "
            f"{target['n_train']} unlabelled target {inputs}, {target['n_test']} test {inputs}, "
            f"{len(self.classes)} classes, {self.classifier} on {self.backbone}"
        )
        return f"{said}; {self.units_note}" if self.units_note else said


def advise_domains(
    source: Interval, methods: Sequence[DomainMethod], optimism: float | None = None, kind: str = "image"
) -> str:
    """Say what the shift costs, which adaptation helps or harms, and how much of the gap it closes.

    `source` is the top-1 of the source-only classifier on its own domain; `optimism` is the expected excess
    of the best adaptation's top-1; `kind` is that of the inputs.
    """
    base = next(m for m in methods if m.kind == "source")
    bound = next(m for m in methods if m.kind == "bound")
    adapted = sorted((m for m in methods if m.kind == "adapted"), key=lambda m: -m.top1.value)
    said = [
        f"Trained on the source, the classifier reaches top-1 {base.top1.value:.3f} on the target's test "
        f"{kind}s and {source.value:.3f} on its own domain's; trained on labelled target {kind}s, it reaches "
        f"{bound.top1.value:.3f} on the target's."
    ]
    helps = [m for m in adapted if m.differs and m.top1.value > base.top1.value]
    harms = [m for m in adapted if m.differs and m.top1.value < base.top1.value]
    if helps:
        best, gap = helps[0], bound.top1.value - base.top1.value
        share = f", {100 * (best.top1.value - base.top1.value) / gap:.0f} % of that gap" if gap > 0 else ""
        said.append(f"{best.title} gains most without any target label: {_points(best)}{share}.")
        said += on_choice(len(adapted), optimism, kind=kind)
        if len(helps) > 1:
            said.append("Smaller gains: " + ", ".join(f"{m.title} ({_points(m)})" for m in helps[1:]) + ".")
    elif adapted:
        said.append(
            f"No adaptation shows a gain: use the source's classifier as it is, or label target {kind}s."
        )
        said += on_power((number_of(m.versus_source, "detectable") for m in adapted), kind=kind)
    if harms:
        said.append("Harmful here: " + ", ".join(f"{m.title} ({_points(m)})" for m in harms) + ".")
    return " ".join(said)


def _points(m: DomainMethod) -> str:
    difference = format_points(number_of(m.versus_source, "difference"))
    return f"{difference} points, {'adjusted ' if m.is_adjusted else ''}{p_in_text(m.p)}"
