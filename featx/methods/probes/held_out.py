"""Predict out-of-fold probabilities with the settings of a fitted probe."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning

from featx.methods.probes.arguments import check_rows
from featx.methods.probes.fitted import FittedProbe
from featx.methods.probes.fitters.fitter import limit_components
from featx.methods.probes.targets import stratified_sample
from featx.methods.probes.temperature import TemperatureClassifier, fit_sharpness
from featx.methods.probes.training_rows import SELECTION_ROWS, TrainingRows


def held_out_probabilities(
    fitted: FittedProbe, X, y, *, groups=None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return out-of-fold probabilities of the training rows, with the settings of a fitted probe.

    Parameters
    ----------
    fitted : FittedProbe
        Clones of its estimator are fitted.
    X : array-like of shape (n, d)
        The rows it was fitted on; of rows in a file, those that are needed are read.
    y : array-like of shape (n,), int
        Their labels.
    groups : array-like of shape (n,), optional
        Group of each row; a group is never on both sides of a fold.
    seed : int, default=0
        Seed of the sample and the folds, which depend on nothing else but `y` and `groups`.

    Returns
    -------
    rows : ndarray of shape (m,), int64
        Positions of the rows: all, or a stratified sample if there are more than 4,000.
    probabilities : ndarray of shape (m, n_classes)
        If a class has one image or one group, none can be held out, and None is returned instead of both.

    Notes
    -----
    The temperature of a fold's scores is fitted to those of all other folds, so that no row has a say in its
    own probabilities.
    """
    X, y = X if hasattr(X, "shape") else np.asarray(X), np.asarray(y)
    rows = np.arange(len(y)) if len(y) <= SELECTION_ROWS else stratified_sample(y, SELECTION_ROWS, seed)
    groups = None if groups is None else np.asarray(groups)[rows]
    source = TrainingRows(check_rows(X[rows]), y[rows], groups, seed=seed)
    folds = source.folds
    if not folds:
        return None
    tempered = isinstance(fitted.estimator, TemperatureClassifier)
    inner = fitted.estimator.estimator if tempered else fitted.estimator
    found = np.empty((len(rows), len(fitted.classes)))
    with warnings.catch_warnings(), joblib.parallel_config("threading", n_jobs=joblib.cpu_count()):
        # The fit of the probe itself has warned already.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        for part in source.parts(folds):
            if tempered:
                found[part.held_out] = fitted.fitter.scores(part, inner, [{}])[0]
                continue
            model = limit_components(inner, part.fewest).fit(part.raw, part.y)
            found[part.held_out] = model.predict_proba(part.raw_held)
    if not tempered:
        return rows, found
    codes = np.searchsorted(fitted.classes, y[rows])
    sharpness = [fit_sharpness(found[others], codes[others]) for others, _ in folds]
    for (_, held), b in zip(folds, sharpness, strict=True):
        found[held] = softmax(b * found[held], axis=1)
    return rows, found
