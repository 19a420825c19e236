"""Compare regressors on one task that is a number: references and probes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from featx.data.splits import Split
from featx.results import NO_FINE_TUNING, MethodResult, advise_numbers, best_method
from featx.studies.comparison.evaluate import (
    TaskOptions,
    describe_run,
    evaluate_methods,
    method_result,
    note_earlier_runs,
    note_unused_share,
)
from featx.studies.comparison.repeats import adjust_p_values, repeat_over_splits
from featx.studies.comparison.result import RegressionComparison
from featx.studies.comparison.study_data import StudyData
from featx.studies.output import thumbnails_of

#: How many of the largest errors the report shows with their images.
SHOWN = 12


def compare_numbers(data: StudyData, options: TaskOptions) -> RegressionComparison:
    """Compare regressors on the only task of `data`."""
    from featx.metrics import sign_flip_test

    started = time.perf_counter()
    split, methods, predictions = _evaluate_split(data, options)
    truth = data.task.values[split.test]
    best = best_method(methods, "mae")
    at = methods.index(best) if best is not None else 0
    errors = [np.abs(predicted - truth) for predicted in predictions]
    competing = [i for i, method in enumerate(methods) if method.kind != "floor"]
    adjusted = adjust_p_values(
        at,
        competing if best is not None else [],
        lambda i, j: sign_flip_test(errors[i], errors[j], seed=options.seed).p_value,
    )
    for i, method in enumerate(methods):
        if i != at:
            test = sign_flip_test(errors[i], errors[at], seed=options.seed)
            method.versus_best = {"method": methods[at].name, "p_holm": adjusted.get(i)} | test.to_dict()

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        return _evaluate_split(data, replace(options, seed=seed, n_boot=0))[:2]

    repeats = repeat_over_splits((split, methods), again, options.all_seeds, "mae", options.verbose)
    warnings = [NO_FINE_TUNING, *note_unused_share(split, options.test_size)]
    warnings += note_earlier_runs(options.checkpoints, methods, repeats)
    if data.dataset is None:
        warnings.append("compared from a features file: no raw-pixel reference without the images")
    ids = [data.first.ids[i] for i in split.test]
    result = RegressionComparison(
        dataset={
            "name": data.name,
            "task": data.task.name,
            "n_train": len(split.train),
            "n_test": len(split.test),
            "split": split.origin,
        },
        methods=methods,
        advice=advise_numbers(methods, len(split.test), repeats),
        seed=options.seed,
        repeats=repeats,
        warnings=warnings,
        truth=truth.tolist(),
        predictions=predictions[at].tolist(),
        ids=ids,
        **describe_run(data, options.meter),
    )
    if data.dataset is not None:
        worst = np.argsort(-errors[at], kind="stable")[:SHOWN]
        result.thumbnails = thumbnails_of(data.dataset, {ids[i] for i in worst})
    result.seconds_total = time.perf_counter() - started
    return result


def _evaluate_split(
    data: StudyData, options: TaskOptions
) -> tuple[Split, list[MethodResult], list[np.ndarray]]:
    """Evaluate and score every method on the split of the seed; return results and predictions as well."""
    from featx.metrics import score_numbers

    found = evaluate_methods(data, options, options.seed)
    truth = data.task.values[found.split.test]
    predictions = [np.asarray(outcome.values) for outcome in found.outcomes]
    methods = [
        method_result(
            data, outcome, score_numbers(truth, predicted, n_boot=options.n_boot, seed=options.seed)
        )
        for outcome, predicted in zip(found.outcomes, predictions, strict=True)
    ]
    return found.split, methods, predictions
