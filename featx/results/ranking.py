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
``extraction``            object: backbone -> ``images``, how many of them were ``cached`` (their rows were in
                          the cache) and ``computed``, ``seconds``, ``seconds_per_image`` (when rows were last
                          computed here; null if that is not known), ``profile`` and ``parity`` (as in
                          `featx.results`); empty in older files
``notes``                 list of sentences
``forward_passes``, ...   and the other fields of `featx.results.base.StudyResult`
========================  ==================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from featx.kinds import count_of, with_article
from featx.metrics import Interval
from featx.results.base import DatasetFacts, StudyResult
from featx.results.formats import format_milliseconds, format_points, format_seconds, p_in_text
from featx.results.methods import ALPHA, Test, number_of
from featx.results.next_command import compare_line, options_again
from featx.results.selection import Selection
from featx.results.sentences import on_choice, on_power
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

#: Candidates that are not told apart from the best one and are named.
SHOWN_TIES = 3
#: A candidate is called cheaper below this share of the cost of the best one.
CHEAPER = 0.8


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
        """Return the difference from the best probe in points, adjusted as its p-value is, or ``-``."""
        if self.versus_best is None:
            return "-"
        low, high = (number_of(self.versus_best, key) for key in ("low_adjusted", "high_adjusted"))
        between = f" [{format_points(low)}, {format_points(high)}]" if math.isfinite(low + high) else ""
        points = format_points(number_of(self.versus_best, "difference"))
        return f"{points}{between} ({p_in_text(self.p_adjusted)})"


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
    extraction: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    selection: dict[str, Any] | None = field(default=None, metadata={"json": Selection | None})
    unit_inputs: ClassVar[str] = "{} of the probe"

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

    @property
    def next_steps(self) -> list[str]:
        """The command that compares classifiers on the best candidate, if there is one."""
        best = self.best() or self.best("logme")
        if best is None:
            return []
        data = str(self.dataset.get("source") or "DATA")
        named = self.several_layers or "--layers" in self.command_options
        again = options_again(self.command_options, "--seed")
        return [compare_line(data, backbone=best.backbone, layer=best.layer if named else None, again=again)]

    def sentences(self) -> list[str]:
        """Say which candidate to use, how sure that is, what it costs, and what LogME would have chosen."""
        best, chosen = self.best(), self.best("logme")
        if best is None or best.probe is None:
            return [] if chosen is None else [f"LogME is highest for {_named(chosen)}. No probe tested it."]
        if len(self.candidates) == 1:
            return [f"The probe on {_named(best)} has top-1 {best.probe}; name other backbones to rank them."]
        same = self._not_told_apart()
        said = [f"Use {_named(best)}: its probe is the most accurate, top-1 {best.probe}."]
        if same:
            ahead = f"{_named(best)} is ahead, top-1 {best.probe}"
            if same[0].probe is not None and same[0].probe.value == best.probe.value:
                ahead = f"none has a higher top-1 than {_named(best)}, {best.probe}"
            said = [f"No candidate is shown to be the best: {ahead}."]
        if self.tested:
            said += self._on_difference(best, same)
        said += on_choice(len(self.candidates), (self.selection or {}).get("optimism"), kind=self.input_kind)
        if same:
            said += on_power((number_of(c.versus_best, "detectable") for c in same), kind=self.input_kind)
            said += self._on_cheaper(best, same)
        if chosen is best:
            said.append("LogME would have chosen it as well.")
        elif chosen is not None and chosen.probe is not None:
            lost = f"{100 * (best.probe.value - chosen.probe.value):.1f} points less"
            if chosen.probe.value == best.probe.value:
                lost = "with the same top-1"
            tested = "" if chosen.versus_best is None else f" (adjusted {p_in_text(chosen.p_adjusted)})"
            said.append(f"LogME would have chosen {_named(chosen)}, {lost}{tested}.")
        return said

    @property
    def is_open(self) -> bool:
        """Whether the tests leave the choice of the best candidate open."""
        return bool(self._not_told_apart())

    def _not_told_apart(self) -> list[Candidate]:
        """Return the candidates that no test shows to be worse than the best one, the most accurate first."""
        same = [c for c in self.candidates if c.versus_best is not None and not c.p_adjusted < ALPHA]
        return sorted(same, key=lambda c: -number_of(c.versus_best, "difference"))

    def _on_difference(self, best: Candidate, same: Sequence[Candidate]) -> list[str]:
        """Say by how much the best one is ahead of the next, and whether that is shown."""
        others = [c for c in self.candidates if c.versus_best is not None]
        nearest = max(others, key=lambda c: number_of(c.versus_best, "difference"))
        the_next = f"the next, {_named(nearest)}," if len(others) > 1 else _named(nearest)
        said = f"Its lead over {the_next} is {_ahead(nearest)}"
        if not same:
            shown = (
                f"; each of the {len(others)} others is shown to be less accurate" if len(others) > 1 else ""
            )
            return [f"{said}{shown}."]
        named = [_named(c) for c in (best, *same[:SHOWN_TIES])]
        if len(same) > SHOWN_TIES:
            named.append(f"{len(same) - SHOWN_TIES} more")
        between = "between" if len(named) == 2 else "among"
        return [f"{said}, so the choice {between} {', '.join(named[:-1])} and {named[-1]} is open."]

    def _on_cheaper(self, best: Candidate, same: Sequence[Candidate]) -> list[str]:
        """Name the cheapest of those that are not told apart from the best one, if it costs clearly less."""

        def seconds(c: Candidate) -> float:
            return number_of(self.extraction.get(c.backbone), "seconds_per_image")

        if all(math.isfinite(seconds(c)) for c in (best, *same)) and not self.several_layers:
            cheapest = min(same, key=seconds)
            if seconds(cheapest) < CHEAPER * seconds(best):
                times = (format_milliseconds(seconds(c)) for c in (cheapest, best))
                instead = f" ms {with_article(self.input_kind)} instead of "
                said = f"{_named(cheapest)} costs less: {instead.join(times)} ms"
                sizes = f", {cheapest.dim:,} values instead of {best.dim:,}"
                return [f"{said}{sizes if cheapest.dim != best.dim else ''}."]
            return []
        cheapest = min(same, key=lambda c: c.dim)
        if cheapest.dim < CHEAPER * best.dim:
            return [f"{_named(cheapest)} has fewer values: {cheapest.dim:,} instead of {best.dim:,}."]
        return []

    def tables(self) -> list[tuple[str, Lines]]:
        """Return the candidates and, for each backbone, what its embeddings cost."""
        return [*super().tables(), *([("", self.cost_lines())] if self.extraction else [])]

    def cost_lines(self) -> Lines:
        """Return a line for each backbone: inputs from the cache, inputs computed, and the time."""
        lines = [
            ["embeddings of", "from the cache", "computed", "time", f"ms {with_article(self.input_kind)}"]
        ]
        for backbone, cost in self.extraction.items():
            counts = [count_of(int(cost.get(key) or 0), self.input_kind) for key in ("cached", "computed")]
            times = [format_seconds(cost.get("seconds")), format_milliseconds(cost.get("seconds_per_image"))]
            lines.append([backbone, *counts, *times])
        return lines

    def heading(self) -> str:
        data = self.dataset
        tested = f", probe tested on {data['n_test']}" if data.get("n_test") else ""
        sizes = f"{data.get('n', '?')} {self.input_kind}s{tested}, {data.get('n_classes', '?')} classes"
        said = f"{data.get('name', '')}: {sizes}"
        return f"{said}; {self.units_note}" if self.units_note else said

    def lines(self) -> Lines:
        """Return the candidates and, below each score, its rank correlation with the probe."""
        known = [s for s in SCORES if any(c.scores.get(s) is not None for c in self.candidates)]
        titles = ["backbone", "layer", "dim", *(SCORES[s] for s in known), "probe top-1 [95 %]"]
        lines = [[*titles, "points vs best [95 %]"] if self.tested else titles]
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


def _ahead(other: Candidate) -> str:
    """Say how many points more the best candidate has than this one, with the adjusted interval."""
    test = other.versus_best or {}
    value, low, high = (-number_of(test, key) for key in ("difference", "high_adjusted", "low_adjusted"))
    between = f" [{format_points(low, False)}, {format_points(high, False)}]"
    points = f"{format_points(value, False)} points{between if math.isfinite(low + high) else ''}"
    return f"{points} (adjusted {p_in_text(other.p_adjusted)})"


def _named(c: Candidate) -> str:
    return f"{c.backbone} ({c.layer})"
