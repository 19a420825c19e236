"""The most similar images: exact nearest neighbours among embeddings, in blocks of bounded memory.

Where millions of images are asked about again and again, faiss (extra ``faiss``) looks at a part of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import InputError, MissingExtra, UnknownName

__all__ = ["Match", "SimilarImages", "nearest"]

METRICS = ("cosine", "euclidean")
INDEXES = ("exact", "faiss")
_QUERIES, _ROWS = 1024, 8192
#: Neighbours kept beyond those asked for, until distances are known to full precision.
_SPARE = 4
#: Of faiss's cells: rows of each that k-means sees, the share that a query looks into, and how many at least.
_SEEN, _LOOKED_INTO, _FEWEST = 64, 1 / 16, 16


@dataclass(frozen=True)
class Match:
    """A similar image.

    Attributes
    ----------
    id : str
        Which.
    distance : float
        From the one asked about: 1 - cosine, or Euclidean.
    """

    id: str
    distance: float


class SimilarImages:
    """Images to search, by their embeddings.

    Parameters
    ----------
    features : Features
        ``embeddings`` (n, d) and ``ids``.
    metric : {"cosine", "euclidean"}, default="cosine"
    index : {"exact", "faiss"}, default="exact"
        ``"faiss"`` (extra ``faiss``) first sorts a copy of the n rows into sqrt(n) cells of a k-means, and
        compares a query with the rows of the nearest sixteenth of the cells only. That pays for many queries
        among very many rows. Some of the nearest are missed, and of rows that form no clusters most of them;
        distances of those found are exact.

    Raises
    ------
    MissingExtra
        If faiss is asked for and not installed.

    Examples
    --------
    >>> from featx import open_features
    >>> from featx.analysis.neighbours import SimilarImages
    >>> SimilarImages(open_features("photos.h5")).like("roses/17.jpg", k=5)  # doctest: +SKIP
    """

    def __init__(self, features: Any, metric: str = "cosine", index: str = "exact") -> None:
        self.ids: Sequence[str] = features.ids
        self.embeddings = _rows("embeddings", features.embeddings)
        self.metric = _metric(metric)
        self._position = {id: i for i, id in enumerate(self.ids)}
        if index not in INDEXES:
            raise UnknownName("index", str(index), INDEXES)
        self._cells = _Cells(self.embeddings, self.metric) if index == "faiss" else None

    def like(self, id: str, k: int = 10) -> list[Match]:
        """The `k` images nearest to one of them, itself left out.

        Raises
        ------
        UnknownName
            If no image has this id.
        """
        if id not in self._position:
            raise UnknownName("image", id, self.ids)
        at = self._position[id]
        found = self.search(self.embeddings[at : at + 1], min(k + 1, len(self.ids)))[0]
        return [match for match in found if match.id != id][:k]

    def search(self, queries: np.ndarray, k: int = 10) -> list[list[Match]]:
        """The `k` images nearest to each row of `queries`, of shape (n_queries, d) and the same space."""
        if self._cells is not None:
            indices, distances = self._cells.nearest(queries, k)
        else:
            indices, distances = nearest(queries, self.embeddings, k, metric=self.metric)
        return [
            [Match(self.ids[i], float(d)) for i, d in zip(line, gaps, strict=True)]
            for line, gaps in zip(indices.tolist(), distances, strict=True)
        ]


def nearest(
    queries: np.ndarray, rows: np.ndarray, k: int = 1, *, metric: str = "cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest `rows` of each query, exactly: every distance is computed, none is approximated.

    Parameters
    ----------
    queries : array-like of shape (n_queries, d)
    rows : array-like of shape (n, d)
    k : int, default=1
        How many, at most n.
    metric : {"cosine", "euclidean"}, default="cosine"
        1 - cosine, or the Euclidean distance. A row of zeros has cosine 0 with every row.

    Returns
    -------
    indices : ndarray of shape (n_queries, k), int64
        Nearest first; of two at the same distance, the first row first.
    distances : ndarray of shape (n_queries, k), float64

    Raises
    ------
    InputError, UnknownName
        If shapes do not fit, values are not finite, or there is no such metric.

    Notes
    -----
    Products are float32, in blocks of 1,024 queries and 8,192 rows; a few more than `k` candidates are kept
    and their distances computed again in float64, so that copies of an image come out at distance 0 and in
    the right order.
    """
    rows = _rows("rows", rows)
    queries = _fitting(queries, rows.shape, k)
    if _metric(metric) == "cosine":
        rows, queries = _unit(rows), _unit(queries)
    kept = min(len(rows), k + _SPARE)
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))
    # |q - r|^2 = |q|^2 - 2 (q.r - |r|^2 / 2): the nearest row has the greatest bracket.
    half = np.einsum("ij,ij->i", rows, rows) / 2
    for start in range(0, len(queries), _QUERIES):
        block = queries[start : start + _QUERIES]
        best = np.empty((len(block), 0), np.int64)
        scores = np.empty((len(block), 0), np.float32)
        for first in range(0, len(rows), _ROWS):
            part = block @ rows[first : first + _ROWS].T - half[first : first + _ROWS]
            chosen = _greatest(part, kept)
            best = np.concatenate([best, chosen + first], axis=1)
            scores = np.concatenate([scores, np.take_along_axis(part, chosen, 1)], axis=1)
            chosen = _greatest(scores, kept)
            best, scores = np.take_along_axis(best, chosen, 1), np.take_along_axis(scores, chosen, 1)
        for j, (query, candidates) in enumerate(zip(block, best, strict=True), start):
            gaps = np.linalg.norm(rows[candidates].astype(np.float64) - query, axis=1)
            order = np.lexsort((candidates, gaps))[:k]
            indices[j], distances[j] = candidates[order], gaps[order]
    if metric == "cosine":
        distances = _cosine(queries, rows, indices, distances)
    return indices, distances


