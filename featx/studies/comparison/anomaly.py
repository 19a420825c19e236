"""Anomaly detectors on frozen features: compared where the truth is known, used where it is not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.data.features import Features, check_rows
from featx.data.splits import make_split
from featx.data.tasks import names_of
from featx.errors import DatasetError, InputError
from featx.options import OPTIONS, Network, Reading, Run, StudyOptions, checked
from featx.results import (
    AnomalyResult,
    DetectorResult,
    advise_detectors,
    describe_environment,
    write_atomically,
)
from featx.spreadsheet import csv_text, frame_csv
from featx.studies.comparison.collections import embedded
from featx.studies.comparison.result import prepare_output
from featx.terminal import tell


@dataclass
class AnomalyComparison(AnomalyResult):
    """A comparison of detectors that can be kept; see `featx.results.AnomalyResult`."""

    def save(self, directory: str | Path) -> Path:
        """Writes ``results.json``, ``results.csv`` and ``report.html`` into `directory`.

        Returns
        -------
        Path
            The report.

        Raises
        ------
        OutputError
            The folder cannot be made or written.
        """
        from featx.report import write_anomaly

        folder = prepare_output(directory)
        self.write_json(folder / "results.json")
        write_atomically(folder / "results.csv", frame_csv(self.to_frame()))
        write_anomaly(folder / "report.html", self)
        return folder / "report.html"


@dataclass
class ScoredImages:
    """Images and how anomalous each is, the most anomalous first.

    Attributes
    ----------
    ids : list of n str
    decision : ndarray of shape (n,)
        The detector's score less its threshold: below 0 is anomalous.
    detector : str
    n_train : int
        Normal images it was fitted on.
    failures : list of Failure
        Images that could not be read.
    """

    ids: list[str]
    decision: np.ndarray
    detector: str
    n_train: int
    failures: list[Any] = field(default_factory=list)

    @property
    def anomalous(self) -> np.ndarray:
        """Which images lie below the threshold, ndarray of shape (n,), bool."""
        return self.decision < 0

    def write_csv(self, path: str | Path) -> None:
        """Columns ``id,decision,anomalous`` (1 or 0), all of it or nothing.

        Raises
        ------
        OutputError
            When the place cannot be written.
        """
        rows = [
            # A decision is a number, whatever its sign.
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
    """Fit a detector on normal images and score others.

    Parameters
    ----------
    normal, images : as in `featx.extract`
        Normal images, all of them (labels and splits do not matter), and those to judge; also features.
    detector : str, default="knn"
        A name of `featx.methods.detectors.DETECTORS`.
    contamination : float, default=0.05
        Share of the normal images that the threshold leaves below it.
    backbone : str or Backbone, default="mobilenet_v2"
    seed : int, default=0
        Of detectors with chance in them.
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
    # Labels do not matter, so what the top folders are does not either.
    network, reading, run = Network.of(options), Reading.of({"split_by": "none", **options}), Run.of(options)
    names, sets = embedded(
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
    return ScoredImages([judged.ids[i] for i in order], decision[order], wanted.name, len(known), failures)


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
    """Compare anomaly detectors where it is known what is normal.

    Parameters
    ----------
    data : as in `featx.compare`
        Images by class. Without `test` a detector is fitted on the training images of the normal class and
        scored on the test images of all classes.
    test : as in `featx.compare`, optional
        Test images by class, normal and anomalous ones. Then all images of `data` are normal and train.
    normal : str or sequence of str, optional
        The normal classes, taken together; needed with `test`. Default: each class is normal once, and the
        result is the mean (the one-class protocol).
    detectors : str or sequence of str, optional
        Names of `featx.methods.detectors.DETECTORS`; default: all.
    contamination : float, default=0.05
        Share of the training images that a detector's threshold leaves below it; AUROC and FPR95 do not
        depend on it.
    backbone : str or Backbone, default="mobilenet_v2"
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
        raise InputError("with test images of their own, say which of their classes are normal")
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    given = [data] if test is None else [data, test]
    names, sets = embedded(
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
        split = make_split(
            judged.labels,
            splits=judged.splits,
            groups=judged.groups,
            test_size=test_size,
            seed=seed,
            classes=classes,
        )
        train, held = judged.subset(split.train), judged.subset(split.test)
    else:
        train, held = sets[0], judged
    problems = _problems(train if test is None else None, held, len(sets[0]), wanted)
    for problem in problems:
        _require_rows(len(problem.rows), f"{names[0]}, class {problem.name}")

    for place, features in zip(names, sets, strict=True):
        check_rows(features.embeddings, features.ids, place)
    results = [
        _detected(detector, problems, train, held, contamination, seed, n_boot, run.verbose)
        for detector in chosen
    ]
    return AnomalyComparison(
        dataset={
            "name": names[0],
            "n_train": sum(len(problem.rows) for problem in problems),
            "n_test": len(held),
        },
        protocol="given" if wanted else "one-class",
        normal=wanted or list(classes),
        backbone=judged.space.get("backbone", {}).get("architecture", "features"),
        detectors=results,
        contamination=contamination,
        space=judged.space,
        advice=advise_detectors(results),
        forward_passes=sum((f.run or {}).get("forward_passes", 0) for f in sets),
        failures=[{"id": f.id, "reason": f.reason} for features in sets for f in features.failures],
        environment=describe_environment(),
        seed=seed,
        seconds_total=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Problem:
    name: str
    rows: np.ndarray  # normal rows of the training images
    anomalous: np.ndarray  # (n_test,), bool


def _problems(train: Features | None, held: Features, n: int, wanted: list[str]) -> list[_Problem]:
    """What is normal, once or class by class; without labels of the training images, all of them are."""
    assert held.labels is not None
    assert held.classes is not None
    known = None if train is None else np.asarray(train.labels)
    groups = [wanted] if wanted else [[name] for name in held.classes]
    problems = []
    for names in groups:
        codes = [held.classes.index(name) for name in names]
        anomalous = ~np.isin(held.labels, codes)
        if anomalous.all() or not anomalous.any():
            lacking = "anomalous" if not anomalous.any() else "normal"
            raise DatasetError(
                f"normal: {', '.join(names)}: there are no {lacking} test images; both kinds are needed"
            )
        rows = np.arange(n) if known is None else np.flatnonzero(np.isin(known, codes))
        problems.append(_Problem(", ".join(names), rows, anomalous))
    return problems


def _detected(detector, problems, train, held, contamination, seed, n_boot, verbose) -> DetectorResult:
    from featx.methods.detectors import score_anomalies

    began = time.perf_counter()
    scores, flagged = [], []
    for problem in problems:
        if verbose:
            tell(f"fitting {detector.name}: normal is {problem.name}")
        rows = train.embeddings[problem.rows]
        model = detector.build(len(rows), train.dim, contamination, seed).fit(rows)
        decision = model.decision_function(held.embeddings)
        scores.append(decision)
        flagged.append(decision < 0)
    seconds = time.perf_counter() - began
    anomalous = np.stack([problem.anomalous for problem in problems])
    found = score_anomalies(np.stack(scores), anomalous, strata=held.labels, n_boot=n_boot, seed=seed)
    shares = [
        np.mean([below[kind].mean() for below, kind in zip(flagged, kinds, strict=True)])
        for kinds in (~anomalous, anomalous)
    ]
    return DetectorResult(
        name=detector.name,
        title=detector.title,
        auroc=found.mean_auroc,
        fpr95=found.mean_fpr95,
        false_alarms=float(shares[0]),
        found=float(shares[1]),
        problems=[
            {"normal": problem.name, "n_train": len(problem.rows), "auroc": auroc, "fpr95": fpr95}
            for problem, auroc, fpr95 in zip(problems, found.auroc, found.fpr95, strict=True)
        ],
        seconds=seconds,
    )


def _require_rows(n: int, place: str) -> None:
    if n < 2:
        raise DatasetError(f"{place}: {n} normal images to train on; at least 2 are needed")
