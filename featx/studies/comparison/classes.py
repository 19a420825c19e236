"""Compare classifiers on one task of classes: references, probes, ensemble, fine-tuned baseline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.data.splits import Split
from featx.metrics import Interval
from featx.results import (
    MethodResult,
    Mistake,
    Predicted,
    TestPredictions,
    advise,
    column_names,
    confusion_of,
    recommended,
)
from featx.results.sentences import FEWEST_UNITS
from featx.studies.comparison.data_checks import (
    FEW_GROUPS,
    examine,
    note_on_groups,
    shown_ids,
    warnings_of,
)
from featx.studies.comparison.ensemble import advise_on_ensemble
from featx.studies.comparison.evaluate import (
    SplitOutcomes,
    TaskOptions,
    describe_run,
    evaluate_methods,
    method_result,
    note_earlier_runs,
    note_unused_share,
)
from featx.studies.comparison.group_effect import (
    advise_on_groups,
    describe_shared_groups,
    measure_group_effect,
    note_shared_groups,
)
from featx.studies.comparison.input_rows import MISSING
from featx.studies.comparison.paired_tests import MethodTests, compare_methods
from featx.studies.comparison.repeats import repeat_over_splits, test_references_on_splits
from featx.studies.comparison.result import Comparison
from featx.studies.comparison.study_data import StudyData
from featx.studies.evaluation import Outcome
from featx.studies.output import samples_of, texts_of
from featx.studies.units import count_groups, find_copies, find_units, unchecked
from featx.terminal import tell

#: Mistakes that are listed for each method, the most confident first.
MISTAKES = 12


def compare_classes(data: StudyData, options: TaskOptions) -> Comparison:
    """Compare classifiers on the only task of `data`."""
    started = time.perf_counter()
    first = evaluate_methods(data, options, options.seed)
    split, dataset, seed = first.split, data.dataset, options.seed

    # Copies decide what counts as one observation, so they are searched for before anything is scored.
    copies = None
    if options.checks:
        if options.verbose:
            tell("searching for copies")
        copies = find_copies(
            data.sets[first.tuned_backbone].embeddings,
            fingerprints=data.fingerprints,
            kept=options.kept_checks,
            digests=data.inputs[first.tuned_backbone].digests,
        )
    units = find_units(data.first.groups, copies, len(data.task))

    tests, methods = _score_methods(data, first, units.take(split.test), options)
    ensemble = None if first.ensemble is None else first.ensemble.compare(units.take(split.test), seed)
    if copies is None:
        checks: dict[str, Any] = {"checked": False, "notes": [unchecked(data.kind)]}
    else:
        if options.verbose:
            tell("searching for wrong labels")
        checks = examine(
            data, split, seed, first.tuned_backbone, first.outcomes, copies, units, options.kept_checks
        )

    splits = [split]

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        other = evaluate_methods(data, options, seed, first.tuned_backbone)
        splits.append(other.split)
        # Only the values are needed: what varies is the split.
        return other.split, _describe_methods(data, other, _score(data, other, None, 0, seed))

    repeats = repeat_over_splits((split, methods), again, options.all_seeds, "top1", options.verbose)
    if repeats is not None and len(np.unique(units.of[split.test])) < FEWEST_UNITS:
        constant = [_share_of_commonest(np.asarray(data.first.labels)[one.test]) for one in splits]
        test_references_on_splits(methods, repeats, constant)
    per_class = _count_groups(data, split)
    shared = describe_shared_groups(data, split)
    pick = recommended(methods, tests.fine_tuning)
    group_effect = measure_group_effect(data, first, methods, pick, units, options)
    warnings = warnings_of(checks) if options.checks else [unchecked(data.kind)]
    warnings += note_shared_groups(shared, data.first.groups is not None)
    if per_class is not None:
        few = min(per_class) < FEW_GROUPS
        (warnings if few else checks["notes"]).append(
            note_on_groups(per_class, data.first.classes or (), data.kind)
        )
    warnings += [*data.zero_shot.notes, *note_unused_share(split, options.test_size)]
    warnings += note_earlier_runs(options.checkpoints, methods, repeats)
    if dataset is None:
        warnings.append(
            f"compared from a features file: {MISSING[data.kind]} and no fine-tuned baseline without "
            f"{data.kind}s"
        )
    described = units.describe(split.test) | {"groups_per_class": per_class}
    advice = advise(
        methods,
        n_test=len(split.test),
        repeats=repeats,
        n_units=described["units"],
        fine_tuning=tests.fine_tuning,
        optimism=tests.selection["optimism"],
        kind=data.kind,
    )
    result = Comparison(
        dataset=describe_classes(data, split) | ({"task": data.task.name} if data.several else {}),
        methods=methods,
        advice=" ".join(
            [
                advice,
                *([] if group_effect is None else [advise_on_groups(group_effect, data.kind)]),
                *([] if ensemble is None else [advise_on_ensemble(ensemble)]),
            ]
        ),
        shared_groups=shared,
        group_effect=group_effect,
        ensemble=ensemble,
        fine_tuning=tests.fine_tuning,
        selection=tests.selection,
        units=described,
        search_for_copies=units.search,
        seed=seed,
        repeats=repeats,
        warnings=warnings,
        hygiene=checks,
        test_predictions=_predictions(data, split, methods, first.outcomes),
        **describe_run(data, options.meter),
    )
    if dataset is not None:
        mistaken = {mistake.id for method in methods for mistake in method.mistakes}
        result.samples = samples_of(dataset, mistaken | shown_ids(checks))
    result.seconds_total = time.perf_counter() - started
    return result


def _count_groups(data: StudyData, split: Split) -> list[int] | None:
    """Return the groups of each class if the label follows the group; see `count_groups`."""
    rows, first = np.concatenate([split.train, split.test]), data.first
    groups = None if first.groups is None else first.groups[rows]
    return count_groups(groups, np.asarray(first.labels)[rows], len(first.classes or ()))


def _share_of_commonest(labels: np.ndarray) -> float:
    return float(np.bincount(labels).max() / len(labels))


def describe_classes(data: StudyData, split: Split) -> dict[str, Any]:
    """Return the field ``dataset`` of a result: the task and its split."""
    y, classes = np.asarray(data.first.labels), data.first.classes or ()
    return data.facts | {
        "n_train": len(split.train),
        "n_test": len(split.test),
        "classes": list(classes),
        "n_per_class_train": np.bincount(y[split.train], minlength=len(classes)).tolist(),
        "n_per_class_test": np.bincount(y[split.test], minlength=len(classes)).tolist(),
        "split": split.origin,
    }


def _score(
    data: StudyData, found: SplitOutcomes, units: np.ndarray | None, n_boot: int, seed: int
) -> list[dict[str, Interval]]:
    """Return the metrics of every method on the same test images."""
    from featx.metrics import score_answers

    truth = np.asarray(data.first.labels)[found.split.test]
    return [score_answers(truth, o.answers, units=units, n_boot=n_boot, seed=seed) for o in found.outcomes]


def _score_methods(
    data: StudyData, found: SplitOutcomes, units: np.ndarray | None, options: TaskOptions
) -> tuple[MethodTests, list[MethodResult]]:
    """Score every method on the same test images, and test each against the best one."""
    from featx.metrics import mcnemar_exact, mcnemar_mid_p

    outcomes, truth = found.outcomes, np.asarray(data.first.labels)[found.split.test]
    metrics = _score(data, found, units, options.n_boot, options.seed)
    ranked = sorted(
        (i for i, o in enumerate(outcomes) if o.competes),
        key=lambda i: (
            -metrics[i]["top1"].value,
            outcomes[i].method.trains_network,  # of two with equal top-1, the cheaper
            outcomes[i].method.kind != "probe",
            -metrics[i]["balanced_accuracy"].value,
            metrics[i]["log_loss"].value,
        ),
    )
    right = np.array([o.labels == truth for o in outcomes])

    def single(i: int, j: int) -> dict[str, float]:
        test = mcnemar_exact(right[i], right[j], units=units).to_dict()
        return test | {"p_mid": mcnemar_mid_p(right[i], right[j], units=units).p_value}

    best = ranked[0] if ranked else 0
    tests = compare_methods(
        outcomes,
        right,
        best,
        single,
        units=units,
        n_boot=options.n_boot,
        seed=options.seed,
        constant=truth == np.bincount(truth).argmax(),
    )
    return tests, _describe_methods(data, found, metrics, tests)


def _describe_methods(
    data: StudyData,
    found: SplitOutcomes,
    metrics: Sequence[dict[str, Interval]],
    tests: MethodTests | None = None,
) -> list[MethodResult]:
    """Return the results of all methods; their tests, confusions and mistakes with `tests` only."""
    if tests is None:
        return [method_result(data, o, metrics[i]) for i, o in enumerate(found.outcomes)]
    truth, n_classes = np.asarray(data.first.labels)[found.split.test], len(data.first.classes or ())
    return [
        method_result(
            data,
            outcome,
            metrics[i],
            versus_best=tests.versus_best[i],
            versus_references=tests.versus_references[i],
            confusion=confusion_of(truth, outcome.labels, n_classes),
            mistakes=[] if outcome.method.kind == "floor" else _mistakes(data, found.split, outcome),
        )
        for i, outcome in enumerate(found.outcomes)
    ]


def _predictions(
    data: StudyData, split: Split, methods: Sequence[MethodResult], outcomes: Sequence[Outcome]
) -> TestPredictions:
    """Return what every method predicted for the test inputs."""
    classes = np.array(data.first.classes or (), dtype=object)
    ids = [data.first.ids[i] for i in split.test]
    return TestPredictions(
        ids,
        classes[np.asarray(data.first.labels)[split.test]],
        {
            name: Predicted(classes[outcome.labels], outcome.answers.sure)
            for name, outcome in zip(column_names(methods), outcomes, strict=True)
        },
        texts_of(data.dataset, ids),
        data.kind,
    )


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
