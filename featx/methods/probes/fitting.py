"""Fit one probe: choose its settings, fit it on all training rows, fit a temperature for its scores."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from featx.errors import InputError
from featx.methods.probes.arguments import (
    check_groups,
    check_jobs,
    check_request,
    check_validation,
)
from featx.methods.probes.definitions import define
from featx.methods.probes.fit_plan import FitPlan, plan_fit
from featx.methods.probes.fitted import FittedProbe, threads_for
from featx.methods.probes.folds import ENOUGH, MOST_FOLDS, Folds, fewest_rows, held_fold
from featx.methods.probes.large_sets import SAMPLE, fit_large
from featx.methods.probes.probe import INPUT, TaskName
from featx.methods.probes.products import ON_CPU, computed_by, products_on
from featx.methods.probes.row_blocks import IN_MEMORY, RowBlocks, rows_of
from featx.methods.probes.selection import limit_neighbours, predict_out_of_fold
from featx.methods.probes.table import get_probe, probe_names
from featx.methods.probes.targets import describe_problem, target_of
from featx.methods.probes.temperature import LEAST_SHARE, TemperatureClassifier, log_probabilities
from featx.methods.probes.training_rows import SELECTION_ROWS, TrainingRows
from featx.threads import run_in_threads

#: Where one fold has too few rows to fit a temperature to (`folds.held_fold`), all folds are used; with more
#: training rows than this, they are merged into two. The second is for slow probes (`Probe.few_folds`).
_FEW_FOLDS_ROWS, _FEW_FOLDS_ROWS_SLOW = 5000, 500


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
    device: str = "cpu",
) -> FittedProbe:
    """Choose the settings of one probe and fit it.

    Parameters
    ----------
    name : str or (str, estimator) or (str, estimator, grid)
        A probe or reference of the table, or a name for a scikit-learn estimator of your own.
    X : array-like of shape (n, d)
        Training embeddings (or, for ``"pixels"``, flattened pixels).
    y : array-like of shape (n,)
        Labels (int), or finite numbers.
    task : {"classes", "numbers"}, default="classes"
        Whether `y` are labels or numbers.
    estimator : classifier or regressor, default=None
        Your own estimator, if `name` is only a name. It is cloned. A classifier without `predict_proba` gets
        a temperature for its `decision_function`.
    grid : mapping of str to sequence, default=None
        Settings of `estimator` to choose from, the simplest model first.
    groups : array-like of shape (n,), default=None
        Group of each row; a group is never on both sides of a fold.
    validation : array-like of int, default=None
        Positions of the validation rows of the dataset. Protocols choose their setting on them, and are then
        fitted on all rows. Other probes treat them like all rows.
    metric : {"top1", "per-class"}, default="top1"
        Accuracy by which a protocol chooses: over all rows, or the mean over the classes.
    seed : int, default=0
        Seed of folds, samples and random estimators of the table.
    n_jobs : int, default=None
        Number of threads; None or -1 means one for each core.
    device : str, default="cpu"
        A GPU ("cuda", "cuda:1", "mps") computes the large products of rows; "auto" is the CPU. The fitted
        estimator is the same, up to rounding errors (`featx.methods.probes.products`).

    Returns
    -------
    FittedProbe

    Raises
    ------
    InputError
        Rows, labels, groups, the estimator or its grid cannot be used; the device is not there.
    UnknownName
        No probe has this name.

    Notes
    -----
    Settings are selected over at most 5 folds, on at most 4,000 rows.

    For labels, folds are stratified. Among settings whose balanced accuracy is within one standard error of
    the best one (paired; Breiman et al. 1984), the lowest log loss of the same out-of-fold predictions
    decides, because a strong penalty may get every label right with hardly any confidence, and a weak one
    with too much. For an estimator of your own that has `predict_proba` there is no loss: the most accurate
    settings are chosen, and the first of equals. Where the largest class has more than 1.5 times the inputs
    of the smallest, class weights are one of the settings; the forest and boosting, which have no grid,
    always use them then. With a class of one image (or one group) nothing can be selected, and settings that
    suit embeddings in general are used. Scores of every probe but the linear protocols and the references are
    divided by a temperature fitted to scores of held-out rows (`featx.methods.probes.temperature`), which
    changes no label; one fold of 1,000 rows is enough (`featx.methods.probes.folds.held_fold`). Without
    groups and weights the forest needs no folds: the trees that did not draw a row judge it.

    For numbers, mean squared error decides; ties go to the simpler model.
    """
    given, groups = rows_of(X), check_groups(groups, len(X))
    labels = target_of(task, seed).check(y, len(given))
    rows = TrainingRows(given, labels, groups, task=task, seed=seed, products=products_on(device))
    return fit_to(
        name,
        rows,
        estimator=estimator,
        grid=grid,
        validation=validation,
        metric=metric,
        n_jobs=n_jobs,
    )


def fit_best(X, y, *, groups=None, seed: int = 0, device: str = "cpu") -> FittedProbe:
    """Fit every probe that a comparison runs by default, and return the one with the best `cv_score`.

    Parameters as in `fit_probe`. Of equal scores, and where none is known, the first probe counts.
    """
    given, groups = rows_of(X), check_groups(groups, len(X))
    labels = target_of("classes", seed).check(y, len(given))
    rows = TrainingRows(given, labels, groups, seed=seed, products=products_on(device))
    best: FittedProbe | None = None
    for name in probe_names():
        fitted = fit_to(name, rows)
        if best is None or (fitted.cv_score or 0.0) > (best.cv_score or 0.0):
            best = fitted
    assert best is not None
    return best


def fit_to(
    name,
    rows: TrainingRows,
    *,
    estimator=None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    validation=None,
    metric: Literal["top1", "per-class"] = "top1",
    n_jobs: int | None = None,
) -> FittedProbe:
    """Choose the settings of one probe and fit it to rows that several probes share.

    As `fit_probe`, with `TrainingRows` instead of rows, labels, groups, task and seed.
    """
    start = time.perf_counter()
    name, estimator, grid = check_request(name, estimator, grid, rows.task)
    validation = check_validation(validation, len(rows))
    if metric not in ("top1", "per-class"):
        raise InputError(f"metric must be 'top1' or 'per-class', got {metric!r}")
    plan = plan_fit(name, estimator, grid, rows, validation, metric, check_jobs(n_jobs))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A class with one image rightly adds nothing to the scatter within classes.
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        if isinstance(plan.rows.X, RowBlocks):
            with threads_for(plan.rows.X, plan.jobs):
                model, best, score = fit_large(
                    plan.probe, plan.estimator, plan.candidates, plan.rows, plan.target, plan.jobs, plan.notes
                )
        else:
            model, best, score = _fit_in_memory(plan)
    _settle_warnings(caught, plan.notes)
    plan.notes += rows.products.take_notes()
    probe, variant = plan.probe, plan.variant
    settings = clone(plan.estimator).set_params(**best).get_params()
    shown = {**best, **{key: settings[key] for key in probe.shown}}
    params = {(key if plan.own else key.split("__")[-1]): _plain(value) for key, value in shown.items()}
    return FittedProbe(
        name=probe.name,
        title=probe.title if variant is None else variant.title,
        estimator=model,
        params=params if variant is None else params | variant.params,
        cv_score=score,
        seconds=time.perf_counter() - start,
        kind=probe.kind,
        notes=[note.replace(INPUT, rows.kind) for note in plan.notes],
        task=rows.task,
        fitter=probe.fitter,
    )


def _fit_in_memory(plan: FitPlan) -> tuple[Any, dict[str, Any], float | None]:
    """Return the fitted model, the chosen candidate, and its out-of-fold score."""
    probe, estimator, candidates, rows = plan.probe, plan.estimator, plan.candidates, plan.rows
    notes, jobs = plan.notes, plan.jobs
    most = _FEW_FOLDS_ROWS_SLOW if probe.few_folds else _FEW_FOLDS_ROWS
    judged = len(candidates) > 1 or (not plan.own and probe.kind == "probe")
    folds = rows.folds if probe.calibrated or judged else []
    out_of_bag = probe.out_of_bag and rows.groups is None and estimator.steps[-1][1].oob_score
    best, score, start_at, held_out, model = dict(candidates[0]), None, None, None, None

    def fit_last(threads: int = jobs) -> Any:
        with threads_for(rows.X, threads):
            if start_at is not None:
                return _fit_from(clone(unfitted), rows, *start_at)
            return probe.fitter.fit(rows.whole, estimator, best)

    def fit_beside(other: Callable[[int], Any]) -> list[Any]:
        # Two fits that do not depend on each other, and so do not wait for each other.
        return run_in_threads(lambda fit: fit(max(1, jobs // 2)), [(fit_last,), (other,)], jobs)

    if probe.choose is not None:
        with threads_for(rows.X, jobs):
            # Rules of other packages need not know of devices.
            where = {} if rows.products is ON_CPU else {"products": rows.products}
            best, score, start_at = probe.choose(
                rows.X, rows.y, rows.groups, plan.validation, rows.seed, plan.metric, notes, **where
            )
    elif folds and judged and not out_of_bag:
        if len(candidates) == 1 and rows.task == "classes":
            folds = held_fold(folds, rows.y, rows.groups, most)
        if len(candidates) == len(folds) == 1:
            model, (best, score, held_out) = fit_beside(lambda threads: _select(plan, folds, threads))
        else:
            best, score, held_out = _select(plan, folds, jobs)
    elif len(candidates) > 1:
        best = {key: estimator.get_params()[key] for key in best}
        notes.append(plan.target.no_choice)
    unfitted = clone(estimator).set_params(**best)

    def hold_out(threads: int = jobs) -> tuple[np.ndarray, np.ndarray] | None:
        found = predict_out_of_fold(probe.fitter, rows, unfitted, [best], few, tempered=True, n_jobs=threads)
        return found.of(0)

    few = held_fold(folds, rows.y, rows.groups, most) if probe.calibrated and held_out is None else []
    if len(few) == 1 and not out_of_bag:
        model, held_out = fit_beside(hold_out)
    elif model is None:
        model = fit_last()
        if folds and out_of_bag:
            score, held_out = _score_out_of_bag(plan.target, model, rows.y)
        elif few:
            held_out = hold_out()
    if not probe.calibrated:
        return model, best, score
    if not folds:
        notes.append(f"probabilities are too sure: no training {INPUT} could be held out to calibrate them")
    # The number of folds, for whoever fits a clone.
    tempered = TemperatureClassifier(unfitted, cv=MOST_FOLDS)
    with threads_for(rows.X, jobs):
        return tempered.fit(rows.X, rows.y, fitted=model, held_out=held_out), best, score


def definition_of(
    name: str, y: np.ndarray, dim: int, *, task: TaskName = "classes", seed: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """Return, as JSON, what `fit_probe` would do with `dim` features and the targets `y`.

    It holds `Probe.definition` and the rules of the choice: folds, rows, metrics. Two fits of the same rows
    with equal definitions have the same outcome, up to the versions of the libraries.
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
            "in blocks from": IN_MEMORY,
            "else, and for the temperature, a sample of": SAMPLE,
            "one fold for the temperature with": [ENOUGH, "held-out rows or groups"],
            "two folds for it from": [_FEW_FOLDS_ROWS, _FEW_FOLDS_ROWS_SLOW],
            "temperature": ["log scores by kind", LEAST_SHARE, "one observation added"],
        },
        "computed by": computed_by(device),
    }


