"""Score every draw of a learning curve, in parts of the test inputs, as intervals and crossings need it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from featx.metrics import METRICS, Answers
from featx.metrics.jackknife import jackknife_scores
from featx.metrics.units import count_images, count_units, least_size, number_units
from featx.studies.curves.drawing import Draw, Level
from featx.studies.curves.two_way import Pool
from featx.studies.evaluation import Outcome

#: Units of test inputs are taken together in at most so many parts. The variance over 200 parts has nearly
#: the certainty of that over all units (Student's quantile 1.972 instead of 1.960), and one draw's scores of
#: all parts take a millisecond.
MOST_PARTS = 200


@dataclass(frozen=True)
class CurveScores:
    """The metrics of all draws, with the influence of each part of the test inputs on them.

    Attributes
    ----------
    metrics : dict of str to ndarray of shape (n_methods, n_levels, n_draws, n_parts)
        The mean over the parts is the metric of the draw.
    draws : list of dict
        The metrics of each outcome, in the order in which they were given.
    sizes : dict of str to float
        Effective number of test inputs for each metric that is a share, if all answers were alike right.
    pool : Pool
        What draws have in common.
    """

    metrics: dict[str, np.ndarray]
    draws: list[dict[str, float]]
    sizes: dict[str, float]
    pool: Pool

    @property
    def has_intervals(self) -> bool:
        """Whether there are several draws and several units of test inputs."""
        return min(next(iter(self.metrics.values())).shape[2:]) > 1


def score_draws(
    outcomes: Iterable[Outcome],
    y: np.ndarray,
    shape: tuple[int, int, int],
    pool: Pool,
    *,
    units: np.ndarray | None = None,
    seed: int = 0,
) -> CurveScores:
    """Score the outcomes of all methods, levels and draws (of this `shape`, in this order).

    `y` are the classes of the test inputs, `units` their units or None, both of shape (n,). `seed` decides
    which units are in one part.
    """
    parts = divide_into_parts(units, len(y), seed)
    draws: list[dict[str, float]] = []
    found: dict[str, list[np.ndarray]] = {}
    n_classes = 0
    for outcome in outcomes:
        kept = outcome.answers
        n_classes = kept.n_classes
        # They are kept in few bytes, which would overflow in sums.
        labels, sure, true = kept.labels.astype(np.int64), kept.sure.astype(float), kept.true.astype(float)
        scores = jackknife_scores(y, Answers(labels, sure, true, n_classes), parts)
        draws.append({name: value for name, (value, _) in scores.items()})
        for name, (value, influence) in scores.items():
            found.setdefault(name, []).append(value + influence)
    metrics = {name: np.stack(values).reshape(*shape, -1) for name, values in found.items()}
    codes = number_units(units, len(y))
    inputs = float(len(y)) if codes is None else least_size(count_images(codes, len(y)))
    balanced = _balanced_size(y, codes, n_classes)
    sizes = {name: inputs if METRICS[name].per_image else balanced for name in metrics if is_share(name)}
    return CurveScores(metrics, draws, sizes, pool)


def is_share(name: str) -> bool:
    """Return whether a metric behaves like a share of right answers: from 0 to 1, the more the better."""
    metric = METRICS[name]
    return metric.higher_is_better and (metric.low, metric.high) == (0.0, 1.0)


def divide_into_parts(units: np.ndarray | None, n: int, seed: int = 0) -> np.ndarray:
    """Return the part of each of n test inputs, (n,): its unit, or with many units one of `MOST_PARTS`."""
    codes = number_units(units, n)
    n_units = count_units(codes, n)
    order = np.arange(n_units)
    if n_units > MOST_PARTS:
        order = np.random.default_rng(seed).permutation(n_units) % MOST_PARTS
    return order if codes is None else order[codes]


def _balanced_size(y: np.ndarray, codes: np.ndarray | None, n_classes: int) -> float:
    """Return the effective number of inputs of a mean over K classes, K^2 / sum of 1/n_c.

    n_c is that of `least_size` for the inputs of a class.
    """
    of = np.arange(len(y)) if codes is None else codes
    found = []
    for c in range(n_classes):
        counts = np.unique(of[y == c], return_counts=True)[1].astype(np.float64)
        if len(counts):
            found.append(least_size(counts))
    return len(found) ** 2 / sum(1 / n for n in found)


def measure_pool(
    labels: np.ndarray, draws: Sequence[Draw], levels: Sequence[Level], units: np.ndarray, n_classes: int
) -> Pool:
    """Return what two draws of each level have in common, counting units of training inputs.

    With N_c units of class c in the pool and n_c of them in a draw (the mean over draws), a sum over training
    inputs, each class weighted alike, has rho = sum(1/N_c) / sum(1/n_c); this is k/N for equal classes.

    Parameters
    ----------
    labels, units : ndarray of shape (n,), int
        Class and unit of each input of the dataset.
    draws, levels
        All of the study; levels in increasing order.
    n_classes : int
    """

    def inverse_counts(rows: np.ndarray) -> float:
        pairs = np.unique(np.stack([labels[rows], units[rows]]), axis=1)[0]
        return float((1 / np.bincount(pairs, minlength=n_classes)).mean())

    everything = inverse_counts(np.concatenate(draws[0].orders))
    drawn = [np.mean([inverse_counts(d.rows(level)) for d in draws]) for level in levels]
    return Pool.of(np.minimum(1.0, everything / np.array(drawn)))
