"""The methods that a cell fits: probes, probes on rows adapted to another domain, and detectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data.tasks import names_of
from featx.errors import InputError
from featx.methods.probes.definitions import define
from featx.results.methods import trains_network
from featx.studies.evaluation.text_rows import TextRows

if TYPE_CHECKING:
    from featx.methods.probes.fitted import FittedProbe
    from featx.methods.probes.probe import TaskName
    from featx.studies.evaluation.cells import Cell


@dataclass
class Fit:
    """A fitted method."""

    #: Takes row numbers (n,); returns probabilities (n, n_classes), or numbers (n,).
    predict: Callable[[np.ndarray], np.ndarray]
    seconds: float  # for selecting the settings and fitting
    params: dict[str, Any] = field(default_factory=dict)  # the selected settings
    notes: list[str] = field(default_factory=list)
    cv_score: float = 0.0  # out-of-fold score of the settings; 0 where no row could be held out
    curves: dict[str, Any] | None = None  # values by epoch, for a fine-tuned network
    model: Any = None  # the fitted probe or detector
    title: str = ""  # of a variant of the method; empty: its own


@dataclass(frozen=True, eq=False)
class Method:
    """Whatever gets a row in a comparison: a probe, a fine-tuned mode, a reference, a detector."""

    name: str
    title: str  # for people
    kind: str = "probe"  # or "finetune", or "floor" for a reference; some studies have their own kinds
    backbone: str | None = None  # whose embeddings it works on; None: pixels, words, or no input

    @property
    def trains_network(self) -> bool:
        """Whether it trains the network, rather than only a classifier or a head on frozen embeddings."""
        return trains_network(self.kind, self.name)

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages whose version may change the outcome."""
        return "numpy", "scipy", "scikit-learn"

    @property
    def progress(self) -> str:
        """The line shown while it is fitted."""
        return f"fitting {self.name}" + (f" on {self.backbone}" if self.backbone else "")

    def followed(self, cell: Cell) -> Any:
        """Return the progress of a fit of this cell that runs now; None if it cannot be followed.

        It has ``doing``, words, and ``seconds_left``, a number or None.
        """
        return None

    def define(self, cell: Cell) -> Any:
        """Return what decides the outcome besides rows, split, seed and versions, as JSON values."""
        raise NotImplementedError

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        """Fit the method on the training rows of a cell."""
        raise NotImplementedError


class ProbeMethod(Method):
    """A probe, regressor or reference of the registry."""

    def define(self, cell: Cell) -> Any:
        rows, train = cell.rows, cell.split.train
        from featx.methods.probes import definition_of

        found = definition_of(
            self.name, rows.y[train], rows.x.shape[1], task=rows.task, seed=cell.seed, device=rows.device
        )
        return found | ({"terms": rows.x.definition} if isinstance(rows.x, TextRows) else {})

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        from featx.methods.probes.fitting import fit_to

        rows, split = cell.rows, cell.split
        validation = None if split.val is None else np.searchsorted(split.train, split.val)
        shared = rows.training_rows(split.train, cell.seed)
        fitted = fit_to(self.name, shared, validation=validation, n_jobs=n_jobs)
        return replace(self._fit(fitted, rows.take), title=fitted.title)

    def fit_rows(
        self,
        cell: Cell,
        x: np.ndarray,
        inputs: Callable[[np.ndarray], np.ndarray],
        n_jobs: int | None = None,
    ) -> Fit:
        """Fit on `x`, the inputs of the training rows; `inputs` returns the inputs of any rows by number."""
        from featx.methods.probes import fit_probe

        fitted = fit_probe(
            self.name,
            x,
            cell.rows.y[cell.split.train],
            task=cell.rows.task,
            groups=cell.rows.groups_of(cell.split.train),
            seed=cell.seed,
            n_jobs=n_jobs,
            device=cell.rows.device,
        )
        return self._fit(fitted, inputs)

    @staticmethod
    def _fit(fitted: FittedProbe, inputs: Callable[[np.ndarray], np.ndarray]) -> Fit:
        predict = fitted.predict if fitted.task == "numbers" else fitted.predict_proba
        return Fit(
            predict=lambda at: predict(inputs(at)),
            seconds=fitted.seconds,
            params=fitted.params,
            notes=list(fitted.notes),
            cv_score=fitted.cv_score or 0.0,
            model=fitted,
        )


