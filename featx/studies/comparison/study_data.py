"""The data of a study: embeddings, inputs and tasks, loaded once and narrowed to a task when needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from featx.data import Dataset, announce, notes_of, study_notes, unlabelled_notes
from featx.data.features import Features, check_rows
from featx.data.features.stored_rows import StoredRows
from featx.data.rows import has_rows, take_features
from featx.data.splits import Split
from featx.data.tasks import Task
from featx.energy import Meter
from featx.errors import InputError
from featx.extraction import (
    Embedder,
    backbone_of,
    extract_for_study,
    network_embedder,
    notes_on_inputs,
)
from featx.options import DEFAULT_RUN, Network, Reading, Run, listed, require_no_network
from featx.studies.collections import open_dataset
from featx.studies.comparison.input_rows import rows_of_inputs
from featx.studies.comparison.task_checks import (
    check_dataset,
    check_features,
    check_seeds,
    check_splits,
    inputs_of_task,
    split_task,
)
from featx.studies.comparison.zero_shot import ZeroShotReferences
from featx.studies.evaluation import FineTuning, LabelledRows, Method, Outcome
from featx.studies.evaluation.text_rows import TextRows
from featx.studies.fingerprints import Fingerprints, take_fingerprints


@dataclass
class StudyData:
    """The data of all tasks; or of one task (see `of_task`), and then every input has a value in it."""

    name: str
    sets: dict[str, Features]  # by backbone, all of the same inputs
    nets: dict[str, Any]  # by backbone; empty where the embeddings come from a file
    dataset: Dataset | None  # the same inputs; None for features
    references: dict[str, Any]  # by reference: rows of the same inputs without a network; empty for features
    tasks: dict[str, Task]
    several: bool  # whether the study has more than one task
    forward_passes: int  # inputs sent through a network, for all tasks
    notes: list[str] = field(default_factory=list)  # on the data and the embeddings, for a reader
    unlabelled: int = 0  # inputs that were left out because they have no label
    device: Any = "cpu"  # where probes compute large products
    drawn: dict[tuple[float, range], list[Split]] = field(default_factory=dict, repr=False)  # see `split`

    @property
    def first(self) -> Features:
        """The features of the first backbone; ids, splits and groups are the same for all."""
        return next(iter(self.sets.values()))

    @property
    def kind(self) -> str:
        """The kind of the inputs, such as ``"text"``."""
        return self.first.kind

    @property
    def pixels(self) -> np.ndarray | None:
        """The same images, shrunken (n, d); None for other inputs, and for features."""
        return self.references.get("pixels")

    @property
    def task(self) -> Task:
        """The only task."""
        (task,) = self.tasks.values()
        return task

    @cached_property
    def inputs(self) -> dict[str, LabelledRows]:
        """The rows that methods work on: by backbone, and for the references by their names.

        `references` are there if the inputs are; ``"majority"`` and ``"mean"`` use no input.
        """
        first, task = self.first, self.task
        numbers = first.labels is None or task.classes is None
        y = task.values if numbers else first.labels

        def labelled(x: Any) -> LabelledRows:
            k = None if numbers else len(task.classes or ())
            return LabelledRows(x, np.asarray(y), k, first.groups, self.device, self.kind)

        nothing = labelled(np.zeros((len(task), 1), np.float32))
        found = {"mean" if numbers else "majority": nothing}
        found |= {name: labelled(x) for name, x in self.references.items()}
        return found | {name: labelled(features.embeddings) for name, features in self.sets.items()}

    @cached_property
    def fingerprints(self) -> Fingerprints | None:
        """The fingerprints of the inputs, by which copies are found; None for embeddings from a file."""
        if self.pixels is not None:
            return Fingerprints("image", self.pixels)
        if self.dataset is None or self.dataset.kind == "image":
            return None
        return take_fingerprints(self.dataset.inputs, DEFAULT_RUN)

    @cached_property
    def zero_shot(self) -> ZeroShotReferences:
        """The zero-shot references of the only task; none for numbers, and for embeddings from a file.

        The text towers are loaded when this is first asked for.
        """
        classes = self.task.classes
        return ZeroShotReferences() if classes is None else ZeroShotReferences.of(self.nets, classes)

    def rows_of(self, method: Method) -> LabelledRows:
        """Return the rows that a method works on."""
        return self.inputs[method.backbone or method.name]

    def image_size(self, method: Method) -> int | None:
        """Return the side of the images that a method works on; None if it is unknown, or they are none."""
        if method.name == "pixels" and self.pixels is not None:
            return math.isqrt(self.pixels.shape[1] // 3)
        net = self.nets.get(method.backbone or "")
        return None if net is None or self.kind != "image" else int(net.preprocessing.size[0])

    def add_extraction(self, outcome: Outcome) -> None:
        """Add the cost of a method's embeddings to its seconds and joules."""
        method, seconds, joules = outcome.method, outcome.seconds, outcome.joules
        costs: list[float | None] = [0.0, None if joules["fit"] is None else 0.0]
        if method.backbone is not None:
            features = self.sets[method.backbone]
            each = [(features.run or {}).get(f"{unit}_per_image") for unit in ("seconds", "joules")]
            costs = [None if cost is None else cost * len(features) for cost in each]
            if not (isinstance(method, FineTuning) and method.trains_network):
                seconds["predict_per_image"] = (seconds["predict_per_image"] or 0.0) + (each[0] or 0.0)
        outcome.seconds, outcome.joules = {"extract": costs[0], **seconds}, {"extract": costs[1], **joules}

    def of_task(self, task: Task) -> StudyData:
        """Return the data of one task alone: the inputs that have a value in it."""
        if list(self.tasks) == [task.name] and task.present.all():
            return self
        rows = np.flatnonzero(task.present)
        one = task.subset(rows)

        def narrowed(features: Features) -> Features:
            bare = replace(features, labels=None, classes=None, targets={}).subset(rows)
            if one.classes is None:
                return bare
            return replace(bare, labels=one.values, classes=one.classes, label_name=one.name)

        return replace(
            self,
            sets={name: narrowed(features) for name, features in self.sets.items()},
            dataset=None if self.dataset is None else inputs_of_task(self.dataset, task, rows),
            references={
                name: x.take(rows) if isinstance(x, TextRows | StoredRows) else x[rows]
                for name, x in self.references.items()
            },
            tasks={one.name: one},
            drawn={},
            unlabelled=self.unlabelled + len(task) - len(rows),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What a result's ``dataset`` says of the data, whatever the task."""
        found: dict[str, Any] = {"name": self.name}
        # Results of images have no kind: so were all that were written before there were others.
        found |= {"kind": self.kind} if self.kind != "image" else {}
        return found | ({"n_unlabelled": self.unlabelled} if self.unlabelled else {})

    def split(self, test_size: float, seed: int, seeds: range | None = None) -> Split:
        """Return the split of `seed`, one of `seeds`, of the only task; stratified by class, if it has any.

        Groups take turns in the test parts of all seeds; by default, the seed is the only one.
        """
        seeds = range(seed, seed + 1) if seeds is None else seeds
        key = test_size, seeds
        if key not in self.drawn:
            self.drawn[key] = split_task(self.task, self.first.splits, self.first.groups, test_size, seeds)
        return self.drawn[key][seed - seeds.start]


def load_study_data(
    data: Any,
    labels: Any,
    *,
    backbones: Any,
    network: Network,
    reading: Reading,
    run: Run,
    test_size: float,
    seed: int,
    seeds: int = 1,
    meter: Meter | None = None,
    check_methods: Callable[[dict[str, Task], bool, str], None] | None = None,
    check_networks: Callable[[dict[str, Any]], None] | None = None,
) -> StudyData:
    """Load embeddings and tasks from features, or extract the embeddings once for all tasks; see `compare`.

    `check_methods` is called with the tasks, whether there are inputs, and their kind, before any input is
    opened; `check_networks` is called with the backbones by name, before any input goes through one.
    """
    if has_rows(data):
        name, place, features = take_features(data, reading)
        if labels is not None:
            raise InputError(f"{place} brings its own labels; labels can be given only with {features.kind}s")
        from featx.methods.probes.products import products_on

        # The probes use the device, too.
        network_run = replace(run, device=DEFAULT_RUN.device)
        require_no_network(network, network_run, **({"backbones": backbones} if backbones else {}))
        if run.on is None:
            products_on(run.device)  # refuse a device that is not there
        try:
            features = features.select(reading.label, reading.target)
        except InputError as error:
            raise InputError(f"{place}: {str(error).removeprefix('features: ')}") from error
        everything, features = features.ids, features.labelled()
        unlabelled: list[str] = []
        if len(features) < len(everything):  # a set of millions of ids takes hundreds of megabytes
            known = set(features.ids)
            unlabelled = [id for id in everything if id not in known]
        check_seeds(features.splits, seeds, place)
        tasks = check_features(features, place)
        if check_methods is not None:
            check_methods(tasks, False, features.kind)
        notes = check_rows(features.embeddings, features.ids, place, features.kind)
        check_splits(tasks, features.splits, features.groups, test_size, seed)
        architecture = features.space.get("backbone", {}).get("architecture", "features")
        if run.verbose:
            announce(features, name)
        notes = [*notes_of(features), *unlabelled_notes(unlabelled, tasks, features.kind), *notes]
        sets = {architecture: features}
        return StudyData(
            name,
            sets,
            {},
            None,
            {},
            tasks,
            len(tasks) > 1,
            _count_passes([features]),
            notes,
            unlabelled=len(unlabelled),
            device=run.device,
        )

    dataset = open_dataset(data, labels, reading=reading, run=run, seed=seed)
    check_seeds(dataset.splits, seeds, dataset.name)
    check_dataset(dataset, test_size, seed)
    if check_methods is not None:
        check_methods(dataset.tasks, True, dataset.kind)
    nets = _by_name([backbone_of(backbone, network, dataset.kind) for backbone in listed(backbones)])
    if check_networks is not None:
        check_networks(nets)
    embedders = {name: network_embedder(net, run) for name, net in nets.items()}
    sets = {name: _extract(dataset, e, run, meter or Meter()) for name, e in embedders.items()}
    notes = [note for name, features in sets.items() for note in _notes_on_rows(features, name, dataset.name)]
    first = next(iter(sets.values()))
    if first.failures:
        bad = {failure.id for failure in first.failures}
        dataset = dataset.subset([i for i, id in enumerate(dataset.ids) if id not in bad])
        check_dataset(dataset, test_size, seed)
    return StudyData(
        dataset.name,
        sets,
        nets,
        dataset,
        rows_of_inputs(dataset, run),
        dataset.tasks,
        len(dataset.tasks) > 1,
        _count_passes(list(sets.values())),
        [*study_notes(dataset), *notes],
        unlabelled=len(dataset.reading.unlabelled),
        device=run.device,
    )


def _by_name(backbones: list[Any]) -> dict[str, Any]:
    nets: dict[str, Any] = {}
    for backbone in backbones:
        if backbone.name in nets:  # in timm, two sets of weights of a network have one name
            raise InputError(
                f"backbones: two of them are {backbone.name!r}, and results go by name; "
                "compare them in two runs"
            )
        nets[backbone.name] = backbone
    return nets


def _extract(dataset: Dataset, embedder: Embedder, run: Run, meter: Meter) -> Features:
    """Extract embeddings, and note the joules of each one that was computed now."""
    with meter.measure() as reading:
        features = extract_for_study(dataset, embedder, run)
    told = features.run or {}
    if reading.joules is not None and told.get("computed"):
        told["joules_per_image"] = reading.joules / told["computed"]
    return features


def _notes_on_rows(features: Features, backbone: str, place: str) -> list[str]:
    notes = check_rows(features.embeddings, features.ids, f"{place}, {backbone}", features.kind)
    profile = (features.run or {}).get("profile", {})
    return notes + [
        f"{backbone}: {said}" for said in notes_on_inputs(profile, features.space["preprocessing"])
    ]


def _count_passes(sets: list[Features]) -> int:
    return sum(f.run["forward_passes"] for f in sets if f.run)
