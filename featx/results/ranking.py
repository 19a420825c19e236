"""A ranking of backbones or layers, and its ``results.json``.

========================  ==================================================================================
``schema``                1
``kind``                  ``"ranking"``
``dataset``               object: ``name``, ``n`` (images that were scored), ``n_test`` (test images of the
                          probe; null where it was cross-validated), ``n_classes``; from the command line
                          also ``source``, the path of the data
``candidates``            list of objects, one a backbone and layer: ``backbone``, ``layer``, ``depth`` (its
                          place among the layers of the backbone, from 1), ``dim``, ``scores`` (object:
                          ``logme``, ``h_score``, ``h_score_shrunk``, ``transrate``, ``leep``, ``nce``; null
                          where there is none), ``probe`` (``{value, low, high}``: top-1 accuracy of the
                          logistic probe with its exact 95 % interval over units of images, or null),
                          ``versus_best`` (null for the candidate with the best probe, else ``{p_value,
                          p_adjusted, difference, low_adjusted, high_adjusted, detectable}``: a paired test
                          against the best one on the same images; what is adjusted allows for all pairs),
                          ``seconds`` (object: ``scores``, ``probe``)
``selection``             null, or object: ``methods``, how many candidates there are, and ``optimism``, the
                          expected excess of the best one's top-1 because these images chose it
``correlations``          object: score -> ``{tau, weighted_tau}``, its rank correlation with the probe over
                          the candidates; absent where fewer than 3 candidates have both
``cka``                   matrix in the order of ``candidates``: debiased linear CKA; null where undefined
``cka_images``            images that CKA was computed from
``spaces``                list of spaces in the order of ``candidates``
``seconds``               object: backbone -> seconds of extraction
``notes``                 list of sentences
``forward_passes``, ...   and the other fields of `featx.results.base.StudyResult`
========================  ==================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from featx.metrics import Interval
from featx.results.advice import on_choice, on_power
from featx.results.base import DatasetFacts, StudyResult
from featx.results.formats import format_points, p_in_text
from featx.results.methods import ALPHA, Test, number_of
from featx.results.selection import Selection
from featx.results.shown import Shown
from featx.results.tables import Lines, interval_record, number_text

#: The title of each score.
SCORES = {
    "logme": "LogME",
    "h_score": "H-score",
    "h_score_shrunk": "H shrunk",
    "transrate": "TransRate",
    "leep": "LEEP",
    "nce": "NCE",
}


@dataclass
class Candidate(Shown):
    """One backbone and layer; the fields are those of ``candidates`` above."""

    backbone: str
    layer: str
    depth: int
    dim: int
    scores: dict[str, float | None]
    probe: Interval | None = None
    versus_best: dict[str, Any] | None = field(default=None, metadata={"json": Test | None})
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def p_adjusted(self) -> float:
        """The p-value of its probe against the best one, adjusted for all pairs, or NaN."""
        return number_of(self.versus_best, "p_adjusted")

    def against_best(self) -> str:
        """Return the difference from the best probe in points with its adjusted p-value, or ``-``."""
        if self.versus_best is None:
            return "-"
        return f"{format_points(number_of(self.versus_best, 'difference'))} ({p_in_text(self.p_adjusted)})"


@dataclass
class RankingResult(StudyResult):
    """Backbones or layers with their scores; the fields are those above."""

    kind: ClassVar[str] = "ranking"
    title: ClassVar[str] = "ranking"

    dataset: dict[str, Any] = field(metadata={"json": DatasetFacts})
    candidates: list[Candidate]
    correlations: dict[str, dict[str, float]] = field(default_factory=dict)
    cka: list[list[float]] = field(default_factory=list)
    cka_images: int = 0
    spaces: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    selection: dict[str, Any] | None = field(default=None, metadata={"json": Selection | None})
    unit_images: ClassVar[str] = "images of the probe"

    @property
    def several_layers(self) -> bool:
        """Whether there is a backbone with more than one layer."""
        return len({c.backbone for c in self.candidates}) < len(self.candidates)

    @property
    def tested(self) -> bool:
        """Whether the probes were tested against the best one; not in older files."""
        return any(c.versus_best is not None for c in self.candidates)

    def ranked(self) -> list[Candidate]:
        """Sort candidates by the probe, or by LogME without one; layers of a backbone keep their order."""
        if self.several_layers:
            return list(self.candidates)

        def worth(c: Candidate) -> float:
            found = c.probe.value if c.probe is not None else c.scores.get("logme")
            return -math.inf if found is None else found

        return sorted(self.candidates, key=worth, reverse=True)

    def best(self, score: str | None = None) -> Candidate | None:
        """Return the candidate with the best probe, or with the best `score`; None if no candidate has it."""
        found = {}
        for i, c in enumerate(self.candidates):
            value = (c.probe.value if c.probe is not None else None) if score is None else c.scores.get(score)
            if value is not None and math.isfinite(value):
                found[i] = value
        return self.candidates[max(found, key=lambda i: found[i])] if found else None

    def verdict(self) -> str:
        return " ".join(self.sentences())

    def sentences(self) -> list[str]:
        """Name the candidate with the best probe, how sure that is, and what a choice by LogME would lose."""
        best, chosen = self.best(), self.best("logme")
        if best is None or best.probe is None:
            return [] if chosen is None else [f"LogME is highest for {_named(chosen)}."]
        said = [f"The probe is most accurate on {_named(best)}: {best.probe}."]
        said += on_choice(len(self.candidates), (self.selection or {}).get("optimism"))
        same = [c for c in self.candidates if c.versus_best is not None and c.p_adjusted >= ALPHA]
        if same:
            said.append(f"{len(same)} of the {len(self.candidates) - 1} others are not told apart from it.")
            said += on_power(number_of(c.versus_best, "detectable") for c in same)
        if chosen is best:
            said.append("LogME would have chosen it as well.")
        elif chosen is not None and chosen.probe is not None:
            lost = f"{100 * (best.probe.value - chosen.probe.value):.1f} points less"
            tested = "" if chosen.versus_best is None else f" (adjusted {p_in_text(chosen.p_adjusted)})"
            said.append(f"LogME would have chosen {_named(chosen)}, {lost}{tested}.")
        return said

    def heading(self) -> str:
        data = self.dataset
        tested = f", probe tested on {data['n_test']}" if data.get("n_test") else ""
        sizes = f"{data.get('n', '?')} images{tested}, {data.get('n_classes', '?')} classes"
        said = f"{data.get('name', '')}: {sizes}"
        return f"{said}; {self.units_note}" if self.units_note else said

    def lines(self) -> Lines:
        """Return the candidates and, below each score, its rank correlation with the probe."""
        known = [s for s in SCORES if any(c.scores.get(s) is not None for c in self.candidates)]
        titles = ["backbone", "layer", "dim", *(SCORES[s] for s in known), "probe top-1 [95 %]"]
        lines = [[*titles, "points vs best"] if self.tested else titles]
        for c in self.ranked():
            values = [number_text(c.scores.get(s)) for s in known]
            probe = ["-" if c.probe is None else str(c.probe), *([c.against_best()] if self.tested else [])]
            lines.append([c.backbone, c.layer, str(c.dim), *values, *probe])
        for key, title in (("tau", "Kendall tau"), ("weighted_tau", "weighted tau")):
            values = [number_text((self.correlations.get(s) or {}).get(key)) for s in known]
            if any(v != "-" for v in values):
                lines.append([title, "", "", *values, *[""] * (len(lines[0]) - len(values) - 3)])
        return lines

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each candidate: what it is, each score, and the probe with its interval.

        The last cells, ``difference_vs_best`` and ``p_adjusted_vs_best``, are those of ``versus_best``.
        """
        records = []
        for c in self.candidates:
            row: dict[str, Any] = {k: getattr(c, k) for k in ("backbone", "layer", "depth", "dim")}
            row |= {s: c.scores.get(s) for s in SCORES} | interval_record("probe", c.probe)
            tested = {f"{k}_vs_best": number_of(c.versus_best, k) for k in ("difference", "p_adjusted")}
            records.append(row | tested)
        return records


def _named(c: Candidate) -> str:
    return f"{c.backbone} ({c.layer})"
