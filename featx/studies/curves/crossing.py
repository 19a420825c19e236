"""Find the number of inputs from which on fine-tuning is ahead of frozen features, with its interval.

At each level the fine-tuned method is compared with the best probe of that level, by mean top-1: D(k) = mean
of the fine-tuned method - mean of the best probe. The crossing is the last change of D from 0 or below to
above 0, after which fine-tuning stays ahead to the end of the range; between two levels D is taken to be
linear in log(inputs per class).

*The rival.* The highest mean of several probes is too high, because chance chose it, which would make the
crossing late. So a probe is chosen on half of the draws and half of the test inputs, and scored on the other
draws and the other inputs; all four combinations of halves count, and several divisions into halves are
averaged. Both are halved because a probe that was lucky with the inputs it was trained on is ahead on all
test inputs. Where probes differ by little, half of the data at times chooses one that is not the best, which
makes the crossing a little early. Larger shares to choose on do so less, but the choices then depend on each
other, and the interval holds less.

*The interval.* D and its standard error are known at every k, from draws and test inputs together
(`featx.studies.curves.two_way`). The interval begins at the last k where D is below 0 by more than its 95 %
interval, and ends at the last k where that interval reaches down to 0: it is the set of all k that a test
would not refuse as the crossing (E. C. Fieller, "Some problems in interval estimation", Journal of the Royal
Statistical Society B 16 (1954)). An end is open where there is no such k, or where it is the last one.
"""

from __future__ import annotations

import math

import numpy as np

from featx.results import Crossing
from featx.results.formats import format_mean_count, format_shots
from featx.studies.curves.two_way import Pool, TwoWay, difference_errors

STATUSES = ("before", "within", "none")
#: Divisions of draws and test inputs into halves.
HALVINGS = 10
#: Places between two levels at which the difference is tested.
_STEPS = 40


def find_crossing(
    tuned: np.ndarray,
    probes: np.ndarray,
    per_class: np.ndarray,
    *,
    pool: Pool,
    size: float,
    method: str,
    backbone: str | None,
    rivals: list[str],
    n_resamples: int = 2000,
    seed: int = 0,
) -> Crossing:
    """Return the crossing of the fine-tuned `method` on `backbone` with the best probe.

    Parameters
    ----------
    tuned : ndarray of shape (n_levels, n_draws, n_parts)
        Top-1 accuracy of each draw on each part of the test inputs. A single draw or part has no interval.
    probes : ndarray of shape (n_probes, n_levels, n_draws, n_parts)
        The same of each probe.
    per_class : ndarray of shape (n_levels,)
        Training inputs of a class, increasing.
    pool, size
        As in `featx.studies.curves.scores.CurveScores`; `size` of top-1.
    method, backbone
        Those of the result.
    rivals : list of str
        Titles of the probes.
    n_resamples : int, default=2000
        Normal vectors of differences at all levels that give the share of each status.
    seed : int, default=0
        Seed of halves and of these vectors.
    """
    log_k = np.log(per_class)
    rng = np.random.default_rng(seed)
    differences = tuned - score_rival(probes, rng)
    gap = differences.mean(axis=(1, 2))
    status, place, at = last_crossing(gap, log_k)
    rival = rivals[int(probes[:, at].mean(axis=(1, 2)).argmax())]
    shots = math.exp(place) if status == "within" else None
    if min(differences.shape[1:]) < 2:
        return Crossing(method, backbone, status, shots, rival=rival)
    found = TwoWay(differences, pool.matrix())
    low, high = crossing_bounds(found, log_k, size)
    resampled = rng.multivariate_normal(
        gap, found.covariance(np.eye(len(gap))), n_resamples, "ignore", method="eigh"
    )
    statuses = [last_crossing(one, log_k)[0] for one in resampled]
    shares = {s: statuses.count(s) / n_resamples for s in STATUSES}
    return Crossing(method, backbone, status, shots, _shots(low), _shots(high), shares, rival)


