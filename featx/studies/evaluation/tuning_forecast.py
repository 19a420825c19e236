"""Estimate how long fine-tuned cells take on this machine, from a few measured steps of their training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.results.methods import MODE_PREFIX
from featx.studies.evaluation.cost import Size
from featx.studies.evaluation.fine_tuning import TuningSetup

if TYPE_CHECKING:
    from featx.methods.finetune import Recipe

#: Share of the training inputs that is held out for validation.
_VALIDATION = 0.2
#: A training step takes at most this many times as long for an input as its extraction does.
_STEP_BY_EXTRACTION = 100.0


class TuningForecast:
    """Estimates the seconds of fine-tuned cells, before one has run.

    Parameters
    ----------
    setup : TuningSetup
        The settings of the study, with the network that takes longest where it is not known yet which of
        several is trained.
    threads : int, optional
        Threads of each cell; default: all cores.
    seconds_per_image : float, optional
        What the extraction took. Where the estimate is short even with a wide margin, nothing is measured.
    """

    def __init__(
        self, setup: TuningSetup, *, threads: int | None = None, seconds_per_image: float | None = None
    ):
        self._setup, self._threads, self._each = setup, threads, seconds_per_image

    def seconds(self, size: Size, *, short: float = 0.0) -> float:
        """Return about how many seconds a cell takes on its own.

        `short` is a number of seconds below which it does not matter how long a cell takes exactly.
        """
        from featx.methods.finetune.workload import Costs, expected_seconds

        recipe, n_train, n_val = self._parts(size)
        if recipe.mode == "head":
            return expected_seconds(recipe, n_train, n_val, None)
        if self._each is not None:
            step = _STEP_BY_EXTRACTION * self._each
            most = expected_seconds(recipe, n_train, n_val, Costs(train=step, check=step / 3, store=step / 3))
            if most < short:
                return most
        costs = self._setup.measured_costs(recipe, size.n_classes, self._threads)
        return expected_seconds(recipe, n_train, n_val, costs)

    def _parts(self, size: Size) -> tuple[Recipe, int, int]:
        """Return the recipe of a cell, and about how many inputs it trains on and holds out."""
        whole = size.n_train <= self._setup.trained_whole * max(1, size.n_classes)
        n_val = 0 if whole else round(_VALIDATION * size.n_train)
        n_train = max(1, size.n_train - n_val)
        return self._setup.recipe(size.method.removeprefix(MODE_PREFIX), n_train), n_train, n_val
