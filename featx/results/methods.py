"""The result types: an interval, a mistake, a method; and which method is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.confusion import DENSE_CLASSES, Confusion
from featx.results.reading import shown

KINDS = ("probe", "finetune", "floor")

# A method's training history: lists over epochs (and the number "best_epoch").
Curve = dict[str, Any]


class Epochs(TypedDict, total=False):
    """A training history as it stands in a file: what is shown of it; other lists may be there."""

    epoch: list[int | float]
    train_loss: list[float | None]
    train_accuracy: list[float | None]
    val_loss: list[float | None]
    val_accuracy: list[float | None]
    best_epoch: int | float | None


class Test(TypedDict, total=False):
    """A paired test against another method, as it stands in a file."""

    method: str
    p_value: float | None
    p_holm: float | None
    p_mid: float | None
    difference: float | None
    low: float | None
    high: float | None
    effect: float | None


@dataclass(frozen=True)
class Mistake:
    """A test image that a method got wrong.

    Parameters
    ----------
    id : str
        Which image.
    true, predicted : str
        Class names.
    probability : float
        What the method gave the class it predicted.
    """

    id: str
    true: str
    predicted: str
    probability: float


@dataclass
class MethodResult:
    """One method on the test images. The fields are those of ``methods`` in the package's docstring.

    ``curves`` may be given as a history, a list of one dict an epoch, or as ``{"epochs": history,
    "best_epoch": ...}``; it is kept as lists over epochs.
    ``confusion`` may be an integer array (n_classes, n_classes); of more than `DENSE_CLASSES` classes it is
    kept as a `Confusion`, which holds the cells that are not 0.
    """

    name: str
    title: str
    kind: str
    backbone: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Interval] = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict)
    versus_best: dict[str, Any] | None = field(default=None, metadata={"json": Test | None})
    confusion: list[list[int]] | Confusion = field(default_factory=list)
    curves: Curve | None = field(default=None, metadata={"json": Epochs | None})
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    image_size: int | None = None
    joules: dict[str, float | None] = field(default_factory=dict)
    earlier_run: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"method {shown(self.name)}: kind must be one of {', '.join(KINDS)}, got {shown(self.kind)}"
            )
        if isinstance(self.curves, Sequence):
            self.curves = curves_from_history(self.curves)
        elif self.curves and "epochs" in self.curves:
            rest = {k: v for k, v in self.curves.items() if k != "epochs"}
            self.curves = (curves_from_history(self.curves["epochs"]) or {}) | rest
        if hasattr(self.confusion, "tolist"):
            self.confusion = self.confusion.tolist()
        if len(self.confusion) > DENSE_CLASSES:
            self.confusion = Confusion.of(self.confusion)

    def metric(self, name: str) -> Interval:
        """The metric of that name, or an undefined interval (NaN) when it was not measured."""
        return self.metrics.get(name, Interval(math.nan))

    @property
    def top1(self) -> float:
        """Top-1 accuracy on the test images; NaN when not measured."""
        return self.metric("top1").value

    @property
    def cost(self) -> float:
        """Seconds to a trained method: extraction and fit. NaN when no time was taken."""
        times = [t for k in ("extract", "fit") if (t := self.seconds.get(k)) is not None and math.isfinite(t)]
        return float(sum(times)) if times else math.nan

    @property
    def energy(self) -> float:
        """Joules to a trained method: extraction and fit. NaN unless both were measured."""
        parts = [self.joules.get(k) for k in ("extract", "fit")]
        return math.nan if None in parts else float(sum(p for p in parts if p))

    @property
    def p_value(self) -> float:
        """Of the paired test against the best method; NaN when there is none."""
        p = (self.versus_best or {}).get("p_value")
        return math.nan if p is None else float(p)

    @property
    def p_adjusted(self) -> float:
        """The same, adjusted for the number of tests; where it was not adjusted (a floor's), `p_value`."""
        p = (self.versus_best or {}).get("p_holm")
        return self.p_value if p is None else float(p)


def curves_from_history(history: Iterable[Mapping[str, Any]]) -> Curve | None:
    """Turn one dict an epoch into lists over epochs; a value missing in an epoch becomes None."""
    rows = list(history)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names} or None


def best_method(methods: Iterable[MethodResult]) -> MethodResult | None:
    """The method with the highest top-1, floors excluded; None when there is none.

    At equal top-1, the one that the paired tests were made against comes first, then a probe before a
    fine-tuned baseline (it is the cheaper one), then the higher balanced accuracy and the lower log loss.
    """

    def rank(m: MethodResult) -> tuple[float, ...]:
        keys = (
            m.top1,
            float(m.versus_best is None),
            float(m.kind == "probe"),
            m.metric("balanced_accuracy").value,
            -m.metric("log_loss").value,
        )
        return tuple(k if math.isfinite(k) else -math.inf for k in keys)

    candidates = [m for m in methods if m.kind != "floor" and math.isfinite(m.top1)]
    return max(candidates, key=rank, default=None)


def by_top1(methods: Iterable[MethodResult]) -> list[MethodResult]:
    """The methods from the best to the worst, the best one as :func:`best_method` has it."""
    methods = list(methods)
    best = best_method(methods)

    def place(m: MethodResult) -> tuple[float, bool, bool]:
        top1 = m.top1 if math.isfinite(m.top1) else -math.inf
        return -top1, m is not best, m.kind == "floor"

    return sorted(methods, key=place)
