"""All methods of one comparison: as JSON, as a table, as a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from featx.errors import InputError
from featx.results.advice import ALPHA
from featx.results.confusion import Confusion
from featx.results.formats import format_milliseconds
from featx.results.methods import MethodResult, best_method, by_top1
from featx.results.reading import built_fields, read_json, shown
from featx.results.repeats import Repeats, said_of
from featx.results.writing import plain, write_atomically
from featx.spreadsheet import frame_csv
from featx.terminal import printable

if TYPE_CHECKING:
    import pandas

SCHEMA = 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class DatasetFacts(TypedDict, total=False):
    """What a file says of the images; see ``dataset`` in the package's docstring."""

    name: str
    task: str
    n_train: int | None
    n_test: int | None
    classes: list[str]
    split: str | None
    n_per_class_train: list[int]
    n_per_class_test: list[int]


class HygieneFacts(TypedDict, total=False):
    """The part of ``hygiene`` that is read without its tables."""

    notes: list[str]


@dataclass
class ComparisonResult:
    """All methods of one comparison, on one split. The fields are those of the package's docstring."""

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    methods: list[MethodResult]
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
    repeats: Repeats | None = None
    hygiene: dict[str, Any] | None = field(default=None, metadata={"json": HygieneFacts | None})
    ensemble: dict[str, Any] | None = None

    schema = SCHEMA
    #: What was predicted.
    kind: ClassVar[str] = "classes"

    def best(self) -> MethodResult | None:
        """The method with the highest top-1, floors excluded (see :func:`best_method`)."""
        return best_method(self.methods)

    def ranked(self) -> list[MethodResult]:
        """The methods from the best to the worst."""
        return by_top1(self.methods)

    @property
    def findings(self) -> list[str]:
        """What was found to be amiss with the images and labels, beyond the `warnings`."""
        return [note for note in (self.hygiene or {}).get("notes", ()) if note not in self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN and infinities become None."""
        # The fields of this class alone: a subclass may carry what does not belong into the file.
        content = {"schema": SCHEMA} | {f.name: getattr(self, f.name) for f in fields(ComparisonResult)}
        return plain(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ComparisonResult:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        InputError
            When ``content`` is no comparison, or one of another schema.
        """
        if isinstance(content, Mapping) and content.get("kind", cls.kind) != cls.kind:
            raise InputError(f"a result of kind {shown(content['kind'])}; expected one of {cls.kind}")
        if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
            raise InputError(
                f"not a comparison result this featx can read: schema {SCHEMA} expected, got {shown(found)}"
            )
        try:
            found = built_fields(ComparisonResult, content)
            found["repeats"] = Repeats.from_dict(content.get("repeats"))
            _require_square(found["methods"], found["dataset"].get("classes"))
        except InputError as error:
            raise InputError(f"a damaged comparison result: {error}") from error
        return cls(**found)

    def to_frame(self) -> pandas.DataFrame:
        """One row a method, the best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``name, title, kind, backbone, image_size``; for each metric ``top1, top1_low,
            top1_high``, ...; ``seconds_extract, seconds_fit, seconds_predict_per_image``; ``joules_extract,
            joules_fit``; ``p_value_vs_best, p_holm_vs_best, difference_vs_best, effect_vs_best``; ``params``
            as JSON text; ``earlier_run``; and of repeats ``mean_top1, mean_top1_low, mean_top1_high``, ...
            over the splits.
        """
        import pandas

        metrics = dict.fromkeys(name for m in self.methods for name in m.metrics)
        rows = []
        for m in self.ranked():
            row: dict[str, Any] = {
                k: getattr(m, k) for k in ("name", "title", "kind", "backbone", "image_size")
            }
            for name in metrics:
                interval = m.metric(name)
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            row |= {f"seconds_{k}": m.seconds.get(k) for k in ("extract", "fit", "predict_per_image")}
            row |= {f"joules_{k}": m.joules.get(k) for k in ("extract", "fit")}
            tested = ("p_value", "p_holm", "difference", "effect")
            row |= {f"{k}_vs_best": (m.versus_best or {}).get(k) for k in tested}
            row["params"] = json.dumps(plain(m.params), ensure_ascii=False)
            row["earlier_run"] = m.earlier_run
            again = self.repeats.of(m.name, m.backbone) if self.repeats is not None else None
            for name, mean in (again.means if again is not None else {}).items():
                row |= {f"mean_{name}": mean.value}
                row |= {f"mean_{name}_low": mean.low, f"mean_{name}_high": mean.high}
            rows.append(row)
        frame = pandas.DataFrame(rows)
        return frame.astype({"image_size": "Int64"}) if rows else frame

    def table(self) -> str:
        """A plain-text table for a terminal, the best method first, floors included."""
        head = [
            "method",
            "top-1 [95 %]",
            "balanced",
            "macro F1",
            "log loss",
            "ECE",
            "fit s",
            "ms/image",
            "p vs best (Holm)",
        ]
        best = self.best()
        backbones = {m.backbone for m in self.methods if m.backbone}
        lines = [head]
        for m in by_top1(self.methods):
            title = m.title if len(backbones) < 2 or not m.backbone else f"{m.title} · {m.backbone}"
            title += " (floor)" if m.kind == "floor" else ""
            per_image = m.seconds.get("predict_per_image")
            lines.append(
                [
                    title,
                    str(m.metric("top1")),
                    *(_number(m.metric(k).value) for k in ("balanced_accuracy", "macro_f1", "log_loss")),
                    _number(m.metric("calibration_error").value),
                    _number(m.seconds.get("fit"), "{:.1f}"),
                    format_milliseconds(per_image),
                    "best" if m is best else said_of(m.p_adjusted, ALPHA),
                ]
            )
        return "\n".join([self._heading(), "", *aligned(lines), *self._over_splits()])

    def _over_splits(self) -> list[str]:
        """Lines of the table over repeated splits, none where there is one split."""
        if self.repeats is None:
            return []
        seeds = self.repeats.seeds
        return [
            "",
            f"over {len(seeds)} splits (seeds {seeds[0]} to {seeds[-1]}):",
            "",
            *aligned(self.repeats.rows(ALPHA)),
        ]

    def _heading(self) -> str:
        """What was compared on what: ``flowers: 720 training and 240 test images, 12 classes, 224 px``."""
        parts = [
            f"{self.dataset.get('n_train', '?')} training and {self.dataset.get('n_test', '?')} test images",
            f"{len(self.dataset.get('classes', ()))} classes",
        ]
        return f"{self.dataset.get('name', '')}: {', '.join(parts + self.networks())}"

    def networks(self) -> list[str]:
        """The backbones with the resolution they looked at: ``["mobilenet_v2 at 224 px"]``."""
        named = []
        for backbone in dict.fromkeys(m.backbone for m in self.methods if m.backbone):
            sizes = {m.image_size for m in self.methods if m.backbone == backbone and m.image_size}
            named.append(backbone + (f" at {sizes.pop()} px" if len(sizes) == 1 else ""))
        return named

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

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> ComparisonResult:
        """Read what :meth:`write_json` wrote.

        Raises
        ------
        InputError
            When the file cannot be read, or is no comparison result of this schema.
        """
        content = read_json(path, "results.json")
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_frame` as CSV (UTF-8), all of it or nothing.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        write_atomically(path, frame_csv(self.to_frame()))


def aligned(lines: list[list[str]]) -> list[str]:
    """Rows of cells as lines of text, the first one underlined, the first column to the left."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: list[str]) -> str:
        rest = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *rest]).rstrip()

    return [text(line) for line in (lines[0], ["-" * w for w in widths], *lines[1:])]


def _require_square(methods: list[MethodResult], classes: list[str] | None) -> None:
    """Refuse a confusion matrix that is no square of counts, or of other classes."""
    for method in methods:
        matrix, n = method.confusion, len(method.confusion)
        if classes and n not in (0, len(classes)):
            raise InputError(
                f"{shown(method.name)}: a confusion matrix of {n} classes, of {len(classes)} there are"
            )
        if isinstance(matrix, Confusion):
            matrix.check()
        elif any(len(row) != n or min(row) < 0 for row in matrix):
            raise InputError(f"{shown(method.name)}: a confusion matrix that is no square of counts")


def _number(x: float | None, form: str = "{:.3f}") -> str:
    return "-" if x is None or not math.isfinite(x) else form.format(x)
