"""The fine-tuned baseline as a method: train a network on the inputs of a cell's training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.clusters import Cluster, Task
from featx.data.splits import validation_part
from featx.errors import InputError
from featx.results import curves_from_history
from featx.results.methods import MODE_PREFIX
from featx.studies.evaluation.methods import Fit, Method

if TYPE_CHECKING:
    from featx.methods.finetune import Recipe
    from featx.methods.finetune.training_progress import TrainingProgress
    from featx.methods.finetune.workload import Costs
    from featx.studies.evaluation.cells import Cell


@dataclass(frozen=True, eq=False)
class TuningSetup:
    """The settings that all fine-tuned methods of a study share."""

    net: Any
    images: Sequence[Any]  # one for each row
    device: str
    epochs: int | None = None  # in place of the recipe's; all of them are run
    #: Whether images or clips are changed at random; None: as the recipe says. If it is given, no learning
    #: rate is searched for: a few validation inputs cannot tell which rate is better.
    augment: bool | None = None
    #: If a class has at most this many inputs, none is held out for validation, and all epochs run.
    trained_whole: int = 0
    #: Where the trainings run; None: here.
    cluster: Cluster | None = None
    #: Seconds for an input by mode, where they were measured (`measured_costs`).
    costs: dict[str, Costs] = field(default_factory=dict)
    #: The trainings that run now.
    running: dict[Cell, TrainingProgress] = field(default_factory=dict)
    _digests: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.augment and self.kind == "text":
            raise InputError("augment is for images and clips, not for texts; leave it out")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"cluster": None, "running": {}, "_digests": {}}

    @property
    def kind(self) -> str:
        """The kind of input of the network."""
        return getattr(self.net, "kind", "image")

    @cached_property
    def arithmetic(self) -> tuple[str, str]:
        """The kind of device on which the trainings run, and the format of their numbers."""
        return choose_arithmetic_for(self.device) if self.cluster is None else self._ask(_choose_there, None)

    def check_arithmetic(self) -> None:
        """Refuse a training, on a worker, that would differ from what its key says."""
        if (here := choose_arithmetic_for(self.device)) != self.arithmetic:
            there = self.arithmetic
            raise InputError(
                f"on: one worker of the cluster trains in {here[1]} on {here[0]}, and another in "
                f"{there[1]} on {there[0]}; use like machines, or name the device: cpu"
            )

    def _ask(self, work: Callable[[Any, Any], Any], argument: Any) -> Any:
        """Return what `work` finds out about the trainings on a worker."""
        assert self.cluster is not None
        task = Task(work.__name__, argument, gpus=1.0)
        ((_, found),) = list(self.cluster.run(work, [task], self))
        return found

    def recipe(self, mode: str, n_train: int) -> Any:
        """Return the default recipe for this number of inputs, with the epochs and augmentation asked for."""
        from featx.methods.finetune import choose_recipe

        recipe = choose_recipe(self.net, mode, n_train, epochs=self.epochs)
        if mode == "head":
            return recipe
        return recipe if self.augment is None else replace(recipe, augment=self.augment, lr_search=())

    def measured_costs(self, recipe: Recipe, n_classes: int, threads: int | None = None) -> Costs:
        """Return the seconds for an input in a training with `recipe`, measured once, here or on a worker."""
        if recipe.mode not in self.costs:
            n = max(2, n_classes)
            if self.cluster is None:
                found = _measure(self, (recipe, n, threads))
            else:
                found = self._ask(_measure, (recipe, n, threads or self.cluster.cores_each))
            self.costs[recipe.mode] = found
        return self.costs[recipe.mode]

    def omissions(self, mode: str) -> tuple[str, ...]:
        """Return in words what a training of this mode leaves out of the default recipe."""
        return self.recipe(mode, 1).omissions_for(self.kind)

    def digest(self, rows: np.ndarray) -> str:
        """Return a digest of whole images, for methods that see more of them than the embeddings show."""
        for i in set(rows.tolist()) - self._digests.keys():
            self._digests[i] = self.images[i].read().digest
        return hashlib.blake2b(b"".join(self._digests[i] for i in rows.tolist()), digest_size=16).hexdigest()


def choose_arithmetic_for(device: str) -> tuple[str, str]:
    """Return the kind of device, and the format of numbers, of a training in this process."""
    from featx.methods.finetune.precision import choose_arithmetic

    found = choose_arithmetic(device)
    return found.device.type, found.precision


def _choose_there(setup: TuningSetup, _: None) -> tuple[str, str]:
    return choose_arithmetic_for(setup.device)


def _measure(setup: TuningSetup, about: tuple[Recipe, int, int | None]) -> Costs:
    from featx.methods.finetune.measuring import measure_costs

    recipe, n_classes, threads = about
    return measure_costs(setup.net, setup.images, n_classes, recipe, device=setup.device, threads=threads)


@dataclass(frozen=True, eq=False)
class FineTuning(Method):
    """A mode of fine-tuning."""

    mode: str = field(kw_only=True)
    setup: TuningSetup = field(kw_only=True)

    @classmethod
    def of(cls, mode: str, setup: TuningSetup) -> FineTuning:
        """Return the method of a mode, with its usual name and title."""
        from featx.methods.finetune import TITLES

        name, backbone = MODE_PREFIX + mode, setup.net.name
        return cls(name, TITLES[mode], "finetune", backbone, mode=mode, setup=setup)

    @property
    def progress(self) -> str:
        if self.mode == "head":
            return f"new head on {self.backbone}"
        return f"fine-tuning {self.backbone}: {self.mode}"

    @property
    def packages(self) -> tuple[str, ...]:
        return (*super().packages, "torch", self.setup.net.identity["source"])

    def _parts(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Return the training rows to fit on, and those that choose the epoch."""
        y, train, whole = cell.rows.y, cell.split.train, self.setup.trained_whole
        if whole and np.bincount(y[train], minlength=cell.rows.n_classes or 0).min() <= whole:
            return train, train[:0]
        return validation_part(cell.split, y, groups=cell.rows.groups, seed=cell.seed)

    def define(self, cell: Cell) -> Any:
        from featx.methods.finetune import default_recipe

        setup, (fit, val) = self.setup, self._parts(cell)
        recipe = setup.recipe(self.mode, len(fit))
        trained = np.union1d(fit, val) if recipe.refit else fit
        return {
            "recipe": recipe.to_dict(),
            "head": default_recipe("head", len(fit)).to_dict(),  # where the other modes start
            "validation": cell.rows.digest(val),
            "backbone": dict(setup.net.identity),
            "preprocessing": setup.net.preprocessing.to_dict(),
            "arithmetic": list(setup.arithmetic),
            # Random crops show more of an image than its embedding does; its position seeds them.
            "images": [setup.digest(trained), trained.tolist()] if recipe.augment else None,
        }

    def followed(self, cell: Cell) -> TrainingProgress | None:
        return self.setup.running.get(cell)

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        from featx.methods.finetune import fine_tune
        from featx.methods.finetune.training_progress import TrainingProgress

        setup, embeddings, (fit, val) = self.setup, cell.rows.x, self._parts(cell)
        setup.running[cell] = TrainingProgress(setup.costs.get(self.mode))
        try:
            tuned = fine_tune(
                setup.net,
                setup.images,
                cell.rows.y,
                cell.rows.n_classes or 0,
                recipe=setup.recipe(self.mode, len(fit)),
                train_idx=fit,
                val_idx=val,
                embeddings=embeddings,
                device=setup.device,
                seed=cell.seed,
                watch=setup.running[cell],
            )
        finally:
            del setup.running[cell]

        def predict(rows: np.ndarray) -> np.ndarray:
            given: Any = [setup.images[i] for i in rows] if self.trains_network else embeddings[rows]
            return tuned.predict_proba(given)

        about = {
            "best_epoch": tuned.best_epoch,
            "val_accuracy": tuned.best["val_accuracy"],  # of a training that had not seen these images
            "n_refit": len(fit) + len(val) if tuned.refit_history else 0,
            "precision": tuned.precision,
            "search": tuned.search,
        }
        return Fit(
            predict=predict,
            seconds=tuned.seconds,
            params=tuned.recipe.to_dict() | about | {"n_fit": len(fit), "n_watched": len(val)},
            notes=list(tuned.notes),
            curves=(curves_from_history(tuned.history) or {}) | {"best_epoch": tuned.best_epoch},
        )


def require_network_mode(modes: Sequence[str], epochs: int | None, augment: bool = False) -> None:
    """Refuse options of training if no mode trains the network."""
    for option, given in ((f"epochs={epochs}", epochs is not None), ("augment", augment)):
        if given and not set(modes) - {"head"}:
            raise InputError(
                f"{option} has no effect: no mode of the baseline trains the network; leave it out, or "
                "choose last, gradual or full"
            )
