"""Trained on one domain, tested on another: source-only, adapted without target labels, target-trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.data.features import Features, check_rows
from featx.data.splits import Split, make_split
from featx.data.tasks import names_of
from featx.errors import DatasetError
from featx.options import Network, Reading, Run, StudyOptions, checked
from featx.results import DomainMethod, DomainResult, advise_domains, describe_environment
from featx.spreadsheet import frame_csv
from featx.studies.comparison.classes import unused_share
from featx.studies.comparison.collections import embedded
from featx.studies.comparison.result import prepare_output
from featx.terminal import tell


@dataclass
class DomainComparison(DomainResult):
    """A comparison of domains that can be kept; see `featx.results.DomainResult`."""

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
        from featx.report import write_domains
        from featx.results import write_atomically

        folder = prepare_output(directory)
        self.write_json(folder / "results.json")
        write_atomically(folder / "results.csv", frame_csv(self.to_frame()))
        write_domains(folder / "report.html", self)
        return folder / "report.html"


@checked(source="data", target="data")
def compare_domains(
    source: Any,
    target: Any,
    *,
    backbone: Any = "mobilenet_v2",
    classifier: str = "logreg",
    adaptations: str | Sequence[str] | None = None,
    test_size: float = 0.25,
    seed: int = 0,
    n_boot: int = 1000,
    **options: Unpack[StudyOptions],
) -> DomainComparison:
    """Train on the labelled images of one domain and test on another one.

    Parameters
    ----------
    source, target : as in `featx.compare`
        Two collections with the same classes (the target may lack some); also features files, or
        `Features`, of one space. Each with its own split or, without one, a drawn one. Where both show the
        same photographs, give both the same split, or a test image has been trained on.
    backbone : str or Backbone, default="mobilenet_v2"
        One backbone.
    classifier : str, default="logreg"
        The probe behind every method, its settings selected anew for each on the rows it is trained on.
    adaptations : str or sequence of str, optional
        Names of `featx.methods.adaptation.ADAPTATIONS`; default: all that the number of images allows.
    test_size, seed, n_boot
        As in `featx.compare`.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    DomainComparison
        With ``to_frame()``, ``table()``, ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, a class of the target that the source lacks, nothing to train or test on.
    InputError
        The two are embeddings of different spaces.
    UnknownName, WeightsError, ImageError, CacheError
        See `featx.errors`.

    Notes
    -----
    Adaptations see the target's *training* images without their labels, and no test image;
    ``target-trained``, the upper bound, sees the same images with them. All methods are scored on the
    target's test images. Rows are standardised by the source's mean and deviation before they are adapted.
    """
    from featx.methods.adaptation import get_adaptation
    from featx.methods.probes import get_probe

    started = time.perf_counter()
    chosen = [get_adaptation(name) for name in names_of(adaptations) or _all_names()]
    probe = get_probe(classifier)
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    names, sets = embedded([source, target], backbone, network=network, reading=reading, run=run, seed=seed)
    bench = _DomainBench(names, sets, probe.name, test_size, seed, n_boot, run.verbose)

    warnings = []
    for name, features, split in zip(names, sets, bench.splits, strict=True):
        warnings += check_rows(features.embeddings, features.ids, name) + unused_share(split, test_size)
    bench.run("source-only", "Source only", "source", None)
    n_rows = len(bench.splits[0].train) + len(bench.splits[1].train)
    for adaptation in chosen:
        if adaptation.max_rows is not None and n_rows > adaptation.max_rows:
            warnings.append(
                f"{adaptation.title} left out: {n_rows} training images of both domains, at most "
                f"{adaptation.max_rows}"
            )
        else:
            bench.run(adaptation.name, adaptation.title, "adapted", adaptation.build())
    bench.run("target-trained", "Trained on the target", "bound", None)

    own = bench.source_top1
    return DomainComparison(
        source={
            "name": names[0],
            "n_train": len(bench.splits[0].train),
            "n_test": len(bench.splits[0].test),
            "top1": own,
        },
        target={
            "name": names[1],
            "n_train": len(bench.splits[1].train),
            "n_test": len(bench.splits[1].test),
        },
        classes=list(bench.classes),
        backbone=sets[0].space.get("backbone", {}).get("architecture", "features"),
        classifier=probe.name,
        methods=bench.methods,
        space=sets[0].space,
        advice=advise_domains(own, bench.methods),
        forward_passes=sum((f.run or {}).get("forward_passes", 0) for f in sets),
        failures=[{"id": f.id, "reason": f.reason} for features in sets for f in features.failures],
        environment=describe_environment(),
        seed=seed,
        seconds_total=time.perf_counter() - started,
        warnings=warnings,
    )


class _DomainBench:
    """Both domains, split and with labels that mean the same; every method is fitted and scored here."""

    def __init__(self, names, sets: list[Features], classifier, test_size, seed, n_boot, verbose):
        self.rows = [f.embeddings.astype(np.float32, copy=False) for f in sets]
        self.groups = [f.groups for f in sets]
        self.labels: list[np.ndarray] = []
        self.splits: list[Split] = []
        self.classes: tuple[str, ...] = ()
        for name, f in zip(names, sets, strict=True):
            if f.labels is None or f.classes is None:
                raise DatasetError(f"{name}: has no labels; they are needed to train, and to score")
            self.classes = self.classes or f.classes
            foreign = [c for c in f.classes if c not in self.classes]
            if foreign:
                known = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
                raise DatasetError(
                    f"{name}: class {foreign[0]!r} is not one of {names[0]} ({known}); both domains need the "
                    "same classes"
                )
            self.labels.append(np.array([self.classes.index(c) for c in f.classes])[f.labels])
            self.splits.append(
                make_split(
                    f.labels,
                    splits=f.splits,
                    groups=f.groups,
                    test_size=test_size,
                    seed=seed,
                    classes=f.classes,
                )
            )
        self.classifier, self.seed, self.n_boot, self.verbose = classifier, seed, n_boot, verbose
        self.methods: list[DomainMethod] = []

    def run(self, name: str, title: str, kind: str, adapter: Any) -> None:
        """Fit one method, score it on the target's test rows, and test it against source-only."""
        from sklearn.preprocessing import StandardScaler

        from featx.methods.probes import fit_probe
        from featx.metrics import mcnemar_exact

        if self.verbose:
            tell(f"fitting {self.classifier}: {name}")
        began = time.perf_counter()
        domain = 1 if kind == "bound" else 0
        train = self.splits[domain].train
        x, x_test = self.rows[domain][train], self.rows[1][self.splits[1].test]
        if adapter is not None:
            scaler = StandardScaler().fit(x)
            unlabelled = scaler.transform(self.rows[1][self.splits[1].train])
            x = adapter.fit_transform(scaler.transform(x), target=unlabelled)
            x_test = adapter.transform(scaler.transform(x_test))
        groups = self.groups[domain]
        fitted = fit_probe(
            self.classifier,
            x,
            self.labels[domain][train],
            groups=None if groups is None else groups[train],
            seed=self.seed,
        )
        seconds = time.perf_counter() - began
        truth = self.labels[1][self.splits[1].test]
        metrics, predicted = self._scored(fitted, x_test, truth)
        right = predicted == truth
        if kind == "source":
            self._right = right
            own = self.splits[0].test
            self.source_top1 = self._scored(fitted, self.rows[0][own], self.labels[0][own])[0]["top1"]
        versus = None if kind == "source" else mcnemar_exact(right, self._right, seed=self.seed).to_dict()
        self.methods.append(
            DomainMethod(name, title, kind, metrics, seconds, fitted.params, versus, list(fitted.notes))
        )

    def _scored(self, fitted, rows, truth):
        from featx.methods.probes import answers_in_parts, score_answers

        def predict(at: np.ndarray) -> np.ndarray:
            # A target may lack classes of the source; then its own classifier has no column for them.
            probabilities = np.zeros((len(at), len(self.classes)))
            probabilities[:, fitted.classes] = fitted.predict_proba(rows[at])
            return probabilities

        said = answers_in_parts(truth, np.arange(len(rows)), len(self.classes), predict)
        return score_answers(truth, said, n_boot=self.n_boot, seed=self.seed), said.labels


def _all_names() -> tuple[str, ...]:
    from featx.methods.adaptation import adaptation_names

    return adaptation_names()