class _Cells:
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
        self.index.cp.min_points_per_centroid = 1  # do not talk about few rows on standard error
        sample = np.linspace(0, n - 1, min(n, _SEEN * cells)).astype(np.int64)
        self.index.train(self._prepared(rows[sample]))
        for start in range(0, n, _ROWS):
            self.index.add(self._prepared(rows[start : start + _ROWS]))
        self.index.nprobe = max(1, min(cells, _FEWEST), round(cells * _LOOKED_INTO))

    def _prepared(self, rows: np.ndarray) -> np.ndarray:
        return _unit(rows) if self.metric == "cosine" else rows

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As the function `nearest`, among the rows that are looked at."""
        queries = _fitting(queries, self.rows.shape, k)
        found = self.index.search(self._prepared(queries), min(len(self.rows), k + _SPARE))[1]
        indices = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k))
        for j, candidates in enumerate(found):
            candidates = np.sort(candidates[candidates >= 0])
            if len(candidates) < k:  # the cells that were looked into hold no more
                indices[j], distances[j] = nearest(queries[j : j + 1], self.rows, k, metric=self.metric)
                continue
            order, distances[j] = nearest(queries[j : j + 1], self.rows[candidates], k, metric=self.metric)
            indices[j] = candidates[order]
        return indices, distances


def _cosine(queries: np.ndarray, rows: np.ndarray, indices: np.ndarray, chords: np.ndarray) -> np.ndarray:
    """1 - cosine from the distance of unit vectors, |a - b|^2 / 2; a row of zeros is no unit vector."""
    distances = chords**2 / 2
    distances[~queries.any(axis=1)] = 1.0
    nothing = np.flatnonzero(~rows.any(axis=1))
    distances[np.isin(indices, nothing)] = 1.0
    return distances


def _greatest(scores: np.ndarray, k: int) -> np.ndarray:
    if scores.shape[1] <= k:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def _rows(name: str, rows: Any) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "fiu":
        raise InputError(f"{name} must be numbers of shape (n, d), got {rows.dtype}, shape {rows.shape}")
    rows = np.ascontiguousarray(rows, np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"{name}: row {int(np.argmin(finite))} has values that are not finite")
    return rows


def _fitting(queries: Any, shape: tuple[int, ...], k: int) -> np.ndarray:
    """`queries` as rows that `k` neighbours among rows of this shape can be found of."""
    queries = _rows("queries", queries)
    if queries.shape[1] != shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} values and rows {shape[1]}; use one backbone and layer"
        )
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= shape[0]:
        raise InputError(f"k must be between 1 and the number of rows, {shape[0]}; got {k!r}")
    return queries


def _metric(metric: str) -> str:
    if metric not in METRICS:
        raise UnknownName("metric", str(metric), METRICS)
    return metric
