"""Fitting one probe: select its settings, fit it on all training rows, give its scores a temperature.

Everything happens on the training rows that are given, with seeds, in threads of this process.
"""

from __future__ import annotations

import difflib
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from featx.errors import DatasetError, InputError
from featx.methods.probes.definitions import define
from featx.methods.probes.logistic import LogisticPath
from featx.methods.probes.newton import _gpu
from featx.methods.probes.probes import Probe, Task, get_probe
from featx.methods.probes.selection import MOST_FOLDS, Folds, cross_validate, expand, make_folds

#: Most rows that settings are selected on; of more, a stratified sample is taken.
SELECTION_ROWS = 4000
#: Rows from which two folds, not five, fit the temperature: one number needs no more.
_FEW_FOLDS_ROWS = 5000
# Matrices with fewer entries are handled faster by one thread of BLAS or OpenMP than by several.
_SMALL = 5_000_000
_IMBALANCE = 1.5


@dataclass
class FittedProbe:
    """A probe fitted on the training rows.

    Attributes
    ----------
    name, title : str
        What it is called.
    estimator : scikit-learn classifier
        Fitted, of scikit-learn's own classes unless it was given from outside.
    params : dict
        The settings chosen, and others worth knowing; JSON-able.
    cv_score : float or None
        Pooled out-of-fold balanced accuracy of the chosen settings; None without selection.
    seconds : float
        Wall time of selection and fitting.
    kind : {"probe", "floor"}
        Whether it competes.
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

    @property
    def classes(self) -> np.ndarray:
        """Labels in the order of the columns of `predict_proba`."""
        return self.estimator.classes_

    def predict(self, X) -> np.ndarray:
        """Labels of the rows, ndarray of shape (n,)."""
        rows = self._rows(X)
        with threadpool_limits(_threads(rows, None)):
            return self.estimator.predict(rows)

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities, ndarray of shape (n, n_classes)."""
        rows = self._rows(X)
        with threadpool_limits(_threads(rows, None)):
            return self.estimator.predict_proba(rows)

    def _rows(self, X) -> np.ndarray:
        rows = _feature_rows(X)
        expected = getattr(self.estimator, "n_features_in_", rows.shape[1])
        if rows.shape[1] != expected:
            raise InputError(
                f"{self.name} was fitted on {expected} features per image, got {rows.shape[1]}; "
                "use embeddings of the same backbone and layer"
            )
        return rows


