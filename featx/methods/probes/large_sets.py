"""Fit probes to training sets that are read in blocks (`featx.methods.probes.row_blocks`).

Settings are selected on a sample, in memory, as for any set. The last fit, the two folds of the temperature
and the scores of their held rows use all rows:

- ridge, discriminant analysis, naive Bayes and class means are closed forms of sums over the rows
  (`featx.methods.probes.block_moments`). Covariances of single classes, for a shrinkage by Ledoit and Wolf
  or for given priors, take a pass over the principal coordinates, and a second one for the shrinkage;
- logistic regression is solved by Newton's method, which passes over the rows for each product.

The fitted estimators are those that scikit-learn would fit to the same rows, up to rounding errors and the
tolerance of its solver. What is not in this list is fitted to a sample of `SAMPLE` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import lstsq, solve
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.block_moments import Moments, sum_moments
from featx.methods.probes.catalogue.protocols import Prototypes
from featx.methods.probes.folds import MOST_FOLDS, fewest_rows
from featx.methods.probes.newton import NewtonPath
from featx.methods.probes.probe import INPUT
from featx.methods.probes.row_blocks import RowBlocks, StandardisedRows
from featx.methods.probes.selection import limit_neighbours, predict_out_of_fold
from featx.methods.probes.temperature import TemperatureClassifier, log_scores, score_kind
from featx.methods.probes.training_rows import TrainingRows

#: Rows of the sample on which other probes are fitted.
SAMPLE = 50_000
# `tol` of the solver of logistic regression.
_TOLERANCE = 1e-7


def fits_in_blocks(estimator: Any) -> bool:
    """Return whether an estimator can be fitted to rows that are read in blocks."""
    if isinstance(estimator, Prototypes):
        return True
    if not isinstance(estimator, Pipeline) or not isinstance(estimator.steps[0][1], StandardScaler):
        return False
    last = estimator.steps[-1][1]
    if isinstance(last, LinearDiscriminantAnalysis):
        return len(estimator.steps) == 3 and isinstance(estimator.steps[1][1], PCA)
    known = LogisticRegression, Ridge, RidgeClassifier, GaussianNB
    return len(estimator.steps) == 2 and isinstance(last, known)


def fit_large(
    probe, estimator: Any, candidates: Sequence[dict[str, Any]], rows: TrainingRows, target, jobs: int, notes
) -> tuple[Any, dict[str, Any], float | None]:
    """Choose the settings of a probe on a sample, and fit it and its temperature to all rows.

    Returns
    -------
    model : fitted estimator
    best : dict
        The chosen candidate.
    score : float or None
        Its out-of-fold score.
    """
    best, score = dict(candidates[0]), None
    if len(candidates) > 1:
        # A class with one group in the sample leaves all rows, which then have to be in memory.
        sample = rows.sample if rows.sample is not rows else rows.take(np.arange(len(rows)))
        if sample.folds:
            notes.append(f"settings selected on a {target.sample_name} of {len(sample)} training {INPUT}s")
            found = predict_out_of_fold(
                probe.fitter,
                sample,
                estimator,
                candidates := limit_neighbours(list(candidates), fewest_rows(sample.folds)),
                sample.folds,
                tempered=probe.calibrated,
                n_jobs=jobs,
            )
            groups = None if sample.groups is None else sample.groups[found.rows]
            at, score = target.best(sample.y[found.rows], found.predicted, found.losses, groups)
            best = candidates[at]
        else:
            best = {key: estimator.get_params()[key] for key in best}
            notes.append(target.no_choice)
        sample.forget()
    model = clone(estimator).set_params(**best)
    sums = rows.moments
    if not probe.calibrated:
        return fit_in_blocks(model, rows, np.arange(len(rows)), sums.whole), best, score
    held, scores, start = [], [], None
    for f, (train, out) in enumerate(sums.folds):
        start = fit_in_blocks(clone(model), rows, train, sums.without(f), start)
        held.append(out)
        scores.append(scores_in_blocks(start, rows.X.take(out)))
    fitted = fit_in_blocks(clone(model), rows, np.arange(len(rows)), sums.whole, start)
    if not held:
        notes.append(f"probabilities are too sure: no training {INPUT} could be held out to calibrate them")
        held, scores = [np.arange(len(rows))], [scores_in_blocks(fitted, rows.X)]
    elif score is None:
        at, z = np.concatenate(held), np.concatenate(scores)
        groups = None if rows.groups is None else rows.groups[at]
        _, score = target.best(rows.y[at], rows.classes[z.argmax(axis=1)][None], None, groups)
    tempered = TemperatureClassifier(model, cv=MOST_FOLDS)
    tempered.fit_scores(fitted, rows.codes[np.concatenate(held)], np.concatenate(scores))
    return tempered, best, score


def fit_in_blocks(model: Any, rows: TrainingRows, train: np.ndarray, sums: Moments, start: Any = None) -> Any:
    """Fit an unfitted estimator in place to training rows by position, whose moments are `sums`.

    `start` is the same estimator fitted to about the same rows, from which a solver starts.
    """
    blocks = rows.X if len(train) == len(rows) else rows.X.take(train)
    if isinstance(model, Prototypes):
        model.classes_, model.n_features_in_ = rows.classes, blocks.shape[1]
        return model.take_means(sums.class_means, blocks.dtype)
    model.steps[0] = (model.steps[0][0], sums.scaler)
    last = model.steps[-1][1]
    if isinstance(last, LogisticRegression):
        path = logistic_path(rows, train, sums, last.class_weight)
        if start is not None:
            path.start_from(start.steps[-1][1].coef_, start.steps[-1][1].intercept_)
        coef, intercept, n_iter, _ = path.solve(last.C, tol=_TOLERANCE)
        last.coef_, last.intercept_ = coef.astype(blocks.dtype), intercept.astype(blocks.dtype)
        last.n_iter_ = np.array([n_iter], np.int32)
    elif isinstance(last, RidgeClassifier):
        weights = last.class_weight
        weighted = sums if weights is None else _weighted(rows, train, weights)
        _fit_ridge_classifier(last, weighted, sums.scaler, rows, blocks.dtype)
    elif isinstance(last, Ridge):
        scatter, mean, _ = sums.standardised(sums.scaler)
        coef = _solve(scatter, last.alpha, sums.cross / sums.scaler.scale_)
        last.coef_, last.n_iter_, last.solver_ = coef.astype(blocks.dtype), None, "cholesky"
        last.intercept_ = blocks.dtype.type(rows.y.mean() - coef @ mean)
    elif isinstance(last, GaussianNB):
        _fit_naive_bayes(last, sums)
    else:
        pca = sums.pca(model.steps[1][1].n_components, model.steps[1][1].random_state)
        pca.components_ = pca.components_.astype(blocks.dtype)
        model.steps[1] = (model.steps[1][0], pca)
        _fit_discriminant(last, sums, pca, blocks, rows.codes[train])
    last.n_features_in_ = last.coef_.shape[-1] if hasattr(last, "coef_") else blocks.shape[1]
    if rows.task == "classes":
        last.classes_ = rows.classes
    return model


def scores_in_blocks(model: Any, rows: RowBlocks) -> np.ndarray:
    """Return the log scores of rows by a fitted classifier, (n, n_classes) float32."""
    kind, found = score_kind(model), np.empty((len(rows), len(model.classes_)), np.float32)
    for place, block in rows.blocks():
        found[place] = log_scores(model, block, kind)
    return found


def logistic_path(
    rows: TrainingRows, train: np.ndarray, sums: Moments, class_weight: Any = None
) -> NewtonPath:
    """Return the solver of logistic regression on standardised rows, for any number of penalties."""
    blocks = rows.X if len(train) == len(rows) else rows.X.take(train)
    X = StandardisedRows(blocks, sums.scaler.mean_, sums.scaler.scale_)
    weights = compute_sample_weight(class_weight, rows.y[train])
    # They ask `X` for shape, dtype and slices only.
    on_rows = rows.products.logistic_rows(X, rows.codes[train], weights, len(rows.classes))
    return NewtonPath.on_rows(on_rows, rows.classes)


def _weighted(rows: TrainingRows, train: np.ndarray, class_weight: Any) -> Moments:
    """Return the moments of training rows with the weights of their classes."""
    part, weights = np.full(len(rows), -1), np.zeros(len(rows))
    part[train], weights[train] = 0, compute_sample_weight(class_weight, rows.y[train])
    return sum_moments(rows, part, 1, weights)[0]


def _fit_ridge_classifier(ridge, sums: Moments, scaler, rows: TrainingRows, dtype) -> None:
    """Solve (X^T X + a I) B = X^T Y of centred rows for targets of 1 (own class) and -1.

    With N_c rows of class c, of mean m_c, the column of X^T Y is 2 N_c (m_c - m).
    """
    scatter, mean, means = sums.standardised(scaler)
    coef = _solve(scatter, ridge.alpha, (2 * sums.counts[:, None] * (means - mean)).T).T
    intercept = 2 * sums.counts / sums.n - 1 - coef @ mean
    if len(coef) == 2:
        coef, intercept = coef[1:], intercept[1:]
    single = len(coef) == 1
    ridge.coef_ = (coef[0] if single else coef).astype(dtype)
    ridge.intercept_, ridge.n_iter_, ridge.solver_ = intercept.astype(dtype), None, "cholesky"
    ridge._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(rows.classes)


def _solve(scatter: np.ndarray, alpha: float, right: np.ndarray) -> np.ndarray:
    regular = scatter.copy()
    regular.flat[:: len(scatter) + 1] += alpha
    return solve(regular, right, assume_a="pos")


def _fit_naive_bayes(bayes: GaussianNB, sums: Moments) -> None:
    scale = sums.scaler.scale_
    within = sums.squares / sums.counts[:, None] - (sums.sums / sums.counts[:, None]) ** 2
    bayes.epsilon_ = bayes.var_smoothing * float((sums.scaler.var_ / scale**2).max())
    bayes.theta_ = sums.standardised(sums.scaler)[2]
    bayes.var_ = np.maximum(within, 0) / scale**2 + bayes.epsilon_
    bayes.class_count_ = sums.counts.copy()
    bayes.class_prior_ = sums.counts / sums.n if bayes.priors is None else np.asarray(bayes.priors)


def _fit_discriminant(lda, sums: Moments, pca: PCA, blocks: RowBlocks, codes: np.ndarray) -> None:
    """Fit as scikit-learn's solver "lsqr" does: the covariance is the mean of those of the classes."""
    A, shares = pca.components_.astype(np.float64), sums.counts / sums.n
    scatter, mean, means = sums.standardised(sums.scaler)
    lda.priors_ = shares if lda.priors is None else np.asarray(lda.priors, np.float64)
    p = len(A)
    if lda.priors is None and lda.shrinkage != "auto":
        # The mean of covariances that are weighted by numbers of rows is the one within classes.
        between = (means - mean).T * sums.counts @ (means - mean)
        within = A @ (scatter - between) @ A.T / sums.n
        shrinkage = lda.shrinkage or 0.0
        covariance = (1 - shrinkage) * within + shrinkage * np.trace(within) / p * np.eye(p)
    else:
        rows = _Coordinates(blocks, sums.scaler, A.astype(blocks.dtype))
        shrunk = _class_covariances(rows, codes, means @ A.T, lda.shrinkage)
        covariance = np.einsum("c,cij->ij", lda.priors_, shrunk)
    centres = means @ A.T
    lda.means_, lda.covariance_ = centres, covariance
    coef = lstsq(covariance, centres.T)[0].T
    intercept = -0.5 * np.einsum("ij,ij->i", centres, coef) + np.log(lda.priors_)
    if len(coef) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    lda.coef_, lda.intercept_ = coef.astype(blocks.dtype), intercept.astype(blocks.dtype)


