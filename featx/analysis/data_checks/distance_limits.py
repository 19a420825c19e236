"""Work out from the data which distances are near, and how many bits of hashes may differ.

`featx.analysis.data_checks.duplicates` derives the two limits of distance.
"""

from __future__ import annotations

import numpy as np

from featx.analysis.data_checks.main_directions import ROUNDING, MainDirections, half_squares
from featx.inputs.image import hash_distance

__all__ = ["believable_bits", "find_limits"]

#: Hashes that differ in no more bits than this agree.
HASH_BITS = 8
#: Quantiles of the nearest distances to which the Weibull distribution is fitted.
LEVELS = (0.5, 0.84)
#: Most images from whose nearest distances the limits are estimated.
SAMPLE = 2000
#: Most copies of an image that the estimate looks past, and their share of the distance (half the squared
#: length) to the nearest other picture.
MOST_COPIES, COPY_SHARE = 10, 0.25
#: Fewest different images from which the limits are estimated.
FEWEST = 20
#: Random pairs on which hashes are tested, pairs in one block, and pairs of all that may agree by chance.
RANDOM_PAIRS, _AT_ONCE, _BY_CHANCE = 4_000_000, 500_000, 3.0
# Bounds in memory at once, and the share of them that may be near before products in full are faster.
_MOST_BOUNDS, _MOST_NEAR = 4_000_000, 1 / 32


def find_limits(directions: MainDirections, hashes: np.ndarray | None) -> tuple[float, float]:
    """Return (agree_below, alike_below), from the nearest distances of a sample of the rows."""
    n = len(directions.unit)
    if n < FEWEST:
        return float("nan"), float("nan")
    sample = np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)
    nearest, distances = _find_nearest(directions, sample)
    if hashes is not None:
        agree = np.flatnonzero(hash_distance(hashes[sample], hashes[nearest]) <= HASH_BITS)
        if len(agree):
            distances[agree] = _past_copies(directions, sample[agree], hashes)
    middle, upper = np.log(np.maximum(np.quantile(distances, LEVELS), ROUNDING))
    # By the distribution log x = log a + log(-log(1 - P)) / k, a straight line through the two.
    from_middle, from_upper = np.log(-np.log1p(-np.array(LEVELS)))
    slope = (upper - middle) / (from_upper - from_middle)  # 1 / k
    return float(np.exp(middle)), float(np.exp(middle - slope * (np.log(n) + from_middle)))


def _find_nearest(directions: MainDirections, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other row of each row of a sample, and its distance."""
    rows, columns = directions.bounds(directions.width)
    nearest, distances = np.empty(len(sample), np.int64), np.empty(len(sample))
    step = max(1, _MOST_BOUNDS // len(rows))
    for at in range(0, len(sample), step):
        queries = sample[at : at + step]
        mine = np.arange(len(queries))
        bounds = rows[queries] @ columns.T
        bounds[mine, queries] = -np.inf
        # The nearest one is no further away than the one of the best bound.
        reach = directions.distances(np.column_stack([queries, bounds.argmax(axis=1)])) + ROUNDING
        near = np.flatnonzero(bounds >= -reach.astype(np.float32)[:, None])
        if len(near) > _MOST_NEAR * bounds.size:
            bounds = directions.products(queries, slice(None))
            bounds[mine, queries] = -np.inf
            near = np.flatnonzero(bounds >= bounds.max(axis=1, keepdims=True) - ROUNDING)
        which, others = np.divmod(near, len(rows))
        which, others = _keep_nearest(directions, queries, which, others)
        exact = directions.distances(np.column_stack([queries[which], others]))
        first = np.lexsort((others, exact, which))
        first = first[np.searchsorted(which[first], mine)]
        nearest[at : at + step], distances[at : at + step] = others[first], exact[first]
    return nearest, _without_direction(directions, sample, nearest, distances)


def _keep_nearest(
    directions: MainDirections, queries: np.ndarray, which: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keep of the candidates `others` of queries[which] those that are nearest within rounding errors."""
    starts = np.searchsorted(which, np.arange(len(queries) + 1))
    kept = np.zeros(len(which), bool)
    for query, start, stop in zip(queries, starts, starts[1:], strict=False):
        if stop - start == 1:
            kept[start] = True
            continue
        found = directions.products(others[start:stop], query[None])[:, 0]
        kept[start:stop] = found >= found.max() - ROUNDING
    return which[kept], others[kept]


def _past_copies(directions: MainDirections, queries: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return the distance of each row to the nearest one that is no copy of it."""
    from featx.methods.probes.fitters.neighbours import find_neighbours

    unit = directions.unit
    # The nearest of all is the row itself.
    places, lengths = find_neighbours(unit, unit[queries], min(len(unit), MOST_COPIES + 2))
    places, distances = places[:, 1:], lengths[:, 1:] ** 2 / 2
    distances = _without_direction(directions, queries[:, None], places, distances)
    agree = hash_distance(hashes[queries][:, None], hashes[places]) <= HASH_BITS
    # Of an image whose neighbours all agree, the furthest is taken for another picture.
    other = np.where(agree.all(axis=1), agree.shape[1] - 1, agree.argmin(axis=1))
    copies = agree & (distances < COPY_SHARE * np.take_along_axis(distances, other[:, None], axis=1))
    found: np.ndarray = np.take_along_axis(distances, copies.argmin(axis=1)[:, None], axis=1)[:, 0]
    return found


def _without_direction(
    directions: MainDirections, queries: np.ndarray, places: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Return distances, 1 for those from or to a row of zeros: it has no direction."""
    directed = directions.squares > 0
    return np.where(directed[places] & directed[queries], distances, 1.0)


def believable_bits(unit: np.ndarray, hashes: np.ndarray, agree: float, most: int) -> int:
    """Return the most bits, up to `most`, at which few pairs agree by hash but not by embedding."""
    n = len(unit)
    if np.isnan(agree):
        return most
    rng = np.random.default_rng(0)
    wrong = [0] * (most + 1)  # by the number of bits
    for _ in range(RANDOM_PAIRS // _AT_ONCE):
        first, second = rng.integers(0, n, _AT_ONCE), rng.integers(0, n - 1, _AT_ONCE)
        second += second >= first
        bits = hash_distance(hashes[first], hashes[second])
        few = bits <= most
        apart = half_squares(unit, np.column_stack([first[few], second[few]])) > agree
        for b, count in enumerate(np.bincount(bits[few][apart], minlength=most + 1)):
            wrong[b] += int(count)
    expected = np.cumsum(wrong) * (n * (n - 1) / 2 / RANDOM_PAIRS)
    return int((expected <= _BY_CHANCE).sum()) - 1
