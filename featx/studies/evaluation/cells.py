"""Cells, a method on a split each, and the labelled rows that they work on.

The outcome of a cell depends only on what its key names, so it is the same alone, beside other cells, and
after a restart.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.data.splits import Split
from featx.energy import Meter, Reading
from featx.studies.checkpoints import digest_rows, key_of
from featx.studies.evaluation.methods import Fit, Method
from featx.studies.evaluation.outcomes import (
    valid_answers,
    valid_held_out,
    valid_probabilities,
    valid_values,
)
from featx.studies.evaluation.text_rows import TextRows

if TYPE_CHECKING:
    from featx.methods.probes.probe import TaskName
    from featx.methods.probes.training_rows import TrainingRows

#: Raised where older keys or records would be misread.
_FORMAT = 4
#: Bytes of each number that is kept for a row.
_BYTES = 8
#: Splits whose shared work each thread keeps in memory.
_SPLITS_SHARED = 2

#: What a record keeps: what scoring needs of the predicted classes, the same in few bytes, the predicted
#: numbers, all probabilities of the test rows, or the out-of-fold probabilities of the training rows.
Keep = Literal["answers", "small_answers", "values", "probabilities", "held_out"]


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Embeddings, pixels or texts, with the classes or numbers to predict."""

    x: Any  # ndarray or StoredRows of shape (n, d), or TextRows of shape (n, 1)
    y: np.ndarray  # (n,): classes, or numbers
    n_classes: int | None = None  # None: `y` are numbers
    groups: np.ndarray | None = None  # (n,): the rows of a group stay on one side of every fold
    device: Any = "cpu"  # where probes compute large products; "auto" is the CPU
    kind: str = "image"  # the kind of input, for notes
    _of_thread: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # Where it is unpickled, nothing is shared yet; keys, and so digests, are made by the sender.
        return {name: value for name, value in vars(self).items() if name not in ("_of_thread", "digests")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _of_thread=threading.local())

    @property
    def task(self) -> TaskName:
        """What is predicted: ``"classes"`` or ``"numbers"``."""
        return "numbers" if self.n_classes is None else "classes"

    @property
    def width(self) -> float:
        """The numbers in a row, by which times are estimated; for texts, the mean number of characters."""
        return self.x.characters if isinstance(self.x, TextRows) else self.x.shape[1]

    @cached_property
    def digests(self) -> np.ndarray:
        """The digest of each row, ndarray of shape (n,)."""
        return self.x.digests if isinstance(self.x, TextRows) else digest_rows(self.x)

    def training_rows(self, train: np.ndarray, seed: int) -> TrainingRows:
        """Return the training rows of a split; methods in one thread share what they compute.

        A thread keeps the latest splits only, and nothing when it ends.
        """
        from featx.methods.probes.arguments import check_groups
        from featx.methods.probes.products import products_on
        from featx.methods.probes.row_blocks import rows_of
        from featx.methods.probes.training_rows import TrainingRows

        key = (hashlib.blake2b(train.tobytes(), digest_size=16).digest(), seed)
        latest: dict[Any, TrainingRows] = self._of_thread.__dict__.setdefault("latest", {})
        found = latest.pop(key, None)
        if found is None:
            groups = check_groups(self.groups_of(train), len(train))
            rows = rows_of(self.x[train]) if isinstance(self.x, TextRows) else rows_of(self.x, train)
            products = products_on(self.device)
            found = TrainingRows(
                rows,
                self.y[train],
                groups,
                task=self.task,
                seed=seed,
                products=products,
                kind=self.kind,
            )
        latest[key] = found
        while len(latest) > _SPLITS_SHARED:
            latest.pop(next(iter(latest)))
        return found

    def take(self, rows: np.ndarray) -> Any:
        """Return some rows by position: an array, or many rows as a `RowBlocks`, which is no copy."""
        from featx.methods.probes.row_blocks import take_rows

        return self.x[rows] if isinstance(self.x, TextRows) else take_rows(self.x, rows)

    def forget(self) -> None:
        """Forget what methods in this thread have shared."""
        self._of_thread.__dict__.clear()

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the groups of some rows; None where there are no groups."""
        return None if self.groups is None else self.groups[rows]

    def digest(self, rows: np.ndarray, *, labelled: bool = True) -> str:
        """Return a digest of some rows in their order: inputs, and with `labelled` labels and groups."""
        found = hashlib.blake2b(self.digests[rows].tobytes(), digest_size=16)
        if labelled:
            found.update(self.y.dtype.str.encode() + self.y[rows].tobytes())
            if self.groups is not None:
                found.update(repr(self.groups[rows].tolist()).encode("utf-8", "surrogatepass"))
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Cell:
    """A method on a split: `run` computes its outcome, `key` identifies it."""

    method: Method
    rows: LabelledRows
    split: Split
    seed: int
    keep: Keep = "answers"
    fit: Fit | None = None  # the method as fitted on this split, so that `run` does not fit it again

    @cached_property
    def key(self) -> str:
        """A digest of everything that decides the outcome.

        That is: the method's definition (a probe's estimator and grid with the parameters of every step),
        the inputs, labels and groups of its training and test rows, the seed, and the versions of the
        packages that compute.
        """
        import featx

        split, digest = self.split, self.rows.digest
        versions = {name: installed_version(name) for name in self.method.packages}
        return key_of(
            {
                "format": _FORMAT,
                "keep": self.keep,
                "method": self.method.name,
                "definition": self.method.define(self),
                "n_classes": self.rows.n_classes,
                "train": digest(split.train),
                "test": digest(split.test),
                "validation": None if split.val is None else digest(split.val),
                "seed": self.seed,
                "packages": versions | {"featx": featx.__version__},
            }
        )

    def run(self, *, n_jobs: int | None = None, meter: Meter | None = None) -> tuple[dict[str, Any], Fit]:
        """Fit the method on the training rows and evaluate it on the test rows.

        `n_jobs` is the number of threads of the fit (default: one for each core); `meter` measures its
        energy. Returns the record (see `featx.studies.evaluation.outcomes`) and the fitted method.
        """
        with meter.measure() if meter else contextlib.nullcontext(Reading()) as reading:
            fit = self.fit or self.method.fit(self, n_jobs)
        test, began = self.split.test, time.perf_counter()
        if self.keep == "probabilities":
            return {"probabilities": fit.predict(test)}, fit
        if self.keep == "held_out":
            return {"found": self._held_out(fit)}, fit
        record: dict[str, Any] = (
            {"values": fit.predict(test)} if self.keep == "values" else self._answers(fit)
        )
        spent = time.perf_counter() - began
        if self.keep == "small_answers":
            record = self._in_few_bytes(record)
        record |= {"seconds": {"fit": fit.seconds, "predict_per_image": spent / len(test)}}
        record |= {"joules": reading.joules, "params": fit.params, "notes": fit.notes}
        record |= {"title": fit.title or self.method.title}
        return record | {"curves": fit.curves, "cv_score": fit.cv_score}, fit

    def is_valid(self, record: Any) -> bool:
        """Whether a record of an earlier run, which may hold anything, is one of this cell."""
        test, k = self.split.test, self.rows.n_classes or 0
        if self.keep in ("answers", "small_answers"):
            return valid_answers(record, self.rows.y[test], k)
        if self.keep == "probabilities":
            return valid_probabilities(record, (len(test), k))
        if self.keep == "held_out":
            return valid_held_out(record, (len(self.split.train), k))
        return valid_values(record, len(test))

    @property
    def most_bytes(self) -> int:
        """The most bytes that the arrays of its record can take."""
        test, train, k = len(self.split.test), len(self.split.train), (self.rows.n_classes or 0) + 1
        most = {"probabilities": test * k, "held_out": train * k}
        return _BYTES * most.get(self.keep, 3 * test)

    def _answers(self, fit: Fit) -> dict[str, Any]:
        from featx.metrics import predict_answers

        found = predict_answers(self.rows.y, self.split.test, self.rows.n_classes or 0, fit.predict)
        return {"labels": found.labels, "sure": found.sure, "true": found.true}

    def _in_few_bytes(self, answers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return answers in at most 12 bytes a row: a study of hundreds of cells keeps all of them."""
        labels = answers["labels"].astype(np.min_scalar_type(max((self.rows.n_classes or 1) - 1, 0)))
        return {"labels": labels} | {name: answers[name].astype(np.float32) for name in ("sure", "true")}

    def _held_out(self, fit: Fit) -> tuple[np.ndarray, np.ndarray] | None:
        from featx.methods.probes import held_out_probabilities

        train, rows = self.split.train, self.rows
        groups = rows.groups_of(train)
        return held_out_probabilities(
            fit.model, rows.take(train), rows.y[train], groups=groups, seed=self.seed
        )


@cache
def installed_version(package: str) -> str | None:
    """Return the version of a package; None for what is not installed as one, such as a user's own module."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