class _Coordinates:
    """Principal coordinates of standardised rows, block by block."""

    def __init__(self, blocks: RowBlocks, scaler: StandardScaler, axes: np.ndarray):
        self._blocks, self._axes = blocks, axes
        self._mean, self._scale = scaler.mean_.astype(axes.dtype), scaler.scale_.astype(axes.dtype)

    def by_class(self, codes: np.ndarray):
        """Yield a class and the coordinates of its rows in a block, for all blocks."""
        for place, rows in self._blocks.blocks():
            z = ((rows - self._mean) / self._scale) @ self._axes.T
            own = codes[place]
            for c in np.unique(own):
                yield c, z[own == c]


def _class_covariances(
    rows: _Coordinates, codes: np.ndarray, centres: np.ndarray, shrinkage: float | str | None
) -> np.ndarray:
    """Return the shrunken covariance of each class, (n_classes, p, p).

    For ``"auto"`` the shrinkage is that of Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices" (2004), of rows u that are standardised within the class: with
    their covariance S, b = (sum_i ||u_i||^4 / n - ||S||^2) / n and d = ||S - tr(S) / p I||^2, it is
    min(b, d) / d.
    """
    k, p = centres.shape
    counts = np.bincount(codes, minlength=k)
    found = np.zeros((k, p, p))
    for c, z in rows.by_class(codes):
        z = z - centres[c].astype(z.dtype)
        found[c] += z.T @ z
    found /= counts[:, None, None]
    if shrinkage != "auto":
        share = np.full(k, shrinkage or 0.0)
        scales = np.ones((k, p))
    else:
        scales = np.sqrt(np.maximum(np.diagonal(found, axis1=1, axis2=2), 0))
        scales = np.where(scales > 0, scales, 1.0)
        found /= scales[:, :, None] * scales[:, None, :]
        fourth = np.zeros(k)
        for c, z in rows.by_class(codes):
            u = (z - centres[c]) / scales[c]
            fourth[c] += np.square(np.square(u).sum(axis=1)).sum()
        length = np.square(found).sum(axis=(1, 2))
        b = (fourth / counts - length) / counts
        d = length - np.trace(found, axis1=1, axis2=2) ** 2 / p
        share = np.divide(np.minimum(b, d), d, out=np.zeros(k), where=d > 1e-12 * length)
    for S, s, scale in zip(found, share, scales, strict=True):
        spread = np.trace(S) / p
        S *= 1 - s
        S.flat[:: p + 1] += s * spread
        S *= np.outer(scale, scale)
    return found
