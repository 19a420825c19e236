"""Test the methods of a comparison on the same test images: all pairs as one family, and one fair pair.

The best method is chosen on the test images, so every test against it is adjusted for all pairs of competing
methods (max-T, `featx.metrics.compare_pairs`). Whether fine-tuning is better than frozen features is a
question of its own: the best of many probes would be ahead of the best of few fine-tuned baselines by chance.
So each side is represented by the method that the training images choose, and that one pair is tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.results.methods import GUESSES
from featx.results.selection import BY_TEST, BY_TRAINING, FineTuningTest
from featx.studies.comparison.repeats import adjust_p_values
from featx.studies.evaluation import Outcome

if TYPE_CHECKING:
    from featx.metrics import PairFamily


@dataclass
class MethodTests:
    """The tests of all methods, in their order, as `featx.results.MethodResult` has them."""

    versus_best: list[dict[str, Any] | None]
    versus_references: list[dict[str, float] | None]
    selection: dict[str, Any]
    fine_tuning: FineTuningTest | None


def compare_methods(
    outcomes: Sequence[Outcome],
    scores: np.ndarray,
    best: int,
    single: Callable[[int, int], dict[str, float]],
    *,
    units: np.ndarray | None,
    n_boot: int,
    seed: int,
    constant: np.ndarray,
    sign: int = 1,
) -> MethodTests:
    """Test every method against the best one and against the references, and fine-tuning against probes.

    Parameters
    ----------
    outcomes : sequence of Outcome
        All methods.
    scores : ndarray of shape (m, n), bool or float
        Score of each method on each test image: whether it is right, or its absolute error.
    best : int
        The best of the competing methods.
    single : callable
        Returns the unadjusted test of a pair as ``results.json`` has it; it needs ``p_value``.
    units : ndarray of shape (n,), or None
        The units of the test images.
    n_boot : int
        Resamples for the optimism of the best method.
    seed : int
        Seed of signs and resamples.
    constant : ndarray of shape (n,), bool or float
        Score of the constant answer that suits these test images best: their most frequent class, or their
        median. A method that has learnt nothing cannot be expected to do better. The majority class of the
        training images would not do: where labels are random, a class with more training images has fewer
        test images, and one of five methods was called better in 13 % of simulations, not 5 %.
    sign : {1, -1}
        -1 where a lower score is better.
    """
    from featx.metrics import compare_pairs, compare_with_references, selection_optimism

    names = [outcome.method.name for outcome in outcomes]
    competing = [i for i, outcome in enumerate(outcomes) if outcome.competes]
    references = [i for i, outcome in enumerate(outcomes) if outcome.method.kind == "floor"]
    versus_best: list[dict[str, Any] | None] = [
        None if i == best else {"method": names[best], **single(i, best)} for i in range(len(names))
    ]
    versus_references: list[dict[str, float] | None] = [None] * len(names)
    if not competing:
        return MethodTests(versus_best, versus_references, {"methods": 0, "optimism": None}, None)
    better = scores if sign == 1 else -scores  # higher is better
    holm = adjust_p_values(best, competing, lambda i, j: single(i, j)["p_value"])
    family, place = compare_pairs(scores[competing], units=units, seed=seed), competing.index
    for i, test in enumerate(versus_best):
        if test is not None:
            test["p_holm"] = holm.get(i)
            if i in competing:
                test |= adjusted_test(family, place(i), place(best))
    if references:
        floors = np.vstack([better[references], constant if sign == 1 else -constant])
        p = compare_with_references(better[competing], floors, units=units, seed=seed)
        for a, i in enumerate(competing):
            versus_references[i] = {
                names[r]: float(max(p[a, b], p[a, -1]) if names[r] in GUESSES else p[a, b])
                for b, r in enumerate(references)
            }
    optimism = selection_optimism(better[competing], units=units, n_boot=max(1, n_boot), seed=seed)
    selection = {"methods": len(competing), "optimism": optimism}
    chosen = choose_pair(outcomes, scores)
    if chosen is None:
        return MethodTests(versus_best, versus_references, selection, None)
    probe, mode, by = chosen
    about: dict[str, Any] = {
        key: single(mode, probe)[key] for key in ("p_value", "difference", "low", "high", "effect")
    }
    if by == BY_TEST:
        about |= adjusted_test(family, place(mode), place(probe))
    else:
        alone = compare_pairs(scores[[mode, probe]], units=units, seed=seed)
        watched = validation_score(outcomes[mode].curves)
        about |= {"detectable": float(alone.detectable[0, 1]), "probe_score": outcomes[probe].cv_score}
        about |= {"mode_score": None if watched is None else watched[0]}
    pair = FineTuningTest(names[probe], names[mode], outcomes[mode].method.backbone, by, **about)
    return MethodTests(versus_best, versus_references, selection, pair)


def adjusted_test(family: PairFamily, a: int, b: int) -> dict[str, float]:
    """Return the numbers of a pair that allow for all pairs of its family: a less b."""
    return {
        "p_adjusted": float(family.p_adjusted[a, b]),
        "low_adjusted": float(family.low[a, b]),
        "high_adjusted": float(family.high[a, b]),
        "detectable": float(family.detectable[a, b]),
    }


def validation_score(curves: dict[str, Any] | None) -> tuple[float, float] | None:
    """Return the validation accuracy and the negative loss of the epoch that was kept; None without any."""
    curves = curves or {}
    columns = [curves.get(name) or [] for name in ("epoch", "val_accuracy", "val_loss")]
    found = [
        (float(accuracy), -math.inf if loss is None else -float(loss))
        for epoch, accuracy, loss in zip(*columns, strict=False)
        if accuracy is not None and epoch == curves.get("best_epoch", epoch)
    ]
    return max(found, default=None)


def choose_pair(outcomes: Sequence[Outcome], scores: np.ndarray) -> tuple[int, int, str] | None:
    """Return a probe, a mode that trained the network, and what chose them; None where there are not both.

    A new head on the frozen network is neither: it is no fine-tuning, and its validation accuracy cannot be
    compared with the cross-validated one of a probe.
    """
    modes = [i for i, o in enumerate(outcomes) if o.method.trains_network and o.competes]
    tuned = {outcomes[i].method.backbone for i in modes}  # one, that of the best probe in cross-validation
    probes = [i for i, o in enumerate(outcomes) if o.method.kind == "probe" and o.method.backbone in tuned]
    if not (probes and modes):
        return None
    watched = {i: score for i in modes if (score := validation_score(outcomes[i].curves)) is not None}
    checked = [i for i in probes if outcomes[i].cv_score > 0]
    if watched and checked:
        probe = max(checked, key=lambda i: outcomes[i].cv_score)
        return probe, max(watched, key=lambda i: watched[i]), BY_TRAINING
    means = scores.mean(axis=1)
    return max(probes, key=lambda i: means[i]), max(modes, key=lambda i: means[i]), BY_TEST
