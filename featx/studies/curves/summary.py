"""Summarise the draws of a learning curve: points with intervals, crossings, advice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.metrics import METRICS, interval_over_draws
from featx.results import Crossing, CurveDraw, CurveLevel, CurveMethod, CurvePoint, CurveResult
from featx.results.advice import FEW_TEST_IMAGES
from featx.studies.curves.crossing import describe_crossing, find_crossing

#: A level whose accuracy is within this of the last level's is worth naming: more images gain little.
NEARLY = 0.01


def summarise_points(
    draws: Sequence[CurveDraw], methods: Sequence[CurveMethod], levels: Sequence[CurveLevel]
) -> list[CurvePoint]:
    """Return a point for each method and level, with its interval over draws.

    The draws share images, so an interval covers other draws from this dataset, on these test images.
    """
    cells: dict[tuple, list[CurveDraw]] = {}
    for one in draws:
        cells.setdefault((one.method, one.backbone, one.shots), []).append(one)
    points = []
    for method in methods:
        for level in levels:
            found = cells[(*method.id, level.shots)]
            metrics = {
                name: interval_over_draws(
                    [d.metrics[name] for d in found], within=(METRICS[name].low, METRICS[name].high)
                )
                for name in found[0].metrics
            }
            points.append(
                CurvePoint(method.name, method.backbone, level.shots, level.per_class, len(found), metrics)
            )
    return points


def find_crossings(result: CurveResult) -> list[Crossing]:
    """Return the crossing of each fine-tuned method with the best probe; none for a single level."""
    probes = [m for m in result.methods if m.kind == "probe"]
    tuned = [m for m in result.methods if m.kind == "finetune"]
    if not probes or not tuned or len(result.levels) < 2:
        return []
    per_class = np.array([level.per_class for level in result.levels])
    table = {(d.method, d.backbone, d.shots, d.draw): d.metrics["top1"] for d in result.draws}

    def top1(method: CurveMethod) -> np.ndarray:
        return np.array(
            [
                [table[(*method.id, level.shots, number)] for level in result.levels]
                for number in range(result.n_draws)
            ]
        )

    rivals = np.stack([top1(m) for m in probes])
    return [
        find_crossing(
            top1(m),
            rivals,
            per_class,
            method=m.name,
            backbone=m.backbone,
            rivals=[result.named(p) for p in probes],
            seed=result.seed,
        )
        for m in tuned
    ]


def advise(result: CurveResult) -> str:
    """Say what the curves show, in a few sentences."""
    first, last = result.levels[0], result.levels[-1]
    best = result.best(last)
    if best is None:
        return "Nothing to recommend: no probe and no fine-tuned baseline was measured."
    said = []
    for level in [first, last] if len(result.levels) > 1 else [last]:
        winner = result.best(level)
        assert winner is not None
        said.append(
            f"With {level.per_class:.4g} image{'' if level.per_class == 1 else 's'} per class "
            f"{result.named(winner)} has the highest mean top-1, {result.metric(winner, level)}."
        )
    said += _say_enough(result)
    methods = {m.id: m for m in result.methods}
    for crossing in result.crossings:
        title = result.named(methods[crossing.method, crossing.backbone])
        said.append(describe_crossing(crossing, title, first.per_class, last.per_class))
    if not any(m.kind == "finetune" for m in result.methods):
        said.append("No fine-tuned baseline was run, so this does not say where fine-tuning would do better.")
    if result.n_draws < 2:
        said.append("One draw only: how much the numbers depend on the images drawn is unknown.")
    n_test = result.dataset.get("n_test") or 0
    if n_test < FEW_TEST_IMAGES:
        said.append(f"With only {n_test} test images all of this is rough.")
    return " ".join(said)


def _say_enough(result: CurveResult) -> list[str]:
    """Say from which level on more labels gain the best probe less than a point."""
    probe = result.best(result.levels[-1], "probe")
    if probe is None:
        return []
    end = result.metric(probe, result.levels[-1]).value
    near = next(level for level in result.levels if result.metric(probe, level).value >= end - NEARLY)
    if near is result.levels[-1]:
        return []
    return [
        f"{result.named(probe)} is within one point of its last value from {near.per_class:.4g} images per "
        "class on."
    ]
