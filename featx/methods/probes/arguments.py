"""Check the arguments of `fit_probe`: rows, groups, validation rows, threads, an estimator of the user."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import joblib
import numpy as np
from sklearn.base import is_classifier, is_regressor

from featx.errors import InputError


def check_rows(X) -> np.ndarray:
    """Return features (n, d) as float32 or float64, contiguous and finite."""
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


def check_groups(groups, n: int) -> np.ndarray | None:
    """Return a group number for each row, or None."""
    if groups is None:
        return None
    ids = np.asarray(groups)
    if ids.shape != (n,):
        raise InputError(f"expected one group for each of {n} rows, got shape {ids.shape}")
    return np.unique(ids.astype(str), return_inverse=True)[1]


def check_validation(validation, n: int) -> np.ndarray | None:
    """Return the sorted positions of the validation rows, or None if there are none."""
    if validation is None or not len(validation):
        return None
    positions = np.unique(np.asarray(validation))
    if positions.dtype.kind not in "iu" or positions[0] < 0 or positions[-1] >= n:
        raise InputError(f"validation must be positions of rows, 0 to {n - 1}, got {validation!r}")
    return positions


def check_jobs(n_jobs) -> int:
    """Return the number of threads to use."""
    jobs = joblib.cpu_count() if n_jobs in (None, -1) else n_jobs
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"n_jobs must be a positive number of threads, -1 or None, got {n_jobs!r}")
    return jobs


def check_request(name, estimator, grid, task: str):
    """Return name, estimator and grid; for a probe of the table, the latter two are None."""
    word = "classifier" if task == "classes" else "regressor"
    if isinstance(name, tuple):
        if estimator is not None or grid is not None or len(name) not in (2, 3):
            raise InputError(
                f"a {word} of your own is (name, estimator) or (name, estimator, grid), "
                f"got {len(name)} values" + (" and estimator= or grid= besides" if estimator or grid else "")
            )
        name, estimator, grid = (*name, None)[:3]
    if not isinstance(name, str) or not name:
        raise InputError(f"a {word} needs a name (a string), got {name!r}")
    if estimator is None:
        if grid is not None:
            raise InputError(f"a grid was given for {name!r} without an estimator; give both or neither")
        return name, None, None
    kind = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    instance = not isinstance(estimator, type) and hasattr(estimator, "__sklearn_tags__")
    if not (instance and (is_classifier if task == "classes" else is_regressor)(estimator)):
        raise InputError(f"{name!r} must be a scikit-learn {word} instance, got {kind}")
    if (
        task == "classes"
        and not hasattr(estimator, "predict_proba")
        and not hasattr(estimator, "decision_function")
    ):
        raise InputError(
            f"{name!r} ({kind}) has neither predict_proba nor decision_function; "
            "wrap it in CalibratedClassifierCV"
        )
    known = estimator.get_params()
    for key, values in (grid or {}).items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"grid of {name!r}: {kind} has no setting {key!r}{hint}")
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise InputError(f"grid of {name!r}: {key} needs a list of values to try, got {values!r}")
    return name, estimator, grid
