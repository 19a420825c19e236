"""Describe a probe: how it is built for a set of training rows, and how its settings are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from featx.methods.probes.definitions import define

Grid = dict[str, list[Any]]
#: Settings, their score, and coefficients and intercepts to start the last fit from.
Choice = tuple[dict[str, Any], "float | None", Any]
TaskName = Literal["classes", "numbers"]


@dataclass(frozen=True)
class Problem:
    """What a probe may know of the training rows before it is built.

    Attributes
    ----------
    n_train, n_classes, dim : int
        Rows, classes (1 for numbers) and features.
    seed : int
        Seed of everything random in the estimator.
    imbalanced : bool
        Whether the largest class is more than 1.5 times the smallest. Where the estimator can weight its
        classes, the weights are then a setting to choose; otherwise they are not worth twice the time.
    """

    n_train: int
    n_classes: int
    dim: int
    seed: int = 0
    imbalanced: bool = False

    def weights(self, step: str) -> Grid:
        """Return the class weights to choose from, as part of a grid."""
        return {f"{step}__class_weight": [None, "balanced"]} if self.imbalanced else {}

    def priors(self, step: str) -> Grid:
        """Return the same for estimators that take priors: those of the data, or equal ones."""
        return {f"{step}__priors": [None, [1 / self.n_classes] * self.n_classes]} if self.imbalanced else {}

    def neighbours(self) -> list[int]:
        """Return numbers of neighbours to choose from, which any half of the training rows has."""
        return [k for k in (20, 10, 5, 3, 1) if 2 * k <= self.n_train] or [1]


@dataclass(frozen=True)
class Probe:
    """A classifier or regressor on frozen embeddings, or a reference below them.

    Attributes
    ----------
    name, title : str
        What it is called in commands, and for people.
    build : callable
        Takes a `Problem`; gives the unfitted estimator and its grid, the simplest model first. Where nothing
        can be selected the estimator is used as built.
    task : {"classes", "numbers"}
        What it predicts.
    kind : {"probe", "floor"}
        Whether it competes, or is a reference below those that do ("floor", as in ``results.json``).
    calibrated : bool
        Its scores are no probabilities, or are known to be far too sure: they are divided by one
        temperature, fitted on held-out folds of the training rows. The label never changes.
    few_folds : bool
        Two folds, not five, fit its temperature: every fit is dear.
    path : bool
        Its last step is a plain logistic regression, whose penalties are solved together (`lbfgs`).
    max_rows : int or None
        Most rows it is fitted on; of more, a sample is taken.
    shown : tuple of str
        Settings worth reporting besides those that were selected.
    on_request : bool
        Only used when it is asked for by name.
    choose : callable or None
        A protocol's own way to its settings, instead of cross-validation over a grid
        (`catalogue.protocols`).
    """

    name: str
    title: str
    build: Callable[[Problem], tuple[Any, Grid]]
    task: TaskName = "classes"
    kind: Literal["probe", "floor"] = "probe"
    calibrated: bool = False
    few_folds: bool = False
    path: bool = False
    max_rows: int | None = None
    shown: tuple[str, ...] = ()
    on_request: bool = False
    choose: Callable[..., Choice] | None = None

    def definition(self, problem: Problem) -> dict[str, Any]:
        """Write down, as plain JSON, all that decides its outcome on a problem of this size.

        Returns
        -------
        dict
            The estimator with every parameter, the grid, and how a setting is chosen from it; equal only
            where the same is fitted. See `featx.methods.probes.definitions`.
        """
        estimator, grid = self.build(problem)
        return {
            "name": self.name,
            "estimator": define(estimator),
            "grid": define(grid),
            "choose": define(self.choose),
            "rules": define([self.calibrated, self.few_folds, self.path, self.max_rows, self.shown]),
        }
