"""Choose the method to recommend, by the rule in `featx.results.advice`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from featx.kinds import with_article
from featx.results.formats import format_milliseconds, format_seconds
from featx.results.methods import ALPHA, ENSEMBLE, MethodResult, admitted
from featx.results.selection import FineTuningTest

#: How much less top-1 a method may have that is recommended in place of the most accurate one; one test image
#: less is allowed in any case.
MARGIN = 0.01
#: Two-sided p-value of a difference of one standard error.
ONE_ERROR = 0.3173
#: A log loss that is higher by no more than this, in nats, is no reason against a method.
LOSS_MARGIN = 0.01
#: A method is slower if it takes twice as long, and this many seconds more: to fit, and to predict an input.
SLOWER_FIT, SLOWER_PREDICTION = 60.0, 0.01


@dataclass(frozen=True)
class Choice:
    """The recommended method, and why it is this one.

    Attributes
    ----------
    pick : MethodResult
        The method to use.
    first : MethodResult
        The most accurate of those it was chosen from.
    n_equals : int
        How many others are as accurate as `first`.
    better : str
        In what `pick` is better than `first`; empty if they are the same.
    """

    pick: MethodResult
    first: MethodResult
    n_equals: int = 0
    better: str = ""


def tied(method: MethodResult, best: MethodResult) -> bool:
    """Whether no difference from the best method is shown."""
    return method is best or method.p_adjusted >= ALPHA


def not_worse(method: MethodResult, best: MethodResult) -> bool:
    """Whether no test shows that a method is worse than the best one."""
    return method is best or not method.p_adjusted < ALPHA


def choose(
    methods: Iterable[MethodResult], fine_tuning: FineTuningTest | None = None, kind: str = "image"
) -> Choice | None:
    """Choose the method to use; None if no method may be recommended. `kind` is that of the inputs."""
    pool = admitted(methods)
    single = [m for m in pool if m.name != ENSEMBLE]
    if not single:
        return None
    best, first = pool[0], single[0]
    if best.name == ENSEMBLE:
        close = [m for m in single if not_worse(m, best)]
        if not close:
            return Choice(best, best)
        first = close[0]
    if first.trains_network and not (fine_tuning is not None and fine_tuning.pays):
        frozen = (m for m in single if not m.trains_network and not_worse(m, best))
        first = next((m for m in frozen if not _slower(m.cost, first.cost, SLOWER_FIT)), first)
    alike = [m for m in single if m.trains_network == first.trains_network]
    return _choose_equal([m for m in alike if _is_as_accurate(m, first, best)], first, kind)


def _is_as_accurate(method: MethodResult, first: MethodResult, best: MethodResult) -> bool:
    """Whether a method may stand for `first`; both were tested against `best`, unless they are it."""
    if method is first:
        return True
    n_test = sum(map(sum, first.confusion))
    margin = max(MARGIN, 1 / n_test if n_test else 0.0) + 1e-9
    within_error = first is not best or method.p_value >= ONE_ERROR
    return first.top1 - method.top1 <= margin and tied(method, best) and within_error


def _choose_equal(equals: Sequence[MethodResult], first: MethodResult, kind: str) -> Choice:
    """Choose the best calibrated, then the fastest of methods as accurate as `first`, which is among them."""
    n_equals = len(equals) - 1
    calibrated = _best_calibrated(equals, first)
    quick = _fastest(calibrated, _fit, SLOWER_FIT)
    left = _fastest(quick, _prediction, SLOWER_PREDICTION)
    if first in left:
        return Choice(first, first, n_equals)
    pick = min(left, key=lambda m: (-m.top1, m.metric("log_loss").value))
    if first not in calibrated:
        mine, other = (m.metric("log_loss").value for m in (pick, first))
        return Choice(pick, first, n_equals, f"better calibrated (log loss {mine:.3f} against {other:.3f})")
    if first not in quick:
        times = f"{format_seconds(_fit(pick))} against {format_seconds(_fit(first))}"
        return Choice(pick, first, n_equals, f"faster to train ({times})")
    new, old = (format_milliseconds(_prediction(m)) for m in (pick, first))
    return Choice(pick, first, n_equals, f"faster to predict ({new} against {old} ms {with_article(kind)})")


def _best_calibrated(methods: Sequence[MethodResult], first: MethodResult) -> list[MethodResult]:
    """Return the methods with the lowest log loss, within one standard error or `LOSS_MARGIN`.

    All are returned if `first` has none.
    The interval of a log loss leaves room above for mistakes that no test image shows, so its standard error
    is taken from the lower half.
    """
    losses = [m.metric("log_loss") for m in methods]
    lowest = min((i for i in losses if math.isfinite(i.value)), key=lambda i: i.value, default=None)
    if lowest is None or math.isnan(first.metric("log_loss").value):
        return list(methods)
    error = (lowest.value - lowest.low) / 1.96 if math.isfinite(lowest.low) else 0.0
    most = lowest.value + max(error, LOSS_MARGIN)
    return [m for m, loss in zip(methods, losses, strict=True) if loss.value <= most]


def _fastest(
    methods: Sequence[MethodResult], seconds: Callable[[MethodResult], float], least: float
) -> list[MethodResult]:
    """Return the methods that are not slower than the fastest; those without a time are among them."""
    known = [t for t in map(seconds, methods) if math.isfinite(t)]
    return [m for m in methods if not known or not _slower(seconds(m), min(known), least)]


def _slower(seconds: float, other: float, least: float) -> bool:
    return seconds > 2 * other and seconds - other > least


def _fit(method: MethodResult) -> float:
    """Seconds to fit; without the extraction, which is 0 for a backbone whose rows are in the cache."""
    found = method.seconds.get("fit")
    return math.nan if found is None else found


def _prediction(method: MethodResult) -> float:
    found = method.seconds.get("predict_per_image")
    return math.nan if found is None else found
