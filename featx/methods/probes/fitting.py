"""Fit one probe: choose its settings, fit it on all training rows, give its scores a temperature.

Everything happens on the training rows that are given, with seeds, in threads of this process.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from featx.errors import InputError
from featx.methods.probes.arguments import (
    check_groups,
    check_jobs,
    check_request,
    check_rows,
    check_validation,
)
from featx.methods.probes.definitions import define
from featx.methods.probes.lbfgs import LbfgsPath
from featx.methods.probes.newton import sees_gpu
from featx.methods.probes.probe import TaskName
from featx.methods.probes.selection import (
    MOST_FOLDS,
    Folds,
    expand,
    fewest_rows,
    limit_neighbours,
    predict_out_of_fold,
)
from featx.methods.probes.table import get_probe
from featx.methods.probes.targets import describe_problem, target_of

#: Most rows that settings are selected on; of more, a sample is taken.
SELECTION_ROWS = 4000
#: Rows from which two folds, not five, fit the temperature: one number needs no more.
_FEW_FOLDS_ROWS = 5000
# Matrices with fewer entries are handled faster by one thread of BLAS or OpenMP than by several.
_SMALL = 5_000_000


@dataclass
class FittedProbe:
    """A probe fitted on the training rows.

    Attributes
    ----------
    name, title : str
        What it is called.
    estimator : scikit-learn classifier or regressor
        Fitted, of scikit-learn's own classes unless it was given from outside.
    params : dict
        The settings chosen, and others worth knowing; JSON-able.
    cv_score : float or None
        Of the chosen settings out of fold, pooled over the folds: balanced accuracy, or R²; None without
        selection.
    seconds : float
        Wall time of selection and fitting.
    kind : {"probe", "floor"}
        Whether it competes.
    notes : list of str
        What a reader of its result should know.
    task : {"classes", "numbers"}
        What it predicts.
    """

    name: str
    title: str
    estimator: Any
    params: dict[str, Any]
    cv_score: float | None
    seconds: float
    kind: Literal["probe", "floor"] = "probe"
    notes: list[str] = field(default_factory=list)
    task: TaskName = "classes"

    @property
    def classes(self) -> np.ndarray:
        """Labels in the order of the columns of `predict_proba`."""
        return self.estimator.classes_

    def predict(self, X) -> np.ndarray:
        """Predict the label, or the number (float64), of each row; ndarray of shape (n,)."""
        rows = self._rows(X)
        with threadpool_limits(_threads(rows, None)):
            predicted = self.estimator.predict(rows)
        return predicted if self.task == "classes" else np.asarray(predicted, np.float64)

    def predict_proba(self, X) -> np.ndarray:
        """Predict probabilities, ndarray of shape (n, n_classes)."""
        rows = self._rows(X)
        with threadpool_limits(_threads(rows, None)):
            return self.estimator.predict_proba(rows)

    def _rows(self, X) -> np.ndarray:
        rows = check_rows(X)
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
    task: TaskName = "classes",
    estimator=None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    groups=None,
    validation=None,
    metric: Literal["top1", "per-class"] = "top1",
    seed: int = 0,
    n_jobs: int | None = None,
) -> FittedProbe:
    """Choose the settings of one probe and fit it.

    Parameters
    ----------
    name : str or (str, estimator) or (str, estimator, grid)
        A probe or reference of the table, or a name for a scikit-learn estimator of one's own.
    X : array-like of shape (n, d)
        Training embeddings (or, for ``"pixels"``, flattened pixels).
    y : array-like of shape (n,)
        Labels (int), or finite numbers.
    task : {"classes", "numbers"}, default="classes"
        What `y` is.
    estimator : classifier or regressor, default=None
        One's own, when `name` is only a name. It is cloned. A classifier without `predict_proba` gets a
        temperature for its `decision_function`.
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
        Seed of folds, samples and random estimators of the table.
    n_jobs : int, default=None
        Threads; None or -1 means one a core.

    Returns
    -------
    FittedProbe

    Raises
    ------
    InputError
        Rows, labels, groups, the estimator or its grid cannot be used.
    UnknownName
        No probe has this name.

    Notes
    -----
    Settings are selected over at most 5 folds, on at most 4,000 rows.

    Of labels, by balanced accuracy; folds are stratified. A tie goes to the lower log loss of the same
    out-of-fold predictions for the logistic regressions of the table, whose stronger penalties may name every
    label and yet be sure of none; for others, whose scores are no probabilities or get a temperature, and of
    what is still equal, to the simpler model. Classes are weighted, or not, by the same choice where the
    largest class has more than 1.5 times the images of the smallest; the forest and boosting, which are not
    searched, then weight them always. With a class of one image (or one group) nothing can be selected, and
    the settings are those that suit embeddings in general. Scores that are no probabilities are divided by
    a temperature fitted on held-out folds (Guo et al., "On Calibration of Modern Neural Networks", 2017),
    which leaves every label as it is.

    Of numbers, by mean squared error; a tie goes to the simpler model.
    """
    start = time.perf_counter()
    name, estimator, grid = check_request(name, estimator, grid, task)
    rows, target = check_rows(X), target_of(task, seed)
    y = target.check(y, len(rows))
    groups = check_groups(groups, len(rows))
    validation = check_validation(validation, len(rows))
    if metric not in ("top1", "per-class"):
        raise InputError(f"metric must be 'top1' or 'per-class', got {metric!r}")
    jobs = check_jobs(n_jobs)

    notes: list[str] = []
    probe = None
    if estimator is None:
        probe = get_probe(name, task)
        problem, drawn = describe_problem(target, probe, y, rows.shape[1])
        if drawn is not None:
            notes.append(f"fitted on a {target.sample_name} of {len(drawn)} of {len(y)} training images")
            rows, y, groups = rows[drawn], y[drawn], None if groups is None else groups[drawn]
        estimator, grid = probe.build(problem)
    candidates = expand(grid or {})
    if probe is not None:
        calibrated = probe.calibrated
    else:
        calibrated = task == "classes" and not hasattr(estimator, "predict_proba")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Of a class with one image: it adds nothing to the scatter within classes, as it should.
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        folds = target.folds(y, groups) if calibrated or len(candidates) > 1 else []
        best, score = dict(candidates[0]), None
        start_at = None
        if probe is not None and probe.choose is not None:
            with threadpool_limits(_threads(rows, jobs)):
                best, score, start_at = probe.choose(rows, y, groups, validation, seed, metric, notes)
        elif len(candidates) > 1 and folds:
            best, score = _select(target, probe, estimator, candidates, rows, y, groups, folds, jobs, notes)
        elif len(candidates) > 1:
            best = {key: estimator.get_params()[key] for key in grid or {}}
            notes.append(target.no_choice)
        model = clone(estimator).set_params(**best)
        shown = {**best, **{key: model.get_params()[key] for key in (probe.shown if probe else ())}}
        if calibrated:
            few = len(y) > _FEW_FOLDS_ROWS or (probe is not None and probe.few_folds)
            model = _with_temperature(model, rows, y, folds, jobs, notes, few=few)
        elif start_at is not None:
            model = _fit_from(model, rows, y, jobs, *start_at)
        else:
            model = fit_model(model, rows, y, jobs, path=probe is not None and probe.path)
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
        task=task,
    )


def definition_of(
    name: str, y: np.ndarray, dim: int, *, task: TaskName = "classes", seed: int = 0
) -> dict[str, Any]:
    """Write down, as plain JSON, what `fit_probe` would do with so many rows of these labels.

    Parameters
    ----------
    name : str
        A probe or reference of the table.
    y : ndarray of shape (n,)
        Training labels or numbers.
    dim : int
        Features of a row.
    task : {"classes", "numbers"}, default="classes"
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
    probe, target = get_probe(name, task), target_of(task, seed)
    problem, _ = describe_problem(target, probe, np.asarray(y), dim)
    return probe.definition(problem) | {
        "problem": define(problem),
        "choice": {
            "by": list(target.rule),
            "of a protocol": "top1",
            "folds": MOST_FOLDS,
            "rows": SELECTION_ROWS,
            "two folds for the temperature from": _FEW_FOLDS_ROWS,
        },
        "computed by": ["numpy", *([f"torch {sys.modules['torch'].__version__}"] if sees_gpu() else [])],
    }


