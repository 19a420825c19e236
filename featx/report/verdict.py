"""The top of the page: which method to use, and how sure that is, in five seconds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from featx.metrics import METRICS
from featx.report.table import capitalized, competing
from featx.results import ComparisonResult, MethodResult, best_method
from featx.results.advice import advise
from featx.results.fine_tuning_advice import pair_decides, rivals, tested_of
from featx.results.formats import format_points, format_seconds, p_in_text
from featx.results.methods import ALPHA, shown_above
from featx.results.selection import BY_TRAINING, FineTuningTest
from featx.results.sentences import describe, in_text, points_in_text


class Fact(NamedTuple):
    """One number of the verdict; `words`: `big` is words, not a number."""

    name: str
    big: str
    small: str
    words: bool = False


#: The headline where no method is recommended.
NOTHING = "Nothing to recommend"


def nothing_view(result: ComparisonResult, best: MethodResult) -> dict[str, Any]:
    """Show that no method is recommended, and how far the best one gets."""
    accuracy = _accuracy(result, best)
    facts = [accuracy._replace(name=f"{accuracy.name} of the best"), *_reference(result, best)]
    return {
        "use": "",
        "doubt": True,
        "headline": NOTHING,
        "facts": facts,
        "advice": capitalized(_advice_of(result, f"{NOTHING}: ")),
        "warnings": [w for w in result.warnings if w],
    }


def verdict_view(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> dict[str, Any]:
    """Show the recommendation, its four numbers, the advice and any warnings."""
    use = describe(pick)
    # Without the opening, which headline and first number repeat.
    advice = capitalized(_advice_of(result, f"Use {use}: "))
    doubt = "Warning:" in advice
    facts = [_accuracy(result, pick), _fine_tuning(result, best, pick), _time(result, pick)]
    return {
        "use": "Use with caution" if doubt else "Recommended",
        "doubt": doubt,
        "headline": capitalized(use),
        "facts": [*facts, *_reference(result, pick)],
        "advice": advice,
        "warnings": [w for w in result.warnings if w],
    }


def _advice_of(result: ComparisonResult, opening: str) -> str:
    """Return the advice without its `opening`; by the present rule, where a file follows an older one."""
    advice = result.advice
    if advice.startswith(("Use ", NOTHING)) and not advice.startswith(opening):
        advice = advise(
            result.methods,
            result.dataset.get("n_test") or 0,
            result.repeats,
            n_units=result.units.get("units"),
            fine_tuning=result.fine_tuning,
            optimism=(result.selection or {}).get("optimism"),
            kind=result.input_kind,
        )
    return advice.removeprefix(opening)


def _accuracy(result: ComparisonResult, pick: MethodResult) -> Fact:
    top1, n_test = pick.metric("top1"), result.dataset.get("n_test")
    sure = f"95 % interval {100 * top1.low:.1f} to {100 * top1.high:.1f} %" if math.isfinite(top1.low) else ""
    tests = f"{n_test:,} test {result.input_kind}s" if n_test else ""
    if result.units_note:
        tests += f" that count as {result.units.get('units') or 0:,}"
    optimism, choice = (result.selection or {}).get("optimism"), ""
    if pick is result.best() and optimism is not None and math.isfinite(optimism):
        n, points = len(competing(result.methods)), points_in_text(optimism)
        choice = "" if points == points_in_text(0) else f"the best of {n}, by chance about {points} too high"
    title = capitalized(METRICS["top1"].title)
    return Fact(title, f"{100 * top1.value:.1f} %", ", ".join(filter(None, (sure, tests, choice))))


def _fine_tuning(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> Fact:
    """Compare the pick with its rival: fine-tuning for frozen features, and the other way round."""
    tuned, probe = rivals(result.methods, pick)
    other = probe if pick.trains_network else tuned
    name = "Against frozen features" if pick.trains_network else "Against fine-tuning"
    if tuned is None and any(m.ended_at_start for m in result.methods):
        return Fact(name, "No gain", "it kept the new head that it began with", words=True)
    if tuned is None or probe is None or other is None:
        return Fact(name, "not measured", "no such method was run", words=True)
    if result.fine_tuning is not None and pair_decides(result.methods, best, pick, result.fine_tuning):
        return _fair_pair(result, result.fine_tuning)
    test = tested_of(tuned, probe, best)
    gap, said = pick.top1 - other.top1, ""
    if not math.isnan(test.p_value):
        tested = test if other is best else best  # not the pick where that stands for an equal
        against = "" if tested is pick else f" for {in_text(tested)}"
        said = f", {p_in_text(test.p_adjusted)}{against}"
    points, way = format_points(abs(gap), signed=False), "below" if gap < 0 else "above"
    small = f"{points} points {way} {in_text(other)} ({100 * other.top1:.1f} %){said}"
    if test.p_adjusted >= ALPHA:
        return Fact(name, "No difference shown", small, words=True)
    return Fact(name, f"{format_points(gap)} points", small)


def _fair_pair(result: ComparisonResult, pair: FineTuningTest) -> Fact:
    """Compare fine-tuning with frozen features by the one pair that was chosen for it."""
    tuned, probe = (
        next(m for m in result.methods if (m.name, m.backbone) == (name, pair.backbone))
        for name in (pair.mode, pair.probe)
    )
    chosen = f"the best on these {result.input_kind}s"
    if pair.chosen_by == BY_TRAINING:
        chosen = f"chosen by the training {result.input_kind}s"
    both = f"{in_text(tuned)} {100 * tuned.top1:.1f} %, {in_text(probe)} {100 * probe.top1:.1f} %"
    small = f"{both}, each {chosen}, {p_in_text(pair.p)}"
    if pair.shown:
        return Fact("Gain of fine-tuning", f"{format_points(pair.difference)} points", small)
    if math.isfinite(pair.detectable):
        small += f"; {points_in_text(pair.detectable)} would be shown (80 % power)"
    return Fact("Gain of fine-tuning", "No difference shown", small, words=True)


def _time(result: ComparisonResult, pick: MethodResult) -> Fact:
    tuned = best_method(m for m in result.methods if m.trains_network and m is not pick)
    cached = not pick.trains_network and not pick.seconds.get("extract")
    said = ["embeddings from the cache"] if cached else []
    if tuned is not None and not pick.trains_network and math.isfinite(tuned.cost) and pick.cost > 0:
        ratio = tuned.cost / pick.cost
        times = f"{ratio:.0f} times as long" if ratio >= 9.5 else f"{ratio:.1f} times as long"
        times = times if ratio >= 0.95 else "less"
        said.insert(0, f"{in_text(tuned)} took {times}, {format_seconds(tuned.cost)}")
    elif pick.trains_network:
        probe = best_method(m for m in result.methods if not m.trains_network)
        said = [f"best on frozen features {format_seconds(probe.cost)}"] if probe is not None else []
    return Fact("Time to train", format_seconds(pick.cost), ", ".join(said) or "extraction and fit")


def _reference(result: ComparisonResult, pick: MethodResult) -> list[Fact]:
    """Compare the pick with the best reference, where there is one."""
    references = [m for m in result.methods if m.kind == "floor" and math.isfinite(m.top1)]
    if not references:
        return []
    best = max(references, key=lambda m: m.top1)
    points = f"{format_points(pick.top1 - best.top1)} points"
    small = f"{best.title}: {100 * best.top1:.1f} %"
    if shown_above(pick, best) is False:
        small += "; not shown to be better"
    return [Fact("Above the reference", points, small)]
