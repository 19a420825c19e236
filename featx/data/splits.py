"""Divide rows into training and test: seeded, stratified, and with each group on one side only.

One `Split` is made per comparison, and every method works on it. A group is, for example, the frames of one
video or the photographs of one patient. A draw depends only on labels, groups, share and seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from featx.data.labels import SPLITS
from featx.errors import DatasetError, InputError
from featx.results.shown import Shown

#: What to do about a group in training and in test, at the end of an error.
BY_GROUP = "draw a split with each group on one side: --split-by group (split_by='group')"
# How many random orders of the groups are tried; the best result is taken.
_RESTARTS = 8
# Cost of a class that is missing from the held-out part; squared deviations cost less than 1.
_MISSING = 10.0


@dataclass(frozen=True, eq=False)
class Split(Shown):
    """The rows to train on and the rows to test on.

    Attributes
    ----------
    train : ndarray of shape (n_train,), int64
        Sorted; includes `val`.
    test : ndarray of shape (n_test,), int64
        Sorted; no method may look at them before it is scored.
    val : ndarray of shape (n_val,), int64, or None
        The rows of `train` that the data names as validation rows; None if it names none.
    origin : {"given", "drawn"}
        Whether the split came with the data.
    """

    train: np.ndarray
    test: np.ndarray
    val: np.ndarray | None = None
    origin: Literal["given", "drawn"] = "drawn"


def make_split(
    labels,
    *,
    splits=None,
    groups=None,
    test_size: float = 0.25,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> Split:
    """Return the split that comes with the data or, if there is none, draw one.

    Parameters
    ----------
    labels : array-like of shape (n,), int
        Class of each image.
    splits : array-like of shape (n,) of {"train", "val", "test"}, default=None
        The split that comes with the data. ``"val"`` rows train too and are kept in `Split.val`; without
        ``"test"`` rows they are the test rows. With only ``"train"`` rows a split is drawn.
    groups : array-like of shape (n,), default=None
        Images of one group stay on one side.
    test_size : float, default=0.25
        Share of the images to hold out in a drawn split. A class of two or more images has at least one on
        each side; the single image of a class is for training.
    seed : int, default=0
        Seed of the draw.
    classes : sequence of str, default=None
        Names of the classes, for messages.

    Raises
    ------
    DatasetError
        A class has no training rows, a split name is unknown, a group is on both sides, or nothing can be
        held out.
    InputError
        `test_size` is not between 0 and 1.
    """
    y = _label_array(labels)
    g = _group_array(groups, len(y))
    if not 0 < test_size < 1:
        raise InputError(f"test_size must lie between 0 and 1 (a share of all), got {test_size!r}")
    if splits is not None:
        given = _given_split(_split_array(splits, len(y)))
        if given is not None:
            _check_groups(given, g)
            _check_classes(y, given.train, classes)
            return given
    held = _draw(y, g, test_size, seed)
    if not held.any():
        raise DatasetError(_why_nothing_held_out(y, g, classes))
    return Split(np.flatnonzero(~held), np.flatnonzero(held))


def make_splits(
    labels,
    *,
    seeds: Sequence[int],
    splits=None,
    groups=None,
    test_size: float = 0.25,
    classes: Sequence[str] | None = None,
) -> list[Split]:
    """Return a split for each seed; groups take turns in the test parts.

    The first is that of `make_split`. Each further one holds out groups that no earlier one has held out, as
    long as these give as many classes and about as many rows; then all take part again. So as many splits as
    there are large groups leave each of them out once. Without groups, each is that of `make_split`.

    Parameters are those of `make_split`.
    """
    alone = [
        make_split(labels, splits=splits, groups=groups, test_size=test_size, seed=seed, classes=classes)
        for seed in seeds
    ]
    if groups is None or not alone or alone[0].origin == "given":
        return alone
    y, g = _label_array(labels), np.asarray(_group_array(groups, len(labels)))
    drawn, tested = alone[:1], np.isin(np.arange(len(y)), alone[0].test)
    for seed, usual in zip(seeds[1:], alone[1:], strict=True):
        held = np.flatnonzero(_draw_groups(y, g, test_size, np.random.default_rng(seed), tested))
        if _is_smaller(held, usual.test, y, g):
            tested[:], held = False, usual.test
        tested[held] = True
        drawn.append(Split(np.setdiff1d(np.arange(len(y)), held), held))
    return drawn


def _is_smaller(held: np.ndarray, usual: np.ndarray, y: np.ndarray, groups: np.ndarray) -> bool:
    """Whether a test part lacks classes of the usual one, or has half its rows in fewer groups."""
    fewer = len(np.unique(groups[held])) < len(np.unique(groups[usual]))
    return len(np.unique(y[held])) < len(np.unique(y[usual])) or (fewer and 2 * len(held) < len(usual))


def validation_part(
    split: Split, labels, *, groups=None, fraction: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the training rows into rows to fit and validation rows, for early stopping.

    `labels` and `groups` are those of the whole dataset, and so are the row numbers that are returned.

    Returns
    -------
    fit, val : ndarray of int64
        Sorted; together they are `split.train`. Every class is in `fit`. `val` is `split.val` if that leaves
        every class some rows to fit, else a `fraction` that is drawn with `seed`; it is empty if every class
        has only one image or one group.
    """
    y = _label_array(labels)
    g = _group_array(groups, len(y))
    if not 0 < fraction < 1:
        raise InputError(f"fraction must lie between 0 and 1 (a share of all), got {fraction!r}")
    if split.val is not None:
        fit = np.setdiff1d(split.train, split.val)
        if len(np.setdiff1d(y[split.train], y[fit])) == 0:
            return fit, split.val
    held = _draw(y[split.train], None if g is None else g[split.train], fraction, seed)
    return split.train[~held], split.train[held]


