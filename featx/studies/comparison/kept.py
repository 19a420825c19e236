"""A bench whose finished methods are kept in checkpoints, so that a killed comparison goes on where it was.

A method is found by its definition (`featx.methods.probes.definition_of`, or the recipe of a fine-tuned
mode), the rows it is fitted and scored on, the seed and the versions of what computes. What a record says
is checked before it is used; one that was made up so that it fits cannot be told, so every method that was
found carries the time at which it was computed (`Outcome.earlier_run`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from featx.data import Dataset
from featx.data.features import Features
from featx.data.splits import validation_part
from featx.studies.checkpoints import Checkpoints, digest_images, digest_rows, key_of
from featx.studies.comparison.bench import Bench, Member, Outcome
from featx.studies.comparison.records import (
    fits_held_out,
    fits_outcome,
    fits_probabilities,
    outcome_of,
    record_of,
)

#: The file of finished methods in the folder that is given as `resume`.
CHECKPOINT_FILE = "methods.journal"
_FORMAT = 2
#: Bytes of a probability, and of a number that is kept for each image.
_EACH = 8


class KeptBench(Bench):
    """As `Bench`; a method is fitted only where the file of checkpoints has no outcome of exactly this work.

    Parameters
    ----------
    journal : Checkpoints
        Where outcomes are found and kept.
    *args, **kwargs
        As for `Bench`.
    """

    def __init__(self, journal: Checkpoints, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.journal = journal
        self._digested: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _fitted(self, name: str, kind: str, backbone: str | None, x: np.ndarray) -> Member:
        from featx.methods.probes import get_probe

        fitted = None

        def work() -> dict[str, Any]:
            nonlocal fitted
            member = super(KeptBench, self)._fitted(name, kind, backbone, x)
            fitted = member.fitted
            return record_of(member.outcome) | {"cv_score": member.cv_score}

        key = self._probe_key(x, name)
        kept = self._once(key, work, lambda found: self._fits(found) and "cv_score" in found)
        outcome = outcome_of(kept, name, get_probe(name).title, kind, backbone, len(self.classes))
        outcome.earlier_run = self.journal.made(key)
        return Member(outcome, kept["cv_score"], fitted)

    def test_probabilities(self, backbone: str, x: np.ndarray) -> np.ndarray:
        name = self.members[backbone].outcome.name

        def work() -> dict[str, Any]:
            self._fit_member(backbone, name, x)
            return {"probabilities": super(KeptBench, self).test_probabilities(backbone, x)}

        shape = len(self.test), len(self.classes)
        key = self._probe_key(x, name, all_of="test")
        found = self._once(key, work, lambda kept: fits_probabilities(kept, shape), rows=len(self.test))
        return np.asarray(found["probabilities"])

    def held_out(self, backbone: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        name = self.members[backbone].outcome.name

        def work() -> dict[str, Any]:
            self._fit_member(backbone, name, x)
            return {"found": super(KeptBench, self).held_out(backbone, x)}

        shape = len(self.train), len(self.classes)
        key = self._probe_key(x, name, held_out=True)
        found = self._once(key, work, lambda kept: fits_held_out(kept, shape), rows=len(self.train))["found"]
        return None if found is None else (found[0], found[1])

    def _fit_member(self, backbone: str, name: str, x: np.ndarray) -> None:
        """Fit the member of a backbone again, where its outcome came from the file of checkpoints."""
        member = self.members[backbone]
        if member.fitted is None:
            member.fitted = super()._fitted(name, "probe", backbone, x).fitted

    def fine_tuned(
        self,
        modes: Sequence[str],
        backbone: Any,
        features: Features,
        dataset: Dataset,
        *,
        device: str,
        epochs: int | None,
    ) -> list[Outcome]:
        from featx.methods.finetune import TITLES, default_recipe
        from featx.methods.finetune.precision import choose

        train, val = validation_part(self.split, self.y, groups=self.groups, seed=self.seed)
        arithmetic = choose(device)
        found, seen = [], None
        for mode in modes:

            def work(mode: str = mode) -> dict[str, Any]:
                tuned = super(KeptBench, self).fine_tuned(
                    [mode], backbone, features, dataset, device=device, epochs=epochs
                )
                return record_of(tuned[0])

            recipe = default_recipe(mode, len(train))
            if recipe.augment and seen is None:
                # Crops are drawn from the whole image, by its position.
                seen = [digest_images(dataset.images[i] for i in train), train.tolist()]
            key = self._key(
                features.embeddings,
                train,
                method=f"finetune-{mode}",
                images=seen if recipe.augment else None,
                watched=self._digest(features.embeddings, val),
                backbone=dict(backbone.identity),
                preprocessing=backbone.preprocessing.to_dict(),
                recipe=recipe.to_dict(),
                epochs=epochs,
                arithmetic=[arithmetic.device.type, arithmetic.precision],
                packages=("numpy", "scipy", "scikit-learn", "torch", backbone.identity["source"]),
            )
            kept = self._once(key, work, self._fits)
            name = f"finetune-{mode}"
            outcome = outcome_of(kept, name, TITLES[mode], "finetune", backbone.name, len(self.classes))
            outcome.earlier_run = self.journal.made(key)
            found.append(outcome)
        return found

    def _once(
        self, key: str, work: Callable[[], Any], fits: Callable[[Any], bool], *, rows: int | None = None
    ) -> Any:
        """Return what the file of checkpoints has, or the outcome of `work`: numbers for the test images, or for `rows`
        images and all classes."""
        most = _EACH * (3 * len(self.test) if rows is None else rows * (len(self.classes) + 1))
        return self.journal.once(key, work, fits, most)

    def _fits(self, kept: Any) -> bool:
        return fits_outcome(kept, self.y[self.test], len(self.classes))

    def _probe_key(self, x: np.ndarray, name: str, **parts: Any) -> str:
        from featx.methods.probes import definition_of

        watched = None if self.split.val is None else self._digest(x, self.split.val)
        definition = definition_of(name, self.y[self.train], x.shape[1], seed=self.seed)
        packages = ("numpy", "scipy", "scikit-learn")
        return self._key(
            x, self.train, method=name, definition=definition, watched=watched, packages=packages, **parts
        )

    def _key(self, x: np.ndarray, train: np.ndarray, *, packages: tuple[str, ...], **parts: Any) -> str:
        """A digest of everything that changes an outcome; what is fitted on is `train`."""
        import featx

        versions = {name: metadata.version(name) for name in packages} | {"featx": featx.__version__}
        return key_of(
            {
                "format": _FORMAT,
                "train": self._digest(x, train),
                "test": self._digest(x, self.test),
                "n_classes": len(self.classes),
                "seed": self.seed,
                "packages": versions,
                **parts,
            }
        )

    def _digest(self, x: np.ndarray, rows: np.ndarray) -> str:
        """Of inputs, labels and groups of some rows."""
        kept = self._digested.get(id(x))
        if kept is None:
            kept = self._digested[id(x)] = (x, digest_rows(x))
        groups = [""] * len(rows) if self.groups is None else self.groups[rows].tolist()
        about = "\n".join(f"{c} {g!r}" for c, g in zip(self.y[rows].tolist(), groups, strict=True))
        return hashlib.blake2b(kept[1][rows].tobytes() + about.encode(), digest_size=16).hexdigest()
