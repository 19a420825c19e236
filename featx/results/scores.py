"""Images that an anomaly detector scored, without labels, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"scores"``
``dataset``               object: ``name`` (of the images that were scored), ``normal`` (name of the normal
                          ones); from the command line also ``source``, the paths of the normal images and of
                          those that were scored (list)
``detector``, ``detector_title``  name of the detector, and the same for people
``n_train``               normal images that it was fitted on
``contamination``         share of new normal images that its threshold is to flag
``backbone``, ``space``   whose embeddings they are, and the space they live in
``scores``                name of the CSV file with all images
``ids``                   list of the images, the most anomalous first
``decision``              list: score of each image less the threshold; below 0 is anomalous
``p_values``              list: share of the normal images that are as unlike the others as this image, or
                          more (each of them scored by the others); small is anomalous
``held_out``              list: score less threshold of each normal image, by a detector without it; empty
                          where the normal images are too few to hold one out
``shown``                 list of ``{id, decision, p_value, normal, distance, threshold}``: images that the
                          report shows, each with the nearest normal image and the distance (1 - cosine);
                          ``threshold``: whether it is shown for lying near the threshold
``doubtful``              list of ``{id, decision}``: the normal images that are least like the other ones
``chance``                probability that so many images are flagged, or more, if all are normal; null where
                          images belong together in groups, or ``held_out`` is empty
``units``                 as in `featx.results`, of the normal images
``advice``, ...           and the other fields of `featx.results.base.AdvisedResult`
========================  ==================================================================================
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np

from featx.errors import InputError
from featx.kinds import count_of
from featx.metrics import Interval, share_flagged
from featx.options import is_features
from featx.results.base import NOT_STORED, AdvisedResult, Column, DatasetFacts
from featx.results.formats import p_in_text
from featx.results.methods import ALPHA
from featx.results.next_command import near, options_again
from featx.results.writing import plain, write_atomically
from featx.spreadsheet import csv_text, text_cell

_NUMBERS = "decision", "anomalous", "p_value"
#: Inputs that the table in a terminal shows.
SHOWN_ROWS = 10


# One of ``shown`` in a file.
class _Shown(TypedDict):
    id: str
    decision: float
    p_value: float
    normal: str
    distance: float
    threshold: bool


class _Doubtful(TypedDict):
    id: str
    decision: float


@dataclass
class ScoresResult(AdvisedResult):
    """Images with their decision values, the most anomalous first; the fields are those above."""

    kind: ClassVar[str] = "scores"
    title: ClassVar[str] = "scores of anomalies"
    csv_file: ClassVar[str] = "scores.csv"
    unit_inputs: ClassVar[str] = "normal {}"
    columns: ClassVar[Sequence[Column]] = (
        Column("the most anomalous", lambda result, row: result.named_input(row["id"], ("new", row["id"]))),
        Column("score - threshold", "decision", "{:+.3g}"),
        Column("p-value", "p_value", "{:.3f}"),
    )

    ids: list[str] = field(repr=False)
    decision: np.ndarray = field(repr=False, metadata={"json": list[float]})
    detector: str
    n_train: int
    p_values: np.ndarray = field(repr=False, metadata={"json": list[float]})
    held_out: np.ndarray = field(repr=False, metadata={"json": list[float]})
    contamination: float
    dataset: dict[str, Any] = field(default_factory=dict, metadata={"json": DatasetFacts})
    backbone: str = ""
    space: dict[str, Any] = field(default_factory=dict)
    detector_title: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list, metadata={"json": list[_Shown]})
    doubtful: list[dict[str, Any]] = field(default_factory=list, metadata={"json": list[_Doubtful]})
    chance: float | None = None
    scores: str = "scores.csv"
    texts: list[str] | None = field(default=None, repr=False, metadata=NOT_STORED)

    def __post_init__(self) -> None:
        self.decision, self.p_values, self.held_out = (
            np.asarray(values, np.float64) for values in (self.decision, self.p_values, self.held_out)
        )

    @property
    def anomalous(self) -> np.ndarray:
        """Whether each input lies below the threshold, ndarray of shape (n,), bool."""
        return self.decision < 0

    @property
    def n_units(self) -> int:
        """How many independent observations the normal images are."""
        return int(self.units.get("units") or self.n_train)

    @property
    def expected(self) -> Interval:
        """Share of new normal images that the threshold flags, with the range of 95 % of such thresholds.

        NaN where no normal image could be held out: how many it flags is not known then.
        """
        if not len(self.held_out):
            return Interval(math.nan)
        return share_flagged(self.n_units, self.contamination)

    def heading(self) -> str:
        said = (
            f"{int(self.anomalous.sum()):,} of {len(self.ids):,} {self.input_kind}s are unlike the "
            f"{self.n_train:,} normal ones ({self.detector})"
        )
        return f"{said}; {self.units_note}" if self.units_note else said

    def ranked(self) -> list[dict[str, Any]]:
        """Return the most anomalous images, as many as a table shows."""
        return self._rows(SHOWN_ROWS)

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each input: ``id, decision, anomalous`` (1 or 0) ``, p_value``."""
        return self._rows(len(self.ids))

    def _rows(self, n: int) -> list[dict[str, Any]]:
        columns = (self.ids, self.decision, self.anomalous, self.p_values)
        return [
            # As numbers: a text that begins with a minus sign would be escaped for spreadsheets.
            {"id": id, "decision": float(f"{d:.6g}"), "anomalous": int(a), "p_value": float(f"{p:.4g}")}
            for id, d, a, p in zip(*(column[:n] for column in columns), strict=True)
        ]

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns of `records`, atomically; behind the id of a text stands the text."""
        records = self.records()
        columns = {name: [row[name] for row in records] for name in ("id", *_NUMBERS)}
        if self.texts is not None:
            columns = {"id": columns.pop("id"), "text": list(map(text_cell, self.texts)), **columns}
        write_atomically(path, csv_text(list(columns), zip(*columns.values(), strict=True)))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``results.json``, ``scores.csv``, ``report.html``, and ``scores.json``, as `Result.save`."""
        report = super().save(directory)
        facts = {"schema": 1, "kind": self.kind, "dataset": plain(self.dataset), "scores": self.scores}
        write_atomically(Path(directory) / "scores.json", json.dumps(facts, indent=2) + "\n")
        return report

    def next_commands(self) -> list[tuple[str, str]]:
        """Return what to do next, and the command for it."""
        sources = self.dataset.get("source")
        names = sources if isinstance(sources, list) and len(sources) == 2 else ["GOOD", "NEW"]
        names = [near(str(name)) for name in names]
        normal, new = (shlex.quote(name) for name in names)
        rows_only = all(map(is_features, names))
        network = "" if rows_only or not self.backbone else f" --backbone {shlex.quote(self.backbone)}"
        network = "" if self.backbone == "features" else network
        network += "".join(
            f" {shlex.quote(word)}" for word in options_again(self.command_options, "--layer", "--seed")
        )
        detector = f" --detectors {self.detector}" if self.detector != "knn" else ""
        again = f"featx anomaly {normal} {new}{network}{detector}"
        inputs = f"{self.input_kind}s"
        fine = (
            f"Copy the flagged {inputs} that are fine into {names[0]} and run again: the threshold follows.",
            f"{again} -o again",
        )
        fewer = (
            f"Flag fewer {inputs}, or more with a larger contamination:",
            f"{again} --contamination {max(self.contamination / 5, 0.001):.3g} -o fewer",
        )
        more = (
            f"Flag more {inputs}:",
            f"{again} --contamination {min(2 * self.contamination, 0.5):.3g} -o more",
        )
        measured = (
            f"Measure how much is found: sort some {inputs} that you have looked at into two folders, "
            "checked/fine and checked/faulty.",
            f"featx anomaly {normal} checked --normal fine{network} -o measured",
        )
        return [fine, fewer, measured] if self.anomalous.any() else [more, measured]

    def check(self) -> None:
        if not len(self.ids) == len(self.decision) == len(self.p_values):
            raise InputError(
                f"not one decision and one p-value for each of {count_of(len(self.ids), self.input_kind)}"
            )


