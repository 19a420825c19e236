"""The results of single methods, and the choice of the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from featx.errors import InputError
from featx.metrics import METRICS, Interval
from featx.results.confusion import DENSE_CLASSES, Confusion
from featx.results.reading import quoted
from featx.results.shown import Shown

KINDS = ("probe", "finetune", "floor")
#: Level of the paired tests, two-sided, for all pairs together.
ALPHA = 0.05

#: References that use no input: no method is recommended that is not shown to be better.
GUESSES = ("majority", "mean")
#: The name of the reference that tells classes apart by their names, or the beginning of it.
ZERO_SHOT = "zero-shot"
#: The name of the method that averages the probes of several backbones.
ENSEMBLE = "ensemble"
#: The beginning of the names of methods that fine-tune; the mode follows.
MODE_PREFIX = "finetune-"
#: The name of the mode of fine-tuning that trains a new head and leaves the network as it is.
HEAD = f"{MODE_PREFIX}head"

#: A training history: lists over epochs (and the number "best_epoch").
Curve = dict[str, Any]


class Epochs(TypedDict, total=False):
    """The lists of a training history that reports show; a file may hold others."""

    epoch: list[int | float]
    train_loss: list[float | None]
    train_accuracy: list[float | None]
    val_loss: list[float | None]
    val_accuracy: list[float | None]
    best_epoch: int | float | None


class Test(TypedDict, total=False):
    """A paired test against another method."""

    method: str
    p_value: float | None
    p_adjusted: float | None
    p_holm: float | None
    p_mid: float | None
    difference: float | None
    low: float | None
    high: float | None
    low_adjusted: float | None
    high_adjusted: float | None
    detectable: float | None
    effect: float | None


@dataclass(frozen=True)
class Mistake:
    """A misclassified test input: names of the classes, and the probability of the predicted one."""

    id: str
    true: str
    predicted: str
    probability: float


class Method(Shown):
    """The fields that every method of a study has."""

    name: str
    title: str
    kind: str
    backbone: str | None

    @property
    def is_reference(self) -> bool:
        """Whether it is a reference, which does not compete (majority class, pixels, TF-IDF, ...)."""
        return self.kind == "floor"

    @property
    def learns_without_network(self) -> bool:
        """Whether it is a reference that is trained on the inputs themselves: what a network must beat."""
        untrained = self.name in GUESSES or self.name.startswith(ZERO_SHOT)
        return self.is_reference and self.backbone is None and not untrained

    @property
    def trains_network(self) -> bool:
        """Whether it trains the network; every other method, a new head too, works on frozen features."""
        return trains_network(self.kind, self.name)

    @property
    def ended_at_start(self) -> bool:
        """Whether its training kept the frozen network and the new head that it began with."""
        return False

    @property
    def competes(self) -> bool:
        """Whether it may be the best: no reference, and not what another method is already."""
        return not (self.is_reference or self.ended_at_start)

    def named(self, among: Iterable[Method]) -> str:
        """Return the title, with the backbone if the methods `among` have several."""
        several = len({m.backbone for m in among if m.backbone}) > 1
        return f"{self.title} · {self.backbone}" if several and self.backbone else self.title

    def in_table(self, among: Iterable[Method]) -> str:
        """Return `named`, with a mark if it does not compete."""
        mark = " (reference)" if self.is_reference else " (= new head)" if self.ended_at_start else ""
        return self.named(among) + mark


class TestedMethod(Method):
    """A method that was tested against the best one."""

    versus_best: dict[str, Any] | None

    @property
    def p_value(self) -> float:
        """p-value of the test against the best method, or NaN."""
        return number_of(self.versus_best, "p_value")

    @property
    def is_adjusted(self) -> bool:
        """Whether the p-value was adjusted for all competing pairs; that of a reference is not."""
        return any(math.isfinite(number_of(self.versus_best, name)) for name in ("p_adjusted", "p_holm"))

    @property
    def p_adjusted(self) -> float:
        """The p-value adjusted for all competing pairs: by max-T, else by Holm; else the plain one."""
        adjusted = (number_of(self.versus_best, name) for name in ("p_adjusted", "p_holm"))
        return next((p for p in adjusted if math.isfinite(p)), self.p_value)

    @property
    def difference(self) -> Interval:
        """This method - the best one, with the interval that goes with `p_adjusted`, or NaN."""
        kind = "_adjusted" if math.isfinite(number_of(self.versus_best, "p_adjusted")) else ""
        return Interval(
            *(number_of(self.versus_best, k) for k in ("difference", f"low{kind}", f"high{kind}"))
        )

    @property
    def detectable(self) -> float:
        """The smallest difference from the best one that would be shown with 80 % power, or NaN."""
        return number_of(self.versus_best, "detectable")


@dataclass
class MethodResult(TestedMethod):
    """One method on the test inputs; the package's docstring describes the fields (``methods``).

    Parameters
    ----------
    curves : dict or sequence of dict
        Lists over epochs; or one dict per epoch, or ``{"epochs": history, "best_epoch": ...}``, which are
        converted.
    confusion : list of list of int, ndarray of shape (n_classes, n_classes), or Confusion
        Stored as a `Confusion` if there are more than `DENSE_CLASSES` classes.
    """

    name: str
    title: str
    kind: str
    backbone: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Interval] = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict, repr=False)
    versus_best: dict[str, Any] | None = field(default=None, repr=False, metadata={"json": Test | None})
    versus_references: dict[str, float] | None = field(default=None, repr=False)
    confusion: list[list[int]] | Confusion = field(default_factory=list, repr=False)
    curves: Curve | None = field(default=None, repr=False, metadata={"json": Epochs | None})
    mistakes: list[Mistake] = field(default_factory=list, repr=False)
    notes: list[str] = field(default_factory=list, repr=False)
    image_size: int | None = None
    joules: dict[str, float | None] = field(default_factory=dict, repr=False)
    earlier_run: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"method {quoted(self.name)}: kind must be one of {', '.join(KINDS)}, got {quoted(self.kind)}"
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

    @property
    def ended_at_start(self) -> bool:
        return self.trains_network and kept_start(self.curves)

    def metric(self, name: str) -> Interval:
        """Return a metric by name, or NaN if it was not measured."""
        return self.metrics.get(name, Interval(math.nan))

    @property
    def top1(self) -> float:
        """Top-1 accuracy on the test inputs, or NaN."""
        return self.metric("top1").value

    @property
    def cost(self) -> float:
        """Seconds of extraction and fit together, or NaN."""
        times = [t for k in ("extract", "fit") if (t := self.seconds.get(k)) is not None and math.isfinite(t)]
        return float(sum(times)) if times else math.nan

    @property
    def energy(self) -> float:
        """Joules of extraction and fit together, or NaN unless both were measured."""
        parts = [self.joules.get(k) for k in ("extract", "fit")]
        return math.nan if None in parts else float(sum(p for p in parts if p))


def number_of(test: Mapping[str, Any] | None, name: str) -> float:
    """Return a number of a paired test, or NaN."""
    found = (test or {}).get(name)
    return math.nan if found is None else float(found)


def trains_network(kind: str, name: str) -> bool:
    """Return whether a method of this kind and name trains the network, and not only a new head."""
    return kind == "finetune" and name != HEAD


def kept_start(curves: Mapping[str, Any] | None) -> bool:
    """Return whether the training of a network kept its epoch 0: the frozen network with a new head."""
    return (curves or {}).get("best_epoch") == 0


def curves_from_history(history: Iterable[Mapping[str, Any]]) -> Curve | None:
    """Turn one dict per epoch into lists over epochs; missing values become None."""
    rows = list(history)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names} or None


def admitted(methods: Iterable[MethodResult], metric: str = "top1") -> list[MethodResult]:
    """Return the methods that may be recommended, the best first: those that beat every reference.

    They are shown to be better than a guess (the majority class, the mean), and their `metric` is better than
    that of every other reference: raw pixels, TF-IDF, filter banks, zero-shot classification. Methods of
    older files were not tested against references, and are all returned, except those that are right no more
    often than the same answer to every test input would be.
    """
    methods = list(methods)
    references = [m for m in methods if m.is_reference and math.isfinite(m.metric(metric).value)]

    def beats(m: MethodResult, reference: MethodResult) -> bool:
        better = worth(m, metric) > worth(reference, metric)
        return better and (reference.name not in GUESSES or shown_above(m, reference) is not False)

    return [
        m
        for m in ranked_methods(methods, metric)
        if m.competes
        and math.isfinite(worth(m, metric))
        and (metric != "top1" or m.top1 > constant_top1(m))
        and (m.versus_references is None or all(beats(m, r) for r in references))
    ]


def constant_top1(method: MethodResult) -> float:
    """Return the top-1 of the best constant answer, by the method's confusions; 0 without them."""
    totals = Confusion.of(method.confusion).totals() if method.confusion else []
    return max(totals) / sum(totals) if sum(totals) else 0.0


