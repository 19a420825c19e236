"""Recommend a method in plain sentences, from the measurements of a comparison.

The rule:

1. The best method is the one with the highest top-1 (:func:`featx.results.best_method`).
2. If that is a fine-tuned baseline, the most accurate probe that cannot be told apart from it and is no
   slower to train is recommended instead. Not told apart: an exact paired test on the same test images has
   p >= 0.05, adjusted by Holm's method for all pairs of competing methods.
3. A difference that is not significant is called "no difference shown", with its interval, never "equal".
4. If the comparison was repeated over splits, a warning says when another method's mean is shown to be better
   (corrected resampled t-test, adjusted in the same way).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from featx.metrics import METRICS
from featx.results.formats import format_joules, format_metric, format_points, format_seconds, p_in_text
from featx.results.methods import ALPHA, MethodResult, best_method, number_of, ranked_methods
from featx.results.repeats import Repeats

FEW_TEST_IMAGES = 100  # below this an interval of top-1 is often 10 points wide or more


def recommended(methods: Iterable[MethodResult]) -> MethodResult | None:
    """Return the method to use by the rule of this module; None if all are references."""
    methods = list(methods)
    best = best_method(methods)
    if best is None or best.kind == "probe":
        return best
    for probe in ranked_methods(m for m in methods if m.kind == "probe"):
        if tied(probe, best) and not probe.cost > best.cost:
            return probe
    return best


def advise(methods: Iterable[MethodResult], n_test: int, repeats: Repeats | None = None) -> str:
    """Say in one paragraph what to use, how sure that is, what fine-tuning gained and cost, and warn.

    `methods` are those of one comparison, with ``versus_best`` for all but the best; `n_test` counts the
    test images; `repeats` has the same methods over several splits.
    """
    methods = list(methods)
    best, pick = best_method(methods), recommended(methods)
    if best is None or pick is None:
        return "Nothing to recommend: no probe and no fine-tuned baseline was measured."
    said = [f"Use {describe(pick)}: top-1 {_top1(pick)} on {n_test} test images."]
    said.append(_on_fine_tuning(methods, best, pick))
    said.extend(_on_other_probes(methods, best, pick))
    said.extend(on_splits(repeats, pick))
    said.extend(_warnings(methods, best, pick, n_test))
    return " ".join(said)


def tied(method: MethodResult, best: MethodResult) -> bool:
    """Return whether the paired test shows no difference between a method and the best one."""
    return method is best or method.p_adjusted >= ALPHA


def describe(method: MethodResult) -> str:
    """Return a method in running text, such as ``linear SVM on frozen resnet50 features``."""
    if method.kind == "probe" and method.backbone:
        return f"{in_text(method)} on frozen {method.backbone} features"
    if method.kind == "finetune" and method.backbone and method.backbone not in method.title:
        return f"{in_text(method)} of {method.backbone}"
    return in_text(method)


def in_text(method: MethodResult) -> str:
    """Return a method's title inside a sentence: ``Ridge`` becomes ``ridge``, ``LDA`` stays."""
    title = method.title
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def _on_fine_tuning(methods: list[MethodResult], best: MethodResult, pick: MethodResult) -> str:
    tuned = pick if pick.kind == "finetune" else best_method(m for m in methods if m.kind == "finetune")
    probe = pick if pick.kind == "probe" else best_method(m for m in methods if m.kind == "probe")
    if tuned is None:
        return "No fine-tuned baseline was run, so this does not say whether fine-tuning would do better."
    if probe is None:
        return "No probe on frozen features was run, so this does not say whether fine-tuning was needed."
    # One of the two is the best method or shares its rank, so the other carries the paired test.
    test = probe if best.kind == "finetune" else tuned
    gap = _gap(test, flip=test is probe)
    shown = not tied(test, best)
    if math.isnan(test.p_value):
        said = (
            f"{tuned.title} reached {tuned.top1:.3f}, {in_text(probe)} {probe.top1:.3f}; not tested in pairs."
        )
    elif pick is probe and shown:
        said = f"Fine-tuning did not pay: its best mode, {in_text(tuned)}, reached {tuned.top1:.3f} ({gap})."
    elif pick is probe:
        said = f"No difference from fine-tuning is shown: {in_text(tuned)} reached {tuned.top1:.3f} ({gap})."
    elif shown:
        said = (
            f"Fine-tuning paid off: the best probe on frozen features, {in_text(probe)}, "
            f"reached {probe.top1:.3f} (fine-tuning: {gap})."
        )
    else:
        said = (
            f"No difference from frozen features is shown: {in_text(probe)} reached {probe.top1:.3f} "
            f"(fine-tuning: {gap}), but was slower to train."
        )
    return " ".join(filter(None, [said, _cost(tuned, probe)]))


