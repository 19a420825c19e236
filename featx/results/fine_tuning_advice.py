"""Say whether fine-tuning paid: which two methods are compared, by which test, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable

from featx.metrics import Interval
from featx.results.formats import format_joules, format_points, format_seconds, p_in_text
from featx.results.methods import ALPHA, HEAD, MethodResult, best_method, number_of
from featx.results.selection import BY_TRAINING, FineTuningTest
from featx.results.sentences import adjusted_p, in_text, on_power


def rivals(
    methods: Iterable[MethodResult], pick: MethodResult
) -> tuple[MethodResult | None, MethodResult | None]:
    """Return the method that trains the network and the one on frozen features that the advice compares.

    They are the best of their kind, or `pick` if that trains the network.
    """
    competing = [m for m in methods if m.competes]
    tuned = pick if pick.trains_network else best_method(m for m in competing if m.trains_network)
    return tuned, best_method(m for m in competing if not m.trains_network)


def tested_of(tuned: MethodResult, probe: MethodResult, best: MethodResult) -> MethodResult:
    """Return the one that is not of the best method's kind: its paired test compares the two kinds."""
    return probe if best.trains_network else tuned


def pair_decides(
    methods: Iterable[MethodResult], best: MethodResult, pick: MethodResult, pair: FineTuningTest | None
) -> bool:
    """Return whether what the fair pair shows is the reason for the recommendation.

    It is not if only the tests of all pairs show a difference, or if the pair shows the opposite: `pick` need
    not be one of the pair.
    """
    tuned, probe = rivals(methods, pick)
    if pair is None or not pair.of_network or tuned is None or probe is None:
        return False
    if pair.shown:
        return pair.pays == pick.trains_network
    return not tested_of(tuned, probe, best).p_adjusted < ALPHA


def on_fine_tuning(
    methods: list[MethodResult],
    best: MethodResult,
    pick: MethodResult,
    pair: FineTuningTest | None,
    kind: str,
) -> str:
    """Say whether fine-tuning the network paid, by the test that decides, and what it cost."""
    tuned, probe = rivals(methods, pick)
    if tuned is None:
        return _on_no_fine_tuning(methods)
    if probe is None:
        return "No probe on frozen features was run, so this does not say whether fine-tuning was needed."
    if pair is not None and pair_decides(methods, best, pick, pair):
        return _on_pair(methods, pair, kind)
    test = tested_of(tuned, probe, best)
    shown = test.p_adjusted < ALPHA
    # The test is of the best method of a kind, and another one may be recommended.
    frozen = probe if test is probe else best
    gain = "fine-tuning" if test is tuned or best is tuned else in_text(best)
    against = "" if pick.trains_network or frozen is pick else f" against {in_text(frozen)}"
    gap = _gap(test, flip=test is probe, against=against)
    if math.isnan(test.p_value):
        said = (
            f"{tuned.title} reached {tuned.top1:.3f}, {in_text(probe)} {probe.top1:.3f}; not tested in pairs."
        )
    elif not pick.trains_network and shown and best.trains_network:
        said = (
            f"{tuned.title} reached {tuned.top1:.3f} ({gap}), but is not shown to be better than every "
            "reference."
        )
    elif not pick.trains_network and shown:
        said = f"Fine-tuning did not pay: its best mode, {in_text(tuned)}, reached {tuned.top1:.3f} ({gap})."
    elif not pick.trains_network:
        said = f"No difference from fine-tuning is shown: {in_text(tuned)} reached {tuned.top1:.3f} ({gap})."
    elif shown:
        said = (
            f"Fine-tuning paid off: the best probe on frozen features, {in_text(probe)}, "
            f"reached {probe.top1:.3f} ({gain}: {gap})."
        )
    else:
        slower = ", but was slower to train" if probe.cost > tuned.cost else ""
        said = (
            f"No difference from frozen features is shown: {in_text(probe)} reached {probe.top1:.3f} "
            f"({gain}: {gap}){slower}."
        )
    return " ".join(filter(None, [said, _cost(tuned, probe if pick.trains_network else pick)]))


