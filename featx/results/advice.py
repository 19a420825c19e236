"""Recommend a method in plain sentences, from the measurements of a comparison.

The rule:

1. A method may be recommended if it is shown to be better than the majority class, and its top-1 is above
   that of the references that need no network (raw pixels for images, TF-IDF for texts, filter banks for
   clips), of zero-shot classification, and of the same answer to every test input
   (:func:`~featx.results.methods.admitted`).
   If there is none, nothing is recommended. With fewer than five units among the test inputs no test of them
   can show anything; the comparison is then decided by its splits, where it has several.
2. The best method is the one with the highest top-1. The test inputs chose it, so its top-1 flatters it; the
   advice says by how much.
3. An ensemble is recommended only if every single method is shown to be worse.
4. A method that trains the network is recommended only if fine-tuning is shown to be better than frozen
   features, or if every method on frozen features that is not shown to be worse is slower to train. A new
   head on the frozen network works on frozen features. One pair is tested for this: the probe and the
   fine-tuned baseline that the training inputs choose, by cross-validation and by validation. (The best of
   many probes against the best of few baselines on the same test inputs would favour the probes.) It is also
   shown if the best method on frozen features is shown to be worse than the best method in the tests of all
   pairs, which allow for the choice.
5. Of the single methods that rule 4 leaves (on frozen features, or fine-tuned), the first is the one with the
   highest top-1. Another one is as accurate if no difference from the best method is shown, *and* it is
   within one standard error of the first (the paired p-value is 0.32 or more), *and* its top-1 is at most one
   point lower, or one test input. "Not shown to be worse" alone would be weak: with 50 test inputs a loss of
   10 points goes unnoticed. Within one standard error is the rule of Breiman et al. (*Classification and
   Regression Trees*, 1984, section 3.4.3); one point is the difference that Benavoli et al. ("Time for a
   change", JMLR 18, 2017) call practically equal. (Where the best method is none of these, the standard error
   of the pair is not known, and the other two conditions decide.)
6. Of the methods that are as accurate, those are kept whose log loss is within one standard error, or 0.01,
   of the lowest; of these, those that are not slower to fit than the fastest (twice as long and a minute
   more), and then those not slower to predict (twice as long and 10 ms more an input). The first is
   recommended if it is among them, else the most accurate that is; the advice says why.
7. Methods are told apart by tests of all pairs of competing methods together, with adjusted p < 0.05. A
   difference that is not shown is called so, with its interval and the difference that would have been shown,
   never "equal". A fine-tuning that kept the frozen network and the head it began with does not compete: it
   would be the new head a second time.
8. If the comparison was repeated over splits, a warning says when another method's mean is shown to be better
   (corrected resampled t-test, adjusted by Holm's method for all pairs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from featx.metrics import METRICS, Interval
from featx.results.choice import Choice, choose, tied
from featx.results.fine_tuning_advice import on_fine_tuning
from featx.results.formats import format_metric, p_in_text
from featx.results.methods import (
    ALPHA,
    ENSEMBLE,
    GUESSES,
    MethodResult,
    best_method,
    constant_top1,
    number_of,
    shown_above,
    worth,
)
from featx.results.repeats import Repeats
from featx.results.selection import FineTuningTest
from featx.results.sentences import (
    FEWEST_UNITS,
    adjusted_p,
    describe,
    in_text,
    needs_no_network,
    on_choice,
    on_few_tests,
    on_power,
    on_splits,
    warn_of_reference,
)


def recommended(
    methods: Iterable[MethodResult], fine_tuning: FineTuningTest | None = None
) -> MethodResult | None:
    """Return the method to use by the rule of this module; None if no method may be recommended."""
    choice = choose(methods, fine_tuning)
    return None if choice is None else choice.pick


def advise(
    methods: Iterable[MethodResult],
    n_test: int,
    repeats: Repeats | None = None,
    *,
    n_units: int | None = None,
    fine_tuning: FineTuningTest | None = None,
    optimism: float | None = None,
    kind: str = "image",
) -> str:
    """Say in one paragraph what to use, how sure that is, what fine-tuning gained and cost, and warn.

    `methods` are those of one comparison, with ``versus_best`` for all but the best; `n_test` counts the
    test inputs, `n_units` the units among them; `repeats` has the same methods over several splits;
    `fine_tuning` is the test of fine-tuning against frozen features, and `optimism` the expected excess of
    the best top-1; `kind` is that of the inputs.
    """
    methods = list(methods)
    best, choice = best_method(methods), choose(methods, fine_tuning, kind)
    if best is None:
        return "Nothing to recommend: no probe and no fine-tuned baseline was measured."
    if choice is None:
        few = on_few_tests(n_test, n_units, kind=kind)
        return " ".join([why_nothing(methods, best, kind=kind), *on_splits(repeats, best), *few])
    pick = choice.pick
    said = [f"Use {describe(pick)}: top-1 {_top1(pick)} on {n_test} test {kind}s."]
    # What several splits say comes first: the rest is about the test inputs of one.
    said.extend(on_splits(repeats, pick))
    if pick is best:
        said.extend(on_choice(sum(m.competes for m in methods), optimism, kind=kind))
    said.extend(_on_first(methods, best, choice))
    said.append(on_fine_tuning(methods, best, pick, fine_tuning, kind))
    said.extend(_on_other_probes(methods, best, pick, kind))
    decide = repeats if n_units is not None and n_units < FEWEST_UNITS else None
    said.extend(_warnings(methods, best, pick, decide))
    return " ".join([*said, *on_few_tests(n_test, n_units, kind=kind)])


def why_nothing(
    methods: list[MethodResult], best: MethodResult, metric: str = "top1", *, kind: str = "image"
) -> str:
    """Say why no method is recommended, by the reference that the best one does not beat."""
    title, value = METRICS[metric].title, format_metric(metric, best.metric(metric))
    references = [m for m in methods if m.is_reference and math.isfinite(worth(m, metric))]
    for reference in sorted(references, key=lambda m: m.name not in GUESSES):
        above = worth(best, metric) > worth(reference, metric)
        if above and shown_above(best, reference) is not False:
            continue
        guess = reference.name in GUESSES
        than = "always giving the same answer" if guess else f"the reference, {in_text(reference)}"
        better = "shown to be better" if above or guess else "better"
        p = number_of(best.versus_references, reference.name)
        # The test asks whether the method is better: beside a reference that is ahead, its p says nothing.
        tested = "" if math.isnan(p) or not (above or guess) else f" (adjusted {p_in_text(p)})"
        floor = format_metric(metric, Interval(reference.metric(metric).value))
        said = (
            f"Nothing to recommend: no method is {better} than {than}. The best, {describe(best)}, "
            f"has {title} {value}; {in_text(reference)}, {floor}{tested}."
        )
        if reference.learns_without_network:
            said += f" That {needs_no_network(reference)}, so a network is not worth its cost here."
        # Another reference may be better than every method.
        ahead = [m for m in references if m is not reference and worth(m, metric) > worth(best, metric)]
        return said + "".join(
            f" {m.title} is better: {format_metric(metric, Interval(m.metric(metric).value))}." for m in ahead
        )
    if metric == "top1" and best.top1 <= constant_top1(best):
        return (
            f"Nothing to recommend: the best method, {describe(best)}, has {title} {value}, no more than the "
            f"same answer to every test {kind}."
        )
    return "Nothing to recommend: the best method is not shown to be better than every reference."


def _on_first(methods: list[MethodResult], best: MethodResult, choice: Choice) -> list[str]:
    """Say why this one of the methods that are as accurate, and why no ensemble that is more accurate."""
    pick, first, said = choice.pick, choice.first, []
    if best.name == ENSEMBLE and pick is not best:
        said.append(
            f"{best.title} has the highest top-1, {best.top1:.3f}, but is not shown to be better than every "
            "single method."
        )
    elif first is not best and not best.trains_network:
        said.append(
            f"{_named(methods, best)} has the highest top-1, {best.top1:.3f}, but is not shown to be better "
            "than every reference."
        )
    if pick is not first:
        same = "the same top-1"
        if pick.top1 != first.top1:
            same = f"top-1 {first.top1:.3f}, no difference shown" + (
                f" ({adjusted_p(pick)})" if first is best else ""
            )
        said.append(f"{_named(methods, first)} has {same}; this one is {choice.better}.")
    elif choice.n_equals == 1:
        said.append("The other method that is as accurate is not clearly better calibrated or faster.")
    elif choice.n_equals:
        others = f"None of the {choice.n_equals} others that are as accurate"
        said.append(f"{others} is clearly better calibrated or faster.")
    return said


def _named(methods: list[MethodResult], method: MethodResult) -> str:
    """Return a title for the beginning of a sentence, with the backbone if there are several."""
    several = len({m.backbone for m in methods if m.backbone}) > 1
    return f"{method.title} on {method.backbone}" if several and method.backbone else method.title


def _on_other_probes(
    methods: list[MethodResult], best: MethodResult, pick: MethodResult, kind: str
) -> list[str]:
    if pick.trains_network:
        return _on_cheaper_modes(methods, best, pick)
    others = [m for m in methods if m.kind == "probe" and m is not pick]
    if pick is not best or any(math.isnan(m.p_value) for m in others):
        return []
    same = [m for m in others if tied(m, best)]
    if not same:
        return []
    said = f"{len(same)} of the {len(others)} other probes cannot be told apart from it on these {kind}s."
    if len(others) == 1:
        said = f"The other probe cannot be told apart from it on these {kind}s."
    elif len(same) == len(others):
        said = f"None of the {len(others)} other probes can be told apart from it on these {kind}s."
    return [said, *on_power((m.detectable for m in same), kind=kind)]


def _on_cheaper_modes(methods: list[MethodResult], best: MethodResult, pick: MethodResult) -> list[str]:
    modes = [m for m in methods if m.kind == "finetune" and m.competes and m is not pick and tied(m, best)]
    cheap = min((m for m in modes if 2 * m.cost <= pick.cost), key=lambda m: m.cost, default=None)
    if cheap is None:
        return []
    times = pick.cost / cheap.cost if cheap.cost > 0 else math.inf
    return [
        f"{cheap.title} is not shown to be worse ({cheap.top1:.3f}, {adjusted_p(cheap)}) "
        f"and {times:.0f} times faster to train."
    ]


def _warnings(
    methods: list[MethodResult], best: MethodResult, pick: MethodResult, repeats: Repeats | None
) -> list[str]:
    """Warn of references that are not shown to be worse; `repeats` are the splits, where these decide."""
    said = []
    for reference in (m for m in methods if m.is_reference and math.isfinite(m.top1)):
        beaten = shown_above(pick, reference)
        if beaten is None and best is pick and math.isfinite(reference.p_value):
            beaten = pick.top1 > reference.top1 and reference.p_value < ALPHA
        elif beaten is None:  # no paired test of these two: the interval must not reach the reference's value
            beaten = pick.top1 > reference.top1 and not pick.metric("top1").low <= reference.top1
        if not beaten:
            said.append(warn_of_reference(reference, _value_of_reference(reference, pick, repeats)))
    return said


def _value_of_reference(reference: MethodResult, pick: MethodResult, repeats: Repeats | None) -> str:
    """Return the top-1 of a reference; where the splits decide, its mean over them, and the p-value."""
    over = None if repeats is None else repeats.of(reference.name, reference.backbone)
    if repeats is None or over is None:
        return f"{reference.top1:.3f}"
    p = number_of(pick.versus_references, reference.name)
    return (
        f"{over.mean('top1').value:.3f} on average over {len(repeats.seeds)} splits"
        f"{f', adjusted {p_in_text(p)}' if math.isfinite(p) else ''}"
    )


def _top1(m: MethodResult) -> str:
    interval = m.metric("top1")
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} (95 % interval {interval.low:.3f} to {interval.high:.3f})"
