"""The page of inputs that a detector scored: how many are flagged, which, and what they are compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.inputs.samples import Sample
from featx.kinds import count_of
from featx.report.page import Tile, draw, tile
from featx.report.plots import plain_axes
from featx.report.provenance import how_it_was_done, plural
from featx.report.svg import INK, Plot, new_axes
from featx.report.table import capitalized
from featx.results import ScoresResult

#: Bars of the histogram.
_BINS = 40
#: An input, the nearest normal one, and a line below both.
_Pair = tuple[list[Tile], str]


def scores_view(result: ScoresResult, samples: Mapping[tuple[str, str], Sample]) -> dict[str, Any]:
    """Show how many inputs are unlike the normal ones, which ones most, and those at the threshold."""
    name, normal = (
        str(result.dataset.get(key) or word) for key, word in (("name", "new"), ("normal", "normal"))
    )
    found, kind = int(result.anomalous.sum()), result.input_kind
    lead = (
        f"{result.detector_title or result.detector} on embeddings of {result.backbone}, fitted on all "
        f"{plural(result.n_train, f'normal {kind}')}. The threshold comes from their scores by detectors "
        f"that were fitted without them. p-value: the share of the normal {kind}s that are as unlike the "
        f"others as this {kind}, or more."
    )
    top = [one for one in result.shown if not one["threshold"]]
    near = [one for one in result.shown if one["threshold"]]
    return {
        "title": f"{name}: unlike {normal}",
        "heading": f"{name} against {normal}",
        "subtitle": f"{count_of(len(result.ids), kind)} · {result.backbone} · {result.created[:10]}",
        "foot": f"Made by featx. All {kind}s are in scores.csv beside this page, "
        "all numbers in results.json.",
        "doubt": bool(found),
        "headline": f"{found:,} of {count_of(len(result.ids), kind)} flagged",
        "advice": result.advice,
        "warnings": result.warnings,
        "units": capitalized(result.units_note),
        "facts": _facts(result),
        "figure": draw(histogram(result, name, normal), "scores") if len(result.ids) else None,
        "top": [_pair(one, samples) for one in top],
        "n_top": len(top),
        "doubtful": [
            tile(
                one["id"],
                samples,
                key=("normal", one["id"]),
                said=_signed(one["decision"]),
                small=one["id"],
            )
            for one in result.doubtful
        ],
        "normal": normal,
        "near": [_pair(one, samples) for one in near],
        "next": result.next_commands(),
        "how": how_it_was_done(result, lead, {}, {result.backbone: result.space}),
    }


def histogram(result: ScoresResult, name: str, normal: str) -> Plot:
    """Draw how the scores of the normal inputs and of the others are spread, and the threshold at 0."""
    figure, axes = new_axes(560, 270, left=50, bottom=44, right=10, top=32)
    both = np.concatenate([result.decision, result.held_out])
    both = both[np.isfinite(both)]
    low, high = (float(both.min()), float(both.max())) if len(both) else (-1.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-9), _BINS + 1).tolist()
    drawn: tuple[tuple[np.ndarray, str, dict[str, Any]], ...] = (
        (result.decision, name, {"color": INK["--probe"], "alpha": 0.55, "histtype": "stepfilled"}),
        (
            result.held_out,
            f"{normal}, each scored by the others",
            {"color": INK["--ink"], "histtype": "step"},
        ),
    )
    for values, label, style in drawn:
        if len(values):
            shares = np.full(len(values), 1 / len(values))
            axes.hist(np.clip(values, low, high), edges, weights=shares, label=label, lw=1.4, **style)
    axes.axvline(0, color=INK["--wrong"], lw=1.4, ls="--", label="threshold")
    # Above the axes: bars and the threshold may lie anywhere inside.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        borderaxespad=0.2,
        frameon=False,
        fontsize=10,
        labelcolor=INK["--ink"],
    )
    plain_axes(
        axes, "score less threshold: to the left of 0 is anomalous", f"share of the {result.input_kind}s"
    )
    found = 100 * np.mean(result.anomalous)
    alt = f"Scores: {found:.0f} % of {name} lie below the threshold."
    if len(result.held_out):
        usual = 100 * np.mean(result.held_out < 0)
        alt = f"Scores: {found:.0f} % of {name} and {usual:.0f} % of {normal} lie below the threshold."
    return Plot(figure, alt)


def _facts(result: ScoresResult) -> list[tuple[str, str, str, bool]]:
    expected, n = result.expected, len(result.ids)
    share = f"{100 * result.anomalous.mean():.3g} %" if n else "–"
    low, high = (f"{100 * bound:.2g}" for bound in (expected.low, expected.high))
    known = math.isfinite(expected.value)
    return [
        ("Flagged", share, f"{int(result.anomalous.sum()):,} of {n:,}", False),
        (
            f"Of normal {result.input_kind}s, it would be",
            f"{100 * expected.value:.2g} %" if known else "not known",
            f"{low} to {high} % for 95 % of such thresholds" if known else "too few to hold one out",
            not known,
        ),
        (
            "Fitted on",
            f"{result.n_train:,}",
            f"normal {result.input_kind}s; {result.detector_title or result.detector}",
            False,
        ),
    ]


def _pair(one: Mapping[str, Any], samples: Mapping[tuple[str, str], Sample]) -> _Pair:
    tiles = [
        tile(one["id"], samples, key=("new", one["id"]), small=one["id"]),
        tile(one["normal"], samples, key=("normal", one["normal"]), small=f"nearest: {one['normal']}"),
    ]
    flag = "anomalous" if one["decision"] < 0 else "normal"
    return tiles, f"{_signed(one['decision'])}, {flag} · p {_p(one['p_value'])}"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.2g}"
