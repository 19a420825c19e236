"""The result of a comparison of classifiers; that of regressors derives from it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from featx.errors import InputError
from featx.metrics import METRICS
from featx.results.advice import recommended
from featx.results.base import AdvisedResult, Column, DatasetFacts, describe_cost
from featx.results.confusion import Confusion
from featx.results.formats import format_milliseconds, format_test
from featx.results.methods import MethodResult, best_method, ranked_methods
from featx.results.next_command import MODEL_FILE, python_lines, shell_lines
from featx.results.output_paths import file_stem
from featx.results.predictions import PREDICTIONS_FILE, TestPredictions
from featx.results.reading import NOT_STORED, quoted
from featx.results.repeats import Repeats
from featx.results.selection import FineTuningTest, Selection
from featx.results.tables import Lines, interval_record, interval_text, metric_column
from featx.results.writing import json_text, write_atomically


# The part of ``hygiene`` that is checked when a file is read.
class _DataChecks(TypedDict, total=False):
    notes: list[str]


def _versus_best(result: ComparisonResult, m: MethodResult) -> str:
    if m is result.best():
        return "best"
    plain = not m.competes and not m.is_adjusted and math.isfinite(m.p_value)
    return format_test(m.p_adjusted) + (", not adjusted" if plain else "")


#: The numbers of the test against the best method that the CSV file has.
_TEST = "p_value", "p_holm", "difference", "effect", "p_adjusted", "low_adjusted", "high_adjusted"
METHOD = Column("method", lambda result, m: m.in_table(result.methods))
COSTS = (
    Column("fit s", lambda _, m: m.seconds.get("fit"), "{:.1f}"),
    Column(
        lambda result: f"ms/{result.input_kind}",
        lambda _, m: format_milliseconds(m.seconds.get("predict_per_image")),
    ),
    Column("adjusted p vs best", _versus_best),
)


@dataclass
class ComparisonResult(AdvisedResult):
    """All methods of one comparison; the package's docstring describes the fields."""

    kind: ClassVar[str] = "classes"
    title: ClassVar[str] = "comparison result"
    rows: ClassVar[str] = "methods"
    #: The metric that ranks the methods and is tested.
    metric: ClassVar[str] = "top1"
    columns: ClassVar[Sequence[Column]] = (
        METHOD,
        metric_column("top1", "top-1", interval=True),
        metric_column("balanced_accuracy", "balanced"),
        metric_column("macro_f1"),
        metric_column("log_loss"),
        metric_column("calibration_error", "ECE"),
        *COSTS,
    )

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    methods: list[MethodResult]
    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    extraction: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeats: Repeats | None = None
    hygiene: dict[str, Any] | None = field(default=None, metadata={"json": _DataChecks | None})
    ensemble: dict[str, Any] | None = None
    fine_tuning: FineTuningTest | None = None
    baseline: dict[str, Any] | None = None
    shared_groups: list[dict[str, Any]] = field(default_factory=list)
    group_effect: dict[str, Any] | None = None
    selection: dict[str, Any] | None = field(default=None, metadata={"json": Selection | None})
    #: What every method predicted for each test image of the first split; None if the result was read.
    test_predictions: TestPredictions | None = field(default=None, compare=False, metadata=NOT_STORED)
    training: dict[str, Any] | None = None

    def best(self) -> MethodResult | None:
        """Return the method with the best `metric`, references excluded (see `best_method`)."""
        return best_method(self.methods, self.metric)

    def recommended(self) -> MethodResult | None:
        """Return the method to use (see `featx.results.advice`); None if none may be recommended."""
        return recommended(self.methods, self.fine_tuning)

    def _best_in_words(self) -> str:
        if (best := self.best()) is None:
            return ""
        title = METRICS[self.metric].title
        return f"{best.named(self.methods)}, {title} {interval_text(best.metric(self.metric))}"

    def ranked(self) -> list[MethodResult]:
        return ranked_methods(self.methods, self.metric)

    @property
    def next_steps(self) -> list[str]:
        """The lines that train the recommended method and predict with it, for a shell or in Python."""
        if self.training is None:
            return []
        task = self.dataset.get("task")  # of several: each has a model of its own
        file = MODEL_FILE if task is None else f"{file_stem(task)}.featx"
        return (python_lines if self.command is None else shell_lines)(self.training, file, self.input_kind)

    @property
    def findings(self) -> list[str]:
        """What the data checks found, beyond the `warnings`."""
        return [note for note in (self.hygiene or {}).get("notes", ()) if note not in self.warnings]

    def heading(self) -> str:
        """Return what was compared on what: ``leaves: 30 training and 10 test images, 2 classes, ...``."""
        data = self.dataset
        sizes = f"{data.get('n_train', '?')} training and {data.get('n_test', '?')} test {self.input_kind}s"
        said = f"{data.get('name', '')}: {', '.join([sizes, self.task(), *self.networks()])}"
        return f"{said}; {self.units_note}" if self.units_note else said

    def task(self) -> str:
        """Return what is predicted, in a few words."""
        return f"{len(self.dataset.get('classes') or ())} classes"

    def networks(self) -> list[str]:
        """Return the backbones with the size of their images: ``["mobilenet_v2 at 224 px"]``.

        One without trained weights is called so: its numbers are no others' numbers.
        """
        named = []
        for backbone in dict.fromkeys(m.backbone for m in self.methods if m.backbone):
            sizes = {m.image_size for m in self.methods if m.backbone == backbone and m.image_size}
            said = backbone + (" with random weights" if self._is_random(backbone) else "")
            named.append(said + (f" at {sizes.pop()} px" if len(sizes) == 1 else ""))
        return named

    def _is_random(self, backbone: str) -> bool:
        """Whether the space of a backbone, which a file may state in any way, has random weights."""
        space = self.spaces.get(backbone)
        network = space.get("backbone") if isinstance(space, Mapping) else None
        return isinstance(network, Mapping) and network.get("weights") == "random"

    def tables(self) -> list[tuple[str, Lines]]:
        tables = super().tables()
        if self.repeats is not None:
            seeds = self.repeats.seeds
            tables.append(
                (f"over {len(seeds)} splits (seeds {seeds[0]} to {seeds[-1]}):", self.repeats.lines())
            )
        return tables

    def cost_of_checks(self) -> str:
        # The data checks of a comparison include the search for copies.
        if (self.hygiene or {}).get("checked") is False:
            return "data checks: none"
        return describe_cost("data checks", self.hygiene) or super().cost_of_checks()

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each method, the best first.

        The cells are ``name, title, kind, backbone, image_size``; for each metric ``top1, top1_low,
        top1_high``, ...; ``seconds_extract, seconds_fit, seconds_predict_per_image``; ``joules_extract,
        joules_fit``; the test against the best method: ``p_value_vs_best``, ``p_holm``, ``difference``,
        ``effect``, ``p_adjusted``, ``low_adjusted``, ``high_adjusted``; ``params`` as JSON text;
        ``earlier_run``; and of repeated splits ``mean_top1, mean_top1_low, mean_top1_high``, ...
        """
        metrics = dict.fromkeys(name for m in self.methods for name in m.metrics)
        records = []
        for m in self.ranked():
            row = {k: getattr(m, k) for k in ("name", "title", "kind", "backbone", "image_size")}
            for name in metrics:
                row |= interval_record(name, m.metric(name))
            row |= {f"seconds_{k}": m.seconds.get(k) for k in ("extract", "fit", "predict_per_image")}
            row |= {f"joules_{k}": m.joules.get(k) for k in ("extract", "fit")}
            test = m.versus_best or {}
            row |= {f"{k}_vs_best": test.get(k) for k in _TEST}
            row |= {"params": json_text(m.params), "earlier_run": m.earlier_run}
            again = self.repeats.of(m.name, m.backbone) if self.repeats is not None else None
            for name, mean in (again.means if again is not None else {}).items():
                row |= interval_record(f"mean_{name}", mean)
            records.append(row)
        return records

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the files of `Result.save`, and ``predictions.csv``: see `featx.results.predictions`."""
        page = super().save(directory)
        if self.test_predictions is not None:
            write_atomically(Path(directory) / PREDICTIONS_FILE, self.test_predictions.to_csv())
        return page

    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict() | {"next_steps": self.next_steps}
        return content if self.kind != "classes" else {k: v for k, v in content.items() if k != "kind"}

    def check(self) -> None:
        if (pair := self.fine_tuning) is not None:
            known = {(m.name, m.backbone) for m in self.methods}
            for name in (pair.probe, pair.mode):
                if (name, pair.backbone) not in known:
                    raise InputError(f"fine_tuning: {quoted(name)} is not one of the methods")
        classes = self.dataset.get("classes")
        for method in self.methods:
            matrix, n = method.confusion, len(method.confusion)
            if classes and n not in (0, len(classes)):
                raise InputError(
                    f"{quoted(method.name)}: a confusion matrix of {n} classes, expected {len(classes)}"
                )
            if not isinstance(matrix, Confusion) and any(len(row) != n or min(row) < 0 for row in matrix):
                raise InputError(f"{quoted(method.name)}: the confusion matrix is not a square of counts")
