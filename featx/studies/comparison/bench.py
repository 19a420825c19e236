"""Every method on one split, fitted by its own rules and scored by the same ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data import Dataset
from featx.data.features import Features
from featx.data.splits import Split, validation_part
from featx.energy import Meter
from featx.results import MethodResult, Mistake, confusion_of, curves_from_history
from featx.studies.comparison.multiple_tests import adjust_p_values
from featx.terminal import tell

if TYPE_CHECKING:
    from featx.methods.probes import Answers

#: Mistakes kept for each method, most confident first.
MISTAKES = 12


@dataclass
class Outcome:
    """What one method said about the test images, before it is scored."""

    name: str
    title: str
    kind: str
    backbone: str | None
    answers: Answers  # on the test images; not all probabilities, which of many classes are many
    seconds: dict[str, float | None]
    params: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    image_size: int | None = None
    joules: dict[str, float | None] = field(default_factory=dict)
    earlier_run: str | None = None  # when it was computed, where an earlier run did

    @property
    def labels(self) -> np.ndarray:
        """Predicted classes, ndarray of shape (n_test,)."""
        return self.answers.labels


@dataclass
class Member:
    """A fitted probe; of each backbone the one that did best in cross-validation is kept."""

    outcome: Outcome
    cv_score: float
    fitted: Any  # FittedProbe, or None where the outcome was found in checkpoints


class Bench:
    """Runs every method on one split and scores them alike."""

    def __init__(
        self, features: Features, split: Split, seed: int, verbose: bool, meter: Meter | None = None
    ):
        assert features.labels is not None  # `compare` has refused anything else
        assert features.classes is not None
        self.ids, self.y, self.classes = features.ids, features.labels, features.classes
        self.groups = features.groups
        self.split, self.seed, self.verbose, self.meter = split, seed, verbose, meter or Meter()
        self.train, self.test = split.train, split.test
        self.members: dict[str, Member] = {}  # by backbone, as the probes are fitted

    def per_class(self, rows: np.ndarray) -> list[int]:
        return np.bincount(self.y[rows], minlength=len(self.classes)).tolist()

    def majority(self) -> Outcome:
        return self._fitted("majority", "floor", None, np.zeros((len(self.y), 1), np.float32)).outcome

    def pixels(self, rows: np.ndarray, size: int) -> Outcome:
        outcome = self._fitted("pixels", "floor", None, rows).outcome
        outcome.image_size = size
        return outcome

    def probe(self, name: str, backbone: str, features: Features, size: int | None) -> tuple[Outcome, float]:
        member = self._fitted(name, "probe", backbone, features.embeddings)
        outcome, cv_score = member.outcome, member.cv_score
        outcome.image_size = size
        if backbone not in self.members or cv_score > self.members[backbone].cv_score:
            self.members[backbone] = member
        cost = (features.run or {}).get("seconds_per_image")
        outcome.seconds["extract"] = None if cost is None else cost * len(features)
        outcome.joules["extract"] = _joules(features)
        if cost is not None:
            outcome.seconds["predict_per_image"] += cost
        return outcome, cv_score

    def _fitted(self, name: str, kind: str, backbone: str | None, x: np.ndarray) -> Member:
        from featx.methods.probes import answers_in_parts, fit_probe

        self.say(f"fitting {name}" + (f" on {backbone}" if backbone else ""))
        groups = None if self.groups is None else self.groups[self.train]
        val = None if self.split.val is None else np.searchsorted(self.train, self.split.val)
        with self.meter.measure() as reading:
            fitted = fit_probe(
                name, x[self.train], self.y[self.train], groups=groups, validation=val, seed=self.seed
            )
        began = time.perf_counter()
        answers = answers_in_parts(
            self.y, self.test, len(self.classes), lambda rows: fitted.predict_proba(x[rows])
        )
        spent = time.perf_counter() - began
        outcome = Outcome(
            name=name,
            title=fitted.title,
            kind=kind,
            backbone=backbone,
            answers=answers,
            seconds={"extract": 0.0, "fit": fitted.seconds, "predict_per_image": spent / len(self.test)},
            params=fitted.params,
            notes=list(fitted.notes),
            joules={"extract": 0.0 if reading.joules is not None else None, "fit": reading.joules},
        )
        return Member(outcome, fitted.cv_score if fitted.cv_score is not None else 0.0, fitted)

    def test_probabilities(self, backbone: str, x: np.ndarray) -> np.ndarray:
        """All that a backbone's member says of the test images, ndarray of shape (n_test, n_classes)."""
        return self.members[backbone].fitted.predict_proba(x[self.test])

    def held_out(self, backbone: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Of a backbone's member, as `featx.methods.probes.held_out_probabilities` gives them."""
        from featx.methods.probes import held_out_probabilities

        groups = None if self.groups is None else self.groups[self.train]
        fitted = self.members[backbone].fitted
        return held_out_probabilities(
            fitted, x[self.train], self.y[self.train], groups=groups, seed=self.seed
        )

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
        from featx.methods.finetune import default_recipe, fine_tune
        from featx.methods.probes import answers

        train, val = validation_part(self.split, self.y, groups=self.groups, seed=self.seed)
        outcomes = []
        for mode in modes:
            self.say(f"fine-tuning {backbone.name}: {mode}")
            recipe = default_recipe(mode, n_train=len(train))
            if epochs is not None and mode != "head":
                recipe = replace(recipe, epochs=epochs)
            with self.meter.measure() as reading:
                tuned = fine_tune(
                    backbone,
                    dataset.images,
                    self.y,
                    len(self.classes),
                    recipe=recipe,
                    train_idx=train,
                    val_idx=val,
                    embeddings=features.embeddings,
                    device=device,
                    seed=self.seed,
                    progress=self._epoch_line if self.verbose else None,
                )
            began = time.perf_counter()
            if mode == "head":
                probabilities = tuned.predict_proba(features.embeddings[self.test])
            else:
                probabilities = tuned.predict_proba([dataset.images[i] for i in self.test])
            said = answers(self.y[self.test], probabilities, probabilities.argmax(axis=1))
            predict = (time.perf_counter() - began) / len(self.test)
            cost = (features.run or {}).get("seconds_per_image")
            if mode == "head":
                predict += cost or 0.0
            outcomes.append(
                Outcome(
                    name=f"finetune-{mode}",
                    title=tuned.recipe.title,
                    kind="finetune",
                    backbone=backbone.name,
                    answers=said,
                    # Every mode sets out from a head that was trained on the frozen embeddings.
                    seconds={
                        "extract": None if cost is None else cost * len(features),
                        "fit": tuned.seconds,
                        "predict_per_image": predict,
                    },
                    params=tuned.recipe.to_dict()
                    | {"best_epoch": tuned.best_epoch, "precision": tuned.precision, "search": tuned.search},
                    curves=(curves_from_history(tuned.history) or {}) | {"best_epoch": tuned.best_epoch},
                    notes=list(tuned.notes),
                    image_size=backbone.preprocessing.size[0],
                    joules={"extract": _joules(features), "fit": reading.joules},
                )
            )
        return outcomes

    def scored(self, outcomes: Sequence[Outcome], n_boot: int) -> list[MethodResult]:
        from featx.methods.probes import score_answers
        from featx.metrics import mcnemar_exact, mcnemar_mid_p

        truth = self.y[self.test]
        metrics = [score_answers(truth, o.answers, n_boot=n_boot, seed=self.seed) for o in outcomes]
        ranked = sorted(
            (i for i, o in enumerate(outcomes) if o.kind != "floor"),
            key=lambda i: (
                -metrics[i]["top1"].value,
                outcomes[i].kind != "probe",  # of two that are as right as each other, the cheaper
                -metrics[i]["balanced_accuracy"].value,
                metrics[i]["log_loss"].value,
            ),
        )
        best = ranked[0] if ranked else 0
        right = [o.labels == truth for o in outcomes]
        # Only the p-values of the pairs are looked at, so nothing is resampled for them.
        family = (
            adjust_p_values(best, ranked, lambda i, j: mcnemar_exact(right[i], right[j], n_boot=1).p_value)
            if ranked
            else {}
        )
        results = []
        for i, outcome in enumerate(outcomes):
            test = mcnemar_exact(right[i], right[best], seed=self.seed)
            mid = mcnemar_mid_p(right[i], right[best], n_boot=1).p_value
            about = {"method": outcomes[best].name, "p_holm": family.get(i), "p_mid": mid}
            results.append(
                MethodResult(
                    name=outcome.name,
                    title=outcome.title,
                    kind=outcome.kind,
                    backbone=outcome.backbone,
                    params=outcome.params,
                    metrics=metrics[i],
                    seconds=outcome.seconds,
                    versus_best=None if i == best else about | test.to_dict(),
                    confusion=confusion_of(truth, outcome.labels, len(self.classes)),
                    curves=outcome.curves,
                    mistakes=self._mistakes(outcome) if outcome.kind != "floor" else [],
                    notes=outcome.notes,
                    image_size=outcome.image_size,
                    joules=outcome.joules,
                    earlier_run=outcome.earlier_run,
                )
            )
        return results

    def _mistakes(self, outcome: Outcome) -> list[Mistake]:
        wrong = np.flatnonzero(outcome.labels != self.y[self.test])
        sure = outcome.answers.sure[wrong]
        order = wrong[np.argsort(-sure, kind="stable")[:MISTAKES]]
        return [
            Mistake(
                id=self.ids[self.test[j]],
                true=self.classes[self.y[self.test[j]]],
                predicted=self.classes[outcome.labels[j]],
                probability=float(outcome.answers.sure[j]),
            )
            for j in order
        ]

    def say(self, line: str) -> None:
        """A line of progress on standard error."""
        if self.verbose:
            tell(line)

    def _epoch_line(self, epoch: dict[str, Any]) -> None:
        self.say(
            f"  epoch {epoch['epoch']}: training loss {epoch['train_loss']:.3f}"
            + ("" if epoch["val_loss"] is None else f", validation accuracy {epoch['val_accuracy']:.3f}")
            + f" ({epoch['seconds']:.0f} s)"
        )


def _joules(features: Features) -> float | None:
    each = (features.run or {}).get("joules_per_image")
    return None if each is None else each * len(features)