def _given_split(names: np.ndarray) -> Split | None:
    train, val, test = (np.flatnonzero(names == name) for name in SPLITS)
    if not len(test):
        test, val = val, test
    if not len(test):
        return None
    if not len(train) + len(val):
        raise DatasetError("the split that comes with the data has no training rows: it names only test rows")
    return Split(np.union1d(train, val), test, val if len(val) else None, "given")


def _draw(y: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """Return a mask of the rows to hold out."""
    rng = np.random.default_rng(seed)
    if groups is None:
        return _draw_stratified(y, share, rng)
    return _draw_groups(y, groups, share, rng)


def _draw_stratified(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    takes = _apportion(counts, share, rng)
    order = rng.permutation(len(y))
    by_class = order[np.argsort(codes[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(y), bool)
    held[by_class] = rank < np.repeat(takes, counts)
    return held


def _apportion(counts: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return how many of each class to hold out: largest remainder (Hamilton), at least one on each side."""
    ideal = counts * share
    takes = np.clip(np.floor(ideal).astype(np.int64), np.minimum(counts - 1, 1), counts - 1)
    spare = round(float(ideal.sum())) - int(takes.sum())
    # At random among equal remainders; else the first classes would always give more.
    order = np.lexsort((rng.random(len(counts)), takes - ideal))
    growing = order[(takes < counts - 1)[order] & (takes < ideal)[order]]
    takes[growing[: max(spare, 0)]] += 1
    return takes


def _draw_groups(
    y: np.ndarray,
    groups: np.ndarray,
    share: float,
    rng: np.random.Generator,
    staying: np.ndarray | None = None,
) -> np.ndarray:
    """Hold out whole groups so that every class is close to its share.

    If t_c of n_c images of class c are held out, the cost is
    sum_c (t_c / n_c - share)^2 + (sum_c t_c / n - share)^2, plus a constant for each class that has nothing
    held out although it spans two groups. Groups are first assigned greedily, as in scikit-learn's
    StratifiedGroupKFold, the most one-sided first; then one group at a time changes sides while that lowers
    the cost. The best of several orders is taken. Groups with rows that are `staying` (n,) are not held out.
    """
    _, codes, n_c = np.unique(y, return_inverse=True, return_counts=True)
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, n_classes, n_groups = len(y), len(n_c), len(sizes)
    # The table of groups by classes is mostly zeros: keep its cells (group, class, count) only.
    cells, count = np.unique(members * n_classes + codes, return_counts=True)
    cell_group, cell_class = np.divmod(cells, n_classes)
    spans = np.bincount(cell_class, minlength=n_classes)
    # The only group of a class must stay in training, whatever else is in it.
    free = np.ones(n_groups, bool)
    free[cell_group[spans[cell_class] == 1]] = False
    if staying is not None:
        free[members[staying]] = False
    wanted = spans >= 2

    def cost(t: np.ndarray, c=slice(None)) -> np.ndarray:
        lost = np.where(t == n_c[c], np.inf, 0.0)
        return (t / n_c[c] - share) ** 2 + _MISSING * (wanted[c] & (t == 0)) + lost

    starts = np.searchsorted(cell_group, np.arange(n_groups + 1))
    square = np.bincount(cell_group, weights=(count / n_c[cell_class]) ** 2, minlength=n_groups)
    best, best_cost = np.zeros(n_groups, bool), np.inf
    # Many small groups fill their shares well in any order; few large ones need several tries.
    for attempt in range(_RESTARTS if n_groups <= 2000 else 1):
        order = rng.permutation(n_groups)
        if attempt == 0:
            order = order[np.argsort(-square[order], kind="stable")]
        held, t, seen = np.zeros(n_groups, bool), np.zeros(n_classes), np.zeros(n_classes)
        for group in order:
            c, k = (a[starts[group] : starts[group + 1]] for a in (cell_class, count))
            seen[c] += k
            if free[group]:
                # Compare with the share of the images assigned so far, or all early groups would train.
                out, stay = (((t[c] + take) / n_c[c] - share * seen[c] / n_c[c]) ** 2 for take in (k, 0))
                if out.sum() < stay.sum() and (t[c] + k < n_c[c]).all():
                    held[group] = True
                    t[c] += k
        for _move in range(min(2 * n_groups, 200)):
            sign = np.where(held, -1, 1)[cell_group]
            change = np.bincount(
                cell_group,
                weights=cost(t[cell_class] + sign * count, cell_class) - cost(t[cell_class], cell_class),
                minlength=n_groups,
            )
            size = np.where(held, -sizes, sizes)
            change += (t.sum() + size) ** 2 / n**2 - (t.sum() / n) ** 2 - 2 * share * size / n
            change[~free] = np.inf
            group = int(np.argmin(change))
            if not change[group] < -1e-12:
                break
            part = slice(starts[group], starts[group + 1])
            t[cell_class[part]] += np.where(held[group], -1, 1) * count[part]
            held[group] = ~held[group]
        total = float(cost(t).sum() + (t.sum() / n - share) ** 2) if held.any() else np.inf
        if total < best_cost:
            best, best_cost = held, total
    return best[members]


def _check_groups(split: Split, groups: np.ndarray | None) -> None:
    if groups is None:
        return
    both = np.intersect1d(groups[split.train], groups[split.test])
    if len(both):
        raise DatasetError(
            f"group {str(both[0])!r} has rows in the training and in the test part "
            f"({len(both)} such group{'s' if len(both) > 1 else ''}); keep each group on one side, or "
            f"{BY_GROUP}"
        )


def _check_classes(y: np.ndarray, train: np.ndarray, classes: Sequence[str] | None) -> None:
    missing = np.setdiff1d(y, y[train])
    if len(missing):
        names = ", ".join(_class_name(c, classes) for c in missing[:5]) + (
            ", ..." if len(missing) > 5 else ""
        )
        raise DatasetError(f"no training row of class {names}: every class that is tested needs at least one")


def _why_nothing_held_out(y: np.ndarray, groups: np.ndarray | None, classes: Sequence[str] | None) -> str:
    if groups is None:
        return "no test part can be drawn: every class has one row; give at least one class a second one"
    n_groups = len(np.unique(groups))
    if n_groups == 1:
        return f"no test part can be drawn: all {len(y)} rows are in one group, {str(groups[0])!r}"
    for c in np.unique(y):
        if len(owners := np.unique(groups[y == c])) == 1:
            break
    return (
        f"no test part can be drawn from {n_groups} groups: each is the only one of some class "
        f"(class {_class_name(c, classes)} is in group {str(owners[0])!r} only); split those groups"
        " (segments of one recording: --split-by none, split_by='none')"
    )


def _class_name(c, classes: Sequence[str] | None) -> str:
    return repr(str(classes[c])) if classes is not None and 0 <= c < len(classes) else str(c)


def _label_array(labels) -> np.ndarray:
    y = np.asarray(labels)
    if y.ndim != 1 or (y.dtype.kind not in "iu" and y.size):
        raise DatasetError(f"labels must be one integer per image, got shape {y.shape} and dtype {y.dtype}")
    if not len(y):
        raise DatasetError("there are no labels: nothing to split")
    return y.astype(np.int64)


def _split_array(splits, n: int) -> np.ndarray:
    names = np.asarray(splits)
    if names.shape != (n,):
        raise DatasetError(f"splits must name one split for each of the {n} labels, got shape {names.shape}")
    wrong = np.flatnonzero(~np.isin(names.astype(str), SPLITS))
    if len(wrong):
        raise DatasetError(
            f"unknown split {str(names[wrong[0]])!r} in row {wrong[0]} (counted from 0); "
            f"expected one of {', '.join(SPLITS)}"
        )
    return names.astype(str)


def _group_array(groups, n: int) -> np.ndarray | None:
    if groups is None:
        return None
    g = np.asarray(groups)
    if g.shape != (n,):
        raise DatasetError(f"groups must name one group for each of the {n} labels, got shape {g.shape}")
    # Numbers and names together can be sorted as text only.
    return g.astype(str) if g.dtype.kind == "O" else g
