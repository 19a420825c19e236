"""One cell of the grid: one method fitted on the images of one level of one draw, and scored.

A cell looks at nothing but what its key names, so it gives the same numbers alone, beside others, and after a
restart.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from featx.data.splits import Split, validation_part
from featx.errors import InputError
from featx.results import CurveMethod
from featx.results.reading import built
from featx.studies.checkpoints import digest_images, digest_rows, key_of
from featx.studies.curves.drawing import Draw, Level

if TYPE_CHECKING:
    from featx.methods.probes import Answers

#: Up to so many images of a class, none is spared to watch the fine-tuning: it runs all its epochs.
NO_VALIDATION = 2
_FORMAT = 2


class _Said(TypedDict):
    """What a cell says."""

    metrics: dict[str, float]
    seconds: dict[str, float]
    params: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True)
class Bench:
    """What all cells share: labels, groups and the fixed test part.

    Attributes
    ----------
    y : ndarray of shape (n,), int64
    n_classes : int
    test : ndarray of int64
        Rows of the test images.
    groups : ndarray of shape (n,), or None
    """

    y: np.ndarray
    n_classes: int
    test: np.ndarray
    groups: np.ndarray | None

    @cached_property
    def _about(self) -> np.ndarray:
        """A digest of label and group of each row."""
        groups = [""] * len(self.y) if self.groups is None else self.groups.tolist()
        texts = (f"{c} {g}".encode() for c, g in zip(self.y.tolist(), groups, strict=True))
        return np.frombuffer(b"".join(hashlib.blake2b(t, digest_size=16).digest() for t in texts), "V16")

    def digest(self, material: Material, rows: np.ndarray) -> str:
        """Of what the images in `rows` are: inputs, labels and groups."""
        content = material.digests[rows].tobytes() + self._about[rows].tobytes()
        return hashlib.blake2b(content, digest_size=16).hexdigest()


class Material:
    """The input of a method: a row for each image, digested once.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Embeddings, or pixels.
    """

    def __init__(self, x: np.ndarray):
        self.x = x

    @cached_property
    def digests(self) -> np.ndarray:
        """A digest of each row."""
        return digest_rows(self.x)


@dataclass(frozen=True)
class Tuning:
    """How the fine-tuned cells run.

    Attributes
    ----------
    net : Backbone
    images : sequence of image sources
    device : str
    epochs : int or None
        Other than the recipe's.
    augment : bool
    """

    net: Any
    images: Sequence[Any]
    device: str
    epochs: int | None
    augment: bool

    def recipe(self, mode: str, n_train: int) -> Any:
        """The recipe for the images that are trained on.

        The default one for so many images. Unless asked for, its images are not augmented: they then come
        again unchanged, and mode ``last`` sends each through the frozen part once and not once an epoch. Nor
        is a rate searched for: a few validation images could not tell which one is better.
        """
        from featx.methods.finetune import default_recipe

        recipe = default_recipe(mode, n_train)
        if mode == "head":
            return recipe
        if self.epochs is not None:
            recipe = replace(recipe, epochs=self.epochs)
        return replace(recipe, augment=self.augment, lr_search=())


@dataclass(frozen=True, eq=False)
class Cell:
    """A method, a level and a draw; `run` computes it.

    Attributes
    ----------
    method : CurveMethod
    level : Level
    draw : Draw
    bench : Bench
    material : Material
    tuning : Tuning or None
        Of a fine-tuned method.
    """

    method: CurveMethod
    level: Level
    draw: Draw
    bench: Bench
    material: Material
    tuning: Tuning | None = None

    @cached_property
    def rows(self) -> np.ndarray:
        """The training images."""
        return self.draw.rows(self.level)

    @property
    def mode(self) -> str:
        """Of a fine-tuned method."""
        return self.method.name.removeprefix("finetune-")

    @cached_property
    def key(self) -> str:
        """A digest of everything that changes the outcome."""
        bench = self.bench
        packages = ["featx", "numpy", "scipy", "scikit-learn"]
        parts: dict[str, Any] = {
            "format": _FORMAT,
            "method": self.method.name,
            "n_classes": bench.n_classes,
            "train": bench.digest(self.material, self.rows),
            "test": bench.digest(self.material, bench.test),
            "seed": self.draw.seed,
        }
        if self.tuning is not None:
            from featx.methods.finetune.precision import choose

            arithmetic = choose(self.tuning.device)
            packages += ["torch", self.tuning.net.identity["source"]]
            recipe = self.tuning.recipe(self.mode, len(self._parts[0]))
            if recipe.augment:
                # Crops are drawn from the whole image, by its position.
                parts["images"] = digest_images(self.tuning.images[i] for i in self.rows)
                parts["positions"] = self.rows.tolist()
            parts |= {
                "backbone": dict(self.tuning.net.identity),
                "preprocessing": self.tuning.net.preprocessing.to_dict(),
                "recipe": recipe.to_dict(),
                "watched": len(self._parts[1]),
                "arithmetic": [arithmetic.device.type, arithmetic.precision],
            }
        else:
            from featx.methods.probes import definition_of

            y = bench.y[self.rows]
            dim = self.material.x.shape[1]
            parts["definition"] = definition_of(self.method.name, y, dim, seed=self.draw.seed)
        return key_of(parts | {"packages": {name: _version(name) for name in packages}})

    @staticmethod
    def fits(outcome: Any) -> bool:
        """Whether what an earlier run left in checkpoints is what `run` returns, field by field."""
        from featx.methods.probes import METRICS

        try:
            if not isinstance(outcome, dict) or outcome.keys() != _Said.__annotations__.keys():
                return False
            said = built(_Said, outcome, "cell")
        except InputError:
            return False
        within = [value if name != "log_loss" else 0.0 for name, value in said["metrics"].items()]
        numbers = [*said["metrics"].values(), *said["seconds"].values()]
        return (
            said["metrics"].keys() == set(METRICS)
            and said["seconds"].keys() == {"fit", "predict_per_image"}
            and all(math.isfinite(x) and x >= 0 for x in numbers)
            and max(within) <= 1 + 1e-9
        )

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """What is fitted and what is watched of the training images, for fine-tuning."""
        if min(self.level.counts) <= NO_VALIDATION:
            return self.rows, self.rows[:0]
        split = Split(self.rows, self.bench.test)
        return validation_part(split, self.bench.y, groups=self.bench.groups, seed=self.draw.seed)

    def run(self) -> dict[str, Any]:
        """Fit and score.

        Returns
        -------
        dict
            ``metrics``, ``seconds``, ``params`` and ``notes``, as `featx.results.CurveDraw` has them.
        """
        from featx.methods.probes import score_answers

        said, outcome = self._fitted() if self.tuning is None else self._tuned(self.tuning)
        scores = score_answers(self.bench.y[self.bench.test], said, n_boot=0)
        return {"metrics": {name: interval.value for name, interval in scores.items()}} | outcome

    def _fitted(self) -> tuple[Answers, dict[str, Any]]:
        from featx.methods.probes import fit_probe

        bench, x, rows = self.bench, self.material.x, self.rows
        groups = None if bench.groups is None else bench.groups[rows]
        fitted = fit_probe(
            self.method.name, x[rows], bench.y[rows], groups=groups, seed=self.draw.seed, n_jobs=1
        )
        began = time.perf_counter()
        said = self._answers(lambda rows: fitted.predict_proba(x[rows]))
        per_image = (time.perf_counter() - began) / len(bench.test)
        return said, {
            "seconds": {"fit": fitted.seconds, "predict_per_image": per_image},
            "params": fitted.params,
            "notes": list(fitted.notes),
        }

    def _answers(self, predict: Callable[[np.ndarray], np.ndarray]) -> Answers:
        from featx.methods.probes import answers_in_parts

        bench = self.bench
        return answers_in_parts(bench.y, bench.test, bench.n_classes, predict)

    def _tuned(self, tuning: Tuning) -> tuple[Answers, dict[str, Any]]:
        from featx.methods.finetune import fine_tune

        bench, (fit, val) = self.bench, self._parts
        recipe = tuning.recipe(self.mode, len(fit))
        tuned = fine_tune(
            tuning.net,
            tuning.images,
            bench.y,
            bench.n_classes,
            recipe=recipe,
            train_idx=fit,
            val_idx=val,
            embeddings=self.material.x,
            device=tuning.device,
            seed=self.draw.seed,
        )
        began = time.perf_counter()
        if self.mode == "head":
            said = self._answers(lambda rows: tuned.predict_proba(self.material.x[rows]))
        else:
            said = self._answers(lambda rows: tuned.predict_proba([tuning.images[i] for i in rows]))
        per_image = (time.perf_counter() - began) / len(bench.test)
        about = {"best_epoch": tuned.best_epoch, "n_fit": len(fit), "n_watched": len(val)}
        return said, {
            "seconds": {"fit": tuned.seconds, "predict_per_image": per_image},
            "params": tuned.recipe.to_dict() | about,
            "notes": list(tuned.notes),
        }


def _version(package: str) -> str:
    import featx

    return featx.__version__ if package == "featx" else metadata.version(package)
