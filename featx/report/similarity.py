"""The page of two sets compared: the verdict, the distances, the inputs that stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.page import tile
from featx.report.provenance import how_it_was_done
from featx.report.table import plain_table
from featx.results.similarity import SimilarityResult


def similarity_view(result: SimilarityResult, samples: Mapping[tuple[str, str], Sample]) -> dict[str, Any]:
    """Show whether two sets differ, by how much, and by which inputs."""
    a, b = (str(s["name"]) for s in result.sets)
    measures = ((m["title"], _number(m["value"]), _number(m["chance"])) for m in result.measures)
    lead = (
        f"The permutation test of MMD divided the {result.observations} anew "
        f"{result.test['n_permutations']:,} times; drift is a p-value below {result.alpha:g}."
    )
    return {
        "title": f"{b} against {a}",
        "heading": f"{b} against {a}",
        "subtitle": " · ".join(map(result.describe_set, result.sets)),
        "foot": "Made by featx. The numbers are in results.json beside this page.",
        "drift": result.drift,
        "verdict": result.verdict(),
        "warnings": result.notes,
        "observations": result.observations,
        "distances": plain_table(("Distance", "Value", "By chance"), measures),
        "most_different": [
            tile(
                m["id"],
                samples,
                key=(m["set"], m["id"]),
                said=f"{m['log_ratio']:+.1f}",
                small=f"{m['set']}: {m['id']}",
            )
            for m in result.most_different
        ],
        "how": how_it_was_done(result, lead, {}, {"both sets": result.space}),
    }


def _number(x: float | None) -> str:
    return "–" if x is None or not math.isfinite(x) else f"{x:.4g}".replace("-", "−")
