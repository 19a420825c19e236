"""Find the number of images from which on fine-tuning is ahead of frozen features, with its interval.

At each level the fine-tuned method is compared with the best probe of that level, by mean top-1 over the
draws: D(k) = mean of the fine-tuned method - highest mean of a probe. The crossing is the last change of D
from 0 or below to above 0, after which fine-tuning stays ahead to the end of the range; between the two
levels D is taken to be linear in log(images per class). The interval is a percentile bootstrap over draws
(Efron and Tibshirani 1993, chapter 13). Whole draws are resampled, the same ones for all methods and levels,
because these share their images; the best probe is chosen again in each resample, so that the uncertainty of
that choice counts. A resample in which fine-tuning is ahead everywhere counts as below the range, one in
which it is not ahead at the end counts as above the range.
"""

from __future__ import annotations

import math

import numpy as np

from featx.results import Crossing

STATUSES = ("before", "within", "none")


def find_crossing(
    tuned: np.ndarray,
    probes: np.ndarray,
    per_class: np.ndarray,
    *,
    method: str,
    backbone: str | None,
    rivals: list[str],
    n_boot: int = 2000,
    seed: int = 0,
) -> Crossing:
    """Return the crossing of the fine-tuned `method` on `backbone` with the best probe.

    `tuned` (n_draws, n_levels) and `probes` (n_probes, n_draws, n_levels) are top-1 accuracies on the same
    draws; `rivals` are the titles of the probes. `per_class` (n_levels,) are the training images of a class,
    increasing. A single draw has no interval.
    """
    log_k = np.log(per_class)
    means = probes.mean(axis=1)
    gap = tuned.mean(axis=0) - means.max(axis=0)
    status, place, at = _last_crossing(gap, log_k)
    rival = rivals[int(means[:, at].argmax())]
    shots = math.exp(place) if status == "within" else None
    n_draws = len(tuned)
    if n_draws < 2:
        return Crossing(method, backbone, status, shots, rival=rival)
    rng = np.random.default_rng(seed)
    found = []
    for chosen in rng.integers(0, n_draws, (n_boot, n_draws)):
        resampled = tuned[chosen].mean(axis=0) - probes[:, chosen].mean(axis=1).max(axis=0)
        found.append(_last_crossing(resampled, log_k)[:2])
    # Order statistics, because -inf and inf cannot be interpolated.
    places = np.sort([place for _, place in found])
    low, high = (float(places[min(int(q * n_boot), n_boot - 1)]) for q in (0.025, 0.975))
    shares = {s: sum(status == s for status, _ in found) / n_boot for s in STATUSES}
    return Crossing(method, backbone, status, shots, _shots(low), _shots(high), shares, rival)


def _last_crossing(gap: np.ndarray, log_k: np.ndarray) -> tuple[str, float, int]:
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


def describe_crossing(crossing: Crossing, title: str, fewest: float, most: float) -> str:
    """Describe the crossing of the method `title` in a sentence; the range is `fewest` to `most` images."""
    ends = f"{fewest:.4g} to {most:.4g} images per class"
    if crossing.status == "none":
        said = (
            f"No crossing shown: {title} is not ahead of the best probe ({crossing.rival}) at "
            f"{most:.4g} images per class"
        )
        ahead = 1 - crossing.shares.get("none", 1.0)
        if ahead:
            said += f" (ahead there in {100 * ahead:.0f} % of the resampled draws)"
        return said + "."
    if crossing.status == "before":
        said = f"{title} is ahead of the best probe at all of {ends}; any crossing is below that range"
        always = crossing.shares.get("before", 1.0)
        if always < 0.975:
            said += f", but in only {100 * always:.0f} % of the resampled draws, so this is not shown"
        return said + "."
    said = (
        f"{title} overtakes the best probe ({crossing.rival}) at about {crossing.shots:.2g} images per class"
    )
    if not crossing.shares:
        return said + ", from one draw, so without an interval."
    low = "below the range tried" if crossing.low is None else f"{crossing.low:.2g}"
    high = "beyond the range tried" if crossing.high is None else f"{crossing.high:.2g}"
    said += f" (95 % interval over draws: {low} to {high})"
    if crossing.high is None:
        said += (
            f", but at {most:.4g} it is not ahead in {100 * crossing.shares['none']:.0f} % of the resampled "
            "draws: a crossing within the range is not shown"
        )
    return said + "."
