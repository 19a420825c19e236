"""The top of the page: which method to use, and how sure that is, in five seconds."""

from __future__ import annotations

import math
from html import escape

from featx.results import ComparisonResult, MethodResult, best_method
from featx.results.advice import describe, in_text, tied
from featx.results.formats import format_p, format_points, format_seconds


def verdict(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> str:
    """The card with the recommendation, its four numbers, the advice and any warnings."""
    use = describe(pick)
    headline = use[:1].upper() + use[1:]
    advice = result.advice
    # The headline and the first tile have said it; what remains is the reasoning.
    opening = f"Use {use}: "
    if advice.startswith(opening):
        advice = advice.removeprefix(opening)
        advice = advice[:1].upper() + advice[1:]
    warnings = [w for w in result.warnings if w]
    doubt = "Warning:" in advice
    tiles = [
        _accuracy(result, pick),
        _fine_tuning(result, best, pick),
        _time(result, pick),
        _floor(result, pick),
    ]
    return (
        f'<section class="card verdict{" doubt" if doubt else ""}" aria-label="Verdict">'
        f'<p class="use">{"Use with caution" if doubt else "Recommended"}</p>'
        f"<h2>{escape(headline)}</h2>"
        f'<dl class="tiles">{"".join(filter(None, tiles))}</dl><p class="advice">{escape(advice)}</p>'
        + "".join(f'<p class="warning" role="note">{escape(w)}</p>' for w in warnings)
        + "</section>"
    )


def _tile(name: str, big: str, small: str, words: bool = False) -> str:
    return (
        f'<div class="tile"><dt>{escape(name)}</dt><dd><span class="big num{" words" if words else ""}">'
        f"{escape(big)}</span><small>{escape(small)}</small></dd></div>"
    )


def _accuracy(result: ComparisonResult, pick: MethodResult) -> str:
    top1, n = pick.metric("top1"), result.dataset.get("n_test")
    sure = f"95 % interval {100 * top1.low:.1f} to {100 * top1.high:.1f} %" if math.isfinite(top1.low) else ""
    tests = f"{n:,} test images" if n else ""
    return _tile("Top-1 accuracy", f"{100 * top1.value:.1f} %", ", ".join(filter(None, (sure, tests))))


def _fine_tuning(result: ComparisonResult, best: MethodResult, pick: MethodResult) -> str:
    """The pick against its rival: fine-tuning for a probe, the best probe for a fine-tuned baseline."""
    other_kind = "finetune" if pick.kind == "probe" else "probe"
    other = best_method(m for m in result.methods if m.kind == other_kind)
    name = "Against fine-tuning" if pick.kind == "probe" else "Against frozen features"
    if other is None:
        return _tile(name, "not measured", "no such method was run", words=True)
    test = other if best is pick else pick
    gap = pick.top1 - other.top1
    p = "" if math.isnan(test.p_value) else f", p {_p(test.p_adjusted)}"
    points, way = format_points(abs(gap), signed=False), "below" if gap < 0 else "above"
    small = f"{points} points {way} {in_text(other)} ({100 * other.top1:.1f} %){p}"
    if math.isnan(test.p_value):
        return _tile(name, f"{format_points(gap)} points", small)
    if tied(test, best):
        return _tile(name, "No difference shown", small, words=True)
    return _tile(name, f"{format_points(gap)} points", small)


def _time(result: ComparisonResult, pick: MethodResult) -> str:
    tuned = best_method(m for m in result.methods if m.kind == "finetune" and m is not pick)
    cached = pick.kind == "probe" and not pick.seconds.get("extract")
    small = "embeddings from the cache" if cached else ""
    if tuned is not None and pick.kind == "probe" and math.isfinite(tuned.cost) and pick.cost > 0:
        ratio = tuned.cost / pick.cost
        times = f"{ratio:.0f} times" if ratio >= 9.5 else f"{ratio:.1f} times"
        small = ", ".join(
            filter(None, (f"{in_text(tuned)} took {times} as long, {format_seconds(tuned.cost)}", small))
        )
    elif pick.kind == "finetune":
        probe = best_method(m for m in result.methods if m.kind == "probe")
        small = f"best probe {format_seconds(probe.cost)}" if probe is not None else ""
    return _tile("Time to train", format_seconds(pick.cost), small or "extraction and fit")


def _floor(result: ComparisonResult, pick: MethodResult) -> str:
    floors = [m for m in result.methods if m.kind == "floor" and math.isfinite(m.top1)]
    if not floors:
        return ""
    floor = max(floors, key=lambda m: m.top1)
    gap = pick.top1 - floor.top1
    return _tile(
        "Above the floor", f"{format_points(gap)} points", f"{floor.title}: {100 * floor.top1:.1f} %"
    )


def _p(p: float) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"
