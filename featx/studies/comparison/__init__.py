"""Compare probes on frozen features, two references and the fine-tuned baseline on the same splits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from featx.clusters import opens_cluster
from featx.data.tasks import Task
from featx.energy import Meter
from featx.errors import InputError, UnknownName
from featx.options import CheckedOptions, Network, Reading, Run, backbone_for, checked, listed, modes_in
from featx.results.next_command import training_arguments
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison.anomaly import AnomalyComparison, compare_detectors
from featx.studies.comparison.classes import compare_classes
from featx.studies.comparison.domains import DomainComparison, compare_domains
from featx.studies.comparison.evaluate import CHECKPOINT_FILE, TaskOptions, compute_ahead, foresee
from featx.studies.comparison.numbers import compare_numbers
from featx.studies.comparison.result import Comparison, RegressionComparison
from featx.studies.comparison.scored_images import ScoredImages, find_anomalies
from featx.studies.comparison.study_data import StudyData, load_study_data
from featx.studies.comparison.tasks import TaskComparisons
from featx.studies.comparison.tuning import (
    DEFAULT_MODES,
    describe_left_out,
    leave_out_long_modes,
    tuning_setups,
)
from featx.studies.evaluation import choose_probes, require_network_mode
from featx.studies.kept_checks import KeptChecks
from featx.studies.output import prepare_output, removes_unused_folder
from featx.terminal import tell

__all__ = [
    "AnomalyComparison",
    "Comparison",
    "DomainComparison",
    "RegressionComparison",
    "ScoredImages",
    "TaskComparisons",
    "compare",
    "compare_detectors",
    "compare_domains",
    "find_anomalies",
]


@checked()
@removes_unused_folder
@opens_cluster
def compare(
    data: Any,
    labels: Any = None,
    *,
    backbones: str | Sequence[Any] = ("auto",),
    classifiers: str | Sequence[str] | None = None,
    regressors: str | Sequence[str] | None = None,
    baseline: str | Sequence[str] | None = "finetune",
    epochs: int | None = None,
    ensemble: bool = True,
    test_size: float = 0.25,
    seed: int = 0,
    seeds: int = 1,
    n_boot: int = 1000,
    target: str | Sequence[str] | None = None,
    resume: str | Path | None = None,
    **options: Unpack[CheckedOptions],
) -> Comparison | RegressionComparison | TaskComparisons:
    """Compare classifiers on frozen embeddings with each other and with fine-tuning.

    Parameters
    ----------
    data, labels
        As in `featx.extract`; also the path of a features file or a `Features`: the probes are then compared
        without the inputs, and there is neither a reference that works on these (raw pixels, TF-IDF, filter
        banks) nor a fine-tuned baseline.
    backbones : str, torch.nn.Module, Backbone or sequence of them, default=("auto",)
        One or several backbones: names, networks of your own, or what `featx.load_backbone` returned. Options
        of the network are for all of them; ``load_backbone(module, name=..., preprocessing=...)`` gives a
        network its own, and a name in the results. Fine-tuning trains a copy.
    classifiers : str or sequence of str, optional
        Names of `featx.methods.probes.CLASSIFIERS`; default: all but few-shot protocols. They have no effect,
        which the result says, if no task has classes.
    regressors : str or sequence of str, optional
        Names of `featx.methods.probes.REGRESSORS`, for targets; default: all. They have no effect, which the
        result says, if there is no target.
    baseline : {"finetune", "none"} or sequence of {"head", "last", "gradual", "full"}, default="finetune"
        ``"finetune"`` runs ``head``, ``last`` and ``full``, as far as they take half an hour together on a
        split here: the result says what was left out (`baseline`, and a warning), and the modes that are
        named are always run. None is ``"none"``. The modes run on the backbone whose probes did best in
        cross-validation.
    epochs : int, optional
        Epochs of the fine-tuning modes that train the network; default: the recipe's.
    ensemble : bool, default=True
        With several backbones, also compare the weighted average of the best probe of each (the one that did
        best in cross-validation), with weights from out-of-fold probabilities.
    test_size : float, default=0.25
        Share of test inputs where the data has no split of its own.
    seed : int, default=0
        Seed of the split, the folds, the classifiers, the fine-tuning and the bootstrap.
    seeds : int, default=1
        Number of splits. With more than one, every method is fitted on splits drawn with `seed`, `seed` + 1,
        ...; the embeddings are extracted once. The result then has ``repeats``: the metrics of each method on
        each split, their means with 95 % intervals over splits, and corrected resampled t-tests against the
        best mean. Groups take turns: with as many splits as groups that test alone, each is left out once
        (`featx.data.splits.make_splits`). Everything else in the result is about the first split, except
        ``group_effect`` and, where it has fewer than five units to test on, ``versus_references``.
        Data that comes with its own split is refused: only the randomness of the methods would vary, and the
        interval would not be one over splits.
    n_boot : int, default=1000
        Bootstrap resamples behind each 95 % interval.
    target : str or sequence of str, optional
        Columns of numbers, as in `featx.load_dataset`; with `label`, also the tasks of a features file. Each
        of several tasks is compared on its own, on a split of the inputs that have a value in it; the
        embeddings are extracted once.
    resume : path-like, optional
        A folder that keeps the outcome of each method as soon as it is finished. The next run, also after a
        kill, takes from it the outcomes of exactly the same work (inputs, labels, split, parameters, seed,
        versions).
    **options
        Options of the network, of reading and of the run, as in `featx.extract`. A GPU that `device` names
        also computes the large products of the probes; with ``"auto"`` they are computed on the CPU. What
        `checks` finds is kept beside the cache, so that the next study of the same data finds it again.
        Without the checks, copies of a picture, text or clip count as different ones, and the result says so.
        With `on`, embeddings are extracted and methods are fitted on the cluster; its machines need the same
        versions of the packages and, for fine-tuning, the inputs and weights under the same names. The
        checks and the summary stay here, and no energy is measured.

    Returns
    -------
    Comparison, RegressionComparison or TaskComparisons
        For one task of classes; for one target; for several tasks. Each has ``to_frame()``, ``table()``,
        ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, a class with a single input, no inputs.
    InputError
        `seeds` is above 1 and the data comes with its own split; or an option has an invalid value, or would
        have no effect (those of the network for a features file, `epochs` and `baseline` where no network is
        trained); or a mode of `baseline` is asked for that would train a network without gradients.
    UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`.
    """
    started = time.perf_counter()
    network, run = Network.of(options), Run.of(options)
    reading = Reading.of({**options, "target": target})
    # The counters here know nothing of other machines.
    meter = Meter() if run.on is None else Meter.off()
    modes = _baseline_modes(baseline)
    probes = choose_probes("classifiers", classifiers)
    numeric_probes = choose_probes("regressors", regressors, task="numbers")
    require_network_mode(modes, epochs)

    def check_methods(tasks: Mapping[str, Task], inputs: bool, kind: str) -> None:
        if inputs and any(task.kind == "classes" for task in tasks.values()):
            return
        for option, given in (
            ("baseline", baseline not in (None, "none", "finetune")),
            ("epochs", epochs is not None),
        ):
            if given:
                raise InputError(f"{option} has no effect: nothing here can be fine-tuned; leave it out")

    asked = baseline != "finetune"

    def check_networks(nets: Mapping[str, Any]) -> None:
        """Leave out the modes that train a network where none has gradients; refuse those asked for."""
        nonlocal modes
        if any(getattr(net, "trainable", True) for net in nets.values()):
            return
        if asked:
            from featx.methods.finetune import require_trainable

            require_trainable(next(iter(nets.values())), modes)
        left_out = [mode for mode in modes if mode != "head"]
        if left_out:
            said = f"no fine-tuning of the network ({', '.join(left_out)}), for want of gradients"
            unused.append(f"{said}: {', '.join(nets)}")
            modes = tuple(mode for mode in modes if mode == "head")

    unused: list[str] = []
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
        seeds=seeds,
        meter=meter,
        check_methods=check_methods,
        check_networks=check_networks,
    )
    task_options = TaskOptions(
        modes=modes,
        device=run.device,
        epochs=epochs,
        test_size=test_size,
        seed=seed,
        seeds=seeds,
        n_boot=n_boot,
        verbose=run.verbose,
        meter=meter,
        checkpoints=checkpoints,
        ensemble=ensemble,
        checks=run.checks,
        kept_checks=KeptChecks.beside(run.cache),
        classifiers=probes,
        regressors=numeric_probes,
        cluster=run.on,
    )
    results: dict[str, Comparison | RegressionComparison] = {}
    kinds = {task.kind for task in study.tasks.values()}
    unused += [
        f"{option} had no effect: {why}"
        for option, given, kind, why in (
            ("classifiers", classifiers, "classes", "every task is a number"),
            ("regressors", regressors, "number", "no task is a number; see target"),
        )
        if given is not None and kind not in kinds
    ]
    costs: dict[str, Any] = {}
    tasks: dict[str, tuple[StudyData, TaskOptions]] = {}
    for name, task in study.tasks.items():
        one = study.of_task(task)
        tasks[name] = one, replace(task_options, setups=tuning_setups(one, task_options, costs))
    left_out = {} if asked else leave_out_long_modes(list(tasks.values()))
    modes = tuple(mode for mode in modes if mode not in left_out)
    about = describe_left_out(left_out, modes, seeds)
    unused += about
    for line in about if run.verbose else ():
        tell(line)
    for name, (one, its_options) in tasks.items():
        if run.verbose and study.several:
            tell(f"task {name}")
        its_options = replace(its_options, modes=modes)
        compare_task = compare_classes if one.task.kind == "classes" else compare_numbers
        with foresee(one, its_options) as progress:
            its_options = replace(its_options, progress=progress)
            compute_ahead(one, its_options)
            results[name] = compare_task(one, its_options)
        results[name].warnings += unused
        if its_options.setups:
            results[name].baseline = {"modes": list(modes), "left_out": left_out}
        if (pick := results[name].recommended()) is not None and one.task.kind == "classes":
            options_given = vars(network) | vars(reading) | vars(run) | {"seed": seed, "epochs": epochs}
            if study.several:
                options_given["label"] = name
            asked_for = {}
            if study.nets and study.dataset is not None:
                given = [backbone_for(backbone, study.dataset.kind) for backbone in listed(backbones)]
                asked_for = dict(zip(study.nets, given, strict=True))
            results[name].training = training_arguments(pick, data, labels, asked_for, options_given)
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


def _baseline_modes(baseline: str | Sequence[str] | None) -> tuple[str, ...]:
    modes = modes_in(baseline)
    if modes == ["finetune"]:
        return DEFAULT_MODES
    if not modes:
        return ()
    from featx.methods.finetune import MODES

    for mode in modes:
        if mode in ("none", "finetune"):
            raise InputError(f"baseline {mode!r} stands alone; got {', '.join(modes)}")
        if mode not in MODES:
            raise UnknownName("baseline", mode, ("finetune", "none", *MODES))
    return tuple(mode for mode in MODES if mode in modes)
