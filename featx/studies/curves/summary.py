"""Summarise the draws of a learning curve: points with intervals, the leading methods, crossings, advice."""

from __future__ import annotations

import numpy as np

from featx.metrics import METRICS, Interval
from featx.results import Crossing, CurveLeader, CurveLevel, CurvePoint, CurveResult, ReferenceGap
from featx.results.formats import format_shots
from featx.results.sentences import on_few_tests
from featx.studies.curves.catching_up import describe_reference_gap, find_reference_gap
from featx.studies.curves.crossing import describe_crossing, find_crossing
from featx.studies.curves.leaders import compare_methods
from featx.studies.curves.scores import CurveScores, is_share
from featx.studies.curves.two_way import TwoWay, share_intervals, student_intervals

#: A level whose accuracy is within this of the last level's is worth naming: more images gain little.
NEARLY = 0.01


def summarise_points(result: CurveResult, scores: CurveScores) -> list[CurvePoint]:
    """Return a point for each method and level, with its interval over draws and test images."""
    points = []
    for i, method in enumerate(result.methods):
        by_metric = {name: _intervals(name, values[i], scores) for name, values in scores.metrics.items()}
        for j, level in enumerate(result.levels):
            metrics = {name: found[j] for name, found in by_metric.items()}
            points.append(
                CurvePoint(
                    method.name, method.backbone, level.shots, level.per_class, result.n_draws, metrics
                )
            )
    return points


def _intervals(name: str, values: np.ndarray, scores: CurveScores) -> list[Interval]:
    """Return the interval of each level, from values (n_levels, n_draws, n_parts) of a method."""
    if not scores.has_intervals:
        return [Interval(float(v)) for v in values.mean(axis=(1, 2))]
    found = TwoWay(values, scores.pool.matrix()).estimate(np.eye(len(values)))
    if is_share(name):
        return share_intervals(found, scores.sizes[name])
    return student_intervals(found, (METRICS[name].low, METRICS[name].high))


def find_leaders(result: CurveResult, scores: CurveScores) -> list[CurveLeader]:
    """Return the method with the highest mean top-1 at each level, and the others that may be as good."""
    rows = [i for i, m in enumerate(result.methods) if not m.is_reference]
    if not rows or not scores.has_intervals:
        return []
    leaders = []
    values, size = scores.metrics["top1"][rows], scores.sizes["top1"]
    methods = [result.methods[i] for i in rows]
    for j, level in enumerate(result.levels):
        best = result.best(level)
        if best is None:
            continue
        found = compare_methods(values, j, scores.pool, size, methods.index(best), seed=result.seed)
        alike = [methods[i] for i in found.not_told_apart]
        same = [{"method": m.name, "backbone": m.backbone} for m in alike]
        leaders.append(CurveLeader(level.shots, best.name, best.backbone, same, found.optimism))
    return leaders


def find_crossings(result: CurveResult, scores: CurveScores) -> list[Crossing]:
    """Return the crossing of each fine-tuned method with the best on frozen features; none for one level."""
    competing = [i for i, m in enumerate(result.methods) if m.competes]
    tuned = [i for i in competing if result.methods[i].trains_network]
    frozen = [i for i in competing if not result.methods[i].trains_network]
    if not frozen or not tuned or len(result.levels) < 2:
        return []
    top1 = scores.metrics["top1"]
    return [
        find_crossing(
            top1[i],
            top1[frozen],
            np.array([level.per_class for level in result.levels]),
            pool=scores.pool,
            size=scores.sizes["top1"],
            method=result.methods[i].name,
            backbone=result.methods[i].backbone,
            rivals=[result.named(result.methods[p]) for p in frozen],
            seed=result.seed,
        )
        for i in tuned
    ]


def find_reference_gaps(result: CurveResult, scores: CurveScores) -> list[ReferenceGap]:
    """Return where references without a network catch up with the best probe.

    There are none for images: raw pixels are no rival from the first labels on.
    """
    probes = [i for i, m in enumerate(result.methods) if m.kind == "probe"]
    if not probes or not scores.has_intervals or result.input_kind == "image":
        return []
    top1 = scores.metrics["top1"]
    return [
        find_reference_gap(
            top1[i],
            top1[probes],
            result.levels,
            pool=scores.pool,
            size=scores.sizes["top1"],
            method=m.name,
            rivals=[result.named(result.methods[p]) for p in probes],
            seed=result.seed,
        )
        for i, m in enumerate(result.methods)
        if m.learns_without_network
    ]


def advise(result: CurveResult) -> str:
    """Say what the curves show, in a few sentences."""
    first, last = result.levels[0], result.levels[-1]
    best = result.best(last)
    if best is None:
        return "Nothing to recommend: no probe and no fine-tuned baseline was measured."
    said, kind = [], result.input_kind
    for level in [first, last] if len(result.levels) > 1 else [last]:
        winner = result.best(level)
        assert winner is not None
        value = result.metric(winner, level).value
        references = [m for m in result.methods if m.learns_without_network]
        ahead = [m for m in references if result.metric(m, level).value > value]
        among = " of the methods on a network" if ahead else ""
        said.append(
            f"With {format_shots(level.per_class, kind)} {result.named(winner)} has the highest mean "
            f"top-1{among}, "
            f"{result.metric(winner, level)}{_describe_lead(result, level)}."
        )
        told = {gap.method for gap in result.reference_gaps}
        said += [
            f"{m.title}, which needs no network, has {result.metric(m, level)}."
            for m in ahead
            if m.name not in told
        ]
    said += _say_enough(result)
    methods = {m.id: m for m in result.methods}
    for gap in result.reference_gaps:
        title = methods[gap.method, None].title.partition(" (")[0]  # without what it consists of
        said.append(describe_reference_gap(gap, title, result.levels, kind))
    for crossing in result.crossings:
        title = result.named(methods[crossing.method, crossing.backbone])
        said.append(describe_crossing(crossing, title, first.per_class, last.per_class, kind))
    if not any(m.trains_network for m in result.methods):
        said.append("No fine-tuned baseline was run, so this does not say where fine-tuning would do better.")
    if result.n_draws < 2:
        said.append(f"One draw only: how much the numbers depend on the {kind}s drawn is unknown.")
    said += on_few_tests(result.dataset.get("n_test") or 0, result.units.get("units"), kind=kind)
    return " ".join(said)


def _describe_lead(result: CurveResult, level: CurveLevel) -> str:
    """Say from how many others the leading method is not told apart, and how much too high its mean is."""
    leader = result.leader(level)
    n_others = sum(not m.is_reference for m in result.methods) - 1
    if leader is None or not n_others:
        return ""
    n_same = len(leader.not_told_apart)
    if not n_same:
        said = ", higher than that of every other method"
    elif n_same == 1:
        methods = {m.id: m for m in result.methods}
        same = leader.not_told_apart[0]
        said = (
            f"; {result.named(methods[same['method'] or '', same['backbone']])} cannot be told apart from it"
        )
    else:
        which = f"all {n_same}" if n_same == n_others else f"{n_same} of the {n_others}"
        said = f"; {which} other methods cannot be told apart from it"
    if leader.optimism >= 0.0005:
        said += f", and the highest of {n_others + 1} is too high by about {100 * leader.optimism:.1f} points"
    return said


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
        f"{result.named(probe)} is within one point of its last value from "
        f"{format_shots(near.per_class, result.input_kind)} on."
    ]