def _select(plan: FitPlan, folds: Folds, threads: int):
    """Return the best candidate, its out-of-fold score, and its log scores of held-out rows.

    The latter, (positions, scores), are None where all rows have not been held out.
    """
    rows, candidates, probe = plan.rows, plan.candidates, plan.probe
    sample = rows if len(candidates) == 1 else rows.sample
    if sample is not rows:
        plan.notes.append(
            f"settings selected on a {plan.target.sample_name} of {len(sample)} training {INPUT}s"
        )
        folds = sample.folds
    if not plan.own:
        candidates = limit_neighbours(candidates, fewest_rows(folds))
    found = predict_out_of_fold(
        probe.fitter, sample, plan.estimator, candidates, folds, tempered=probe.calibrated, n_jobs=threads
    )
    held = found.rows
    groups = None if sample.groups is None else sample.groups[held]
    best, score = plan.target.best(sample.y[held], found.predicted, found.losses, groups)
    everything = len(candidates) == 1 or len(rows) <= SELECTION_ROWS
    return candidates[best], score, found.of(best) if everything else None


def _score_out_of_bag(target, model, y):
    """Return the score of a fitted forest, and its log scores, by the trees that did not draw each row."""
    forest = model.steps[-1][1]
    if not hasattr(forest, "classes_"):
        return target.best(y, forest.oob_prediction_[None], None)[1], None
    p = forest.oob_decision_function_
    _, score = target.best(y, forest.classes_[p.argmax(axis=1)][None], None)
    return score, (np.arange(len(y)), log_probabilities(p))


def _fit_from(model, rows: TrainingRows, coef, intercept):
    """Fit a `LogisticProbe` to all rows, starting from the solution for a part of them."""
    model.coef_, model.intercept_, model.classes_ = coef, intercept, np.unique(rows.y)
    return model.set_params(warm_start=True).fit(rows.X, rows.y).set_params(warm_start=False)


def _settle_warnings(caught: list[warnings.WarningMessage], notes: list[str]) -> None:
    """Turn convergence warnings into a note; pass other warnings on to the caller."""
    unfinished = False
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished = True
        # Threads reset each other's warning filters; scikit-learn takes that for a misuse of joblib.
        elif "sklearn.utils.parallel.delayed" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if unfinished:
        notes.append("the solver stopped before it had converged, for some settings at least")


def _plain(value: Any) -> Any:
    """Return a setting as JSON."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
