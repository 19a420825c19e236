"""Evaluate every method of a comparison on a split: references, probes, ensemble, fine-tuned baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from featx.clusters import Cluster
from featx.data.splits import Split
from featx.energy import Meter
from featx.metrics import Interval
from featx.options import OPTIONS
from featx.results import MethodResult, Repeats, describe_environment
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison.ensemble import Ensemble, Member, cells_of
from featx.studies.comparison.study_data import StudyData
from featx.studies.comparison.tuning import forecast_of, tuned_cells
from featx.studies.evaluation import Cell, FineTuning, Method, Outcome, TuningSetup, probe_method, run_cells
from featx.studies.evaluation.cells import Keep
from featx.studies.evaluation.cost import COPIES, WRONG_LABELS, Size
from featx.studies.evaluation.on_cluster import compute_on
from featx.studies.evaluation.running import compute_missing, is_kept
from featx.studies.evaluation.time_left import StudyProgress
from featx.studies.kept_checks import KeptChecks, copies_key, label_errors_key
from featx.studies.units import explain_limited_search
from featx.terminal import tell

if TYPE_CHECKING:
    from featx.methods.probes.probe import TaskName

#: The file of finished methods in the folder `resume`.
CHECKPOINT_FILE = "methods.journal"


@dataclass(frozen=True)
class TaskOptions:
    """The options of `compare` that apply to each task."""

    classifiers: tuple[str, ...]
    regressors: tuple[str, ...]
    modes: tuple[str, ...]
    device: str
    epochs: int | None
    test_size: float
    seed: int
    n_boot: int
    verbose: bool
    seeds: int = 1
    ensemble: bool = True
    checks: bool = True
    meter: Meter = field(default_factory=Meter)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    kept_checks: KeptChecks = field(default_factory=KeptChecks)
    setups: dict[str, TuningSetup] = field(default_factory=dict)  # by backbone, of what may be fine-tuned
    progress: StudyProgress | None = None
    cluster: Cluster | None = None  # where the methods are fitted; None: here

    @property
    def all_seeds(self) -> range:
        """The seeds of all splits."""
        return range(self.seed, self.seed + self.seeds)


@dataclass
class SplitOutcomes:
    """The outcomes of all methods on one split."""

    split: Split
    outcomes: list[Outcome]
    tuned_backbone: str  # the one that is fine-tuned: its probes did best in cross-validation
    ensemble: Ensemble | None  # with several backbones


def evaluate_methods(
    data: StudyData, options: TaskOptions, seed: int, tuned_backbone: str | None = None
) -> SplitOutcomes:
    """Evaluate every method on the split of `seed`; `data` has one task.

    `tuned_backbone` is fine-tuned (default: the one whose probes do best). It is given for all splits but the
    first, because a fine-tuned mode on another backbone would be another method.
    """
    split = data.split(options.test_size, seed, options.all_seeds)
    outcomes: list[Outcome] = []
    members: dict[str, Member] = {}

    def run(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Outcome]]:
        found = run_cells(cells, options.checkpoints, meter=options.meter, progress=options.progress)
        for cell, outcome in zip(cells, found, strict=True):
            data.add_extraction(outcome)
            outcomes.append(outcome)
            yield cell, outcome

    for cell, outcome in run(_cells(data, _probes(data, options), split, seed)):
        _keep_best(members, cell, outcome)
    ensemble = None
    if _has_ensemble(members, data, options):
        if options.verbose:
            tell(f"weighting {len(members)} backbones")
        ensemble = Ensemble(members, options.checkpoints)
        outcomes.append(ensemble.outcome)
    tuned = tuned_backbone or _choose_tuned(data, members)
    if options.setups:
        tuning = [FineTuning.of(mode, options.setups[tuned]) for mode in options.modes]
        for _, outcome in run(_cells(data, tuning, split, seed)):
            outcome.fit = None
    return SplitOutcomes(split, outcomes, tuned, ensemble)


def compute_ahead(data: StudyData, options: TaskOptions) -> None:
    """Compute all methods on all splits on the cluster, if there is one: `evaluate_methods` finds them then.

    First the references and probes of all splits, at once; then, as these decide, the members of the
    ensembles and the network to fine-tune.
    """
    cluster, checkpoints, progress = options.cluster, options.checkpoints, options.progress
    if cluster is None:
        return
    methods = _probes(data, options)
    splits = {seed: data.split(options.test_size, seed, options.all_seeds) for seed in options.all_seeds}
    probes = {seed: _cells(data, methods, split, seed) for seed, split in splits.items()}
    compute_missing(cluster, [cell for cells in probes.values() for cell in cells], checkpoints, progress)
    best: list[dict[str, Member]] = []
    for cells in probes.values():
        best.append({})
        for cell, outcome in zip(cells, run_cells(cells, checkpoints, progress=progress), strict=True):
            _keep_best(best[-1], cell, outcome)
    groups = []
    if options.setups:
        setup = options.setups[_choose_tuned(data, best[0])]
        tuning = [FineTuning.of(mode, setup) for mode in options.modes]
        groups += [[cell] for seed, split in splits.items() for cell in _cells(data, tuning, split, seed)]
    for members in best:
        if _has_ensemble(members, data, options):
            groups += [cells_of(member) for member in members.values()]
    missing = [[cell for cell in group if not is_kept(cell, checkpoints)] for group in groups]
    for _ in compute_on(cluster, [group for group in missing if group], checkpoints, progress):
        pass


def _keep_best(members: dict[str, Member], cell: Cell, outcome: Outcome) -> None:
    """Make a probe the member of its backbone, if it is the best one up to now.

    A fitted probe may be large: only that of the member is kept in memory.
    """
    fit, outcome.fit = outcome.fit, None
    backbone = outcome.method.backbone if outcome.method.kind == "probe" else None
    best = members.get(backbone or "")
    if backbone is not None and (best is None or outcome.cv_score > best.outcome.cv_score):
        members[backbone] = Member(outcome, replace(cell, fit=fit))


def _has_ensemble(members: Mapping[str, Member], data: StudyData, options: TaskOptions) -> bool:
    return options.ensemble and len(members) > 1 and data.task.classes is not None


def _choose_tuned(data: StudyData, members: Mapping[str, Member]) -> str:
    """Return the backbone whose probes did best in cross-validation, of those that have gradients if any."""
    trainable = [name for name in members if getattr(data.nets.get(name), "trainable", True)]
    return max(trainable or members, key=lambda name: members[name].outcome.cv_score)


def foresee(data: StudyData, options: TaskOptions) -> StudyProgress:
    """Return the progress of all methods on all splits; `data` has one task."""
    cells: list[Cell] = []
    more: list[Size] = []
    methods = _probes(data, options)
    for seed in options.all_seeds:
        split = data.split(options.test_size, seed, options.all_seeds)
        cells += _cells(data, methods, split, seed)
        for cell, found in tuned_cells(data, options, options.modes, seed):
            # Which of several backbones is fine-tuned is not known yet: only a cell that was found is.
            cells += [cell] if found else []
            more += [] if found else [Size.of(cell)]
    return StudyProgress(
        cells,
        options.checkpoints,
        more=more,
        checks=_checks_to_do(data, options) if options.verbose else (),
        cluster=options.cluster,
        enabled=options.verbose,
        forecast=forecast_of(data, options.setups),
    )


def _checks_to_do(data: StudyData, options: TaskOptions) -> list[Size]:
    """Return the data checks that no earlier run did.

    Which of several backbones they go by is not known yet: one that was done by any of them is left out.
    """
    if not options.checks:
        return []
    kept, seed = options.kept_checks, options.seed
    split = data.split(options.test_size, seed, options.all_seeds)
    inputs = [data.inputs[name] for name in data.sets]

    def size(check: str) -> Size:
        rows = inputs[0]
        return Size(check, len(split.train), len(split.test), rows.width, rows.n_classes or 0)

    todo = []
    # To find equal rows takes no time.
    searched = [rows for rows in inputs if explain_limited_search(rows.x) is None]
    if searched:
        # To decode clips for this would take long.
        prints = None if data.kind == "clip" else data.fingerprints
        todo += [] if any(copies_key(rows.digests, prints) in kept for rows in searched) else [size(COPIES)]
    if data.task.classes is not None:
        sides = split.train, split.test
        keys = [label_errors_key(rows.digests, rows.y, sides, rows.groups, seed) for rows in inputs]
        todo += [] if any(key in kept for key in keys) else [size(WRONG_LABELS)]
    return todo


def _probes(data: StudyData, options: TaskOptions) -> list[Method]:
    """Return the references and the probes of each backbone."""
    numbers = data.task.classes is None
    task: TaskName = "numbers" if numbers else "classes"
    names = options.regressors if numbers else options.classifiers
    found: list[Method] = [probe_method(name, task=task) for name in data.inputs if name not in data.sets]
    found += data.zero_shot.methods
    return found + [probe_method(name, backbone, task=task) for backbone in data.sets for name in names]


def _cells(data: StudyData, methods: Sequence[Method], split: Split, seed: int) -> list[Cell]:
    keep: Keep = "values" if data.task.classes is None else "answers"
    return [Cell(method, data.rows_of(method), split, seed, keep) for method in methods]


def method_result(
    data: StudyData, outcome: Outcome, metrics: dict[str, Interval], **more: Any
) -> MethodResult:
    """Return the result of a method from its outcome and metrics."""
    method = outcome.method
    return MethodResult(
        name=method.name,
        title=outcome.title,
        kind=method.kind,
        backbone=method.backbone,
        params=outcome.params,
        metrics=metrics,
        seconds=outcome.seconds,
        curves=outcome.curves,
        notes=outcome.notes,
        image_size=data.image_size(method),
        joules=outcome.joules,
        earlier_run=outcome.earlier_run,
        **more,
    )


def note_earlier_runs(
    checkpoints: Checkpoints, methods: Sequence[MethodResult], repeats: Repeats | None
) -> list[str]:
    """Say what was taken from an earlier run, on all splits together."""
    if repeats is None:
        return checkpoints.notes([m.earlier_run for m in methods], "methods")
    fits = [made for m in repeats.methods for made in m.earlier_run]
    return checkpoints.notes(fits, f"fits ({len(repeats.methods)} methods on {len(repeats.seeds)} splits)")


def note_unused_share(split: Split, test_size: float) -> list[str]:
    """Say that `test_size` had no effect if the data comes with its own split."""
    if split.origin != "given" or test_size == OPTIONS["test_size"].default:
        return []
    return [f"test_size {test_size:g} had no effect: the data comes with its own split"]


def describe_run(data: StudyData, meter: Meter | None = None) -> dict[str, Any]:
    """Return the fields on embeddings and machine that every result has."""
    energy = {"energy": ", ".join(meter.parts)} if meter and meter.parts else {}
    return {
        "spaces": {name: features.space for name, features in data.sets.items()},
        "about": {name: features.about for name, features in data.sets.items() if features.about},
        "forward_passes": data.forward_passes,
        "failures": [{"id": f.id, "reason": f.reason} for f in data.first.failures],
        "environment": describe_environment() | energy,
        "extraction": {
            name: {"profile": features.run["profile"], "parity": features.run["parity"]}
            for name, features in data.sets.items()
            if features.run is not None
        },
    }
