"""Fit probes to training sets that are read in blocks (`featx.methods.probes.row_blocks`).

Settings are selected on a sample, in memory, as for any set. The last fit uses all rows, and one before it
all but a fold, of which at most `SAMPLE` rows are scored for the temperature:

- ridge, discriminant analysis, naive Bayes and class means are closed forms of sums over the rows
  (`featx.methods.probes.block_moments`). Weights of classes take another pass, and a shrinkage by Ledoit and
  Wolf two more over the rows of each class (`featx.methods.probes.block_gaussian`);
- logistic regression is solved by Newton's method, which passes over the rows for each product.

The fitted estimators are those that scikit-learn would fit to the same rows, up to rounding errors and the
tolerance of its solver. What is not in this list is fitted to a sample of `SAMPLE` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import solve
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.block_gaussian import BlockDiscriminant, SummedClasses
from featx.methods.probes.block_moments import Moments, weighted_moments
from featx.methods.probes.catalogue.protocols import Prototypes
from featx.methods.probes.fitters.gaussian import _fit_bayes as fit_bayes
from featx.methods.probes.fitters.gaussian import _fit_discriminant as fit_discriminant
from featx.methods.probes.folds import MOST_FOLDS, fewest_rows
from featx.methods.probes.newton import NewtonPath
from featx.methods.probes.probe import INPUT
from featx.methods.probes.row_blocks import RowBlocks, StandardisedRows
from featx.methods.probes.selection import limit_neighbours, predict_out_of_fold
from featx.methods.probes.temperature import TemperatureClassifier, log_scores, score_kind
from featx.methods.probes.training_rows import TrainingRows

#: Most rows of the sample on which other probes are fitted, and of those that are scored for the temperature.
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
        sample = _sample_to_select_on(rows, target)
        if sample is not None:
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
            sample.forget()
        else:
            best = {key: estimator.get_params()[key] for key in best}
            notes.append(target.no_choice)
    model = clone(estimator).set_params(**best)
    sums, everything = rows.moments, np.arange(len(rows))
    if not probe.calibrated:
        return fit_in_blocks(model, rows, everything, sums.whole), best, score
    start, held = None, everything
    if sums.train is not None:
        start, held = fit_in_blocks(clone(model), rows, sums.train, sums.of_train), sums.held
    fitted = fit_in_blocks(clone(model), rows, everything, sums.whole, start)
    if len(held) > SAMPLE:
        held = np.sort(np.random.default_rng(rows.seed).choice(held, SAMPLE, replace=False))
    scores = scores_in_blocks(fitted if start is None else start, rows.X.take(held))
    if start is None:
        notes.append(f"probabilities are too sure: no training {INPUT} could be held out to calibrate them")
    elif score is None:
        groups = None if rows.groups is None else rows.groups[held]
        _, score = target.best(rows.y[held], rows.classes[scores.argmax(axis=1)][None], None, groups)
    tempered = TemperatureClassifier(model, cv=MOST_FOLDS)
    return tempered.fit_scores(fitted, rows.codes[held], scores), best, score


def _sample_to_select_on(rows: TrainingRows, target) -> TrainingRows | None:
    """Return rows in memory that can be folded: a small sample if that is enough; None where there are none.

    A small sample may have the rows of one group only of some class.
    """
    if rows.sample is not rows:
        return rows.sample
    drawn = target.sample(rows.y, SAMPLE)
    groups = None if rows.groups is None else rows.groups[drawn]
    return rows.take(drawn) if target.folds(rows.y[drawn], groups) else None


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
        weighted = sums
        if weights is not None:
            weighted = weighted_moments(rows, train, compute_sample_weight(weights, rows.y[train]))
        _fit_ridge_classifier(last, weighted, sums.scaler, rows, blocks.dtype)
    elif isinstance(last, Ridge):
        scatter, mean, _ = sums.standardised(sums.scaler)
        coef = _solve(scatter, last.alpha, sums.cross / sums.scaler.scale_)
        last.coef_, last.n_iter_, last.solver_ = coef.astype(blocks.dtype), None, "cholesky"
        last.intercept_ = blocks.dtype.type(rows.y.mean() - coef @ mean)
    elif isinstance(last, GaussianNB):
        fit_bayes(last, SummedClasses(sums), blocks.dtype)
    else:
        pca = sums.pca(model.steps[1][1].n_components, model.steps[1][1].random_state)
        pca.components_ = pca.components_.astype(blocks.dtype)
        model.steps[1] = (model.steps[1][0], pca)
        fit_discriminant(last, BlockDiscriminant(rows, train, sums, pca.components_), blocks.dtype)
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
