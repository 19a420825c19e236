"""Learning curves: run every method on the same draws of few, more and all labelled inputs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.clusters import opens_cluster
from featx.data.splits import Split
from featx.data.tasks import Task
from featx.errors import InputError, UnknownName
from featx.options import CheckedOptions, Network, Reading, Run, checked, modes_in
from featx.results import CurveDraw, CurveLevel, CurveMethod, CurveResult
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison.classes import describe_classes
from featx.studies.comparison.evaluate import describe_run, note_unused_share
from featx.studies.comparison.group_effect import describe_shared_groups, note_shared_groups
from featx.studies.comparison.input_rows import MISSING
from featx.studies.comparison.study_data import StudyData, load_study_data
from featx.studies.curves.drawing import (
    DEFAULT_SHOTS,
    PROTOCOLS,
    Level,
    Protocol,
    Shots,
    check_shots,
    draw,
    find_levels,
    get_protocol,
)
from featx.studies.curves.scores import measure_pool, score_draws
from featx.studies.curves.summary import (
    advise,
    find_crossings,
    find_leaders,
    find_reference_gaps,
    summarise_points,
)
from featx.studies.curves.two_way import Pool
from featx.studies.evaluation import (
    Cell,
    FineTuning,
    Method,
    TuningSetup,
    choose_probes,
    probe_method,
    require_network_mode,
    run_cells_in_parallel,
)
from featx.studies.evaluation.cost import COPIES, Size
from featx.studies.kept_checks import KeptChecks, copies_key
from featx.studies.output import Reported, prepare_output, removes_unused_folder
from featx.studies.units import explain_limited_search, find_copies, find_units, unchecked

__all__ = [
    "CHECKPOINT_FILE",
    "DEFAULT_SHOTS",
    "PROTOCOLS",
    "LearningCurve",
    "Protocol",
    "Shots",
    "learning_curve",
]

#: The file of finished cells in the folder `resume`.
CHECKPOINT_FILE = "cells.journal"
#: If a class has at most this many inputs, none is held out for validation: fine-tuning runs all epochs.
NO_VALIDATION = 2
DEFAULT_CLASSIFIERS = ("logreg", "svm", "knn", "lda", "ridge")


@dataclass
class LearningCurve(Reported, CurveResult):
    """Learning curves of several methods on the same draws; see `featx.results.curve` for the fields."""


@checked(seeds="draws")
@removes_unused_folder
@opens_cluster
def learning_curve(
    data: Any,
    labels: Any = None,
    *,
    shots: Shots | Iterable[Shots] | None = None,
    seeds: int | None = None,
    classifiers: str | Sequence[str] | None = None,
    baseline: str | Sequence[str] | None = "none",
    protocol: str | None = None,
    backbones: str | Sequence[Any] = ("auto",),
    test_size: float = 0.25,
    seed: int = 0,
    epochs: int | None = None,
    augment: bool = False,
    resume: str | Path | None = None,
    **options: Unpack[CheckedOptions],
) -> LearningCurve:
    """Measure how accuracy grows with the number of labelled inputs, for several methods on the same draws.

    The test inputs are fixed: those of the data's own split, or of one drawn split. Each of
    `seeds` draws puts the other inputs of every class into an order; k shots are the first k of a class. A
    level contains the inputs of all smaller ones, and every method gets the same inputs. A class that has
    fewer than k gives all it has, and the result says so. Raw pixels of images, TF-IDF of texts or filter
    banks of clips are a curve too: of texts and clips, the result says from how many labels on this reference
    keeps up with the best probe.

    Parameters
    ----------
    data, labels
        As in `featx.compare`: inputs, or a features file (then there is neither a reference that
        works on the inputs nor a baseline).
    shots : int, "all" or iterable of them, optional
        Training inputs of each class; default: 1, 2, 5, 10, 20, 50 and all.
    seeds : int, optional
        Draws; default: 10.
    classifiers : str or sequence of str, optional
        Names of `featx.methods.probes.CLASSIFIERS`; default: logreg, svm, knn, lda and ridge.
    baseline : "none" or sequence of fine-tuning modes, default="none"
        Such as ``["head", "last"]``; they run on the first of the backbones. Each is trained by the default
        recipe for its number of inputs, on 80 % of the draw; the rest chooses the epoch, and all are trained
        on again up to it. A draw in which some class has 1 or 2 inputs is used whole, for all epochs. The
        learning rate is not searched for, and inputs are not augmented unless `augment` is set.
    protocol : str, optional
        A few-shot protocol of the literature, a name in `PROTOCOLS`: it sets `shots`, `seeds` and
        `classifiers` where they are not given.
    backbones : str, torch.nn.Module, Backbone or sequence of them, default=("auto",)
        One or several backbones, as in `featx.compare`.
    test_size : float, default=0.25
        Share of test inputs where the data has no split of its own.
    seed : int, default=0
        Seed of the split, of the draws and of everything in them.
    epochs : int, optional
        Epochs of the fine-tuning modes that train the network; default: the recipe's.
    augment : bool, default=False
        Random changes of images (crops, flips) and clips (crops, gain, noise, masks of time and frequency)
        for those modes. Every epoch then sends every input through the network;
        without them the frozen part is computed once.
    resume : path-like, optional
        A folder that keeps each cell (method, shots, draw) as soon as it is finished. The next run, also
        after a kill, takes from it the cells of exactly the same work (inputs, labels, method, parameters,
        seed, versions), so runs with other settings may share the folder.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`; `device` as in
        `featx.compare`. Embeddings are extracted
        once for all cells; `n_jobs` cells are computed at a time, which does not change the numbers. With
        `on`, extraction and cells run on the cluster, as in `featx.compare`.

    Returns
    -------
    LearningCurve
        With ``to_frame()``, ``table()``, ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, a class with a single input, no inputs.
    InputError
        Invalid shots or seeds; a task that is a number; a baseline without the inputs.
    UnknownName, WeightsError, ImageError, TextError, CacheError, OutputError
        See `featx.errors`.

    Notes
    -----
    A point is the mean over the draws, which estimates the accuracy on new test inputs of the method trained
    on as many new inputs. Its interval counts draws and test inputs together, whose groups and copies are one
    unit each; see `featx.studies.curves.two_way`.

    Where the data has groups, a draw takes one input of each group before the second of any; folds and
    validation parts never divide a group.
    """
    started = time.perf_counter()
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    preset = None if protocol is None else get_protocol(protocol)
    wanted = check_shots(shots if shots is not None else preset.shots if preset else DEFAULT_SHOTS)
    n_draws = seeds if seeds is not None else preset.seeds if preset else 10
    default = preset.classifiers if preset and classifiers is None else DEFAULT_CLASSIFIERS
    names = choose_probes("classifiers", classifiers, default=default)
    modes = _modes(baseline)
    require_network_mode(modes, epochs, augment)
    checkpoints = Checkpoints(None if resume is None else prepare_output(resume) / CHECKPOINT_FILE)
    study = load_study_data(
        data,
        labels,
        backbones=backbones,
        network=network,
        reading=reading,
        run=run,
        test_size=test_size,
        seed=seed,
        check_methods=lambda tasks, inputs, kind: _check_task(tasks, inputs, kind, data, modes),
        check_networks=lambda nets: _check_trainable(nets, modes),
    )
    first, split = study.first, study.split(test_size, seed)
    y, classes = np.asarray(first.labels), first.classes or ()
    available = np.bincount(y[split.train], minlength=len(classes))
    found, notes = find_levels(wanted, available, study.kind)
    if study.dataset is None:
        notes.append(
            f"from a features file: {MISSING[study.kind]} and no fine-tuned baseline without the "
            f"{study.kind}s"
        )
    methods = _methods(study, names, modes, run=run, epochs=epochs, augment=augment)
    drawn = [
        draw(y, split.train, len(classes), number=i, seed=seed, groups=first.groups) for i in range(n_draws)
    ]
    grid = [(method, level, d) for method in methods for level in found for d in drawn]
    cells = [
        Cell(method, study.rows_of(method), Split(d.rows(level), split.test), d.seed, "small_answers")
        for method, level, d in grid
    ]
    rows = study.inputs[next(iter(study.sets))]
    kept = KeptChecks.beside(run.cache)
    checks = []
    searched = run.checks and explain_limited_search(rows.x) is None
    if run.verbose and searched and copies_key(rows.digests, study.fingerprints) not in kept:
        checks = [Size(COPIES, len(split.train), len(split.test), rows.width, len(classes))]
    outcomes = run_cells_in_parallel(
        cells, checkpoints, n_jobs=run.n_jobs, verbose=run.verbose, cluster=run.on, checks=checks
    )
    copies = None
    if run.checks:
        copies = find_copies(rows.x, fingerprints=study.fingerprints, kept=kept, digests=rows.digests)
    units = find_units(first.groups, copies, len(y))
    pool = measure_pool(y, drawn, found, units.of, len(classes))
    shape = (len(methods), len(found), n_draws)
    scores = score_draws(outcomes, y[split.test], shape, pool, units=units.take(split.test), seed=seed)
    draws = [
        CurveDraw(
            method.name,
            method.backbone,
            level.shots,
            d.number,
            metrics=metrics,
            seconds={name: float(value or 0.0) for name, value in outcome.seconds.items()},
            params=outcome.params,
            notes=outcome.notes,
            earlier_run=outcome.earlier_run,
        )
        for (method, level, d), outcome, metrics in zip(grid, outcomes, scores.draws, strict=True)
    ]
    if not run.checks:
        notes.append(unchecked(first.kind))
    elif limited := explain_limited_search(rows.x, first.kind):
        notes.append(limited)
    tuned = [m for m in methods if isinstance(m, FineTuning)]
    result = LearningCurve(
        dataset=describe_classes(study, split),
        levels=_describe_levels(found, classes, pool),
        methods=[CurveMethod(m.name, m.title, m.kind, m.backbone) for m in methods],
        draws=draws,
        points=[],
        n_draws=n_draws,
        **describe_run(study),
        seed=seed,
        warnings=[
            *notes,
            *study.notes,
            *note_shared_groups(describe_shared_groups(study, split), first.groups is not None),
            *note_unused_share(split, test_size),
            *_note_levels(found, pool, n_draws, study.kind),
            *checkpoints.notes([d.earlier_run for d in draws], "cells (method, shots, draw)"),
        ],
        protocol=None if protocol is None else str(protocol),
        recipe=_recipe_in_words(tuned, study.kind) if tuned else None,
        left_out={m.name: list(m.setup.omissions(m.mode)) for m in tuned},
        cells={"computed": checkpoints.added, "resumed": checkpoints.found},
        intervals="draws and test images",
        units=units.describe(split.test),
        search_for_copies=units.search,
    )
    result.points = summarise_points(result, scores)
    result.leaders = find_leaders(result, scores)
    result.crossings = find_crossings(result, scores)
    result.reference_gaps = find_reference_gaps(result, scores)
    result.advice = advise(result)
    result.seconds_total = time.perf_counter() - started
    return result


def _modes(baseline: str | Sequence[str] | None) -> list[str]:
    asked = modes_in(baseline)
    if not asked:
        return []
    from featx.methods.finetune import MODES

    for mode in asked:
        if mode not in MODES:
            raise UnknownName("baseline", str(mode), ("none", *MODES))
    return [mode for mode in MODES if mode in asked]


def _methods(
    data: StudyData,
    names: Sequence[str],
    modes: Sequence[str],
    *,
    run: Run,
    epochs: int | None,
    augment: bool,
) -> list[Method]:
    found: list[Method] = [probe_method(name) for name in data.references]
    found += [probe_method(name, backbone) for backbone in data.sets for name in names]
    if modes:
        assert data.dataset is not None  # checked by `_check_task`
        net = next(iter(data.nets.values()))
        inputs = data.dataset.inputs
        setup = TuningSetup(net, inputs, run.device, epochs, augment, NO_VALIDATION, cluster=run.on)
        found += [FineTuning.of(mode, setup) for mode in modes]
    return found


def _check_task(tasks: Mapping[str, Task], inputs: bool, kind: str, data: Any, modes: Sequence[str]) -> None:
    name = str(data) if isinstance(data, str | Path) else getattr(data, "name", type(data).__name__)
    if len(tasks) > 1:
        known = ", ".join(tasks)
        raise InputError(f"{name}: has several tasks ({known}); choose one of classes with label")
    for task in tasks.values():
        if task.classes is None:
            raise InputError(f"{name}: {task.name} is a number; a learning curve needs classes")
    if modes and not inputs:
        raise InputError(f"baseline: fine-tuning needs the {kind}s, and this is a features file; use 'none'")


def _check_trainable(nets: Mapping[str, Any], modes: Sequence[str]) -> None:
    from featx.methods.finetune import require_trainable

    require_trainable(next(iter(nets.values())), modes)  # the one that is fine-tuned


def _describe_levels(found: Sequence[Level], classes: Sequence[str], pool: Pool) -> list[CurveLevel]:
    return [
        CurveLevel(
            level.shots,
            level.n_train,
            level.per_class,
            level.short(classes),
            overlap=float(overlap),
            pool_from=found[source].shots if pool.known else None,
        )
        for level, overlap, source in zip(found, pool.overlap, pool.source.tolist(), strict=True)
    ]


def _note_levels(found: Sequence[Level], pool: Pool, n_draws: int, kind: str) -> list[str]:
    notes = []
    for level in found:
        lacking = sum(level.shots != "all" and n < level.shots for n in level.counts)
        if lacking:
            notes.append(
                f"{level.shots} shots: {lacking} of {len(level.counts)} classes have fewer {kind}s and give "
                f"all they have ({level.n_train} training {kind}s)"
            )
    if n_draws > 1 and not pool.known:
        notes.append(
            f"two draws have more than half of their training {kind}s in common at every number of {kind}s "
            f"tried: the intervals hold for other test {kind}s, but not for other training {kind}s than "
            "these; fewer shots would tell"
        )
    return notes


def _recipe_in_words(tuned: Sequence[FineTuning], kind: str) -> str:
    said = (
        f"Fine-tuned by the default recipe for the number of {kind}s: 80 % of each draw are trained on, the "
        "rest chooses the epoch, and all are trained on again up to it. Where a class has "
        f"{NO_VALIDATION} {kind}s or fewer, all are trained on for all epochs, without validation."
    )
    left = {m.title: m.setup.omissions(m.mode) for m in tuned}
    parts = [f"{title}: {', '.join(words)}" for title, words in left.items() if words]
    if parts:
        said += f" Left out, so that fine-tuning may do better in a comparison: {'; '.join(parts)}."
    return said
