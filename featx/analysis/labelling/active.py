"""Choose which images to label next (active learning), from embeddings and a probe's probabilities.

Each function returns positions of unlabelled images, in the order in which to label them. `margin` chooses
images that the probe is unsure of, `k_center` images unlike all labelled ones, `badge` both. They raise
`featx.errors.InputError` if arrays do not fit, or `n` is larger than the number of images.
"""

from __future__ import annotations

import numpy as np

from featx.analysis.rows import check_embeddings
from featx.errors import InputError

__all__ = ["badge", "k_center", "margin"]

_BLOCK = 8192


def margin(probabilities: np.ndarray, n: int) -> np.ndarray:
    """Choose the images with the smallest difference between the two most probable classes.

    T. Scheffer, C. Decomain and S. Wrobel, "Active Hidden Markov Models for Information Extraction" (IDA
    2001).

    Parameters
    ----------
    probabilities : array-like of shape (n_images, n_classes)
        Predictions of a probe trained on the labelled images.
    n : int
        Number of images to choose.

    Returns
    -------
    ndarray of shape (n,), int64
        The smallest difference first; of equal ones, the first image first.
    """
    p = _probabilities(probabilities)
    first, second = np.partition(p, p.shape[1] - 2, axis=1)[:, :-3:-1].T
    return np.argsort(first - second, kind="stable")[: _count(n, len(p))]


def k_center(embeddings: np.ndarray, n: int, *, labelled: np.ndarray | None = None) -> np.ndarray:
    """Choose images so that every image is near a labelled one: the greedy 2-approximation of k-center.

    O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (ICLR
    2018), algorithm 1: repeatedly take the image furthest from all chosen and labelled ones. The greatest
    remaining distance is at most twice the least possible one.

    Parameters
    ----------
    embeddings : array-like of shape (n_images, d)
    n : int
        Number of images to choose.
    labelled : array-like of shape (n_labelled, d), optional
        Embeddings of labelled images. Without any, the first choice is the image nearest to the mean.

    Returns
    -------
    ndarray of shape (n,), int64
        Deterministic; at equal distance, the first image.
    """
    rows = _rows("embeddings", embeddings)
    n = _count(n, len(rows))
    if labelled is not None and len(labelled):
        others = _rows("labelled", labelled)
        if others.shape[1] != rows.shape[1]:
            raise InputError(f"labelled have {others.shape[1]} values and embeddings {rows.shape[1]}")
        gaps = np.full(len(rows), np.inf)
        for other in others:
            np.minimum(gaps, _squared(rows, other), out=gaps)
        chosen = [int(gaps.argmax())]
    else:
        chosen = [int(_squared(rows, rows.mean(axis=0, dtype=np.float64)).argmin())]
        gaps = np.full(len(rows), np.inf)
    while len(chosen) < n:
        np.minimum(gaps, _squared(rows, rows[chosen[-1]]), out=gaps)
        gaps[chosen[-1]] = -1.0  # never again, even if only copies of it are left
        chosen.append(int(gaps.argmax()))
    return np.array(chosen, np.int64)


def badge(embeddings: np.ndarray, probabilities: np.ndarray, n: int, *, seed: int = 0) -> np.ndarray:
    """Choose images that would change a linear probe much, each in another direction.

    J. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, "Deep Batch Active Learning by Diverse,
    Uncertain Gradient Lower Bounds" (ICLR 2020). If the most probable class y were right, the gradient of the
    loss in the probe's weights would be the outer product of (p - onehot(y)) and the embedding x (section 3).
    Gradients are chosen by the seeding of k-means++ (Arthur and Vassilvitskii 2007): each with a probability
    proportional to its squared distance to the chosen ones; the first is the longest gradient. The outer
    products are never formed: their inner product is that of the (p - onehot(y)) times that of the x.

    Parameters
    ----------
    embeddings : array-like of shape (n_images, d)
    probabilities : array-like of shape (n_images, n_classes)
        Predictions of a linear probe trained on the labelled images.
    n : int
        Number of images to choose.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    rows, p = _rows("embeddings", embeddings), _probabilities(probabilities)
    if len(rows) != len(p):
        raise InputError(f"{len(rows)} embeddings and {len(p)} rows of probabilities; expected as many")
    n = _count(n, len(rows))
    errors = p.copy()
    errors[np.arange(len(p)), p.argmax(axis=1)] -= 1
    lengths = (errors**2).sum(axis=1) * np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    rng = np.random.default_rng(seed)
    chosen = [int(lengths.argmax())]
    gaps = np.full(len(rows), np.inf)
    while len(chosen) < n:
        last = chosen[-1]
        inner = (errors @ errors[last]) * (rows @ rows[last])
        np.minimum(gaps, np.maximum(lengths + lengths[last] - 2 * inner, 0), out=gaps)
        gaps[chosen] = 0.0
        total = gaps.sum()
        if total > 0:
            chosen.append(int(np.searchsorted(np.cumsum(gaps), rng.random() * total, side="right")))
        else:  # only copies of chosen images are left
            chosen.append(int(np.setdiff1d(np.arange(len(rows)), chosen)[0]))
    return np.array(chosen, np.int64)


def _squared(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return squared distances to a point, float64, in blocks, from differences: copies are at 0."""
    gaps = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        apart = rows[start : start + _BLOCK] - point
        gaps[start : start + _BLOCK] = np.einsum("ij,ij->i", apart, apart)
    return gaps


def _rows(name: str, rows: np.ndarray) -> np.ndarray:
    """Return checked rows in float64 if they are float64, else in float32."""
    return check_embeddings(
        rows, name, dtype=np.float64 if np.asarray(rows).dtype == np.float64 else np.float32
    )


def _probabilities(probabilities: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise InputError(f"probabilities must have shape (n_images, n_classes), got {p.shape}")
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1 + 1e-6):
        raise InputError("probabilities must be between 0 and 1")
    return p


def _count(n: int, available: int) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= available:
        raise InputError(f"n must be between 1 and the number of images, {available}; got {n!r}")
    return int(n)
