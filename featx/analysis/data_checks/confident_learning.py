"""Find likely label errors by confident learning on out-of-sample probabilities.

C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR
2021). Let p(j | x) be the probability from a model that was not trained on x, and y the given label of x. The
threshold of class j is the mean self-confidence of its images (equation 2)

    t_j = mean over {x : y = j} of p(j | x).

An image counts for the most probable class among those with p(j | x) >= t_j (equation 1); the counts by given
and counted class are the confident joint. Images off its diagonal are likely errors (the paper's method
"C_confusion" on the joint itself), unless the given label is also the most probable one. They are sorted by
self-confidence p(y | x), or by the normalised margin p(y | x) - max over j != y of p(j | x), the lowest
first.

Because each class has its own threshold, the method tolerates many classes, and a model that is too sure of
some of them. It cannot see an error that the model makes on all images of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featx.errors import InputError, MissingExtra, UnknownName

if TYPE_CHECKING:
    from featx.methods.probes.training_rows import TrainingRows

__all__ = ["LabelErrors", "find_label_errors", "predict_out_of_sample"]

RANKINGS = ("self_confidence", "normalized_margin")
#: A probability that is below its threshold by less than this reaches it.
_ROUNDING = 1e-6
#: Most rows on which the model of a fold is fitted, and most principal components.
MOST_ROWS, _COMPONENTS = 10_000, 128
#: Rows that are projected at once, and the accuracy of the models, relative to the objective.
_PROJECTED_ROWS, _TOLERANCE = 4096, 1e-5
#: Folds that are solved together, in one product with the rows that any of them learns from, and the most
#: scores of their rows.
_TOGETHER, _FOLD_VALUES = 3, 10_000_000
#: Probabilities that are processed in one block.
_BLOCK_VALUES = 4_000_000
#: Fewer probabilities are kept as float64, others as float32.
_FLOAT64_VALUES = 20_000_000
#: What decides which labels look wrong, besides the data; the number is raised with the method.
DEFINITION = [2, MOST_ROWS, _COMPONENTS, _TOLERANCE]


@dataclass(frozen=True)
class LabelErrors:
    """Images whose label is likely wrong.

    Attributes
    ----------
    rows : ndarray of shape (n_errors,), int64
        Positions of these images, the likeliest error first.
    given, suggested : ndarray of shape (n_errors,), int64
        The given label, and the most probable other one.
    confidence, self_confidence : ndarray of shape (n_errors,), float64
        Probabilities of the suggested and of the given label.
    labels, confident : ndarray of shape (n,), int64
        For all images: the given label, and the class that the image counts for (-1 for none).
    n_classes : int
    """

    rows: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray
    self_confidence: np.ndarray
    labels: np.ndarray
    confident: np.ndarray
    n_classes: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def joint(self) -> np.ndarray:
        """The confident joint, (n_classes, n_classes) int64, with given labels in rows."""
        counted = self.confident >= 0
        cells = self.labels[counted] * self.n_classes + self.confident[counted]
        return np.bincount(cells, minlength=self.n_classes**2).reshape(self.n_classes, self.n_classes)


def find_label_errors(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    ranked_by: str = "self_confidence",
    implementation: str = "featx",
) -> LabelErrors:
    """Find labels that are likely wrong.

    Parameters
    ----------
    labels : array-like of shape (n,), int
        The given labels.
    probabilities : array-like of shape (n, n_classes)
        Out of sample: each row from a model that was not trained on that image.
    ranked_by : {"self_confidence", "normalized_margin"}, default="self_confidence"
    implementation : {"featx", "cleanlab"}, default="featx"
        ``"cleanlab"`` takes the rows and their order from that package (extra ``cleanlab``).

    Examples
    --------
    >>> from featx.analysis.data_checks import find_label_errors
    >>> found = find_label_errors([0, 0, 1, 1, 1], [[.9, .1], [.8, .2], [.1, .9], [.9, .1], [.2, .8]])
    >>> found.rows.tolist(), found.suggested.tolist()
    ([3], [0])
    """
    labels, p = _checked(labels, probabilities)
    if ranked_by not in RANKINGS:
        raise UnknownName("ranking", str(ranked_by), RANKINGS)
    if implementation not in ("featx", "cleanlab"):
        raise UnknownName("implementation", str(implementation), ("featx", "cleanlab"))
    own = p[np.arange(len(labels)), labels].astype(np.float64)
    thresholds = _thresholds(labels, own, p.shape[1])
    # In blocks: with thousands of classes, a few copies of all probabilities take gigabytes.
    step = max(1, _BLOCK_VALUES // p.shape[1])
    parts = [_assess(labels[at : at + step], p[at : at + step], thresholds) for at in range(0, len(p), step)]
    confident, first, suggested, best = (np.concatenate(same) for same in zip(*parts, strict=True))
    if implementation == "cleanlab":
        rows = _by_cleanlab(labels, p, ranked_by)
    else:
        rows = np.flatnonzero((confident >= 0) & (confident != labels) & (first != labels))
        score = own - best if ranked_by == "normalized_margin" else own
        rows = rows[np.argsort(score[rows], kind="stable")]
    return LabelErrors(
        rows=rows,
        given=labels[rows],
        suggested=suggested[rows],
        confidence=best[rows],
        self_confidence=own[rows],
        labels=labels,
        confident=confident,
        n_classes=p.shape[1],
    )


def predict_out_of_sample(
    X: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    groups=None,
    seed: int = 0,
    shared: TrainingRows | None = None,
) -> np.ndarray | None:
    """Return class probabilities of each image from models that were not trained on it.

    The model is logistic regression on principal components of standardised embeddings. A training image is
    predicted by the model that was fitted without its fold, a test image by the mean of all models.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Embeddings; rows that stay in a file are read in blocks.
    y : array-like of shape (n,), int
        Labels.
    train, test : ndarray of int
        Positions of the training and the test images.
    groups : array-like of shape (n,), optional
        Images of one group are in one fold.
    seed : int, default=0
        Seed of the folds.
    shared : TrainingRows, optional
        The rows of `train`, whose principal components may be there already; used up to 10,000 rows.

    Returns
    -------
    ndarray of shape (n, n_classes), or None
        float64; float32 from 20 million values on. NaN in rows that are in neither set. None if a class has
        only one training image (or group), so that none can be held out.

    Notes
    -----
    Scaling and principal components, which use no labels, are computed once, from at most 10,000 training
    rows. A fold's model is fitted on at most 10,000 rows, the first of each class in a shuffled order; on
    frozen embeddings that is enough to find wrong labels.
    """
    from featx.methods.probes.folds import make_folds

    X, y = X if hasattr(X, "shape") else np.asarray(X), np.asarray(y)
    groups = None if groups is None else np.asarray(groups)[train]
    folds = make_folds(y[train], groups, seed)
    if not folds:
        return None
    n_classes = int(y.max()) + 1
    dtype = np.float64 if len(X) * n_classes < _FLOAT64_VALUES else np.float32
    found = np.full((len(X), n_classes), np.nan, dtype)
    found[np.concatenate([train, test])] = 0.0  # stays so for a class without training images
    place = np.random.default_rng(seed).permutation(len(train))
    columns, codes = np.unique(y[train], return_inverse=True)
    learnt = [_subsample(codes, rows, place) for rows, _ in folds]
    # Standardised rows have a squared length of about d. A model regularised more than the most accurate one
    # follows wrong labels less.
    C = 1 / X.shape[1]
    fewest = min(map(len, learnt))
    sample = train[_subsample(codes, np.arange(len(train)), place)]
    project = _projection(X, sample, fewest, shared if len(sample) == len(train) else None)
    step = max(1, _BLOCK_VALUES // max(n_classes, _COMPONENTS))
    used = np.unique(np.concatenate(learnt))
    Z = project(train[used])
    models = _solve_folds(Z, codes[used], [np.searchsorted(used, rows) for rows in learnt], C)
    fold_of = np.full(len(train), -1)
    for f, (_, held) in enumerate(folds):
        fold_of[held] = f
    for part in _parts(np.arange(len(train)), step):  # in order, so that a file is read once
        Z = project(train[part])
        for f, model in enumerate(models):
            mine = fold_of[part] == f
            found[np.ix_(train[part[mine]], columns)] = _probabilities(Z[mine], model)
    for part in _parts(test, step):
        Z = project(part)
        found[np.ix_(part, columns)] = sum(_probabilities(Z, model) for model in models) / len(models)
    return found


def _parts(rows: np.ndarray, step: int) -> Iterator[np.ndarray]:
    for at in range(0, len(rows), step):
        yield rows[at : at + step]


def _projection(
    X: np.ndarray, rows: np.ndarray, fewest: int, shared: TrainingRows | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that gives rows of X as principal coordinates, float32, by scale and axes of `rows`.

    `fewest` is the size of the smallest training set of a fold; `shared` are the same rows.
    """
    from featx.methods.probes.training_rows import TrainingRows

    if shared is None:
        shared = TrainingRows(X[rows].astype(np.float32, copy=False), np.zeros(len(rows), np.int64))
    part = shared.whole
    k = max(1, min(_COMPONENTS, X.shape[1], fewest // 2))
    axes = part.axes(k)[0][:k]
    scaler = part.scaler
    scaled = (axes / scaler.scale_).astype(np.float32)
    mean = scaler.mean_.astype(np.float32)

    def project(at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), len(scaled)), np.float32)
        for i in range(0, len(at), _PROJECTED_ROWS):
            found[i : i + _PROJECTED_ROWS] = (X[at[i : i + _PROJECTED_ROWS]] - mean) @ scaled.T
        return found

    return project