def fit_probe(
    name,
    X,
    y,
    *,
    estimator=None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    groups=None,
    validation=None,
    metric: Literal["top1", "per-class"] = "top1",
    seed: int = 0,
    n_jobs: int | None = None,
) -> FittedProbe:
    """Select the settings of one probe and fit it.

    Parameters
    ----------
    name : str or (str, estimator) or (str, estimator, grid)
        A probe or floor of the registry, or a name for a scikit-learn classifier of one's own.
    X : array-like of shape (n, d)
        Training embeddings (or, for ``"pixels"``, flattened pixels).
    y : array-like of shape (n,), int
        Training labels.
    estimator : classifier, default=None
        One's own classifier, when `name` is only a name. It is cloned. Without `predict_proba` its
        `decision_function` gets a temperature.
    grid : mapping of str to sequence, default=None
        Settings of `estimator` to choose from, the simplest model first.
    groups : array-like of shape (n,), default=None
        Rows that must not be on both sides of a fold.
    validation : array-like of int, default=None
        Positions of the rows that the data names as its validation part. Protocols choose their setting on
        them; all rows are fitted in the end. Others make no difference between rows.
    metric : {"top1", "per-class"}, default="top1"
        By what a protocol chooses: accuracy, or its mean over the classes.
    seed : int, default=0
        Seed of folds and of random estimators of the registry.
    n_jobs : int, default=None
        Threads; None or -1 means one a core.

    Returns
    -------
    FittedProbe

    Raises
    ------
    InputError
        Rows, labels, groups, the classifier or its grid cannot be used.
    UnknownName
        No probe has this name.

    Notes
    -----
    Settings are selected by balanced accuracy over at most 5 stratified (and grouped) folds, on at most
    4,000 rows. A tie goes to the lower log loss of the same out-of-fold predictions for the logistic
    regressions of the registry, whose stronger penalties may name every label and yet be sure of none; for
    others, whose scores are no probabilities or get a temperature, and of what is still equal, to the simpler
    model. Classes are weighted, or not, by the same choice where
    the largest class has more than 1.5 times the images of the smallest; the forest and boosting, which
    are not searched, then weight them always. With a class of one image (or one group) nothing can be
    selected and the settings are those that suit embeddings in general.

    Scores that are no probabilities are divided by a temperature fitted on held-out folds (Guo et al.,
    "On Calibration of Modern Neural Networks", 2017), which leaves every label as it is.
    """
    start = time.perf_counter()
    name, estimator, grid = _requested(name, estimator, grid)
    rows = _feature_rows(X)
    labels, group_ids = _targets(rows, y, groups)
    named = _validation(validation, len(labels))
    if metric not in ("top1", "per-class"):
        raise InputError(f"metric must be 'top1' or 'per-class', got {metric!r}")
    jobs = joblib.cpu_count() if n_jobs in (None, -1) else n_jobs
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"n_jobs must be a positive number of threads, -1 or None, got {n_jobs!r}")

    notes: list[str] = []
    probe = None
    if estimator is None:
        probe = get_probe(name)
        task, kept = _problem(probe, labels, rows.shape[1], seed)
        if kept is not None:
            notes.append(f"fitted on a stratified sample of {len(kept)} of {len(labels)} training images")
            rows, labels = rows[kept], labels[kept]
            group_ids = None if group_ids is None else group_ids[kept]
        estimator, grid = probe.build(task)
    candidates = expand(grid or {})
    calibrated = probe.calibrated if probe else not hasattr(estimator, "predict_proba")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Of a class with one image: it adds nothing to the scatter within classes, as it should.
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        folds = make_folds(labels, group_ids, seed) if calibrated or len(candidates) > 1 else []
        best, score = dict(candidates[0]), None
        start_at = None
        if probe is not None and probe.choose is not None:
            with threadpool_limits(_threads(rows, jobs)):
                best, score, start_at = probe.choose(rows, labels, group_ids, named, seed, metric, notes)
        elif len(candidates) > 1 and folds:
            best, score = _select(
                probe, estimator, candidates, rows, labels, group_ids, folds, seed, jobs, notes
            )
        elif len(candidates) > 1:
            best = {key: estimator.get_params()[key] for key in grid or {}}
            notes.append("settings not selected: some class has one image, or one group, to train on")
        model = clone(estimator).set_params(**best)
        shown = {**best, **{key: model.get_params()[key] for key in (probe.shown if probe else ())}}
        if calibrated:
            few = len(labels) > _FEW_FOLDS_ROWS or (probe is not None and probe.few_folds)
            model = _with_temperature(model, rows, labels, folds, jobs, notes, few=few)
        elif start_at is not None:
            model = _fit_from(model, rows, labels, jobs, *start_at)
        else:
            model = fit_model(model, rows, labels, jobs, path=probe is not None and probe.path)
    _settle_warnings(caught, notes)
    return FittedProbe(
        name=probe.name if probe else name,
        title=probe.title if probe else name,
        estimator=model,
        params={(key.split("__")[-1] if probe else key): _plain(value) for key, value in shown.items()},
        cv_score=score,
        seconds=time.perf_counter() - start,
        kind=probe.kind if probe else "probe",
        notes=notes,
    )


