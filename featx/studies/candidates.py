"""Score the candidates of a ranking: by transferability scores, and by a probe that is trained and tested."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from featx.analysis.transferability import (
    Spectrum,
    h_score,
    h_score_shrunk,
    leep,
    logme,
    nce,
    transrate,
)
from featx.clusters import Cluster, Task
from featx.data.splits import Split
from featx.errors import DatasetError
from featx.options import Run
from featx.studies.evaluation import Cell, LabelledRows, probe_method, run_cells
from featx.studies.units import Units
from featx.terminal import tell


@dataclass
class ToScore:
    """The candidates of a backbone, and what their scores are computed from."""

    embeddings: list[np.ndarray]
    y: np.ndarray
    probabilities: np.ndarray | None  # of the source classes
    rows: np.ndarray  # those to score on


def score_candidates(
    given: ToScore, members: Sequence[Any], run: Run
) -> Iterator[tuple[dict[str, float | None], float]]:
    """Yield the scores of each candidate, and their seconds; on a cluster all are computed first."""
    cluster: Cluster | None = run.on
    if cluster is not None:
        tasks = [Task(at, at) for at in range(len(members))]
        found = {task.key: scores for task, scores in cluster.run(_score_candidate, tasks, given)}
        yield from (found[task.key] for task in tasks)
        return
    for at, member in enumerate(members):
        if run.verbose:
            tell(f"scoring {member.name} {member.layer}")
        yield _score_candidate(given, at)


def _score_candidate(given: ToScore, at: int) -> tuple[dict[str, float | None], float]:
    began, rows = time.perf_counter(), given.rows
    probabilities = None if given.probabilities is None else given.probabilities[rows]
    scores = _score(given.embeddings[at][rows], given.y[rows], probabilities)
    return scores, time.perf_counter() - began


def _score(X: np.ndarray, y: np.ndarray, probabilities: np.ndarray | None) -> dict[str, float | None]:
    spectrum = Spectrum.of(X, y)
    equal = not len(spectrum.centred_squares)  # all rows are
    return {
        "logme": logme(X, y, spectrum=spectrum),
        # Without more images than values it is always the number of classes less 1, up to rounding.
        "h_score": h_score(X, y, spectrum=spectrum) if len(X) > X.shape[1] else None,
        "h_score_shrunk": None if equal else h_score_shrunk(X, y, spectrum=spectrum),
        "transrate": transrate(X, y, spectrum=spectrum),
        "leep": None if probabilities is None else leep(probabilities, y),
        "nce": None if probabilities is None else nce(probabilities, y),
    }


def answer_by_probe(
    embeddings: Sequence[np.ndarray], y: np.ndarray, units: Units, split: Split | None, seed: int, run: Run
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield for each candidate whether logistic regression gets the inputs right (n,), and its seconds.

    Without a split every input is tested in a fold, and no unit is on both sides of a fold.
    """
    from featx.methods.probes.folds import make_folds

    together = units.take(np.arange(len(y)))
    folds = [(split.train, split.test)] if split is not None else make_folds(y, together, seed)
    if not folds:
        raise DatasetError(
            "no folds for the probe keep every class in training; rank without it (--no-probe)"
        )
    method, splits = probe_method("logreg"), [Split(train, held) for train, held in folds]
    # Here one candidate after another, so that what is computed from its rows can be forgotten.
    for some in [[X] for X in embeddings] if run.on is None else [embeddings]:
        each = [LabelledRows(X, y, len(np.unique(y)), together, run.device) for X in some]
        cells = [Cell(method, rows, one, seed) for rows in each for one in splits]
        outcomes = run_cells(cells, n_jobs=run.n_jobs, cluster=run.on)
        for _ in each:
            right, seconds = np.zeros(len(y), bool), 0.0
            for one, outcome in zip(splits, islice(outcomes, len(splits)), strict=True):
                right[one.test] = outcome.labels == y[one.test]
                spent = outcome.seconds
                seconds += (spent["fit"] or 0.0) + len(one.test) * (spent["predict_per_image"] or 0.0)
            yield right, seconds
