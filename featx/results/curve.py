"""The result of a learning curve, and its ``curve.json``, under the same contract as ``results.json``.

====================  ======================================================================================
``schema``            1
``kind``              ``"curve"``
``dataset``           as in ``results.json``; ``n_train`` counts the images that could be drawn
``levels``            list of ``{shots, n_train, per_class, short, overlap, pool_from}``: ``shots`` a number
                      or ``"all"``, ``n_train`` the training images, ``per_class`` their mean over the
                      classes, ``short`` an object: class -> its images, of the classes that have fewer;
                      ``overlap`` the share of training images (of their units) that two draws have in
                      common; ``pool_from`` the shots of the level whose draws tell how much another pool of
                      training images would change, null where none does and intervals hold for this pool
                      only
``methods``           list of ``{name, title, kind, backbone}``; ``kind`` as in ``results.json``
``draws``             list, one entry a method, level and draw: ``method, backbone, shots, draw, metrics``
                      (as in ``results.json``, plain numbers), ``seconds`` (``fit``, ``predict_per_image``),
                      ``params``, ``notes``, ``earlier_run`` (as in ``results.json``)
``points``            list, one entry a method and level: ``method, backbone, shots, per_class, n_draws,
                      metrics`` of ``{value, low, high}``: mean over the draws and its 95 % interval; null
                      bounds of a single draw
``intervals``         what the intervals of ``points`` and ``crossings`` are over: ``"draws and test images"``
                      or, in files of earlier versions, ``"draws"`` (Student's t, on these test images)
``leaders``           list, one entry a level: the method with the highest mean top-1, as `CurveLeader` has
                      it; empty for a single draw
``crossings``         list, one entry a method that trains the network, as `Crossing` has it
``reference_gaps``    list, one entry a reference that learns from texts or clips without a network (TF-IDF,
                      filter banks), as `ReferenceGap` has it; empty for a single draw, and for images
``n_draws``           draws
``protocol``          name of the protocol that was asked for, or null
``recipe``            how the fine-tuned methods were trained, in sentences, or null
``left_out``          object: fine-tuned method -> what its training leaves out of the default recipe
``cells``             ``{computed, resumed}``: cells of this run, and those found finished
====================  ======================================================================================

``spaces``, ``extraction`` and the fields of `featx.results.base.AdvisedResult` are those of ``results.json``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.base import AdvisedResult, DatasetFacts
from featx.results.methods import Method
from featx.results.reading import quoted
from featx.results.shown import Shown
from featx.results.tables import Lines, html_text, interval_record, number_text
from featx.results.writing import json_text
from featx.terminal import printable

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class CurveLevel(Shown):
    """A number of training images; see ``levels``."""

    shots: int | str
    n_train: int
    per_class: float
    short: dict[str, int] = field(default_factory=dict)
    overlap: float | None = None
    pool_from: int | str | None = None

    @property
    def title(self) -> str:
        """The heading of its column: ``5``, or ``all (60)``."""
        return str(self.shots) if self.shots != "all" else f"all ({self.per_class:.4g})"


@dataclass(frozen=True)
class CurveMethod(Method):
    """A method; see ``methods``."""

    name: str
    title: str
    kind: str
    backbone: str | None = None

    @property
    def id(self) -> tuple[str, str | None]:
        """Name and backbone, which no two methods share."""
        return self.name, self.backbone


@dataclass(frozen=True)
class CurveDraw(Shown):
    """One method fitted on one draw; see ``draws``."""

    method: str
    backbone: str | None
    shots: int | str
    draw: int
    metrics: dict[str, float]
    seconds: dict[str, float]
    params: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    earlier_run: str | None = None


@dataclass(frozen=True)
class CurvePoint(Shown):
    """One method at one level, over the draws; see ``points``."""

    method: str
    backbone: str | None
    shots: int | str
    per_class: float
    n_draws: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Crossing(Shown):
    """The number of images from which on a fine-tuned method is ahead of the best one on frozen features.

    Attributes
    ----------
    method, backbone
        The fine-tuned method.
    status : {"within", "before", "none"}
        ``"within"``: it overtakes between two of the levels tried. ``"before"``: it is ahead at all of them,
        so any crossing is below the fewest. ``"none"``: it is not ahead at the most images tried.
    shots : float or None
        Images per class at the crossing, interpolated on the logarithm; only ``"within"``.
    low, high : float or None
        95 % interval over draws and test images. None is an open end: below the range tried, or above it.
    shares : dict
        Share of the resamples with each status.
    rival : str or None
        The method on frozen features that was best at the level before the crossing (or the last level).
    """

    method: str
    backbone: str | None
    status: str
    shots: float | None = None
    low: float | None = None
    high: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    rival: str | None = None


@dataclass(frozen=True)
class ReferenceGap(Shown):
    """How far a reference that learns without a network is from the best probe, by number of labels.

    Attributes
    ----------
    method : str
        The reference.
    shots : int, "all" or None
        The level from which on, up to the last one, it is not shown to be worse; None if it is at the last.
    rival : str
        The probe with the highest mean top-1 at the last level.
    differences : dict of str to Interval
        By shots: mean top-1 of the reference less that of the best probe of the level, with the 95 % interval
        over draws and test inputs. The probe is scored on other draws and inputs than those that chose it.
    """

    method: str
    shots: int | str | None
    rival: str
    differences: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class CurveLeader(Shown):
    """The competing method with the highest mean top-1 at a level, and how much that says.

    Attributes
    ----------
    shots : int or "all"
        The level.
    method, backbone
        The method.
    not_told_apart : list of dict
        ``method`` and ``backbone`` of the others that may be as good: 0 is in the 95 % interval of the
        difference, with all pairs of methods considered together.
    optimism : float
        By how much its mean top-1 is expected to be too high because it is the highest of several.
    """

    shots: int | str
    method: str
    backbone: str | None
    not_told_apart: list[dict[str, str | None]] = field(default_factory=list)
    optimism: float = 0.0


@dataclass
class CurveResult(AdvisedResult):
    """Learning curves of several methods on the same draws; the fields are those above."""

    kind: ClassVar[str] = "curve"
    title: ClassVar[str] = "learning curve"
    json_file: ClassVar[str] = "curve.json"
    csv_file: ClassVar[str] = "curve.csv"
    indent: ClassVar[int] = 1

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    levels: list[CurveLevel]
    methods: list[CurveMethod]
    draws: list[CurveDraw]
    points: list[CurvePoint]
    crossings: list[Crossing] = field(default_factory=list)
    reference_gaps: list[ReferenceGap] = field(default_factory=list)
    n_draws: int = 0
    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    extraction: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocol: str | None = None
    recipe: str | None = None
    cells: dict[str, int] = field(default_factory=dict)
    leaders: list[CurveLeader] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    intervals: str = "draws"

    def point(self, method: CurveMethod, level: CurveLevel) -> CurvePoint | None:
        """Return the point of a method at a level, or None."""
        for point in self.points:
            if (point.method, point.backbone, point.shots) == (method.name, method.backbone, level.shots):
                return point
        return None

    def metric(self, method: CurveMethod, level: CurveLevel, name: str = "top1") -> Interval:
        """Return a metric of a method at a level, or NaN if it was not measured."""
        point = self.point(method, level)
        return Interval(math.nan) if point is None else point.metrics.get(name, Interval(math.nan))

    def best(self, level: CurveLevel, kind: str | None = None) -> CurveMethod | None:
        """Return the competing method (or the one of a `kind`) with the highest mean top-1 at a level."""
        asked = [m for m in self.methods if m.kind == kind or (kind is None and m.competes)]
        found = [m for m in asked if math.isfinite(self.metric(m, level).value)]
        return max(found, key=lambda m: self.metric(m, level).value, default=None)

    def leader(self, level: CurveLevel) -> CurveLeader | None:
        """Return what is known of the `best` method of a level, or None."""
        return next((one for one in self.leaders if one.shots == level.shots), None)

    def named(self, method: CurveMethod) -> str:
        """Return a method's title, with its backbone if there are several."""
        return method.named(self.methods)

    def ranked(self) -> list[CurveMethod]:
        """Return the methods by top-1 at the most images, the best first, references last."""

        def place(m: CurveMethod) -> tuple[bool, float]:
            value = self.metric(m, self.levels[-1]).value
            return m.is_reference, -value if math.isfinite(value) else math.inf

        return sorted(self.methods, key=place)

    def heading(self) -> str:
        data = self.dataset
        return (
            f"{data.get('name', '')}: {len(data.get('classes') or ())} classes, {data.get('n_test', '?')} "
            f"test {self.input_kind}s, {self.n_draws} draw{'' if self.n_draws == 1 else 's'}, mean"
            + (" and 95 % interval" if self.n_draws > 1 else "")
        )

    @property
    def intervals_over(self) -> str:
        """What the intervals are over, in words."""
        return "draws" if self.intervals == "draws" else f"draws and test {self.input_kind}s"

    def notes(self) -> list[str]:
        """Return what a reader of the table must know: the intervals' meaning and what was left out."""
        found = [self.recipe] if self.recipe else []
        if any(math.isfinite(i.low) for p in self.points for i in p.metrics.values()):
            found.append(self._describe_intervals())
        return found

    def _describe_intervals(self) -> str:
        kind = self.input_kind
        if self.intervals == "draws":
            return (
                f"Intervals are over draws, on these test {kind}s: other test {kind}s could give more or "
                "less."
            )
        said = f"Intervals hold for other test {kind}s"
        if not self.levels[0].pool_from:
            return (
                f"{said} only: no number of {kind}s tried is at most half of the training {kind}s, so "
                f"nothing tells what training {kind}s other than these would give."
            )
        source = next(level for level in self.levels if level.shots == self.levels[-1].pool_from)
        said += f" and other training {kind}s"
        if source is not self.levels[-1]:
            said += (
                f"; above {source.title} {kind}s per class, where draws have too many in common to tell, the "
                f"share of other training {kind}s is that at {source.title}"
            )
        return f"{said}{f'; {self.units_note}' if self.units_note else ''}."

    def table(self, width: int | None = None) -> str:
        return "\n\n".join([super().table(width), *map(printable, self.notes())])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html_text(note)}</p>" for note in self.notes())
        return super()._repr_html_().removesuffix("</div>") + f"{notes}</div>"

    def lines(self) -> Lines:
        lines = [[f"top-1, {self.input_kind}s per class:", *(level.title for level in self.levels)]]
        for m in self.ranked():
            cells = [_short(self.metric(m, level)) for level in self.levels]
            lines.append([m.in_table(self.methods), *cells])
        return lines

    def records(self, *, draws: bool = False) -> list[dict[str, Any]]:
        """Return a row for each method and level or, with `draws`, for each method, level and draw.

        The cells are ``method, title, kind, backbone, shots, per_class, n_train`` and then ``n_draws``,
        ``n_earlier`` (draws that an earlier run computed), and for each metric ``top1, top1_low, top1_high``;
        or ``draw``, the metrics, ``seconds_fit``, ``seconds_predict_per_image``, ``params`` as JSON text and
        ``earlier_run``.
        """
        methods = {m.id: m for m in self.methods}
        levels = {level.shots: level for level in self.levels}
        earlier = Counter((d.method, d.backbone, d.shots) for d in self.draws if d.earlier_run)
        entries: Sequence[CurveDraw | CurvePoint] = self.draws if draws else self.points
        records = []
        for entry in entries:
            method, level = methods[entry.method, entry.backbone], levels[entry.shots]
            row: dict[str, Any] = {"method": method.name, "title": method.title, "kind": method.kind}
            row |= {"backbone": method.backbone, "shots": level.shots}
            row |= {"per_class": level.per_class, "n_train": level.n_train}
            if isinstance(entry, CurveDraw):
                row |= {"draw": entry.draw} | entry.metrics
                row |= {f"seconds_{k}": v for k, v in entry.seconds.items()}
                row |= {"params": json_text(entry.params), "earlier_run": entry.earlier_run}
            else:
                row["n_draws"] = entry.n_draws
                row["n_earlier"] = earlier[entry.method, entry.backbone, entry.shots]
                for name, interval in entry.metrics.items():
                    row |= interval_record(name, interval)
            records.append(row)
        return records

    def to_frame(self, *, draws: bool = False) -> pandas.DataFrame:
        """Return `records` as a data frame."""
        import pandas

        return pandas.DataFrame(self.records(draws=draws))

    def check(self) -> None:
        if not self.levels:
            raise InputError("there are no levels")
        methods, shots = {m.id for m in self.methods}, {level.shots for level in self.levels}
        entries: list[CurveDraw | CurvePoint] = [*self.draws, *self.points]
        for entry in entries:
            if (entry.method, entry.backbone) not in methods or entry.shots not in shots:
                raise InputError(
                    f"an entry of {quoted(entry.method)} at {quoted(entry.shots)} shots, which is not listed"
                )


def _short(interval: Interval) -> str:
    if not (math.isfinite(interval.value) and math.isfinite(interval.low)):
        return number_text(interval.value)
    return f"{interval.value:.3f} {interval.low:.2f}–{interval.high:.2f}"
