"""Compare probes on frozen features, two references and the fine-tuned baseline, on identical splits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.data.tasks import Task, names_of
from featx.energy import Meter
from featx.errors import InputError, UnknownName
from featx.options import checked, modes_in
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison.anomaly import AnomalyComparison, compare_detectors, find_anomalies
from featx.studies.comparison.classes import compare_classes
from featx.studies.comparison.domains import DomainComparison, compare_domains
from featx.studies.comparison.evaluate import CHECKPOINT_FILE, Options
from featx.studies.comparison.numbers import compare_numbers
from featx.studies.comparison.result import (
    Comparison,
    RegressionComparison,
    leaving_nothing,
    prepare_output,
    tidying,
)
from featx.studies.comparison.study_data import load_study_data
from featx.studies.comparison.tasks import TaskComparisons
from featx.terminal import tell

__all__ = [
    "BASELINE_MODES",
    "AnomalyComparison",
    "Comparison",
    "DomainComparison",
    "RegressionComparison",
    "TaskComparisons",
    "compare",
    "compare_detectors",
    "compare_domains",
    "find_anomalies",
    "leaving_nothing",
    "prepare_output",
    "tidying",
]

#: Fine-tuning modes of the baseline, cheapest first.
BASELINE_MODES = ("head", "last", "gradual", "full")
#: Those of ``baseline="finetune"``.
_DEFAULT_MODES = ("head", "last", "full")


@checked()
@tidying
def compare(
    data: Any,
    labels: Any = None,
    *,
    backbones: str | Sequence[Any] = ("mobilenet_v2",),
    classifiers: str | Sequence[str] | None = None,
    baseline: str | Sequence[str] | None = "finetune",
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    engine: str = "auto",
    device: str = "auto",
    batch_size: int | str = "auto",
    test_size: float = 0.25,
    seed: int = 0,
    seeds: int = 1,
    epochs: int | None = None,
    cache: Any = None,
    limit: int | None = None,
    on_error: str = "raise",
    n_boot: int = 1000,
    n_jobs: int | None = None,
    verbose: bool = False,
    label: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    regressors: str | Sequence[str] | None = None,
    resume: str | Path | None = None,
    ensemble: bool = True,
    split_by: str | None = None,
) -> Comparison | RegressionComparison | TaskComparisons:
    """Compare classifiers on frozen embeddings with each other and with fine-tuning.

    Parameters
    ----------
    data, labels
        As in `featx.extract`; also the path of a features file or a `Features`, from which the probes are
        compared without the images (then there is neither a raw-pixel reference nor a fine-tuned baseline).
    backbones : str or sequence, default=("mobilenet_v2",)
        One or several backbones.
    classifiers : str or sequence of str, optional
        Names of `featx.methods.probes.PROBES`; default: all but the protocols, which are used on request.
    baseline : {"finetune", "none"} or sequence of {"head", "last", "gradual", "full"}, default="finetune"
        ``"finetune"`` runs ``head``, ``last`` and ``full``; None is ``"none"``. The modes run on the backbone
        whose probes did best in cross-validation.
    weights, layer, pooling, image_size, precision, engine, device, batch_size, cache, limit, on_error, n_jobs
        As in `featx.extract`.
    test_size : float, default=0.25
        Share of test images where the data has no split of its own.
    seed : int, default=0
        Seed of the split, the folds, the classifiers, the fine-tuning and the bootstrap.
    seeds : int, default=1
        Of more than one, everything is repeated on splits drawn with `seed`, `seed` + 1, ..., the same for
        every method, for about so many times the time to fit; the embeddings are extracted once. The result
        then has ``repeats``: each method's metrics on each split, their means with 95 % intervals over
        splits, and corrected resampled t-tests against the best mean. The first split is the one that
        everything else of the result is about. Data that comes with its own split is refused: there is one
        split, and what would vary is the methods' own chance alone, which is not what the interval claims.
    epochs : int, optional
        Epochs of the fine-tuning modes that run the network; default: the recipe's.
    n_boot : int, default=1000
        Bootstrap resamples behind each 95 % interval.
    verbose : bool, default=False
        Show progress on standard error.

    label, target : str or sequence of str, optional
        Columns of classes and of numbers, as in `featx.load_dataset`; also tasks of a features file. Of
        several each is compared on its own, on a split of the images that have a value in it; the images
        are extracted once.
    regressors : str or sequence of str, optional
        Names of `featx.methods.probes.REGRESSORS`, for targets; default: all. Without a target the result
        says that they had no effect, as it does of classifiers without classes.
    resume : path-like, optional
        A folder: the outcome of each method is kept in it as soon as it is there, and found by the
        next run, also after a kill, if it is the result of exactly the same work (images, labels, split,
        parameters, seed, versions).
    ensemble : bool, default=True
        With several backbones, compare their weighted average, too: of each the probe that did best in
        cross-validation, with weights from out-of-fold probabilities.
    split_by : {"folder", "none"}, optional
        As in `featx.extract`.

    Returns
    -------
    Comparison, RegressionComparison or TaskComparisons
        Of one task of classes; of one target; of several. Each has ``to_frame()``, ``table()``, ``advice``
        and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, a class with a single image, no images.
    InputError
        `seeds` is above 1 and the data comes with its own split; an option cannot have its value, or would
        have no effect: those of the network for a features file, `epochs` and modes of `baseline` where no
        network is trained.
    UnknownName, WeightsError, ImageError, CacheError
        See `featx.errors`.
    """
    started = time.perf_counter()
    meter = Meter()
    modes = _baseline_modes(baseline)
    chosen = _chosen(classifiers, regressors)
    if epochs is not None and not set(modes) - {"head"}:
        raise InputError(
            f"epochs={epochs} has no effect: no mode of the baseline trains the network; leave it out, or "
            "choose last, gradual or full"
        )

    def check_methods(tasks: Mapping[str, Task], images: bool) -> None:
        kinds = {task.kind for task in tasks.values()}
        tuned = "classes" in kinds and images
        for option, given, used, why in (
            ("baseline", baseline not in (None, "none", "finetune"), tuned, "nothing here can be fine-tuned"),
            ("epochs", epochs is not None, tuned, "nothing here can be fine-tuned"),
        ):
            if given and not used:
                raise InputError(f"{option} has no effect: {why}; leave it out")

    checkpoints = Checkpoints(None if resume is None else prepare_output(resume) / CHECKPOINT_FILE)
    study = load_study_data(
        data,
        labels,
        label=label,
        target=target,
        backbones=backbones,
        network={"weights": weights, "layer": layer, "pooling": pooling, "image_size": image_size},
        engine={"engine": engine, "device": device, "precision": precision, "batch_size": batch_size},
        common={"cache": cache, "on_error": on_error, "n_jobs": n_jobs, "verbose": verbose},
        limit=limit,
        test_size=test_size,
        seed=seed,
        seeds=seeds,
        meter=meter,
        split_by=split_by,
        check_methods=check_methods,
    )
    options = Options(
        modes=modes,
        device=device,
        epochs=epochs,
        test_size=test_size,
        seed=seed,
        seeds=seeds,
        n_boot=n_boot,
        verbose=verbose,
        meter=meter,
        checkpoints=checkpoints,
        ensemble=ensemble,
        **chosen,
    )
    results: dict[str, Comparison | RegressionComparison] = {}
    kinds = {task.kind for task in study.tasks.values()}
    unused = [
        f"{option} had no effect: {why}"
        for option, given, kind, why in (
            ("classifiers", classifiers, "classes", "every task is a number"),
            ("regressors", regressors, "number", "no task is a number; see target"),
        )
        if given is not None and kind not in kinds
    ]
    for name, task in study.tasks.items():
        if verbose and study.several:
            tell(f"task {name}")
        run = compare_classes if task.kind == "classes" else compare_numbers
        results[name] = run(study.of(task), options)
        results[name].warnings += unused
    next(iter(results.values())).warnings[:0] = study.notes
    if not study.several:
        (result,) = results.values()
        result.seconds_total = time.perf_counter() - started
        return result
    return TaskComparisons(
        tasks=results,
        forward_passes=study.forward_passes,
        seconds_total=time.perf_counter() - started,
    )


def _chosen(classifiers: Any, regressors: Any) -> dict[str, tuple[str, ...]]:
    """Return the methods for each kind of task: those asked for, or all that need no asking."""
    from featx.methods.probes import PROBES, REGRESSORS

    found = {}
    for key, asked, table in (("classifiers", classifiers, PROBES), ("regressors", regressors, REGRESSORS)):
        known: dict[str, Any] = {name: probe for name, probe in table.items() if probe.kind == "probe"}
        usual = [name for name, probe in known.items() if not getattr(probe, "on_request", False)]
        names = names_of(asked) or usual
        for name in names:
            if name not in known:
                raise UnknownName(key.removesuffix("s"), name, known)
        found[key] = tuple(dict.fromkeys(names))
    return found


def _baseline_modes(baseline: str | Sequence[str] | None) -> tuple[str, ...]:
    modes = modes_in(baseline)
    if modes == ["finetune"]:
        return _DEFAULT_MODES
    for mode in modes:
        if mode == "none" or mode == "finetune":
            raise InputError(f"baseline {mode!r} stands alone; got {', '.join(modes)}")
        if mode not in BASELINE_MODES:
            raise UnknownName("baseline", mode, ("finetune", "none", *BASELINE_MODES))
    return tuple(mode for mode in BASELINE_MODES if mode in modes)
