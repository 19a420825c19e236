"""Compare classifiers on one task of classes: references, probes, ensemble, fine-tuned baseline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.data.splits import Split
from featx.results import MethodResult, Mistake, advise, confusion_of
from featx.studies.comparison.data_checks import examine, shown_ids, warnings_of
from featx.studies.comparison.evaluate import (
    TaskOptions,
    describe_run,
    evaluate_methods,
    method_result,
    note_earlier_runs,
    note_unused_share,
)
from featx.studies.comparison.repeats import adjust_p_values, repeat_over_splits
from featx.studies.comparison.result import Comparison
from featx.studies.comparison.study_data import StudyData
from featx.studies.evaluation import Outcome
from featx.studies.output import thumbnails_of

#: Mistakes that are listed for each method, the most confident first.
MISTAKES = 12


def compare_classes(data: StudyData, options: TaskOptions) -> Comparison:
    """Compare classifiers on the only task of `data`."""
    started = time.perf_counter()
    first = evaluate_methods(data, options, options.seed)
    split, ensemble, dataset = first.split, first.ensemble, data.dataset
    methods = _score_methods(data, split, first.outcomes, options.n_boot, options.seed)

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        other = evaluate_methods(data, options, seed, first.tuned_backbone)
        return other.split, _score_methods(data, other.split, other.outcomes, 0, seed)

    repeats = repeat_over_splits((split, methods), again, options.all_seeds, "top1", options.verbose)
    checks = examine(data, split, options.seed, first.tuned_backbone, first.outcomes)
    warnings = warnings_of(checks) + note_unused_share(split, options.test_size)
    warnings += note_earlier_runs(options.checkpoints, methods, repeats)
    if dataset is None:
        warnings.append(
            "compared from a features file: no raw-pixel reference and no fine-tuned baseline without images"
        )
    result = Comparison(
        dataset=describe_classes(data, split) | ({"task": data.task.name} if data.several else {}),
        methods=methods,
        advice=advise(methods, n_test=len(split.test), repeats=repeats)
        + (f" {ensemble.advice}" if ensemble else ""),
        ensemble=ensemble.content if ensemble else None,
        seed=options.seed,
        repeats=repeats,
        warnings=warnings,
        hygiene=checks,
        **describe_run(data, options.meter),
    )
    if dataset is not None:
        mistaken = {mistake.id for method in methods for mistake in method.mistakes}
        result.thumbnails = thumbnails_of(dataset, mistaken | shown_ids(checks))
    result.seconds_total = time.perf_counter() - started
    return result


def describe_classes(data: StudyData, split: Split) -> dict[str, Any]:
    """Return the field ``dataset`` of a result: the task and its split."""
    y, classes = np.asarray(data.first.labels), data.first.classes or ()
    return {
        "name": data.name,
        "n_train": len(split.train),
        "n_test": len(split.test),
        "classes": list(classes),
        "n_per_class_train": np.bincount(y[split.train], minlength=len(classes)).tolist(),
        "n_per_class_test": np.bincount(y[split.test], minlength=len(classes)).tolist(),
        "split": split.origin,
    }


def _score_methods(
    data: StudyData, split: Split, outcomes: Sequence[Outcome], n_boot: int, seed: int
) -> list[MethodResult]:
    """Score every method on the same test images, and test each against the best one."""
    from featx.metrics import mcnemar_exact, mcnemar_mid_p, score_answers

    truth, n_classes = np.asarray(data.first.labels)[split.test], len(data.first.classes or ())
    metrics = [score_answers(truth, o.answers, n_boot=n_boot, seed=seed) for o in outcomes]
    ranked = sorted(
        (i for i, o in enumerate(outcomes) if o.method.kind != "floor"),
        key=lambda i: (
            -metrics[i]["top1"].value,
            outcomes[i].method.kind != "probe",  # of two with equal top-1, the cheaper
            -metrics[i]["balanced_accuracy"].value,
            metrics[i]["log_loss"].value,
        ),
    )
    best = ranked[0] if ranked else 0
    right = [o.labels == truth for o in outcomes]
    # The pairs need p-values only, so nothing is resampled for them.
    adjusted = adjust_p_values(best, ranked, lambda i, j: mcnemar_exact(right[i], right[j]).p_value)
    results = []
    for i, outcome in enumerate(outcomes):
        test = mcnemar_exact(right[i], right[best])
        mid = mcnemar_mid_p(right[i], right[best]).p_value
        about = {"method": outcomes[best].method.name, "p_holm": adjusted.get(i), "p_mid": mid}
        results.append(
            method_result(
                data,
                outcome,
                metrics[i],
                versus_best=None if i == best else about | test.to_dict(),
                confusion=confusion_of(truth, outcome.labels, n_classes),
                mistakes=[] if outcome.method.kind == "floor" else _mistakes(data, split, outcome),
            )
        )
    return results


def _mistakes(data: StudyData, split: Split, outcome: Outcome) -> list[Mistake]:
    """Return the mistakes that the method was most confident in."""
    ids, y, classes = data.first.ids, np.asarray(data.first.labels), data.first.classes or ()
    labels, sure = outcome.labels, outcome.answers.sure
    wrong = np.flatnonzero(labels != y[split.test])
    order = wrong[np.argsort(-sure[wrong], kind="stable")[:MISTAKES]]
    return [
        Mistake(
            id=ids[split.test[j]],
            true=classes[y[split.test[j]]],
            predicted=classes[labels[j]],
            probability=float(sure[j]),
        )
        for j in order
    ]