def definition_of(name: str, y: np.ndarray, dim: int, *, seed: int = 0) -> dict[str, Any]:
    """What `fit_probe` would do with so many rows of these labels, as plain JSON.

    Parameters
    ----------
    name : str
        A probe or floor of the registry.
    y : ndarray of shape (n,), int
        Training labels.
    dim : int
        Features of a row.
    seed : int, default=0

    Returns
    -------
    dict
        `Probe.definition` for this problem, and the rules of the choice: folds, rows, metrics. Two fits of
        the same rows with equal definitions give the same outcome, up to the versions of what computes.

    Raises
    ------
    UnknownName
        No probe has this name.
    """
    probe = get_probe(name)
    task, _ = _problem(probe, np.asarray(y), dim, seed)
    return probe.definition(task) | {
        "task": define(task),
        "choice": {
            "by": ["balanced accuracy out of fold", "log loss out of fold", "first"],
            "of a protocol": "top1",
            "folds": MOST_FOLDS,
            "rows": SELECTION_ROWS,
            "two folds for the temperature from": _FEW_FOLDS_ROWS,
        },
        "computed by": ["numpy", *([f"torch {sys.modules['torch'].__version__}"] if _gpu() else [])],
    }


def _problem(probe: Probe, labels: np.ndarray, dim: int, seed: int) -> tuple[Task, np.ndarray | None]:
    """What a probe is told of its training rows, and which of them it is fitted on; None: all."""
    counts = np.unique(labels, return_counts=True)[1]
    kept = None
    if probe.max_rows is not None and len(labels) > probe.max_rows:
        kept = stratified_sample(labels, probe.max_rows, seed)
    n_train = len(labels) if kept is None else len(kept)
    imbalanced = bool(counts.max() > _IMBALANCE * counts.min())
    return Task(n_train, len(counts), dim, seed, imbalanced), kept


def _select(probe, estimator, candidates, rows, labels, groups, folds, seed, jobs, notes):
    """The best candidate and its score."""
    if len(labels) > SELECTION_ROWS:
        kept = stratified_sample(labels, SELECTION_ROWS, seed)
        sampled = make_folds(labels[kept], None if groups is None else groups[kept], seed)
        # A sample that thins a class's groups out to one cannot be folded; then all rows are used.
        if sampled:
            notes.append(f"settings selected on a stratified sample of {len(kept)} training images")
            rows, labels, folds = rows[kept], labels[kept], sampled
    path = probe is not None and probe.path
    validated = cross_validate(estimator, candidates, rows, labels, folds, path=path, n_jobs=jobs)
    best = validated.best()
    return candidates[best], float(validated.accuracies[best])


def _with_temperature(model, rows, labels, folds: Folds, jobs, notes, *, few: bool):
    if not folds:
        everything = np.arange(len(labels))
        folds = [(everything, everything)]
        notes.append("probabilities are too sure: no training image could be held out to calibrate them")
    elif few:
        folds = _two_folds(folds, labels)
    calibrated = CalibratedClassifierCV(model, method="temperature", cv=folds, ensemble=False)
    calibrated = fit_model(calibrated, rows, labels, jobs)
    # The row numbers have done their work; a kept model should not carry them.
    return calibrated.set_params(cv=max(2, len(folds)))