def _solve_folds(
    Z: np.ndarray, codes: np.ndarray, learnt: list[np.ndarray], C: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return coefficients (k, p) and intercepts (k,) of the model of each fold."""
    from featx.machine import cores
    from featx.methods.probes.fold_losses import Softmax
    from featx.methods.probes.fold_rows import Block, SharedRows
    from featx.methods.probes.newton_folds import FoldNewton
    from featx.threads import run_in_threads

    n_classes, p = int(codes.max()) + 1, Z.shape[1]

    def solved(folds: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = np.unique(np.concatenate(folds))
        weights = np.zeros((len(folds), len(rows)))
        for weight, own in zip(weights, folds, strict=True):
            weight[np.searchsorted(rows, own)] = 1
        whole = np.zeros((len(folds), p)), np.ones((len(folds), p))  # neither shifted nor scaled
        block = Block(0, slice(0, len(rows)), np.arange(len(folds)))
        shared = SharedRows(Z[rows], np.eye(p, dtype=Z.dtype), *whole, [block])
        loss = Softmax(np.broadcast_to(codes[rows], weights.shape), weights, n_classes)
        W, b, _, _ = FoldNewton(shared, loss).solve(C, tol=_TOLERANCE)
        return list(zip(W, b, strict=True))

    # The size of a group must not depend on the number of cores: it decides how sums are rounded.
    size = min(_TOGETHER, max(1, _FOLD_VALUES // (n_classes * max(map(len, learnt)))))
    groups = [(learnt[at : at + size],) for at in range(0, len(learnt), size)]
    found = run_in_threads(solved, groups, min(cores(), len(groups)))
    return [model for models in found for model in models]


def _probabilities(Z: np.ndarray, model: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the probabilities, (n, k) float64, of rows in principal coordinates."""
    from scipy.special import softmax

    W, b = model
    return softmax(Z @ W.T.astype(np.float32) + b, axis=1)


def _subsample(y: np.ndarray, rows: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return about `MOST_ROWS` rows, first by `place`: the same share of each class, but at least five."""
    if len(rows) <= MOST_ROWS:
        return rows
    order = rows[np.lexsort((place[rows], y[rows]))]
    counts = np.bincount(y[rows])
    takes = np.minimum(counts, np.maximum(5, counts * MOST_ROWS // len(rows)))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < np.repeat(takes, counts)])


def _thresholds(labels: np.ndarray, own: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean self-confidence of each class, infinite without images."""
    counts = np.bincount(labels, minlength=n_classes)
    sums = np.bincount(labels, weights=own, minlength=n_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def _assess(labels: np.ndarray, p: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return for each image: the class it counts for (-1 for none), the most probable class, and the most
    probable one other than its label, with its probability.
    """
    p = p.astype(np.float64)
    above = np.where(p >= thresholds - _ROUNDING, p, -1.0)
    confident = np.where(above.max(axis=1) >= 0, above.argmax(axis=1), -1)
    first = p.argmax(axis=1)
    p[np.arange(len(p)), labels] = -1
    return confident, first, p.argmax(axis=1), p.max(axis=1)


def _by_cleanlab(labels: np.ndarray, p: np.ndarray, ranked_by: str) -> np.ndarray:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtra("cleanlab", "cleanlab", "implementation='cleanlab'") from error
    found = find_label_issues(
        labels, p, filter_by="confident_learning", return_indices_ranked_by=ranked_by, n_jobs=1
    )
    return np.asarray(found, np.int64)


def _checked(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    labels, p = np.asarray(labels), np.asarray(probabilities)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or labels.shape != (len(p),) or not len(p):
        raise InputError(
            f"expected labels (n,) and probabilities (n, n_classes), got {labels.shape} and {p.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= p.shape[1]:
        raise InputError(f"labels must be whole numbers from 0 to {p.shape[1] - 1}, one a column")
    finite = np.isfinite(p.sum(axis=1))
    if not finite.all():
        raise InputError(f"probabilities of row {int(np.argmin(finite))} are not finite")
    if p.min() < 0 or p.max() > 1 + _ROUNDING:
        raise InputError(f"probabilities must be between 0 and 1, got {p.min():.3g} to {p.max():.3g}")
    return labels.astype(np.int64), p