def shown_above(method: MethodResult, reference: MethodResult) -> bool | None:
    """Return whether a method is shown to be better than a reference; None if it was not tested."""
    p = number_of(method.versus_references, reference.name)
    return None if math.isnan(p) else p < ALPHA


def best_method(methods: Iterable[MethodResult], metric: str = "top1") -> MethodResult | None:
    """Return the competing method with the best `metric`, or None.

    Ties go to the method that the others were tested against, then to frozen features (cheaper than
    fine-tuning), of these to a probe, then to the higher balanced accuracy and the lower log loss.
    """

    def rank(m: MethodResult) -> tuple[float, ...]:
        ties = float(m.versus_best is None), float(not m.trains_network), float(m.kind == "probe")
        return worth(m, metric), *ties, worth(m, "balanced_accuracy"), worth(m, "log_loss")

    candidates = [m for m in methods if m.competes and math.isfinite(m.metric(metric).value)]
    return max(candidates, key=rank, default=None)


def ranked_methods(methods: Iterable[MethodResult], metric: str = "top1") -> list[MethodResult]:
    """Sort methods by `metric`, the best first; `best_method` comes before its equals."""
    methods = list(methods)
    best = best_method(methods, metric)
    return sorted(methods, key=lambda m: (-worth(m, metric), m is not best, m.is_reference))


def worth(method: Any, metric: str) -> float:
    """Return a metric with the sign that makes higher better, or minus infinity if it is undefined."""
    value = method.metric(metric).value
    if not math.isfinite(value):
        return -math.inf
    return float(value if METRICS[metric].higher_is_better else -value)
