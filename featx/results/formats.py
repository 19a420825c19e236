"""Format numbers for people, the same in the terminal, the advice and the report."""

from __future__ import annotations

import math

from featx.metrics import METRICS, Interval
from featx.results.methods import ALPHA
from featx.results.tables import interval_text, number_text


def format_p(p: float) -> str:
    """Write a p-value: two or three decimals, ``<0.001``, or ``-`` when there is none."""
    if not math.isfinite(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.095 else f"{p:.2f}"


def p_in_text(p: float) -> str:
    """Write a p-value inside a sentence: ``p = 0.12``, ``p < 0.001``."""
    text = format_p(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def format_milliseconds(seconds: float | None) -> str:
    """Write seconds as milliseconds with two digits, ``<0.01`` for less, ``-`` when unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    ms = 1e3 * seconds
    return "<0.01" if ms < 0.01 else f"{ms:.2f}" if ms < 0.995 else f"{ms:.1f}" if ms < 9.95 else f"{ms:.0f}"


def format_seconds(seconds: float | None) -> str:
    """Write a duration with two or three digits, in the unit that suits it; ``-`` when unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 1:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{seconds:.2f} s"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def format_mean_count(mean: float) -> str:
    """Write a mean of whole numbers: ``20``, or ``about 155`` where they differ."""
    return f"{mean:.0f}" if mean == round(mean) else f"about {mean:.0f}"


def format_shots(mean: float, kind: str) -> str:
    """Write the mean number of training inputs of a class, such as ``20 images per class``."""
    return f"{format_mean_count(mean)} {kind if mean == 1 else kind + 's'} per class"


def format_joules(joules: float | None) -> str:
    """Write an energy with two or three digits, in J, kJ or MJ; ``-`` when unknown."""
    if joules is None or not math.isfinite(joules):
        return "-"
    for unit, size in (("MJ", 1e6), ("kJ", 1e3)):
        if joules >= 0.9995 * size:
            scaled = joules / size
            return f"{scaled:.1f} {unit}" if scaled < 99.5 else f"{scaled:.0f} {unit}"
    return f"{joules:.0f} J" if joules >= 9.95 else f"{joules:.1f} J"


def format_points(difference: float, signed: bool = True) -> str:
    """Write a difference of accuracies in percentage points, with a real minus sign; ``-`` when unknown."""
    if not math.isfinite(difference):
        return "-"
    points = round(100 * difference, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    return (f"{points:+.1f}" if signed and points else f"{points:.1f}").replace("-", "−")


def format_test(p_adjusted: float) -> str:
    """Write an adjusted p-value for a table: the value, or that no difference is shown."""
    p = format_p(p_adjusted)
    return f"no difference shown (p {p})" if p_adjusted >= ALPHA else p


def format_number(x: float) -> str:
    """Write a quantity in the unit of the target, with four digits; ``-`` when unknown."""
    return number_text(x, "{:.4g}")


def format_metric(name: str, value: Interval) -> str:
    """Write a metric with its interval: three decimals, or four digits where it has the target's unit."""
    unbounded = METRICS[name].task == "numbers" and math.isinf(METRICS[name].high)
    return interval_text(value, "{:.4g}" if unbounded else "{:.3f}")
