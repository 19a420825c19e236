"""The zero-shot reference: classes are told apart by their names, and no image is learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featx.errors import InputError, MissingExtra
from featx.results.methods import ZERO_SHOT
from featx.studies.evaluation import Fit, Method
from featx.studies.evaluation.cells import Cell


@dataclass(frozen=True, eq=False)
class ZeroShotMethod(Method):
    """The zero-shot classifier of one backbone, on the embeddings that the probes are trained on."""

    classifier: Any = None

    @property
    def packages(self) -> tuple[str, ...]:
        return "numpy", "torch"

    def define(self, cell: Cell) -> Any:
        return self.classifier.definition

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        from featx.backbones.zero_shot import TEMPLATE

        rows, classifier = cell.rows.x, self.classifier
        return Fit(
            lambda at: classifier.predict_proba(rows[at]),
            seconds=classifier.seconds,
            params={"template": TEMPLATE, "logit_scale": classifier.texts.scale},
            notes=["learns from no image: the names of the classes are compared with it as texts"],
        )


@dataclass
class ZeroShotReferences:
    """The zero-shot methods of a study, and why a backbone with a text tower has none."""

    methods: list[Method] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, nets: Mapping[str, Any], classes: Sequence[str]) -> ZeroShotReferences:
        """Load the text tower of every backbone that has one, and encode the names of the classes."""
        from featx.backbones.zero_shot import has_text_tower, make_zero_shot_classifier

        found = cls()
        able = [name for name, net in nets.items() if has_text_tower(net)]
        for backbone in able:
            try:
                classifier = make_zero_shot_classifier(nets[backbone], classes)
            except (InputError, MissingExtra) as error:
                found.notes.append(f"no zero-shot reference: {error}")
                continue
            if classifier is not None:
                # Tests against references go by their names, so two references must have two.
                name = ZERO_SHOT if len(able) == 1 else f"{ZERO_SHOT} {backbone}"
                found.methods.append(ZeroShotMethod(name, "Zero-shot", "floor", backbone, classifier))
        return found
