"""Choose which images to label next (active learning), from embeddings and a probe's probabilities.

Each function returns positions of unlabelled images, in the order in which to label them. `typical` chooses
the images that stand for many others, `k_center` images unlike all labelled ones, `margin` images that the
probe is unsure of, `badge` unsure and diverse ones. With few labels, typical images teach most; k-center then
chooses outliers, and a probe does not know yet what it is unsure of (Hacohen et al. 2022). They raise
`featx.errors.InputError` if arrays do not fit, or `n` is larger than the number of images.
"""

from __future__ import annotations

import warnings

import numpy as np

from featx.analysis.rows import check_embeddings
from featx.errors import InputError

__all__ = ["badge", "k_center", "margin", "typical"]

_BLOCK = 8192
# As in the paper of `typical`: the most clusters, and the neighbours that make an image typical.
_CLUSTERS, _NEIGHBOURS = 500, 20
# More rows are clustered in batches; in a larger cluster, neighbours are sought among so many random ones.
_BATCHED, _MEMBERS = 10_000, 2_000


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
    others = _labelled_rows(labelled, rows.shape[1])
    if len(others):
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


def typical(
    embeddings: np.ndarray, n: int, *, labelled: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Choose the most typical image of each cluster that no labelled image covers: TypiClust.

    G. Hacohen, A. Dekel and D. Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low
    Budgets" (ICML 2022), algorithm 1. All images are divided by k-means into as many clusters as there will
    be labelled images (500 at most). Of the clusters with the fewest labelled or chosen images, the largest
    comes next, with its image of the smallest mean distance to its 20 nearest neighbours in the cluster
    (equation 1). Rows are scaled to length 1 first.

    Parameters
    ----------
    embeddings : array-like of shape (n_images, d)
    n : int
        Number of images to choose.
    labelled : array-like of shape (n_labelled, d), optional
        Embeddings of labelled images.
    seed : int, default=0
        Seed of k-means.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    rows = _rows("embeddings", embeddings)
    n, others = _count(n, len(rows)), _labelled_rows(labelled, rows.shape[1])
    known = len(others)
    rows = np.concatenate([others, rows])
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    clusters = _cluster(rows, min(known + n, _CLUSTERS, len(rows)), seed)
    rng = np.random.default_rng(seed)
    covered = np.bincount(clusters[:known], minlength=clusters.max() + 1)
    sizes = np.bincount(clusters)
    waiting = {}  # of each cluster the images to choose, the most typical last
    for c in np.unique(clusters[known:]).tolist():
        members = np.flatnonzero(clusters == c)
        free = members[members >= known]
        waiting[c] = free[np.argsort(-_mean_distances(rows, free, members, rng), kind="stable")].tolist()
    chosen: list[int] = []
    while len(chosen) < n:
        c = min((c for c, left in waiting.items() if left), key=lambda c: (covered[c], -sizes[c], c))
        chosen.append(waiting[c].pop() - known)
        covered[c] += 1
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


def _cluster(rows: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each row (n,) by k-means."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(rows) > _BATCHED:
        means = MiniBatchKMeans(n_clusters, n_init=1, batch_size=4096, random_state=seed)
    else:
        means = KMeans(n_clusters, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters are no error
        return np.asarray(means.fit_predict(rows))


def _mean_distances(
    rows: np.ndarray, free: np.ndarray, members: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the mean distance of each of the rows `free` to its nearest neighbours among `members`."""
    others = members if len(members) <= _MEMBERS else rng.choice(members, _MEMBERS, replace=False)
    k = min(_NEIGHBOURS, len(others) - 1)
    means = np.zeros(len(free))
    if k == 0:
        return means
    for start in range(0, len(free), _BLOCK):
        part = free[start : start + _BLOCK]
        # ||a - b||^2 = 2 - 2 a.b for rows of length 1
        apart = np.sqrt(np.maximum(2 - 2 * (rows[part] @ rows[others].T), 0))
        apart[part[:, None] == others] = np.inf  # not its own neighbour
        means[start : start + _BLOCK] = np.partition(apart, k - 1, axis=1)[:, :k].mean(axis=1)
    return means


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


def _labelled_rows(labelled: np.ndarray | None, dim: int) -> np.ndarray:
    """Return checked rows of labelled images, (0, dim) if there are none."""
    if labelled is None or not len(labelled):
        return np.empty((0, dim), np.float32)
    rows = _rows("labelled", labelled)
    if rows.shape[1] != dim:
        raise InputError(f"labelled have {rows.shape[1]} values and embeddings {dim}")
    return rows


def _probabilities(probabilities: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise InputError(f"probabilities must have shape (n_images, n_classes), got {p.shape}")
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1 + 1e-6):
        raise InputError("probabilities must be between 0 and 1")
    return p


def _count(n: int, available: int) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= available:
        raise InputError(f"n must be between 1 and the number of inputs, {available}; got {n!r}")
    return int(n)