def advise_on_scores(result: ScoresResult) -> str:
    """Say how many inputs are flagged, how many that would be by chance, and what to do."""
    n, found, expected = len(result.ids), int(result.anomalous.sum()), result.expected
    kind = result.input_kind
    by_chance = expected.value * n
    usual = f"about {by_chance:.0f}" if by_chance >= 0.95 else "fewer than one"
    usual = "" if math.isnan(by_chance) else f"; if all were normal, {usual} would"
    said = [f"{found:,} of {n:,} {kind}s lie below the threshold{usual}."]
    chance = result.chance
    if chance is not None and not math.isnan(chance):
        test = p_in_text(chance)
        if found and chance < ALPHA:
            said.append(
                f"That is more than chance gives ({test}): some of these {kind}s are unlike the normal ones."
            )
        elif found:
            said.append(f"Chance may give as many ({test}): no {kind} is shown to be unlike the normal ones.")
    if found:
        said.append(f"Look at the {kind}s from the top of the list down.")
    return " ".join(said)


def warn_of_threshold(result: ScoresResult) -> list[str]:
    """Say how sure the threshold is, where the normal images are few."""
    n, c, expected = result.n_units, result.contamination, result.expected
    fewest = math.ceil(1 / c - 1 - 1e-9)
    normal = f"normal {result.input_kind}s"
    what = f"groups of {normal}" if result.units.get("groups") else normal
    if math.isnan(expected.value):
        return [
            f"{n} {what} are too few to hold any out: how many new {normal} the threshold flags is not "
            f"known. Give {fewest} or more."
        ]
    if n < fewest:
        return [
            f"{n} {what} are too few for a threshold that flags {_percent(c)} of new {normal}; this one "
            f"flags about {_percent(expected.value)}. Give {fewest} or more."
        ]
    if expected.high > 2 * c:
        return [
            f"With {n} {what} the threshold is uncertain: it flags {_percent(expected.low)} to "
            f"{_percent(expected.high)} of new {normal} (95 % interval), where {_percent(c)} is wanted."
        ]
    return []


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