@dataclass(frozen=True, eq=False)
class AdaptedProbe(Method):
    """The probe `classifier`, trained on rows of one domain and adapted to another.

    `adapter` (a `DomainAdapter` or None) is fitted on the training rows and on the `unlabelled` rows of the
    other domain, both standardised with the mean and deviation of the training rows.
    """

    classifier: str = "logreg"
    adapter: Any = None
    unlabelled: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def progress(self) -> str:
        return f"fitting {self.classifier}: {self.name}"

    def define(self, cell: Cell) -> Any:
        return {
            "classifier": ProbeMethod(self.classifier, self.title).define(cell),
            "adapter": define(self.adapter),
            "unlabelled": cell.rows.digest(self.unlabelled, labelled=False),
        }

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        from sklearn.preprocessing import StandardScaler

        began = time.perf_counter()
        rows, adapter = cell.rows.x, self.adapter
        x, inputs = rows[cell.split.train], lambda at: rows[at]
        if adapter is not None:
            scaler = StandardScaler().fit(x)
            x = adapter.fit_transform(scaler.transform(x), target=scaler.transform(rows[self.unlabelled]))
            inputs = lambda at: adapter.transform(scaler.transform(rows[at]))  # noqa: E731
        fit = ProbeMethod(self.classifier, self.title).fit_rows(cell, x, inputs, n_jobs)
        known, predict = fit.model.classes, fit.predict

        def predict_all(at: np.ndarray) -> np.ndarray:
            # A target may lack classes of the source: a probe trained on it has no columns for them.
            probabilities = np.zeros((len(at), cell.rows.n_classes or 0))
            probabilities[:, known] = predict(at)
            return probabilities

        fit.predict, fit.seconds = predict_all, time.perf_counter() - began
        return fit


@dataclass(frozen=True, eq=False)
class DetectorMethod(Method):
    """An anomaly detector fitted on normal rows; it predicts a decision value, below 0 for an anomaly."""

    contamination: float = 0.05
    normal: str = ""

    @property
    def progress(self) -> str:
        return f"fitting {self.name}: normal is {self.normal}"

    def _build(self, cell: Cell) -> Any:
        from featx.methods.detectors import get_detector

        n, dim = len(cell.split.train), cell.rows.x.shape[1]
        return get_detector(self.name).build(n, dim, self.contamination, cell.seed)

    def define(self, cell: Cell) -> Any:
        return define(self._build(cell))

    def fit(self, cell: Cell, n_jobs: int | None = None) -> Fit:
        began, rows = time.perf_counter(), cell.rows.x
        train = cell.split.train
        model = self._build(cell).fit(rows[train], groups=cell.rows.groups_of(train))
        return Fit(lambda at: model.decision_function(rows[at]), time.perf_counter() - began, model=model)


def choose_probes(
    option: str, asked: Any, *, task: TaskName = "classes", default: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the names of the probes asked for, or the default ones; refuse references, naming the option."""
    from featx.methods.probes import get_probe, probe_names

    probes = [get_probe(name, task) for name in names_of(asked) or default or probe_names(task)]
    for probe in probes:
        if probe.kind == "floor":
            raise InputError(f"{option}: {probe.name!r} is a reference, which is run anyway; name probes")
    return tuple(dict.fromkeys(probe.name for probe in probes))


def probe_method(name: str, backbone: str | None = None, *, task: TaskName = "classes") -> ProbeMethod:
    """Return the method of a probe on the embeddings of `backbone`, or of a reference."""
    from featx.methods.probes import get_probe

    found = get_probe(name, task)
    return ProbeMethod(found.name, found.title, found.kind, backbone)