def score_rival(probes: np.ndarray, rng: np.random.Generator, halvings: int = HALVINGS) -> np.ndarray:
    """Return the scores of the best probe of each level, chosen without the scores it is given.

    From scores of shape (n_probes, n_levels, n_draws, n_parts), the result has shape (n_levels, n_draws,
    n_parts): each draw and part has the score there of the probe that is best in the other half of the draws
    and of the parts, averaged over `halvings`. A single draw or part cannot be halved and counts in both.
    """
    n_probes, n_levels, n_draws, n_parts = probes.shape
    if n_probes == 1:
        return probes[0]
    levels = np.arange(n_levels)[:, None, None]
    found = np.zeros(probes.shape[1:])
    for _ in range(halvings):
        for draws, other_draws in _halves(n_draws, rng):
            for parts, other_parts in _halves(n_parts, rng):
                known = probes[:, :, other_draws[:, None], other_parts].mean(axis=(2, 3))
                best = known.argmax(axis=0)[:, None, None]
                here = np.ix_(levels.ravel(), draws, parts)
                found[here] += probes[best, levels, draws[:, None], parts]
    return found / halvings


def _halves(n: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return two random halves of 0..n-1, each with the other one; for n = 1 the whole with itself."""
    if n == 1:
        return [(np.zeros(1, np.int64), np.zeros(1, np.int64))]
    one, other = np.array_split(rng.permutation(n), 2)
    return [(one, other), (other, one)]


def crossing_bounds(found: TwoWay, log_k: np.ndarray, size: float) -> tuple[float, float]:
    """Return the interval of the crossing as logarithms; -inf or inf for an open end."""
    from scipy.stats import t as student

    n_levels = len(log_k)
    # Places in units of levels: 1.25 is a quarter of the way from the second to the third.
    places = np.linspace(0, n_levels - 1, (n_levels - 1) * _STEPS + 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(n_levels)))
    differences = found.estimate(weights)
    error, df = difference_errors(differences, size)
    half = student.ppf(0.975, df) * error
    at = np.interp(places, np.arange(n_levels), log_k)
    behind = np.flatnonzero(differences.value + half < 0)
    not_ahead = np.flatnonzero(differences.value - half <= 0)
    # Beyond the last place with an input count lies only the open end.
    at = np.append(at, math.inf)
    low = at[behind[-1] + (behind[-1] == len(places) - 1)] if len(behind) else -math.inf
    return float(low), float(at[not_ahead[-1] + 1]) if len(not_ahead) else -math.inf


def last_crossing(gap: np.ndarray, log_k: np.ndarray) -> tuple[str, float, int]:
    """Return the status, the place as a logarithm (-inf below the range, inf above), and the level before."""
    behind = np.flatnonzero(~(gap > 0))
    if not len(behind):
        return "before", -math.inf, 0
    at = int(behind[-1])
    if at == len(gap) - 1:
        return "none", math.inf, at
    share = -gap[at] / (gap[at + 1] - gap[at])
    return "within", float(log_k[at] + share * (log_k[at + 1] - log_k[at])), at


def _shots(place: float) -> float | None:
    return math.exp(place) if math.isfinite(place) else None


def describe_crossing(crossing: Crossing, title: str, fewest: float, most: float, kind: str = "image") -> str:
    """Describe the crossing of the method `title` in a sentence; the range is `fewest` to `most` inputs."""
    ends = f"{format_mean_count(fewest)} to {format_shots(most, kind)}"
    if crossing.status == "none":
        said = (
            f"No crossing shown: {title} is not ahead of the best probe ({crossing.rival}) at "
            f"{format_shots(most, kind)}"
        )
        ahead = 1 - crossing.shares.get("none", 1.0)
        if ahead:
            said += f" (ahead there in {100 * ahead:.0f} % of resamples)"
        return said + "."
    if crossing.status == "before":
        said = f"{title} is ahead of the best probe at all of {ends}; any crossing is below that range"
        always = crossing.shares.get("before", 1.0)
        if always < 0.975:
            said += f", but in only {100 * always:.0f} % of resamples, so this is not shown"
        return said + "."
    said = (
        f"{title} overtakes the best probe ({crossing.rival}) at about {crossing.shots:.2g} {kind}s per class"
    )
    if not crossing.shares:
        return said + ", from one draw, so without an interval."
    low = "below the range tried" if crossing.low is None else f"{crossing.low:.2g}"
    high = "beyond the range tried" if crossing.high is None else f"{crossing.high:.2g}"
    both = f"{low} to {high}" if crossing.low or crossing.high else "open at both ends"
    said += f" (95 % interval: {both})"
    if crossing.high is None:
        said += (
            f", but at {most:.4g} it is not ahead in {100 * crossing.shares['none']:.0f} % of resamples: a "
            "crossing within the range is not shown"
        )
    return said + "."
