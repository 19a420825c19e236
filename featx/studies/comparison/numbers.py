"""Compare regressors on one task that is a number: references and probes."""

from __future__ import annotations

import time

import numpy as np

from featx.data.splits import Split
from featx.results import (
    NO_FINE_TUNING,
    MethodResult,
    Predicted,
    TestPredictions,
    advise_numbers,
    best_method,
    column_names,
)
from featx.studies.comparison.evaluate import (
    SplitOutcomes,
    TaskOptions,
    describe_run,
    evaluate_methods,
    method_result,
    note_earlier_runs,
    note_unused_share,
)
from featx.studies.comparison.group_effect import describe_shared_groups, note_shared_groups
from featx.studies.comparison.input_rows import MISSING
from featx.studies.comparison.paired_tests import compare_methods
from featx.studies.comparison.repeats import repeat_over_splits
from featx.studies.comparison.result import RegressionComparison
from featx.studies.comparison.study_data import StudyData
from featx.studies.output import samples_of, texts_of
from featx.studies.units import explain_limited_search, find_copies, find_units, unchecked

#: How many of the largest errors the report shows with their images.
SHOWN = 12


def compare_numbers(data: StudyData, options: TaskOptions) -> RegressionComparison:
    """Compare regressors on the only task of `data`."""
    from featx.metrics import sign_flip_test

    started = time.perf_counter()
    found = evaluate_methods(data, options, options.seed)
    split = found.split
    # Copies decide what counts as one observation, so they are searched for before anything is scored.
    copies = (
        find_copies(
            data.sets[found.tuned_backbone].embeddings,
            fingerprints=data.fingerprints,
            kept=options.kept_checks,
            digests=data.inputs[found.tuned_backbone].digests,
        )
        if options.checks
        else None
    )
    units = find_units(data.first.groups, copies, len(data.task))
    test_units = units.take(split.test)
    methods, predictions = _score_methods(data, found, test_units, options.n_boot, options.seed)
    truth = data.task.values[split.test]
    best = best_method(methods, "mae")
    at = methods.index(best) if best is not None else 0
    errors = np.abs(np.array(predictions) - truth)

    def single(i: int, j: int) -> dict[str, float]:
        return sign_flip_test(errors[i], errors[j], units=test_units, seed=options.seed).to_dict()

    # Lower errors are better, but the differences in a result are those of the errors.
    tests = compare_methods(
        found.outcomes,
        errors,
        at,
        single,
        units=test_units,
        n_boot=options.n_boot,
        seed=options.seed,
        constant=np.abs(truth - np.median(truth)),
        sign=-1,
    )
    for i, method in enumerate(methods):
        method.versus_best, method.versus_references = tests.versus_best[i], tests.versus_references[i]

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        other = evaluate_methods(data, options, seed)
        return other.split, _score_methods(data, other, None, 0, seed)[0]

    repeats = repeat_over_splits((split, methods), again, options.all_seeds, "mae", options.verbose)
    shared = describe_shared_groups(data, split)
    warnings = [
        NO_FINE_TUNING,
        *note_shared_groups(shared, data.first.groups is not None),
        *note_unused_share(split, options.test_size),
    ]
    if not options.checks:
        warnings.append(unchecked(data.kind))
    elif limited := explain_limited_search(data.sets[found.tuned_backbone].embeddings, data.kind):
        warnings.append(limited)
    warnings += note_earlier_runs(options.checkpoints, methods, repeats)
    if data.dataset is None:
        missing = f"{MISSING[data.kind]} without the {data.kind}s"
        warnings.append(f"compared from a features file: {missing}")
    ids, described = [data.first.ids[i] for i in split.test], units.describe(split.test)
    optimism, n_units = tests.selection["optimism"], described["units"]
    result = RegressionComparison(
        dataset=data.facts
        | {
            "task": data.task.name,
            "n_train": len(split.train),
            "n_test": len(split.test),
            "split": split.origin,
        },
        methods=methods,
        advice=advise_numbers(
            methods,
            len(split.test),
            repeats,
            n_units=n_units,
            optimism=optimism,
            kind=data.kind,
        ),
        seed=options.seed,
        repeats=repeats,
        selection=tests.selection,
        shared_groups=shared,
        units=described,
        search_for_copies=units.search,
        warnings=warnings,
        truth=truth.tolist(),
        predictions=predictions[at].tolist(),
        ids=ids,
        test_predictions=TestPredictions(
            ids,
            truth,
            dict(zip(column_names(methods), map(Predicted, predictions), strict=True)),
            texts_of(data.dataset, ids),
            data.kind,
        ),
        **describe_run(data, options.meter),
    )
    if data.dataset is not None:
        worst = np.argsort(-errors[at], kind="stable")[:SHOWN]
        result.samples = samples_of(data.dataset, {ids[i] for i in worst})
    result.seconds_total = time.perf_counter() - started
    return result


def _score_methods(
    data: StudyData, found: SplitOutcomes, units: np.ndarray | None, n_boot: int, seed: int
) -> tuple[list[MethodResult], list[np.ndarray]]:
    """Return the results of all methods, without tests, and their predictions of the test images."""
    from featx.metrics import score_numbers

    truth = data.task.values[found.split.test]
    predictions = [np.asarray(outcome.values) for outcome in found.outcomes]
    methods = [
        method_result(data, outcome, score_numbers(truth, predicted, units=units, n_boot=n_boot, seed=seed))
        for outcome, predicted in zip(found.outcomes, predictions, strict=True)
    ]
    return methods, predictions