def _gap(test: MethodResult, flip: bool) -> str:
    """Return fine-tuning - probe in points; `flip` where the test has probe - fine-tuning."""
    difference, low, high = (number_of(test.versus_best, k) for k in ("difference", "low", "high"))
    if flip:
        difference, low, high = -difference, -high, -low
    parts = []
    if math.isfinite(difference):
        parts.append(f"{format_points(difference)} points")
    if math.isfinite(low) and math.isfinite(high):
        parts.append(f"95 % interval {format_points(low)} to {format_points(high)}")
    return ", ".join([*parts, _p(test)])


def _p(test: MethodResult) -> str:
    """Return ``p = 0.12``, or ``adjusted p = 0.12`` where it was adjusted."""
    adjusted = "" if math.isnan(number_of(test.versus_best, "p_holm")) else "adjusted "
    return adjusted + p_in_text(test.p_adjusted)


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


def on_splits(repeats: Repeats | None, pick: MethodResult) -> list[str]:
    """Say how the recommended method does over several splits; nothing if there was one split."""
    best = None if repeats is None else repeats.best()
    mine = None if repeats is None else repeats.of(pick.name, pick.backbone)
    if repeats is None or best is None or mine is None:
        return []
    end = "highest" if METRICS[repeats.metric].higher_is_better else "lowest"
    mean = format_metric(repeats.metric, mine.mean(repeats.metric))
    over = f"over {len(repeats.seeds)} splits its {repeats.title} is {mean}"
    if mine is best:
        others = [m for m in repeats.methods if not m.is_reference and m is not best]
        same = sum(m.p_adjusted >= ALPHA for m in others)
        count = f"; {same} of the {len(others)} other methods cannot be told apart from it" if others else ""
        return [f"O{over[1:]}, the {end}{count}."]
    title = best.title if best.backbone in (None, pick.backbone) else f"{best.title} on {best.backbone}"
    theirs = repeats.digits(best.mean(repeats.metric).value)
    other, p = f"the {end} is {title}'s, {theirs}", f"(adjusted {p_in_text(mine.p_adjusted)})"
    if mine.p_adjusted < ALPHA:
        return [f"Warning: {over}, and {other}, shown to be better {p}: this one split has favoured another."]
    return [f"O{over[1:]}; {other}, no difference shown {p}."]


def warn_of_reference(reference: MethodResult, value: str) -> str:
    """Return the warning that the recommended method is not shown to beat a reference."""
    return (
        f"Warning: it is not shown to be better than the reference, {in_text(reference)} ({value}); do not "
        "rely on it."
    )


def on_few_images(n_test: int) -> list[str]:
    """Say that few test images make rough numbers; nothing if there are enough."""
    if n_test >= FEW_TEST_IMAGES:
        return []
    return [f"With only {n_test} test images all of this is rough; more would narrow the intervals."]


def _on_other_probes(methods: list[MethodResult], best: MethodResult, pick: MethodResult) -> list[str]:
    if pick.kind == "finetune":
        return _on_cheaper_modes(methods, best, pick)
    others = [m for m in methods if m.kind == "probe" and m is not pick]
    if pick is not best or any(math.isnan(m.p_value) for m in others):
        return []
    same = sum(tied(m, best) for m in others)
    if not same:
        return []
    if len(others) == 1:
        return ["The other probe cannot be told apart from it on these images."]
    return [f"{same} of the {len(others)} other probes cannot be told apart from it on these images."]


def _on_cheaper_modes(methods: list[MethodResult], best: MethodResult, pick: MethodResult) -> list[str]:
    modes = [m for m in methods if m.kind == "finetune" and m is not pick and tied(m, best)]
    cheap = min((m for m in modes if 2 * m.cost <= pick.cost), key=lambda m: m.cost, default=None)
    if cheap is None:
        return []
    times = pick.cost / cheap.cost if cheap.cost > 0 else math.inf
    return [
        f"{cheap.title} is not shown to be worse ({cheap.top1:.3f}, {_p(cheap)}) "
        f"and {times:.0f} times faster to train."
    ]


def _warnings(methods: list[MethodResult], best: MethodResult, pick: MethodResult, n_test: int) -> list[str]:
    said = []
    for reference in (m for m in methods if m.is_reference and math.isfinite(m.top1)):
        beaten = pick.top1 > reference.top1
        if best is pick and math.isfinite(reference.p_value):
            beaten = beaten and reference.p_value < ALPHA
        else:  # no paired test of these two: the interval must not reach the reference's value
            beaten = beaten and not pick.metric("top1").low <= reference.top1
        if not beaten:
            said.append(warn_of_reference(reference, f"{reference.top1:.3f}"))
    return said + on_few_images(n_test)


def _top1(m: MethodResult) -> str:
    interval = m.metric("top1")
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} (95 % interval {interval.low:.3f} to {interval.high:.3f})"
