"""Detect anomalies on frozen features: compare detectors on labelled images, or score images with one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from featx.data.features import check_rows
from featx.data.splits import Split
from featx.data.tasks import names_of
from featx.errors import DatasetError, InputError
from featx.options import OPTIONS, Network, Reading, Run, StudyOptions, checked
from featx.results import (
    AnomalyResult,
    DetectorResult,
    advise_detectors,
    write_atomically,
)
from featx.results.writing import make_writable_folder
from featx.spreadsheet import csv_text
from featx.studies.collections import (
    describe_embeddings,
    embed_collections,
    split_features,
    units_of,
)
from featx.studies.evaluation import Cell, LabelledRows, Outcome, run_cells
from featx.studies.evaluation.methods import DetectorMethod
from featx.studies.output import Reported
from featx.terminal import printable


@dataclass
class AnomalyComparison(Reported, AnomalyResult):
    """A comparison of detectors that can be saved; see `featx.results.anomaly` for its fields."""


@dataclass
class ScoredImages:
    """Images with their decision values, the most anomalous first.

    Attributes
    ----------
    ids : list of str
        The n images.
    decision : ndarray of shape (n,)
        The detector's score minus its threshold: anomalous below 0.
    detector : str
        The detector's name.
    n_train : int
        Number of normal images that it was fitted on.
    failures : list of Failure
        Images that could not be read.
    dataset : dict
        ``source``: the paths of the normal images and of those that were scored, if an experiment ran.
    space : dict
        What determines the embeddings, as in `Features`.
    command : str or None
        The command that gives this again.
    runs : list of dict
        As in `featx.results`.
    """

    json_file: ClassVar[str] = "scores.json"

    ids: list[str] = field(repr=False)
    decision: np.ndarray = field(repr=False)
    detector: str
    n_train: int
    failures: list[Any] = field(default_factory=list)
    dataset: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict, repr=False)
    command: str | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def anomalous(self) -> np.ndarray:
        """Whether each image lies below the threshold, ndarray of shape (n,), bool."""
        return self.decision < 0

    def table(self) -> str:
        """Say how many images are anomalous, and list the ten most anomalous ones."""
        head = (
            f"{int(self.anomalous.sum())} of {len(self.ids)} images are unlike the {self.n_train} normal "
            f"ones ({self.detector}); the most anomalous:"
        )
        shown = list(zip(self.ids, self.decision, strict=True))[:10]
        return "\n".join([head, *(f"  {decision:+.3g}  {printable(id)}" for id, decision in shown)])

    def verdict(self) -> str:
        """Return an empty text: the table says all."""
        return ""

    def save(self, directory: str | Path) -> Path:
        """Write ``scores.csv`` and, about it, ``scores.json`` into a folder; return the path of the first."""
        folder = make_writable_folder(directory)
        self.write_csv(folder / "scores.csv")
        about = {
            "schema": 1,
            "kind": "scores",
            "dataset": self.dataset,
            "space": self.space,
            "scores": "scores.csv",
            "command": self.command,
            "runs": self.runs,
        }
        write_atomically(folder / self.json_file, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        return folder / "scores.csv"

    def write_csv(self, path: str | Path) -> None:
        """Write the columns ``id,decision,anomalous`` (1 or 0), atomically."""
        rows = [
            # As a number: a text that begins with a minus sign would be escaped for spreadsheets.
            [id, float(f"{decision:.6g}"), int(anomalous)]
            for id, decision, anomalous in zip(self.ids, self.decision, self.anomalous, strict=True)
        ]
        write_atomically(path, csv_text(["id", "decision", "anomalous"], rows))


@checked(normal="data", images="data")
def find_anomalies(
    normal: Any,
    images: Any,
    *,
    detector: str = "knn",
    contamination: float = 0.05,
    backbone: Any = "mobilenet_v2",
    seed: int = 0,
    **options: Unpack[StudyOptions],
) -> ScoredImages:
    """Fit a detector on normal images and score other images.

    Parameters
    ----------
    normal, images : as in `featx.extract`
        Normal images to train on, all of them (labels and splits are ignored), and images to score; also
        features.
    detector : str, default="knn"
        A name of `featx.methods.detectors.DETECTORS`.
    contamination : float, default=0.05
        Share of the normal images that lie below the threshold.
    backbone : str, torch.nn.Module or Backbone, default="mobilenet_v2"
        One backbone, as in `featx.extract`.
    seed : int, default=0
        Seed of detectors that use random numbers.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    ScoredImages

    Raises
    ------
    DatasetError
        Fewer than two normal images.
    InputError, UnknownName, WeightsError, ImageError, CacheError
        See `featx.errors`.
    """
    from featx.methods.detectors import get_detector

    wanted = get_detector(detector)
    # Labels are ignored, so folders are not divided into classes.
    network, reading, run = Network.of(options), Reading.of({"split_by": "none", **options}), Run.of(options)
    names, sets, _ = embed_collections(
        [normal, images], backbone, network=network, reading=reading, run=run, seed=seed, labelled=False
    )
    known, judged = sets
    _require_rows(len(known), names[0])
    for name, features in zip(names, sets, strict=True):
        check_rows(features.embeddings, features.ids, name)
    model = wanted.build(len(known), known.dim, contamination, seed).fit(known.embeddings)
    decision = model.decision_function(judged.embeddings)
    order = np.argsort(decision, kind="stable")
    failures = [failure for features in sets for failure in features.failures]
    ids = [judged.ids[i] for i in order]
    return ScoredImages(ids, decision[order], wanted.name, len(known), failures, space=known.space)


@checked()
def compare_detectors(
    data: Any,
    test: Any = None,
    *,
    normal: str | Sequence[str] | None = None,
    detectors: str | Sequence[str] | None = None,
    contamination: float = 0.05,
    backbone: Any = "mobilenet_v2",
    test_size: float = 0.25,
    seed: int = 0,
    n_boot: int = 1000,
    **options: Unpack[StudyOptions],
) -> AnomalyComparison:
    """Compare anomaly detectors on images whose classes say what is normal.

    Parameters
    ----------
    data : as in `featx.compare`
        Images by class. Without `test`, a detector is fitted on the training images of the normal class and
        tested on the test images of all classes.
    test : as in `featx.compare`, optional
        Test images by class, normal and anomalous ones. All images of `data` are then normal training images.
    normal : str or sequence of str, optional
        The normal classes, taken together; required with `test`. Default: each class is normal once, and the
        result is the mean over classes (the one-class protocol).
    detectors : str or sequence of str, optional
        Names of `featx.methods.detectors.DETECTORS`; default: all.
    contamination : float, default=0.05
        Share of the training images that lie below a detector's threshold; AUROC and FPR95 do not depend
        on it.
    backbone : str, torch.nn.Module or Backbone, default="mobilenet_v2"
        One backbone, as in `featx.extract`.
    test_size, seed, n_boot
        As in `featx.compare`.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    AnomalyComparison
        With ``to_frame()``, ``table()``, ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, no such class, or fewer than two normal training images.
    InputError, UnknownName, WeightsError, ImageError, CacheError
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
        given, backbone, network=network, reading=reading, run=run, seed=seed, labelled=test is None
    )
    judged = sets[-1]
    if judged.labels is None or judged.classes is None:
        raise DatasetError(f"{names[-1]}: has no labels; they are needed to tell what is normal")
    classes = judged.classes
    for name in wanted:
        if name not in classes:
            raise DatasetError(f"{names[-1]}: there is no class {name!r}; classes: {', '.join(classes[:20])}")
    own = test is not None or (judged.splits is not None and set(judged.splits.tolist()) != {"train"})
    if own and test_size != OPTIONS["test_size"].default:
        raise InputError(f"test_size={test_size:g} has no effect: the test images are given; leave it out")
    if test is None:
        split = split_features(judged, test_size, seed)
        x, normal_of = judged.embeddings, judged.labels[split.train]
    else:
        n, x = len(sets[0]), np.concatenate([features.embeddings for features in sets])
        split, normal_of = Split(np.arange(n), np.arange(n, len(x))), None
    held = judged.labels if test is not None else judged.labels[split.test]
    problems = _problems(split.train, normal_of, held, classes, wanted)
    for problem in problems:
        _require_rows(len(problem.rows), f"{names[0]}, class {problem.name}")

    for place, features in zip(names, sets, strict=True):
        check_rows(features.embeddings, features.ids, place)
    tested = split.test if test is None else np.arange(len(judged))
    units = units_of(judged, opened[-1], run)
    rows = LabelledRows(x, np.zeros(len(x)))
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
        outcomes = list(run_cells(cells, verbose=run.verbose))
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
        advice=advise_detectors(results),
        units=units.describe(tested),
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


def _problems(
    train: np.ndarray, labels: np.ndarray | None, held: np.ndarray, classes: Sequence[str], wanted: list[str]
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
                f"normal: {', '.join(names)}: there are no {lacking} test images; both kinds are needed"
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


def _require_rows(n: int, place: str) -> None:
    if n < 2:
        raise DatasetError(f"{place}: {n} normal images to train on; at least 2 are needed")
