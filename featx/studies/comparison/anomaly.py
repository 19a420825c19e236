"""Compare anomaly detectors on frozen features of labelled images, texts or clips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np

from featx.clusters import opens_cluster
from featx.data import Dataset
from featx.data.features import Features, check_rows
from featx.data.splits import Split
from featx.data.tasks import names_of
from featx.errors import DatasetError, InputError
from featx.options import OPTIONS, ColumnOptions, Network, Reading, Run, checked
from featx.results import AnomalyResult, DetectorResult, advise_detectors
from featx.studies.collections import (
    describe_embeddings,
    embed_collections,
    split_features,
    units_of,
)
from featx.studies.evaluation import Cell, LabelledRows, Outcome, run_cells
from featx.studies.evaluation.methods import DetectorMethod
from featx.studies.output import Reported
from featx.studies.units import find_units


@dataclass
class AnomalyComparison(Reported, AnomalyResult):
    """A comparison of detectors that can be saved; see `featx.results.anomaly` for its fields."""


@checked()
@opens_cluster
def compare_detectors(
    data: Any,
    test: Any = None,
    *,
    normal: str | Sequence[str] | None = None,
    detectors: str | Sequence[str] | None = None,
    contamination: float = 0.05,
    backbone: Any = "auto",
    test_size: float = 0.25,
    seed: int = 0,
    n_boot: int = 1000,
    **options: Unpack[ColumnOptions],
) -> AnomalyComparison:
    """Compare anomaly detectors on images, texts or clips whose classes say what is normal.

    Parameters
    ----------
    data : as in `featx.compare`
        Images or texts by class. Without `test`, a detector is fitted on the training inputs of the normal
        class and tested on the test inputs of all classes.
    test : as in `featx.compare`, optional
        Test inputs by class, normal and anomalous ones. All inputs of `data` are then normal training inputs;
        they may come from another, related task.
    normal : str or sequence of str, optional
        The normal classes, taken together; required with `test`. Default: each class is normal once, and the
        result is the mean over classes (the one-class protocol).
    detectors : str or sequence of str, optional
        Names of `featx.methods.detectors.DETECTORS`; default: all.
    contamination : float, default=0.05
        Share of new normal inputs that a detector's threshold is to flag; AUROC and FPR95 do not depend
        on it.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        One backbone, as in `featx.extract`.
    test_size, seed, n_boot
        As in `featx.compare`.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`; `label` is the column of
        classes of `data`, or of `test` where it is given.

    Returns
    -------
    AnomalyComparison
        With ``to_frame()``, ``table()``, ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, no such class, or fewer than two normal training inputs.
    InputError, UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`.
    """
    from featx.methods.detectors import detector_names, get_detector

    started = time.perf_counter()
    chosen = [get_detector(name) for name in names_of(detectors) or detector_names()]
    wanted = names_of(normal)
    if test is not None and not wanted:
        raise InputError("test is given without normal: say which of its classes are normal")
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    given = [data] if test is None else [data, test]
    names, sets, opened = embed_collections(
        given,
        backbone,
        network=network,
        reading=reading,
        run=run,
        seed=seed,
        labelled=test is None,
        check=partial(_require_classes, wanted),
    )
    judged = sets[-1]
    assert judged.labels is not None
    classes = judged.classes or ()
    own = test is not None or (judged.splits is not None and set(judged.splits.tolist()) != {"train"})
    if own and test_size != OPTIONS["test_size"].default:
        raise InputError(
            f"test_size={test_size:g} has no effect: the test {judged.kind}s are given; leave it out"
        )
    if test is None:
        split = split_features(judged, test_size, seed)
        x, normal_of = judged.embeddings, judged.labels[split.train]
    else:
        n, x = len(sets[0]), np.concatenate([features.embeddings for features in sets])
        split, normal_of = Split(np.arange(n), np.arange(n, len(x))), None
    held = judged.labels if test is not None else judged.labels[split.test]
    problems = _problems(split.train, normal_of, held, classes, wanted, judged.kind)
    for problem in problems:
        require_rows(len(problem.rows), f"{names[0]}, class {problem.name}", judged.kind)

    for place, features in zip(names, sets, strict=True):
        check_rows(features.embeddings, features.ids, place, features.kind)
    tested = split.test if test is None else np.arange(len(judged))
    units = units_of(judged, opened[-1], run)
    together = units.of if test is None else find_units(_groups_of(sets), None, len(x)).of
    rows = LabelledRows(x, np.zeros(len(x)), groups=together)
    results = []
    for detector in chosen:
        cells = [
            Cell(
                DetectorMethod(
                    detector.name, detector.title, contamination=contamination, normal=problem.name
                ),
                rows,
                Split(problem.rows, split.test),
                seed,
                "values",
            )
            for problem in problems
        ]
        outcomes = list(run_cells(cells, verbose=run.verbose, cluster=run.on))
        results.append(_score_detector(detector, problems, outcomes, held, units.take(tested), n_boot, seed))
    return AnomalyComparison(
        dataset={
            "name": names[0],
            "n_train": sum(len(problem.rows) for problem in problems),
            "n_test": len(split.test),
        },
        protocol="given" if wanted else "one-class",
        normal=wanted or list(classes),
        detectors=results,
        contamination=contamination,
        advice=advise_detectors(results, sets[0].kind),
        units=units.describe(tested),
        search_for_copies=units.search,
        seed=seed,
        seconds_total=time.perf_counter() - started,
        **describe_embeddings(sets),
    )


@dataclass(frozen=True)
class _Problem:
    """One choice of what is normal."""

    name: str
    rows: np.ndarray  # normal rows to train on
    anomalous: np.ndarray  # (n_test,), bool


def _require_classes(wanted: Sequence[str], place: str, judged: Dataset | Features) -> None:
    """Refuse inputs without classes, or without one of those that are wanted."""
    if judged.labels is None or judged.classes is None:
        raise DatasetError(f"{place}: has no labels; they are needed to tell what is normal")
    for name in wanted:
        if name not in judged.classes:
            known = ", ".join(judged.classes[:20])
            raise DatasetError(f"{place}: there is no class {name!r}; classes: {known}")


def _problems(
    train: np.ndarray,
    labels: np.ndarray | None,
    held: np.ndarray,
    classes: Sequence[str],
    wanted: list[str],
    kind: str,
) -> list[_Problem]:
    """Return a problem in which the `wanted` classes are normal, or one for each class.

    Without labels, all rows of `train` are normal.
    """
    problems = []
    for names in [wanted] if wanted else [[name] for name in classes]:
        codes = [classes.index(name) for name in names]
        anomalous = ~np.isin(held, codes)
        if anomalous.all() or not anomalous.any():
            lacking = "anomalous" if not anomalous.any() else "normal"
            raise DatasetError(
                f"normal: {', '.join(names)}: there are no {lacking} test {kind}s; both are needed"
            )
        rows = train if labels is None else train[np.isin(labels, codes)]
        problems.append(_Problem(", ".join(names), rows, anomalous))
    return problems


def _score_detector(
    detector: Any,
    problems: Sequence[_Problem],
    outcomes: Sequence[Outcome],
    held: np.ndarray,
    units: np.ndarray | None,
    n_boot: int,
    seed: int,
) -> DetectorResult:
    """Score the decisions of a detector on the test rows, over all problems."""
    from featx.metrics import score_anomalies

    decisions = np.stack([np.asarray(outcome.values) for outcome in outcomes])
    anomalous = np.stack([problem.anomalous for problem in problems])
    found = score_anomalies(decisions, anomalous, strata=held, units=units, n_boot=n_boot, seed=seed)
    shares = [
        np.mean([below[kind].mean() for below, kind in zip(decisions < 0, kinds, strict=True)])
        for kinds in (~anomalous, anomalous)
    ]
    return DetectorResult(
        name=detector.name,
        title=detector.title,
        auroc=found.mean["auroc"],
        fpr95=found.mean["fpr95"],
        false_alarms=float(shares[0]),
        found=float(shares[1]),
        problems=[
            {"normal": problem.name, "n_train": len(problem.rows)}
            | {metric: intervals[i] for metric, intervals in found.each.items()}
            for i, problem in enumerate(problems)
        ],
        seconds=sum(
            (o.seconds["fit"] or 0.0) + len(held) * (o.seconds["predict_per_image"] or 0.0) for o in outcomes
        ),
    )


def _groups_of(sets: Sequence[Features]) -> np.ndarray:
    """Return the groups of all rows; a row without a group is one of its own."""
    return np.array(
        [
            f"{number} {i}" if features.groups is None else f"group {features.groups[i]}"
            for number, features in enumerate(sets)
            for i in range(len(features))
        ]
    )


def require_rows(n: int, place: str, kind: str) -> None:
    """Raise `DatasetError` if there are too few normal inputs to fit a detector."""
    if n < 2:
        raise DatasetError(f"{place}: {n} normal {kind}{'s' * (n != 1)} to train on; at least 2 are needed")
