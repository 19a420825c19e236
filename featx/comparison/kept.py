"""A bench whose finished methods are kept in a journal, so that a killed comparison goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import fields, replace
from importlib import metadata
from typing import Any

import numpy as np

from featx.comparison.bench import Bench, Member, Outcome
from featx.datasets import Dataset
from featx.features import Features
from featx.journal import Journal, digest_images, digest_rows, key_of
from featx.splits import validation_part

#: The file of finished methods in the folder that is given as `resume`.
JOURNAL = "methods.journal"
_FORMAT = 1


class KeptBench(Bench):
    """As `Bench`; a method is fitted only where the journal has no outcome of exactly this work.

    Parameters
    ----------
    journal : Journal
        Where outcomes are found and kept.
    *args, **kwargs
        As for `Bench`.
    """

    def __init__(self, journal: Journal, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.journal = journal
        self._digested: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _fitted(self, name: str, kind: str, backbone: str | None, x: np.ndarray) -> Member:
        fitted = None

        def work() -> dict[str, Any]:
            nonlocal fitted
            member = super(KeptBench, self)._fitted(name, kind, backbone, x)
            fitted = member.fitted
            return {"outcome": _as_dict(member.outcome), "cv_score": member.cv_score}

        kept = self.journal.once(self._probe_key(x, name), work)
        # The same rows may have been kept under another name of their backbone.
        outcome = replace(_outcome(kept["outcome"]), kind=kind, backbone=backbone)
        return Member(outcome, kept["cv_score"], fitted)

    def held_out(self, backbone: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        name = self.members[backbone].outcome.name

        def work() -> dict[str, Any]:
            member = self.members[backbone]
            if member.fitted is None:
                member.fitted = super(KeptBench, self)._fitted(name, "probe", backbone, x).fitted
            return {"found": super(KeptBench, self).held_out(backbone, x)}

        found = self.journal.once(self._probe_key(x, name, held_out=True), work)["found"]
        return None if found is None else (found[0], found[1])

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
        from featx.finetune import default_recipe
        from featx.finetune.precision import choose

        train, val = validation_part(self.split, self.y, groups=self.groups, seed=self.seed)
        arithmetic = choose(device)
        found, seen = [], None
        for mode in modes:

            def work(mode: str = mode) -> dict[str, Any]:
                tuned = super(KeptBench, self).fine_tuned(
                    [mode], backbone, features, dataset, device=device, epochs=epochs
                )
                return _as_dict(tuned[0])

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
            found.append(replace(_outcome(self.journal.once(key, work)), backbone=backbone.name))
        return found

    def _probe_key(self, x: np.ndarray, name: str, **parts: Any) -> str:
        watched = None if self.split.val is None else self._digest(x, self.split.val)
        packages = ("numpy", "scipy", "scikit-learn")
        return self._key(x, self.train, method=name, watched=watched, packages=packages, **parts)

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


def _outcome(kept: dict[str, Any]) -> Outcome:
    """Of a record, which stays as it is: times of the extraction are added to an outcome later."""
    return Outcome(**{name: copy(value) for name, value in kept.items()})


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {f.name: getattr(outcome, f.name) for f in fields(outcome)}
