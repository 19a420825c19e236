"""Write sentences that the advice of several studies has in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from featx.metrics import METRICS
from featx.results.formats import format_metric, format_points, format_seconds, p_in_text
from featx.results.methods import ALPHA, HEAD, ZERO_SHOT, Method, MethodResult
from featx.results.repeats import Repeats

#: Test inputs below which an interval of top-1 is often 10 points wide or more.
FEW_TESTS = 100
#: With fewer units no test can show anything: all signs alike have a probability of 1/16, one-sided.
FEWEST_UNITS = 5


def describe(method: MethodResult) -> str:
    """Return a method in running text, such as ``linear SVM on frozen resnet50 features``."""
    if method.name == HEAD and method.backbone:
        return f"{in_text(method).removesuffix(', backbone frozen')} on frozen {method.backbone} features"
    if method.kind == "probe" and method.backbone:
        return f"{in_text(method)} on frozen {method.backbone} features"
    if method.kind == "finetune" and method.backbone and method.backbone not in method.title:
        return f"{in_text(method)} of {method.backbone}"
    return in_text(method)


def in_text(method: Method) -> str:
    """Return a method's title inside a sentence: ``Ridge`` becomes ``ridge``, ``LDA`` stays."""
    return title_in_text(method.title)


def title_in_text(title: str) -> str:
    """Return a title as `in_text` does."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def points_in_text(difference: float) -> str:
    """Write the size of a difference of accuracies: ``2.1 points``."""
    return f"{format_points(abs(difference), signed=False)} points"


def on_choice(
    n_methods: int,
    optimism: float | None,
    form: Callable[[float], str] = points_in_text,
    *,
    kind: str = "image",
) -> list[str]:
    """Say how much the choice on the test inputs flatters the best method; nothing if it is 0 or unknown."""
    if optimism is None or not math.isfinite(optimism) or n_methods < 2 or form(optimism) == form(0.0):
        return []
    return [
        f"It is the best of {n_methods} methods, and choosing it on these {kind}s flatters it by about "
        f"{form(optimism)}."
    ]


def on_power(
    differences: Iterable[float],
    form: Callable[[float], str] = points_in_text,
    *,
    kind: str = "image",
) -> list[str]:
    """Say which differences would be shown, the smallest and the largest; nothing if none is known."""
    known = [x for x in differences if math.isfinite(x)]
    if not known:
        return []
    low, high = form(min(known)), form(max(known))
    said = f"a difference of {high}"
    if low != high:
        said = f"a difference of {low.removesuffix(' points')} to {high}, depending on the method,"
    return [f"With these {kind}s, {said} would be shown with 80 % power."]


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
        if len(others) == 1:
            count = "; the other method cannot be told apart from it" if same else ""
        return [f"O{over[1:]}, the {end}{count}."]
    title = in_text(best) + ("" if best.backbone in (None, pick.backbone) else f" on {best.backbone}")
    theirs = repeats.digits(best.mean(repeats.metric).value)
    rounded = repeats.digits(mine.mean(repeats.metric).value) == theirs
    other = f"the {end} is that of {title}, {'the same in these digits' if rounded else theirs}"
    p = f"(adjusted {p_in_text(mine.p_adjusted)})"
    if mine.p_adjusted < ALPHA:
        return [f"Warning: {over}, and {other}, shown to be better {p}: this one split has favoured another."]
    return [f"O{over[1:]}; {other}, no difference shown {p}."]


def warn_of_reference(reference: MethodResult, value: str) -> str:
    """Return the warning that the recommended method is not shown to beat a reference."""
    said = f"Warning: it is not shown to be better than the reference, {in_text(reference)} ({value})"
    if reference.name.startswith(ZERO_SHOT):
        return f"{said}, which needs no training."
    if reference.learns_without_network:
        return f"{said}, which {needs_no_network(reference)}."
    return f"{said}; do not rely on it."


def needs_no_network(reference: MethodResult) -> str:
    """Say what a reference that is trained on the inputs themselves costs."""
    seconds = format_seconds(reference.cost)
    return "needs no network" + ("" if seconds == "-" else f" and was trained in {seconds}")


def on_few_tests(n_test: int, n_units: int | None = None, *, kind: str = "image") -> list[str]:
    """Say that few test inputs, or few units of them, make rough numbers; nothing if there are enough."""
    if min(n_test, n_units or n_test) >= FEW_TESTS:
        return []
    few = f"{n_test} test {kind}s"
    if n_units and n_units < n_test:
        few = f"{n_units} independent unit{'s' * (n_units > 1)} among {n_test} test {kind}s"
        if n_units < FEWEST_UNITS:
            return [
                f"With only {few} no test can show that one method is better than another, however far apart "
                "they are."
            ]
    return [f"With only {few} all of this is rough; more would narrow the intervals."]


def adjusted_p(method: MethodResult) -> str:
    """Return the p-value against the best method: ``p = 0.12``, or ``adjusted p = 0.12``."""
    return ("adjusted " if method.is_adjusted else "") + p_in_text(method.p_adjusted)
