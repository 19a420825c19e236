"""Combine backbones: average the best probe of each by weight, and measure what each one adds."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from featx.results.formats import format_points, p_in_text
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison.paired_tests import adjusted_test
from featx.studies.evaluation import Cell, Method, Outcome
from featx.studies.evaluation.running import fetch_record


class Member(NamedTuple):
    """The probe of a backbone that did best in cross-validation, and its cell."""

    outcome: Outcome
    cell: Cell


class Ensemble:
    """The weighted average of the best probe of each backbone.

    The weights minimise the log loss of out-of-fold probabilities of the training images (`blend_weights`);
    where no fold can be held out, they are equal. `outcome` is its outcome on the test images; `compare`
    tests it.
    """

    def __init__(self, members_by_backbone: dict[str, Member], checkpoints: Checkpoints):
        from featx.metrics import take_answers

        began = time.perf_counter()
        names, members = list(members_by_backbone), list(members_by_backbone.values())
        cell = members[0].cell
        y, truth = cell.rows.y[cell.split.train], cell.rows.y[cell.split.test]
        fetched = [_probabilities(member, checkpoints) for member in members]
        held = [found for found, _ in fetched if found is not None]
        weighable = len(held) == len(names)
        rows = held[0][0] if weighable else np.zeros(0, np.int64)
        out_of_fold = np.stack([p for _, p in held]) if weighable else None
        tests = np.stack([probabilities for _, probabilities in fetched])

        def averaged(chosen: list[int]) -> tuple[np.ndarray, np.ndarray]:
            """Return the weights of some members, and their average test probabilities."""
            from featx.methods.ensembles import blend_weights

            weights = np.full(len(chosen), 1 / len(chosen))
            if out_of_fold is not None:
                weights = blend_weights(out_of_fold[chosen], y[rows])
            return weights, np.tensordot(weights, tests[chosen], axes=1)

        everyone = list(range(len(names)))
        weights, probabilities = averaged(everyone)
        seconds = time.perf_counter() - began
        self.outcome = Outcome(
            Method("ensemble", f"Ensemble of {len(names)} backbones"),
            answers=take_answers(truth, probabilities, probabilities.argmax(axis=1)),
            earlier_run=max((m.outcome.earlier_run for m in members if m.outcome.earlier_run), default=None),
            seconds=_sum_seconds([member.outcome.seconds for member in members], seconds),
            params={
                name: {"classifier": member.outcome.method.name, "weight": float(weight)}
                for name, member, weight in zip(names, members, weights, strict=True)
            },
            notes=["the classifiers of all backbones, averaged by weight; featx train keeps it as ensemble"],
        )
        self._names, self._members, self._weights = names, members, weights
        self._n_held_out, self._seconds = len(rows), seconds
        # Whether each test image is right: by the ensemble, by each member, and by the ensemble without it.
        self._right = self.outcome.labels == truth
        self._alone = [member.outcome.labels == truth for member in members]
        self._without = [
            averaged([other for other in everyone if other != j])[1].argmax(axis=1) == truth for j in everyone
        ]

    def compare(self, units: np.ndarray | None, seed: int) -> dict[str, Any]:
        """Test the ensemble against its members and without each; return the field ``ensemble`` of a result.

        `units` (n_test,) are those of the test images. All these tests are one family.
        """
        from featx.metrics import compare_pairs, mcnemar_exact

        right, alone, without = self._right, self._alone, self._without
        everyone = range(len(alone))
        best = max(everyone, key=lambda j: (alone[j].mean(), self._members[j].outcome.cv_score))
        others = [*alone, *without]
        family = compare_pairs(np.array([right, *others]), units=units, seed=seed)

        def test(at: int) -> dict[str, float]:
            single = mcnemar_exact(right, others[at], units=units).to_dict()
            return single | adjusted_test(family, 0, 1 + at)

        return {
            "members": [
                {
                    "backbone": self._names[j],
                    "classifier": self._members[j].outcome.method.name,
                    "weight": float(self._weights[j]),
                    "top1": float(alone[j].mean()),
                    "adds": test(len(alone) + j),
                }
                for j in everyone
            ],
            "best_member": self._names[best],
            "versus_best_member": test(best),
            "n_held_out": self._n_held_out,
            "seconds": self._seconds,
        }


def advise_on_ensemble(content: dict[str, Any]) -> str:
    """Say how much the ensemble gains over its best member, and what each member adds to it."""
    each = ", ".join(f"{m['backbone']} {_gain(m['adds'])}" for m in content["members"])
    return (
        f"The ensemble against its best member ({content['best_member']}): "
        f"{_gain(content['versus_best_member'])}; what each backbone adds to the others: {each}."
    )


def cells_of(member: Member) -> list[Cell]:
    """Return the cells of a member's out-of-fold probabilities, and of its test probabilities."""
    return [replace(member.cell, keep="held_out"), replace(member.cell, keep="probabilities")]


def _probabilities(member: Member, checkpoints: Checkpoints) -> tuple[Any, np.ndarray]:
    """Return a member's out-of-fold probabilities (or None), and its test probabilities."""
    held, tested = cells_of(member)
    found, fit = fetch_record(held, checkpoints)
    tests, _ = fetch_record(replace(tested, fit=held.fit or fit), checkpoints)
    return found["found"], np.asarray(tests["probabilities"])


def _gain(test: dict[str, float]) -> str:
    return f"{format_points(test['difference'])} points (adjusted {p_in_text(test['p_adjusted'])})"


def _sum_seconds(seconds: list[dict[str, float | None]], weighing: float) -> dict[str, float | None]:
    """Sum the times of all members; a sum is None if one of its parts is."""
    total: dict[str, float | None] = {}
    for name in ("extract", "fit", "predict_per_image"):
        parts = [part[name] for part in seconds]
        known = [part for part in parts if part is not None]
        total[name] = sum(known) if len(known) == len(parts) else None
    if total["fit"] is not None:
        total["fit"] += weighing
    return total
