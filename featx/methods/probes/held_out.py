"""Predict out-of-fold probabilities with the settings of a fitted probe."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning

from featx.methods.probes.fitting import SELECTION_ROWS, FittedProbe, fit_model
from featx.methods.probes.selection import make_folds
from featx.methods.probes.table import CLASSIFIERS
from featx.methods.probes.targets import stratified_sample


def held_out_probabilities(
    fitted: FittedProbe, X, y, *, groups=None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return out-of-fold probabilities of the training rows, with the settings of a fitted probe.

    Parameters
    ----------
    fitted : FittedProbe
        Clones of its estimator are fitted.
    X : array-like of shape (n, d)
        The rows it was fitted on.
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
    """
    X, y = np.asarray(X), np.asarray(y)
    rows = np.arange(len(y)) if len(y) <= SELECTION_ROWS else stratified_sample(y, SELECTION_ROWS, seed)
    folds = make_folds(y[rows], None if groups is None else np.asarray(groups)[rows], seed)
    fewest = [int(np.unique(y[rows[train]], return_counts=True)[1].min()) for train, _ in folds]
    tempered = isinstance(fitted.estimator, CalibratedClassifierCV)
    if not folds or (tempered and min(fewest) < 2):
        return None
    probe = CLASSIFIERS.get(fitted.name)
    probabilities = np.empty((len(rows), len(fitted.classes)))
    with warnings.catch_warnings():
        # The fit of the probe itself has warned already.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        for (train, held), few in zip(folds, fewest, strict=True):
            model = clone(fitted.estimator)
            if tempered:
                model.set_params(cv=min(model.cv, few))
            path = probe is not None and probe.path
            model = fit_model(model, X[rows[train]], y[rows[train]], joblib.cpu_count(), path=path)
            probabilities[held] = model.predict_proba(X[rows[held]])
    return rows, probabilities
