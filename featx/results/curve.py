"""What a learning curve says: the result type, and ``curve.json``.

The fields below are the file's contract; new ones may be added under the same ``schema``, none is renamed or
changes its meaning without a new one.

====================  ======================================================================================
``schema``            1
``kind``              ``"curve"``
``dataset``           as in ``results.json``; ``n_train`` counts the images that could be drawn
``levels``            list of ``{shots, n_train, per_class, short}``: ``shots`` a number or ``"all"``,
                      ``n_train`` the training images, ``per_class`` their mean over the classes, ``short`` an
                      object: class -> what it gave, of the classes that have fewer images
``methods``           list of ``{name, title, kind, backbone}``; ``kind`` as in ``results.json``
``draws``             list, one entry a method, level and draw: ``method, backbone, shots, draw, metrics``
                      (as in ``results.json``, plain numbers), ``seconds`` (``fit``, ``predict_per_image``),
                      ``params``, ``notes``, ``earlier_run`` (when an earlier run computed it, ISO 8601; null
                      of what this run did)
``points``            list, one entry a method and level: ``method, backbone, shots, per_class, n_draws,
                      metrics`` of ``{value, low, high}``: mean over the draws and its 95 % interval
                      (Student's t over draws); null bounds of a single draw
``crossings``         list, one entry a fine-tuned method, as `Crossing` has it
``n_draws``           draws
``protocol``          the name it was asked for by, or null
``recipe``            how the fine-tuned methods were trained, in a sentence, or null
``cells``             ``{computed, resumed}``: cells of this run, and those found finished
====================  ======================================================================================

``spaces``, ``forward_passes``, ``advice``, ``failures``, ``environment``, ``seed``, ``created``,
``seconds_total``, ``command`` and ``warnings`` are those of ``results.json``.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from featx.errors import InputError
from featx.metrics import Interval
from featx.results.comparison import DatasetFacts, aligned
from featx.results.reading import built_fields, read_json, shown
from featx.results.writing import plain, write_atomically
from featx.spreadsheet import frame_csv

if TYPE_CHECKING:
    import pandas

CURVE_SCHEMA = 1


@dataclass(frozen=True)
class CurveLevel:
    """A number of training images; see ``levels``."""

    shots: int | str
    n_train: int
    per_class: float
    short: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """As a column's head: ``5``, or ``all (60)``."""
        return str(self.shots) if self.shots != "all" else f"all ({self.per_class:.4g})"


@dataclass(frozen=True)
class CurveMethod:
    """A method; see ``methods``."""

    name: str
    title: str
    kind: str
    backbone: str | None = None

    @property
    def id(self) -> tuple[str, str | None]:
        """What tells it from the others."""
        return self.name, self.backbone


