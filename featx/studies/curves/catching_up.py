"""Find the number of labels from which on a reference without a network keeps up with the best probe.

At each level the reference is compared with the best probe of that level, by mean top-1. The probe is chosen
on half of the draws and test inputs and scored on the others; the interval of the difference is over draws
and test inputs together: both as for the crossings of fine-tuning (`featx.studies.curves.crossing`). Levels
are tested one by one at 5 %. The reference keeps up from the level on that follows the last one at which it
is shown to be worse.
"""

from __future__ import annotations

import numpy as np

from featx.metrics import Interval
from featx.results import CurveLevel, ReferenceGap
from featx.results.formats import format_points, format_shots
from featx.studies.curves.crossing import score_rival
from featx.studies.curves.two_way import Pool, TwoWay, difference_errors


def find_reference_gap(
    reference: np.ndarray,
    probes: np.ndarray,
    levels: list[CurveLevel],
    *,
    pool: Pool,
    size: float,
    method: str,
    rivals: list[str],
    seed: int = 0,
) -> ReferenceGap:
    """Return the differences of the reference `method` from the best probe, and where it catches up.

    Parameters
    ----------
    reference : ndarray of shape (n_levels, n_draws, n_parts)
        Top-1 accuracy of each draw on each part of the test inputs; at least 2 draws and parts.
    probes : ndarray of shape (n_probes, n_levels, n_draws, n_parts)
        The same of each probe.
    levels : list of CurveLevel
    pool, size
        As in `featx.studies.curves.scores.CurveScores`; `size` of top-1.
    method : str
        Name of the reference.
    rivals : list of str
        Titles of the probes.
    seed : int, default=0
        Seed of the halves.
    """
    from scipy.stats import t as student

    differences = reference - score_rival(probes, np.random.default_rng(seed))
    found = TwoWay(differences, pool.matrix()).estimate(np.eye(len(levels)))
    error, df = difference_errors(found, size)
    half = student.ppf(0.975, df) * error
    gaps = [Interval(float(v), float(v - h), float(v + h)) for v, h in zip(found.value, half, strict=True)]
    worse = [i for i, gap in enumerate(gaps) if gap.high < 0]
    first = worse[-1] + 1 if worse else 0
    return ReferenceGap(
        method,
        levels[first].shots if first < len(levels) else None,
        rivals[int(probes[:, -1].mean(axis=(1, 2)).argmax())],
        {str(level.shots): gap for level, gap in zip(levels, gaps, strict=True)},
    )


def describe_reference_gap(gap: ReferenceGap, title: str, levels: list[CurveLevel], kind: str) -> str:
    """Say in a sentence from how many labels on the reference `title` keeps up with the best probe."""

    def count(level: CurveLevel) -> str:
        return format_shots(level.per_class, kind)

    def points(level: CurveLevel) -> str:
        at = gap.differences[str(level.shots)]
        value, low, high = (format_points(x).removesuffix(" points") for x in (at.value, at.low, at.high))
        return f"{value} points, 95 % interval {low} to {high}"

    last, rival = levels[-1], f"the best probe ({gap.rival})"
    at = next((i for i, level in enumerate(levels) if level.shots == gap.shots), len(levels))
    if at == len(levels):
        return (
            f"{title} is shown to be worse than {rival} at the most labels tried, {count(last)} "
            f"({points(last)})."
        )
    better = gap.differences[str(last.shots)].low > 0
    said = f"{title} is not shown to be worse than {rival} from {count(levels[at])} on"
    said += ", where it is shown to be better" if better and levels[at] is last else ""
    said += f" ({points(levels[at])})"
    if at > 0:
        said += f"; at {count(levels[at - 1])} it is ({points(levels[at - 1])})"
    if better and levels[at] is not last:
        said += f"; at {count(last)} it is shown to be better ({points(last)})"
    return f"{said}."