def _select(target, probe, estimator, candidates, rows, y, groups, folds: Folds, jobs, notes):
    """Return the best candidate and its score."""
    if len(y) > SELECTION_ROWS:
        drawn = target.sample(y, SELECTION_ROWS)
        sampled = target.folds(y[drawn], None if groups is None else groups[drawn])
        # A sample that thins a class's groups out to one cannot be folded; then all rows are used.
        if sampled:
            notes.append(f"settings selected on a {target.sample_name} of {len(drawn)} training images")
            rows, y, folds = rows[drawn], y[drawn], sampled
    if probe is not None:
        candidates = limit_neighbours(candidates, fewest_rows(folds))
    path = probe is not None and probe.path
    predicted, losses = predict_out_of_fold(estimator, candidates, rows, y, folds, path=path, n_jobs=jobs)
    best, score = target.best(y[np.concatenate([held for _, held in folds])], predicted, losses)
    return candidates[best], score


def _with_temperature(model, rows, labels, folds: Folds, jobs, notes, *, few: bool):
    if not folds:
        everything = np.arange(len(labels))
        folds = [(everything, everything)]
        notes.append("probabilities are too sure: no training image could be held out to calibrate them")
    elif few:
        folds = _two_folds(folds, labels)
    calibrated = CalibratedClassifierCV(model, method="temperature", cv=folds, ensemble=False)
    calibrated = fit_model(calibrated, rows, labels, jobs)
    # The row numbers of the folds are not needed any more; a saved model should not carry them.
    return calibrated.set_params(cv=max(2, len(folds)))


