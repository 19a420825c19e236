"""Fit nearest neighbours: one matrix product finds the neighbours for every k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.methods.probes.fitters.fitter import Settings, of_last_step
from featx.methods.probes.fitters.pipelines import LastStepFitter, last_inputs
from featx.methods.probes.products import ON_CPU, Products
from featx.methods.probes.temperature import log_probabilities

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part

# Queries whose distances are computed at once.
_BLOCK = 1024


class NeighboursFitter(LastStepFitter):
    """Fit a pipeline that ends in k nearest neighbours, weighted by 1 / distance, of which k varies."""

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        rows, held = last_inputs(part, estimator)
        ks = [settings["n_neighbors"] for settings in of_last_step(estimator, candidates)]
        near, distances = find_neighbours(rows, held, max(ks), part.products)
        weights = weigh(distances)
        if part.task == "numbers":
            sums = np.cumsum(weights * part.y[near], axis=1) / np.cumsum(weights, axis=1)
            return np.stack([sums[:, k - 1] for k in ks])
        votes = dict(
            zip(sorted(set(ks)), _votes(part.codes[near], weights, len(part.classes), ks), strict=True)
        )
        found = np.stack([log_probabilities(votes[k]) for k in ks])
        return (found - found.max(axis=2, keepdims=True)).astype(np.float32)


def find_neighbours(
    rows: np.ndarray, queries: np.ndarray, k: int, products: Products = ON_CPU
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` rows nearest to each query, the nearest first; of equal distances, the first row.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
    queries : ndarray of shape (m, p)
    k : int
        At most n.
    products : Products, default=ON_CPU
        What computes the products of rows and queries.

    Returns
    -------
    near : ndarray of shape (m, k), int
    distances : ndarray of shape (m, k), float64
        Euclidean; 0 for equal rows, whatever the rounding of products.
    """
    near, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    positions = np.tile(np.arange(k), (len(queries), 1))
    if k < len(rows):
        positions = np.sort(products.nearest(rows, queries, k), axis=1)
    for at in range(0, len(queries), _BLOCK):
        found, block = positions[at : at + _BLOCK], queries[at : at + _BLOCK].astype(np.float64)
        # Differences of squares lose the digits of short distances; those of coordinates do not.
        exact = np.empty(found.shape)
        for i in range(k):
            exact[:, i] = np.linalg.norm(block - rows[found[:, i]], axis=1)
        order = np.argsort(exact, axis=1, kind="stable")
        near[at : at + _BLOCK] = np.take_along_axis(found, order, axis=1)
        distances[at : at + _BLOCK] = np.take_along_axis(exact, order, axis=1)
    return near, distances


def weigh(distances: np.ndarray) -> np.ndarray:
    """Return 1 / distance (m, k); where a distance is 0, 1 for such neighbours and 0 for the others."""
    with np.errstate(divide="ignore"):
        weights = 1 / distances
    equal = np.isinf(weights)
    return np.where(equal.any(axis=1, keepdims=True), equal, weights)


def _votes(codes: np.ndarray, weights: np.ndarray, n_classes: int, ks: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the shares of the votes (m, n_classes) of the nearest k, for each different k in rising order."""
    total, at = np.zeros((len(codes), n_classes)), np.arange(len(codes))
    for i in range(codes.shape[1]):
        total[at, codes[:, i]] += weights[:, i]
        if i + 1 in ks:
            yield total / total.sum(axis=1, keepdims=True)
