"""Find all pairs of rows that are near each other, or somewhat near with hashes that agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from featx.analysis.data_checks.main_directions import ROUNDING, MainDirections
from featx.machine import cores
from featx.threads import run_in_threads

__all__ = ["NearPairs", "find_near_pairs"]

_TILE = 1024
# Strips of so many rows that are searched before pairs beyond the most are dropped.
_STRIPS = 8
# Numbers of main directions to try: the first that leaves at most this share of all pairs is used.
_WIDTHS, _FEW_NEAR = (32, 64, 128), 1 / 2000
# If more than this share of a tile is near by a bound, products in full tell pairs apart faster.
_MANY_NEAR = 1 / 32
# Pairs whose bound is computed again, in all directions, at once.
_AT_ONCE = 16_384


class NearPairs(NamedTuple):
    """Pairs (m, 2), their distances (m,), and whether only the nearest ones are kept."""

    pairs: np.ndarray
    distances: np.ndarray
    truncated: bool


def find_near_pairs(
    directions: MainDirections,
    hashes: np.ndarray | None,
    limits: tuple[float, float],
    hash_bits: int,
    most: int,
) -> NearPairs:
    """Return all pairs below the second limit, or below the first with hashes that agree; `most` at most.

    No pair is missed: a pair is left out because a bound of its distance is too large.
    """
    agree, alike = limits
    pairs, distances, truncated = np.empty((0, 2), np.int64), np.empty(0), False
    n = len(directions.unit)
    if np.isnan(agree):
        return NearPairs(pairs, distances, truncated)
    reach = np.float32(alike + ROUNDING)
    width = _choose_width(directions, reach)
    rows, columns = directions.bounds(width)
    every = directions.bounds(directions.width)

    def in_reach(top: int, left: int) -> np.ndarray:
        """Return the pairs of a tile whose distance may be below `alike`."""
        tile = rows[top : top + _TILE] @ columns[left : left + _TILE].T
        at = np.flatnonzero(tile >= -reach)
        if len(at) > _MANY_NEAR * tile.size:
            tile = directions.products(slice(top, top + _TILE), slice(left, left + _TILE))
            at = np.flatnonzero(tile >= -reach)
        found = _ordered(at, tile.shape[1], top, left)
        if width == directions.width:
            return found
        kept = [np.empty((0, 2), np.int64)]
        for start in range(0, len(found), _AT_ONCE):
            first, second = found[start : start + _AT_ONCE].T
            near = np.einsum("ij,ij->i", every[0][first], every[1][second]) >= -reach
            kept.append(found[start : start + _AT_ONCE][near])
        return np.concatenate(kept)

    def search(top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs of a strip of rows with all later ones, and their distances."""
        near, gaps = [np.empty((0, 2), np.int64)], [np.empty(0)]
        for left in range(top, n, _TILE):
            found = in_reach(top, left)
            exact = directions.distances(found)
            near.append(found[exact <= alike])
            gaps.append(exact[exact <= alike])
            if hashes is None or hash_bits < 0:
                continue
            bits = np.bitwise_count(hashes[top : top + _TILE, None] ^ hashes[left : left + _TILE])
            found = _ordered(np.flatnonzero(bits <= hash_bits), bits.shape[1], top, left)
            exact = directions.distances(found)
            added = (exact <= agree) & (exact > alike)
            near.append(found[added])
            gaps.append(exact[added])
        return np.concatenate(near), np.concatenate(gaps)

    tops = [(top,) for top in range(0, n, _TILE)]
    # Some strips at a time, because each may hold a million pairs.
    for at in range(0, len(tops), _STRIPS):
        strips = run_in_threads(search, tops[at : at + _STRIPS], cores())
        pairs = np.concatenate([pairs, *(found for found, _ in strips)])
        distances = np.concatenate([distances, *(gaps for _, gaps in strips)])
        if len(pairs) > most:
            truncated = True
            kept = np.sort(np.argsort(distances, kind="stable")[:most])
            pairs, distances = pairs[kept], distances[kept]
    return NearPairs(pairs, distances, truncated)


def _choose_width(directions: MainDirections, reach: np.float32) -> int:
    """Return in how many directions few pairs are near, judged by a sample of the rows."""
    if not directions.rotated:
        return directions.width
    n = len(directions.unit)
    sample = np.linspace(0, n - 1, min(n, _TILE)).astype(np.int64)
    for k in (k for k in _WIDTHS if k < directions.width):
        rows, columns = directions.bounds(k)
        near = np.count_nonzero(rows[sample] @ columns[sample].T >= -reach) - len(sample)
        if near <= _FEW_NEAR * len(sample) ** 2:
            return k
    return directions.width


def _ordered(at: np.ndarray, width: int, top: int, left: int) -> np.ndarray:
    """Return the pairs (m, 2) of places in a tile, those with the lower row first."""
    first, second = np.divmod(at, width)
    pairs = np.column_stack([first + top, second + left])
    return pairs[pairs[:, 0] < pairs[:, 1]] if top == left else pairs