def _on_no_fine_tuning(methods: list[MethodResult]) -> str:
    """Say that no network was fine-tuned, or that the training kept what it began with."""
    kept = [m for m in methods if m.ended_at_start]
    open_ = "so this does not say whether fine-tuning would do better."
    if not kept and any(m.name == HEAD for m in methods):
        return f"No network was fine-tuned, only a new head trained on frozen features, {open_}"
    if not kept:
        return f"No fine-tuned baseline was run, {open_}"
    seconds = sum(m.cost for m in kept)
    cost = f" in {format_seconds(seconds)}" if math.isfinite(seconds) else ""
    modes = " and ".join(in_text(m) for m in kept)
    return (
        f"Fine-tuning gained nothing: no epoch ({modes}){cost} was better than the new head that it began "
        "with, which was kept."
    )


def _on_pair(methods: list[MethodResult], pair: FineTuningTest, kind: str) -> str:
    """Say what the test of one fine-tuned baseline against one probe shows."""
    tuned, probe = (
        next(m for m in methods if (m.name, m.backbone) == (name, pair.backbone))
        for name in (pair.mode, pair.probe)
    )
    if not pair.shown:
        said = "No difference between fine-tuning and frozen features is shown"
    else:
        said = "Fine-tuning paid off" if pair.difference > 0 else "Fine-tuning did not pay"
    how = "" if pair.p_adjusted is None else "adjusted "
    parts = [f"{format_points(pair.difference)} points", f"{how}{p_in_text(pair.p)}"]
    if math.isfinite(pair.gain.low):
        bounds = f"{format_points(pair.gain.low)} to {format_points(pair.gain.high)}"
        parts.insert(1, f"{how}95 % interval {bounds}")
    by = f"each chosen by the training {kind}s alone"
    if pair.chosen_by != BY_TRAINING:
        by = f"each the best on these test {kind}s, as no training {kind} could be held out to choose by"
    said = (
        f"{said}: {in_text(tuned)} reached {tuned.top1:.3f}, {in_text(probe)} {probe.top1:.3f}, {by} "
        f"({', '.join(parts)})."
    )
    power = [] if pair.shown else on_power([pair.detectable], kind=kind)
    return " ".join(filter(None, [said, *power, _cost(tuned, probe)]))


def _gap(test: MethodResult, flip: bool, against: str) -> str:
    """Return fine-tuning - probe in points, and `against` which one; `flip` where it is the other way."""
    gain = test.difference
    if flip:
        gain = Interval(-gain.value, -gain.high, -gain.low)
    parts = []
    if math.isfinite(gain.value):
        parts.append(f"{format_points(gain.value)} points{against}")
    if math.isfinite(gain.low) and math.isfinite(gain.high):
        both = "adjusted " if math.isfinite(number_of(test.versus_best, "low_adjusted")) else ""
        parts.append(f"{both}95 % interval {format_points(gain.low)} to {format_points(gain.high)}")
    return ", ".join([*parts, adjusted_p(test)])


def _cost(tuned: MethodResult, probe: MethodResult) -> str:
    slow, fast = tuned.cost, probe.cost
    if not (math.isfinite(slow) and fast > 0):
        return ""
    cached = "" if probe.seconds.get("extract") else ", embeddings from the cache"
    times = f"({format_seconds(slow)} against {format_seconds(fast)}{cached}{_joules(tuned, probe)})"
    ratio = slow / fast
    if ratio >= 1.5:
        return f"Fine-tuning took {ratio:.{0 if ratio >= 9.5 else 1}f} times as long {times}."
    return f"Fine-tuning took {'about as long' if ratio > 1 / 1.5 else 'less time'} {times}."


def _joules(tuned: MethodResult, probe: MethodResult) -> str:
    """Return the energy of both, if the machine measured it."""
    if math.isnan(tuned.energy) or math.isnan(probe.energy):
        return ""
    return f"; {format_joules(tuned.energy)} against {format_joules(probe.energy)}"