def _two_folds(folds: Folds, labels) -> Folds:
    """The folds merged into two halves; as they are where a half would then lack a class."""
    first, second = (
        np.sort(np.concatenate([held for _, held in part]))
        for part in (folds[: len(folds) // 2], folds[len(folds) // 2 :])
    )
    n_classes = len(np.unique(labels))
    if min(len(np.unique(labels[half])) for half in (first, second)) < n_classes:
        return folds
    return [(second, first), (first, second)]


def fit_model(model, rows, labels, jobs, *, path: bool = False):
    """`model` fitted with as many threads as pay; `path`: its last step is a plain logistic regression."""
    with threadpool_limits(_threads(rows, jobs)), joblib.parallel_config("threading", n_jobs=jobs):
        if not path:
            return model.fit(rows, labels)
        for _, step in model.steps[:-1]:
            rows = step.fit_transform(rows, labels)
        logistic = model.steps[-1][1]
        weights = compute_sample_weight(logistic.class_weight, labels)
        solver = LogisticPath(rows, labels)
        # Scikit-learn starts from this solution, checks it by its own criterion and goes on if need be.
        coef, intercept = solver.solve(logistic.C, sample_weight=weights)
        logistic.set_params(warm_start=True)
        logistic.coef_, logistic.intercept_ = coef.astype(rows.dtype), intercept.astype(rows.dtype)
        logistic.classes_ = solver.classes
        logistic.fit(rows, labels).set_params(warm_start=False)
        return model


def _fit_from(model, rows, labels, jobs, coef, intercept):
    """Fit a `LogisticProbe` to all rows from the solution for a part of them."""
    model.coef_, model.intercept_, model.classes_ = coef, intercept, np.unique(labels)
    return fit_model(model.set_params(warm_start=True), rows, labels, jobs).set_params(warm_start=False)


def _validation(validation, n: int) -> np.ndarray | None:
    if validation is None or not len(validation):
        return None
    positions = np.unique(np.asarray(validation))
    if positions.dtype.kind not in "iu" or positions[0] < 0 or positions[-1] >= n:
        raise InputError(f"validation must be positions of rows, 0 to {n - 1}, got {validation!r}")
    return positions


def _threads(rows: np.ndarray, jobs: int | None) -> int | None:
    return 1 if rows.size < _SMALL else jobs


def stratified_sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Sorted rows: about `most` of them, in the proportions of the classes, five of each if there are."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    takes = np.minimum(counts, np.maximum(5, np.round(counts * most / len(y)).astype(int)))
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = order[np.argsort(codes[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < np.repeat(takes, counts)])


def _requested(name, estimator, grid):
    if isinstance(name, tuple):
        if estimator is not None or grid is not None or len(name) not in (2, 3):
            raise InputError(
                "a classifier of your own is (name, estimator) or (name, estimator, grid), "
                f"got {len(name)} values" + (" and estimator= or grid= besides" if estimator or grid else "")
            )
        name, estimator, grid = (*name, None)[:3]
    if not isinstance(name, str) or not name:
        raise InputError(f"a classifier needs a name (a string), got {name!r}")
    if estimator is None:
        if grid is not None:
            raise InputError(f"a grid was given for {name!r} without an estimator; give both or neither")
        return name, None, None
    instance = not isinstance(estimator, type) and hasattr(estimator, "__sklearn_tags__")
    if not (instance and is_classifier(estimator)):
        raise InputError(f"{name!r} must be a scikit-learn classifier instance, got {_kind(estimator)}")
    if not (hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")):
        raise InputError(
            f"{name!r} ({_kind(estimator)}) has neither predict_proba nor decision_function; "
            "wrap it in CalibratedClassifierCV"
        )
    known = estimator.get_params()
    for key, values in (grid or {}).items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"grid of {name!r}: {_kind(estimator)} has no setting {key!r}{hint}")
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise InputError(f"grid of {name!r}: {key} needs a list of values to try, got {values!r}")
    return name, estimator, grid


def _feature_rows(X) -> np.ndarray:
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise InputError(
            f"features must be numbers of shape (n_images, n_features), got {rows.dtype}, shape {rows.shape}"
        )
    if 0 in rows.shape:
        raise InputError(f"features are empty: got shape {rows.shape}")
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(
            f"features of row {int(np.argmin(finite))} are not finite ({int((~finite).sum())} such rows); "
            "extract them again in fp32"
        )
    return np.ascontiguousarray(rows)


def _targets(rows: np.ndarray, y, groups) -> tuple[np.ndarray, np.ndarray | None]:
    labels = np.asarray(y)
    if labels.shape != (len(rows),):
        raise InputError(f"expected one label for each of {len(rows)} rows, got shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels must be integers (indices into the classes), got {labels.dtype}")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DatasetError(f"training needs at least 2 classes, got 1 (label {classes[0]} only)")
    if groups is None:
        return labels, None
    group_ids = np.asarray(groups)
    if group_ids.shape != (len(rows),):
        raise InputError(f"expected one group for each of {len(rows)} rows, got shape {group_ids.shape}")
    return labels, np.unique(group_ids.astype(str), return_inverse=True)[1]


def _settle_warnings(caught: list[warnings.WarningMessage], notes: list[str]) -> None:
    """A solver that stopped early becomes a note; anything else goes on to the caller."""
    unfinished = False
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished = True
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if unfinished:
        notes.append("the solver stopped before it had converged, for some settings at least")


def _plain(value: Any) -> Any:
    """A JSON-able form of a setting."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _kind(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__
