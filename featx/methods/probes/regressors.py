"""The regressors: what predicts a number from frozen embeddings, how it is chosen and how it is fitted.

As the probes (`probes`) they are pipelines of scikit-learn's own estimators with their scaling inside, and
their settings are chosen by cross-validation on the training rows alone: the lowest mean squared error of
the out-of-fold predictions, a tie going to the simpler model. Two floors stand below: the mean of the
training images, and a ridge regression on raw pixels.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import joblib
import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR
from threadpoolctl import threadpool_limits

from featx.errors import InputError, UnknownName
from featx.methods.probes.definitions import define
from featx.methods.probes.fitting import SELECTION_ROWS, _feature_rows, _plain, _settle_warnings, _threads
from featx.methods.probes.probes import Grid, Task, _pca
from featx.methods.probes.selection import MOST_FOLDS, Folds, _plain_fold, expand


@dataclass(frozen=True)
class Regressor:
    """A regressor in the registry.

    Attributes
    ----------
    name, title : str
        What it is called in commands, and for people.
    build : callable
        Takes a `Task`; gives the unfitted pipeline and its grid, the simplest model first.
    kind : {"probe", "floor"}
        Whether it competes.
    max_rows : int or None
        Most rows it is fitted on; of more, a random sample is taken.
    """

    name: str
    title: str
    build: Callable[[Task], tuple[Any, Grid]]
    kind: Literal["probe", "floor"] = "probe"
    max_rows: int | None = None

    def definition(self, task: Task) -> dict[str, Any]:
        """All that makes its outcome on a problem of this size, as plain JSON; see `Probe.definition`."""
        model, grid = self.build(task)
        rules = [self.max_rows, MOST_FOLDS, SELECTION_ROWS]
        return {
            "name": self.name,
            "estimator": define(model),
            "grid": define(grid),
            "rules": define(rules),
        }


@dataclass
class FittedRegressor:
    """A regressor fitted on the training rows.

    Attributes
    ----------
    name, title, kind : str
        As in the registry.
    estimator : scikit-learn regressor
    params : dict
        The settings chosen; JSON-able.
    cv_score : float or None
        R² of the pooled out-of-fold predictions with them; None without selection.
    seconds : float
        Wall time of selection and fitting.
    notes : list of str
        What a reader of its result should know.
    """

    name: str
    title: str
    estimator: Any
    params: dict[str, Any]
    cv_score: float | None
    seconds: float
    kind: Literal["probe", "floor"] = "probe"
    notes: list[str] = field(default_factory=list)

    def predict(self, X) -> np.ndarray:
        """Numbers for the rows, ndarray of shape (n,), float64."""
        rows = _feature_rows(X)
        with threadpool_limits(_threads(rows, None)):
            return np.asarray(self.estimator.predict(rows), np.float64)


def _ridge(task: Task):
    model = Pipeline([("scale", StandardScaler()), ("ridge", Ridge(alpha=float(task.dim)))])
    return model, {"ridge__alpha": [task.dim * f for f in (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)]}


def _svr(task: Task):
    # The penalty and the width of the tube are in units of the target: it is standardised for them. After
    # standardisation squared distances are of the order of 2 dim: gamma is a multiple of 1 / dim.
    svr = TransformedTargetRegressor(
        SVR(C=1.0, gamma=0.25 / task.dim, epsilon=0.1, cache_size=500), transformer=StandardScaler()
    )
    model = Pipeline([("scale", StandardScaler()), _pca(task, 128), ("svr", svr)])
    grid = {"svr__regressor__C": [1.0, 10.0], "svr__regressor__gamma": [0.25 / task.dim, 1 / task.dim]}
    return model, grid


def _knn(task: Task):
    knn = KNeighborsRegressor(n_neighbors=1, algorithm="brute", weights="distance")
    model = Pipeline([("scale", StandardScaler()), _pca(task, 256), ("unit", Normalizer()), ("knn", knn)])
    return model, {"knn__n_neighbors": [k for k in (20, 10, 5, 3, 1) if 2 * k <= task.n_train] or [1]}


def _forest(task: Task):
    # All features at every split, scikit-learn's default, costs in proportion to their number.
    forest = RandomForestRegressor(n_estimators=150, max_features="sqrt", random_state=task.seed)
    return Pipeline([("forest", forest)]), {}


def _mean(task: Task):
    return DummyRegressor(strategy="mean"), {}


_ALL = (
    Regressor("ridge", "Ridge regression", _ridge),
    Regressor("svr", "Support vector regression", _svr, max_rows=5_000),
    Regressor("knn", "Nearest neighbours", _knn),
    Regressor("forest", "Random forest", _forest),
    Regressor("mean", "Mean of the training images", _mean, kind="floor"),
    Regressor("pixels", "Ridge regression on pixels", _ridge, kind="floor"),
)

#: Every regressor and floor by name.
REGRESSORS: dict[str, Regressor] = {regressor.name: regressor for regressor in _ALL}


def regressor_names() -> tuple[str, ...]:
    """Names of the regressors that compete, in the order in which they are tried."""
    return tuple(regressor.name for regressor in _ALL if regressor.kind == "probe")


def fit_regressor(
    name: str, X, y, *, groups=None, seed: int = 0, n_jobs: int | None = None
) -> FittedRegressor:
    """Select the settings of one regressor and fit it.

    Parameters
    ----------
    name : str
        Of `REGRESSORS`.
    X : array-like of shape (n, d)
        Training embeddings (or, for ``"pixels"``, flattened pixels).
    y : array-like of shape (n,)
        Finite numbers.
    groups : array-like of shape (n,), default=None
        Rows that must not be on both sides of a fold.
    seed : int, default=0
        Seed of folds and of random estimators.
    n_jobs : int, default=None
        Threads; None or -1 means one a core.

    Returns
    -------
    FittedRegressor

    Raises
    ------
    InputError
        Rows, numbers or groups cannot be used.
    UnknownName
        There is no regressor of this name.
    """
    start = time.perf_counter()
    if name not in REGRESSORS:
        raise UnknownName("regressor", name, REGRESSORS)
    regressor = REGRESSORS[name]
    rows, numbers = _feature_rows(X), np.asarray(y)
    if numbers.shape != (len(rows),) or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        raise InputError(f"expected a finite number for each of {len(rows)} rows, got shape {numbers.shape}")
    numbers = numbers.astype(np.float64)
    codes = None if groups is None else np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    if codes is not None and codes.shape != (len(rows),):
        raise InputError(f"expected one group for each of {len(rows)} rows, got shape {codes.shape}")
    jobs = joblib.cpu_count() if n_jobs in (None, -1) else n_jobs

    notes: list[str] = []
    rng = np.random.default_rng(seed)
    if regressor.max_rows is not None and len(rows) > regressor.max_rows:
        kept = np.sort(rng.permutation(len(rows))[: regressor.max_rows])
        notes.append(f"fitted on a sample of {len(kept)} of {len(rows)} training images")
        rows, numbers, codes = rows[kept], numbers[kept], None if codes is None else codes[kept]
    model, grid = regressor.build(Task(len(rows), 1, rows.shape[1], seed))
    candidates = expand(grid)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        best, score = candidates[0], None
        if len(candidates) > 1:
            kept = np.sort(rng.permutation(len(rows))[:SELECTION_ROWS])
            folds = _folds(len(kept), None if codes is None else codes[kept], seed)
            if len(kept) < len(rows):
                notes.append(f"settings selected on a sample of {len(kept)} training images")
            if folds:
                best, score = _select(model, candidates, rows[kept], numbers[kept], folds, jobs)
            else:
                best = {}
                notes.append("settings not selected: too few images, or one group only, to train on")
        with threadpool_limits(_threads(rows, jobs)), joblib.parallel_config("threading", n_jobs=jobs):
            model = clone(model).set_params(**best).fit(rows, numbers)
    _settle_warnings(caught, notes)
    return FittedRegressor(
        name=name,
        title=regressor.title,
        estimator=model,
        params={key.split("__")[-1]: _plain(value) for key, value in best.items()},
        cv_score=score,
        seconds=time.perf_counter() - start,
        kind=regressor.kind,
        notes=notes,
    )


def _folds(n: int, groups: np.ndarray | None, seed: int) -> Folds:
    """At most 5 folds of shuffled rows or whole groups; none where two are not possible."""
    parts = n if groups is None else len(np.unique(groups))
    # Less than 4 rows leave folds with a single one to train on.
    if parts < 2 or n < 4:
        return []
    kind = KFold if groups is None else GroupKFold
    splitter = kind(min(MOST_FOLDS, parts), shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(n), groups=groups))


def _select(model, candidates, rows, numbers, folds: Folds, jobs: int):
    """The candidate of the lowest error out of fold, and its R²."""
    # Neighbours are limited by the smallest training part, not by all rows.
    least = min(len(train) for train, _ in folds)
    candidates = [c for c in candidates if c.get("knn__n_neighbors", 1) <= least]
    with threadpool_limits(1):
        parts = Parallel(n_jobs=jobs, prefer="threads")(
            delayed(_plain_fold)(_fitting(model, least), candidates, rows, numbers, fold) for fold in folds
        )
    held = np.concatenate([fold[1] for fold in folds])
    errors = ((np.concatenate(parts, axis=1) - numbers[held]) ** 2).mean(axis=1)
    first = int(np.argmax(errors <= errors.min() * (1 + 1e-12)))
    spread = float(numbers[held].var())
    return candidates[first], 1 - float(errors[first]) / spread if spread else None


def _fitting(model, n_train: int):
    """The same with no more principal components than `n_train` rows determine."""
    if "pca__n_components" not in model.get_params():
        return model
    return clone(model).set_params(pca__n_components=min(model.get_params()["pca__n_components"], n_train))