@dataclass(frozen=True)
class CurveDraw:
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
class CurvePoint:
    """One method at one level, over the draws; see ``points``."""

    method: str
    backbone: str | None
    shots: int | str
    per_class: float
    n_draws: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Crossing:
    """From where on a fine-tuned method is ahead of the best probe on frozen features.

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
        95 % interval over draws. None is an open end: below the range tried, or above it.
    shares : dict
        Share of the resamples with each status.
    rival : str or None
        The probe that was best at the level before the crossing (or the last level).
    """

    method: str
    backbone: str | None
    status: str
    shots: float | None = None
    low: float | None = None
    high: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    rival: str | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class CurveResult:
    """Learning curves of several methods on the same draws; the fields are those of this module's table."""

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    levels: list[CurveLevel]
    methods: list[CurveMethod]
    draws: list[CurveDraw]
    points: list[CurvePoint]
    crossings: list[Crossing] = field(default_factory=list)
    n_draws: int = 0
    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    forward_passes: int = 0
    advice: str = ""
    failures: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    created: str = field(default_factory=_now)
    seconds_total: float | None = None
    command: str | None = None
    warnings: list[str] = field(default_factory=list)
    extraction: dict[str, dict[str, Any]] = field(default_factory=dict)
    protocol: str | None = None
    recipe: str | None = None
    cells: dict[str, int] = field(default_factory=dict)

    schema = CURVE_SCHEMA

    def point(self, method: CurveMethod, level: CurveLevel) -> CurvePoint | None:
        """A method at a level; None where it was not measured."""
        for point in self.points:
            if (point.method, point.backbone, point.shots) == (method.name, method.backbone, level.shots):
                return point
        return None

    def metric(self, method: CurveMethod, level: CurveLevel, name: str = "top1") -> Interval:
        """A metric of a method at a level; undefined (NaN) where it was not measured."""
        point = self.point(method, level)
        return Interval(math.nan) if point is None else point.metrics.get(name, Interval(math.nan))

    def best(self, level: CurveLevel, kind: str | None = None) -> CurveMethod | None:
        """The method of the highest mean top-1 at a level, floors excluded; of equals the first."""
        shown = [m for m in self.methods if m.kind == kind or (kind is None and m.kind != "floor")]
        found = [m for m in shown if math.isfinite(self.metric(m, level).value)]
        return max(found, key=lambda m: self.metric(m, level).value, default=None)

    def named(self, method: CurveMethod) -> str:
        """A method's title, with its backbone where there are several."""
        several = len({m.backbone for m in self.methods if m.backbone}) > 1
        return f"{method.title} · {method.backbone}" if several and method.backbone else method.title

    def ranked(self) -> list[CurveMethod]:
        """The methods by top-1 at the most images, the best first, floors last."""

        def place(m: CurveMethod) -> tuple[bool, float]:
            value = self.metric(m, self.levels[-1]).value
            return m.kind == "floor", -value if math.isfinite(value) else math.inf

        return sorted(self.methods, key=place)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN becomes None."""
        own = {f.name: getattr(self, f.name) for f in fields(CurveResult)}
        return plain({"schema": CURVE_SCHEMA, "kind": "curve"} | own)

    @classmethod
    def from_dict(cls, content: Any) -> CurveResult:
        """The inverse of `to_dict`.

        Raises
        ------
        InputError
            When `content` is no learning curve of this schema.
        """
        found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        if found != CURVE_SCHEMA or content.get("kind") != "curve":
            raise InputError(
                f"not a learning curve this featx can read: schema {CURVE_SCHEMA} expected, got "
                f"{shown(found)}"
            )
        try:
            found = cls(**built_fields(CurveResult, content))
            found._require_known()
        except InputError as error:
            raise InputError(f"a damaged learning curve: {error}") from error
        return found

    def _require_known(self) -> None:
        """Refuse entries of methods and levels that are not there."""
        if not self.levels:
            raise InputError("there are no levels")
        methods, shots = {m.id for m in self.methods}, {level.shots for level in self.levels}
        entries: list[CurveDraw | CurvePoint] = [*self.draws, *self.points]
        for entry in entries:
            if (entry.method, entry.backbone) not in methods or entry.shots not in shots:
                raise InputError(
                    f"an entry of {shown(entry.method)} at {shown(entry.shots)} shots, which is not there"
                )

    def to_frame(self, *, draws: bool = False) -> pandas.DataFrame:
        """One row a method and level; or one a method, level and draw.

        Parameters
        ----------
        draws : bool, default=False
            Every draw on its own.

        Returns
        -------
        pandas.DataFrame
            Columns ``method, title, kind, backbone, shots, per_class, n_train`` and then ``n_draws``,
            ``n_earlier`` (draws that an earlier run computed), and for each metric ``top1, top1_low,
            top1_high``; or ``draw``, the metrics, ``seconds_fit``, ``seconds_predict_per_image``, ``params``
            as JSON text and ``earlier_run``.
        """
        import pandas

        methods = {m.id: m for m in self.methods}
        levels = {level.shots: level for level in self.levels}
        earlier = Counter((d.method, d.backbone, d.shots) for d in self.draws if d.earlier_run)
        rows = []
        for entry in self.draws if draws else self.points:
            method, level = methods[entry.method, entry.backbone], levels[entry.shots]
            row: dict[str, Any] = {
                "method": method.name,
                "title": method.title,
                "kind": method.kind,
                "backbone": method.backbone,
                "shots": level.shots,
                "per_class": level.per_class,
                "n_train": level.n_train,
            }
            if isinstance(entry, CurveDraw):
                row |= {"draw": entry.draw} | entry.metrics
                row |= {f"seconds_{k}": v for k, v in entry.seconds.items()}
                row["params"] = json.dumps(plain(entry.params), ensure_ascii=False)
                row["earlier_run"] = entry.earlier_run
            else:
                row["n_draws"] = entry.n_draws
                row["n_earlier"] = earlier[entry.method, entry.backbone, entry.shots]
                for name, interval in entry.metrics.items():
                    row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            rows.append(row)
        return pandas.DataFrame(rows)

    def table(self) -> str:
        """A plain-text table for a terminal: top-1 of each method at each level, mean and interval."""
        lines = [["top-1, images per class:", *(level.title for level in self.levels)]]
        for method in self.ranked():
            title = self.named(method) + (" (floor)" if method.kind == "floor" else "")
            lines.append([title, *(_short(self.metric(method, level)) for level in self.levels)])
        data = self.dataset
        heading = (
            f"{data.get('name', '')}: {len(data.get('classes', ()))} classes, {data.get('n_test', '?')} test "
            f"images, {self.n_draws} draw{'' if self.n_draws == 1 else 's'}, mean ± half of the 95 % interval"
        )
        return "\n".join([heading, "", *aligned(lines)])

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write ``curve.json``, all of it or nothing.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, text + "\n")

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> CurveResult:
        """Read what `write_json` wrote.

        Raises
        ------
        InputError
            When the file cannot be read, or is no learning curve of this schema.
        """
        content = read_json(path, "curve.json")
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_frame` as CSV (UTF-8), all of it or nothing.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        write_atomically(path, frame_csv(self.to_frame()))


def _short(interval: Interval) -> str:
    if not math.isfinite(interval.value):
        return "-"
    if not math.isfinite(interval.low):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ±{(interval.high - interval.low) / 2:.3f}"
