"""Find the most similar inputs: nearest neighbours, exact by scikit-learn, approximate by faiss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.analysis.rows import check_embeddings
from featx.errors import InputError, MissingExtra, UnknownName

__all__ = ["Match", "SimilarImages", "nearest"]

METRICS = ("cosine", "euclidean")
INDEXES = ("exact", "faiss")
#: Candidates beyond k, because the distances that choose them are not exact.
_SPARE = 4
#: Bytes of float64 rows whose distances are recomputed in one block; rows added to faiss in one call.
_BLOCK_BYTES, _ADDED_ROWS = 2**26, 8192
#: faiss: rows per cell that k-means is trained on; share of the cells that a query searches, and the fewest.
_ROWS_PER_CELL, _SEARCHED_SHARE, _FEWEST_CELLS = 64, 1 / 16, 16


@dataclass(frozen=True)
class Match:
    """A similar image, text or clip.

    Attributes
    ----------
    id : str
    distance : float
        From the query: 1 - cosine, or Euclidean.
    """

    id: str
    distance: float


class SimilarImages:
    """Search images, texts or clips by their embeddings.

    Parameters
    ----------
    features : Features
        ``embeddings`` (n, d) and ``ids``.
    metric : {"cosine", "euclidean"}, default="cosine"
    index : {"exact", "faiss"}, default="exact"
        ``"faiss"`` (extra ``faiss``) sorts a copy of the n rows into sqrt(n) cells by k-means, and compares a
        query only with the rows of the nearest sixteenth of the cells. That pays for many queries among
        millions of rows. Some neighbours are missed (most of them, if the rows form no clusters); the
        distances of those that are found are exact.

    Examples
    --------
    >>> from featx import open_features
    >>> from featx.analysis.neighbours import SimilarImages
    >>> SimilarImages(open_features("photos.h5")).like("roses/17.jpg", k=5)  # doctest: +SKIP
    """

    def __init__(self, features: Any, metric: str = "cosine", index: str = "exact") -> None:
        self.ids: Sequence[str] = features.ids
        self.embeddings = check_embeddings(features.embeddings, "embeddings", dtype=np.float32)
        self.metric = _checked_metric(metric)
        self._kind: str = getattr(features, "kind", "image")
        self._position = {id: i for i, id in enumerate(self.ids)}
        if index not in INDEXES:
            raise UnknownName("index", str(index), INDEXES)
        self._cells = _FaissCells(self.embeddings, self.metric) if index == "faiss" else None

    def like(self, id: str, k: int = 10) -> list[Match]:
        """Return the `k` inputs nearest to the input `id`, without itself; `UnknownName` if not found."""
        if id not in self._position:
            raise UnknownName(self._kind, id, self.ids)
        at = self._position[id]
        found = self.search(self.embeddings[at : at + 1], min(k + 1, len(self.ids)))[0]
        return [match for match in found if match.id != id][:k]

    def search(self, queries: np.ndarray, k: int = 10) -> list[list[Match]]:
        """Return the `k` inputs nearest to each row of `queries`, (n_queries, d) of the same space."""
        if self._cells is not None:
            indices, distances = self._cells.nearest(queries, k)
        else:
            indices, distances = nearest(queries, self.embeddings, k, metric=self.metric)
        return [
            [Match(self.ids[i], float(d)) for i, d in zip(found, gaps, strict=True)]
            for found, gaps in zip(indices.tolist(), distances, strict=True)
        ]


def nearest(
    queries: np.ndarray, rows: np.ndarray, k: int = 1, *, metric: str = "cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` nearest `rows` of each query, exactly.

    Parameters
    ----------
    queries : array-like of shape (n_queries, d)
    rows : array-like of shape (n, d)
    k : int, default=1
        Number of neighbours, at most n.
    metric : {"cosine", "euclidean"}, default="cosine"
        1 - cosine, or the Euclidean distance. A row of zeros has cosine 0 with every row.

    Returns
    -------
    indices : ndarray of shape (n_queries, k), int64
        Nearest first; at equal distance, the first row first.
    distances : ndarray of shape (n_queries, k), float64

    Notes
    -----
    scikit-learn's brute-force search (blocks of bounded memory) gives `k` and a few more candidates. Their
    distances are recomputed from differences in float64, because scikit-learn computes
    ``|q|^2 - 2 q.r + |r|^2``, by which copies of an image are not at distance 0.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = check_embeddings(rows, "rows", dtype=np.float32)
    queries = _checked_queries(queries, rows.shape, k)
    if _checked_metric(metric) == "cosine":
        rows, queries = _unit(rows), _unit(queries)
    search = NearestNeighbors(n_neighbors=min(len(rows), k + _SPARE), algorithm="brute").fit(rows)
    found = search.kneighbors(queries, return_distance=False)
    return _nearest_of(queries, found, lambda chosen: rows[chosen], k, metric)


def _nearest_of(
    queries: np.ndarray, found: np.ndarray, take: Callable[[np.ndarray], np.ndarray], k: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the `k` nearest of the candidates `found` (n_queries, m); ``take(found)`` returns their rows."""
    found = np.sort(found, axis=1)
    indices, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    step = max(1, _BLOCK_BYTES // (8 * found.shape[1] * queries.shape[1]))
    for part in (slice(start, start + step) for start in range(0, len(queries), step)):
        rows = take(found[part])
        gaps = np.linalg.norm(rows.astype(np.float64) - queries[part, None], axis=2)
        gaps[found[part] < 0] = np.inf  # faiss pads with -1
        order = np.argsort(gaps, axis=1, kind="stable")[:, :k]
        if metric == "cosine":
            gaps = gaps**2 / 2  # |a - b|^2 / 2 of unit vectors is 1 - cosine; rows of zeros are none
            gaps[~queries[part].any(axis=1)] = 1.0
            gaps[~rows.any(axis=2)] = 1.0
        indices[part] = np.take_along_axis(found[part], order, 1)
        distances[part] = np.take_along_axis(gaps, order, 1)
    return indices, distances


class _FaissCells:
    """Rows in the cells of a k-means (J. Sivic and A. Zisserman, ICCV 2003): faiss's ``IndexIVFFlat``."""

    def __init__(self, rows: np.ndarray, metric: str) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingExtra("faiss", "faiss", "index='faiss'") from error
        self.rows, self.metric = rows, metric
        n, dim = rows.shape
        cells = round(n**0.5)
        self._quantizer = faiss.IndexFlatL2(dim)  # the index does not keep it alive
        self.index = faiss.IndexIVFFlat(self._quantizer, dim, cells)
        self.index.cp.min_points_per_centroid = 1  # no warnings about few rows on standard error
        sample = np.linspace(0, n - 1, min(n, _ROWS_PER_CELL * cells)).astype(np.int64)
        self.index.train(self._prepared(rows[sample]))
        for start in range(0, n, _ADDED_ROWS):
            self.index.add(self._prepared(rows[start : start + _ADDED_ROWS]))
        self.index.nprobe = max(1, min(cells, _FEWEST_CELLS), round(cells * _SEARCHED_SHARE))

    def _prepared(self, rows: np.ndarray) -> np.ndarray:
        return _unit(rows) if self.metric == "cosine" else rows

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Do as the function `nearest`, but only in the cells that are searched."""
        queries = _checked_queries(queries, self.rows.shape, k)
        prepared = self._prepared(queries)
        found = self.index.search(prepared, min(len(self.rows), k + _SPARE))[1]
        indices, distances = _nearest_of(
            prepared, found, lambda chosen: self._prepared(self.rows[chosen]), k, self.metric
        )
        few = (found >= 0).sum(axis=1) < k  # the cells that were searched hold no more
        if few.any():
            indices[few], distances[few] = nearest(queries[few], self.rows, k, metric=self.metric)
        return indices, distances


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def _checked_queries(queries: Any, shape: tuple[int, ...], k: int) -> np.ndarray:
    """Return `queries` as float32; check them and `k` against the shape of the rows to search."""
    queries = check_embeddings(queries, "queries", dtype=np.float32)
    if queries.shape[1] != shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} values and rows {shape[1]}; use one backbone and layer"
        )
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= shape[0]:
        raise InputError(f"k must be between 1 and the number of rows, {shape[0]}; got {k!r}")
    return queries


def _checked_metric(metric: str) -> str:
    if metric not in METRICS:
        raise UnknownName("metric", str(metric), METRICS)
    return metric