def _two_folds(folds: Folds, labels) -> Folds:
    """Merge the folds into two halves; leave them where a half would lack a class."""
    first, second = (
        np.sort(np.concatenate([held for _, held in part]))
        for part in (folds[: len(folds) // 2], folds[len(folds) // 2 :])
    )
    n_classes = len(np.unique(labels))
    if min(len(np.unique(labels[half])) for half in (first, second)) < n_classes:
        return folds
    return [(second, first), (first, second)]


def fit_model(model, rows, labels, jobs, *, path: bool = False):
    """Fit `model` with as many threads as pay; `path`: its last step is a plain logistic regression."""
    with threadpool_limits(_threads(rows, jobs)), joblib.parallel_config("threading", n_jobs=jobs):
        if not path:
            return model.fit(rows, labels)
        for _, step in model.steps[:-1]:
            rows = step.fit_transform(rows, labels)
        logistic = model.steps[-1][1]
        weights = compute_sample_weight(logistic.class_weight, labels)
        solver = LbfgsPath(rows, labels)
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


def _threads(rows: np.ndarray, jobs: int | None) -> int | None:
    return 1 if rows.size < _SMALL else jobs


def _settle_warnings(caught: list[warnings.WarningMessage], notes: list[str]) -> None:
    """Turn the warning of a solver that stopped early into a note; pass all others on to the caller."""
    unfinished = False
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished = True
        # Threads that fit at once reset each other's warning filters, which scikit-learn takes for misuse.
        elif "sklearn.utils.parallel.delayed" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if unfinished:
        notes.append("the solver stopped before it had converged, for some settings at least")


def _plain(value: Any) -> Any:
    """Return a setting as something JSON can hold."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
