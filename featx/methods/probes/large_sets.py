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
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from featx.methods.probes.block_gaussian import BlockDiscriminant, class_moments
from featx.methods.probes.block_moments import Moments, weighted_moments
from featx.methods.probes.catalogue.protocols import Prototypes
from featx.methods.probes.fitters.gaussian import fit_bayes, fit_discriminant
from featx.methods.probes.fitters.ridge import set_ridge, solve, targets_of
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
    held, scores, start = [], [], None
    for f, (train, out) in enumerate(sums.folds):
        start = fit_in_blocks(clone(model), rows, train, sums.without(f), start)
        if len(out) > SAMPLE:
            out = np.sort(np.random.default_rng(rows.seed).choice(out, SAMPLE, replace=False))
        held.append(out)
        scores.append(scores_in_blocks(start, rows.X.take(out)))
    fitted = fit_in_blocks(clone(model), rows, everything, sums.whole, start)
    if not held:
        notes.append(f"probabilities are too sure: no training {INPUT} could be held out to calibrate them")
        held = [np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)]
        scores = [scores_in_blocks(fitted, rows.X.take(held[0]))]
    at, z = np.concatenate(held), np.concatenate(scores)
    if score is None and sums.folds:
        groups = None if rows.groups is None else rows.groups[at]
        _, score = target.best(rows.y[at], rows.classes[z.argmax(axis=1)][None], None, groups)
    tempered = TemperatureClassifier(model, cv=MOST_FOLDS)
    return tempered.fit_scores(fitted, rows.codes[at], z), best, score


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
    elif isinstance(last, Ridge | RidgeClassifier):
        weights, weighted = getattr(last, "class_weight", None), sums
        if weights is not None:
            weighted = weighted_moments(rows, train, compute_sample_weight(weights, rows.y[train]))
        _fit_ridge(model, weighted, sums.scaler, rows)
    elif isinstance(last, GaussianNB):
        fit_bayes(last, class_moments(sums), blocks.dtype)
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
    # Nothing but shape, dtype and slices of `X` is used.
    on_rows = rows.products.logistic_rows(X, rows.codes[train], weights, len(rows.classes))
    return NewtonPath.on_rows(on_rows, rows.classes)


def _fit_ridge(model: Pipeline, sums: Moments, scaler: StandardScaler, rows: TrainingRows) -> None:
    """Solve (X^T X + a I) B = X^T Y for centred rows.

    With N_c rows of class c, of mean m_c and targets t_c, X^T Y is the sum over c of N_c (m_c - m) t_c^T.
    """
    scatter, mean, means = sums.standardised(scaler)
    if rows.task == "numbers":
        classes, target_mean, right = None, rows.y.mean(keepdims=True), (sums.cross / scaler.scale_)[:, None]
    else:
        classes, codes = rows.classes, np.arange(len(rows.classes))
        weighted = sums.counts[:, None] * targets_of(codes, codes)
        target_mean, right = weighted.sum(axis=0) / sums.n, (means - mean).T @ weighted
    coef = solve(scatter, model.steps[-1][1].alpha, right, np.float64).T
    set_ridge(model, coef, target_mean - coef @ mean, classes, rows.X.dtype)
