"""Describe a probe: how it is built for a set of training rows, and how its settings are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from featx.methods.probes.definitions import define
from featx.methods.probes.fitters import Fitter, SklearnFitter

Grid = dict[str, list[Any]]
#: Chosen settings, their score, and (coefficients, intercepts) to start the last fit from, or None.
Choice = tuple[dict[str, Any], "float | None", Any]
TaskName = Literal["classes", "numbers"]
#: Stands in notes for the kind of input, such as "image" or "text".
INPUT = "{input}"


@dataclass(frozen=True)
class Problem:
    """What a probe is built for: the size of the training rows and the balance of their classes.

    Attributes
    ----------
    n_train, n_classes, dim : int
        Number of rows, classes (1 for numbers) and features.
    seed : int
        Seed of everything random in the estimator.
    imbalanced : bool
        Whether the largest class is more than 1.5 times the smallest. If so, class weights are one of the
        settings to choose; if not, they are not worth twice the time.
    """

    n_train: int
    n_classes: int
    dim: int
    seed: int = 0
    imbalanced: bool = False

    def weights(self, step: str) -> Grid:
        """Return the class weights to choose from, as a part of a grid."""
        return {f"{step}__class_weight": [None, "balanced"]} if self.imbalanced else {}

    def priors(self, step: str) -> Grid:
        """Return the class priors to choose from, those of the data or equal ones, as a part of a grid."""
        return {f"{step}__priors": [None, [1 / self.n_classes] * self.n_classes]} if self.imbalanced else {}

    def neighbours(self) -> list[int]:
        """Return the numbers of neighbours to choose from, at most half of the training rows."""
        return [k for k in (20, 10, 5, 3, 1) if 2 * k <= self.n_train] or [1]


@dataclass(frozen=True)
class Variant:
    """What to report of a probe that is fitted in another way for rows of some size.

    Attributes
    ----------
    title : str
        Its title in reports.
    params : dict
        Further settings to report, as JSON.
    note : str
        A remark for the reader of its result; `INPUT` stands for the kind of input.
    """

    title: str
    params: dict[str, Any]
    note: str


@dataclass(frozen=True)
class Probe:
    """A classifier or regressor on frozen embeddings, or a reference to compare them with.

    Attributes
    ----------
    name, title : str
        Name in commands and files, and in reports.
    build : callable
        Takes a `Problem`; returns the unfitted estimator and its grid, the simplest model first. Where
        settings cannot be selected, the estimator is used as built.
    task : {"classes", "numbers"}
        What it predicts.
    kind : {"probe", "floor"}
        A probe, or a reference ("floor" as in ``results.json``).
    calibrated : bool
        Whether its scores get a temperature, because they are no probabilities, too sure or not sure enough.
        It is fitted to scores of held-out training rows, and never changes a label.
    few_folds : bool
        Whether two folds, not five, fit the temperature of more than 500 rows, because every fit is slow; one
        fold is enough where it holds 1,000 rows (`featx.methods.probes.folds.held_fold`).
    out_of_bag : bool
        Whether its last step is a forest. With ``oob_score=True`` and without groups, each row is predicted
        by the trees that did not draw it, instead of by folds.
    fitter : Fitter
        What fits its candidates; `SklearnFitter` fits any estimator.
    max_rows : int or None
        Fit it on a sample of this size if there are more rows.
    variant : callable or None
        Takes a `Problem`; returns the `Variant` that such rows get, or None for the usual probe.
    shown : tuple of str
        Settings to report besides the selected ones.
    on_request : bool
        Whether it is used only when asked for by name.
    inputs : str or None
        The kind of input (`featx.kinds`) of which a reference takes rows that no network has made; None: it
        takes any rows.
    choose : callable or None
        The rule by which a protocol chooses its settings, instead of cross-validation over a grid
        (`catalogue.protocols`).
    """

    name: str
    title: str
    build: Callable[[Problem], tuple[Any, Grid]]
    task: TaskName = "classes"
    kind: Literal["probe", "floor"] = "probe"
    calibrated: bool = False
    few_folds: bool = False
    out_of_bag: bool = False
    fitter: Fitter = field(default_factory=SklearnFitter)
    max_rows: int | None = None
    variant: Callable[[Problem], Variant | None] | None = None
    shown: tuple[str, ...] = ()
    on_request: bool = False
    inputs: str | None = None
    choose: Callable[..., Choice] | None = None

    def definition(self, problem: Problem) -> dict[str, Any]:
        """Return, as JSON, everything that decides the outcome on such a problem (see `definitions`)."""
        estimator, grid = self.build(problem)
        fitter = [type(self.fitter).__qualname__, *self.fitter.rules, vars(self.fitter)]
        return {
            "name": self.name,
            "estimator": define(estimator),
            "grid": define(grid),
            "choose": define(self.choose),
            "rules": define(
                [self.calibrated, self.few_folds, self.out_of_bag, fitter, self.max_rows, self.shown]
            ),
        }
