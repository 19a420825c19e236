"""What a comparison works on: embeddings, pixels and tasks, gathered once and handed out task by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.data import Dataset, announce, load_dataset, notes_of, require_labelled, study_notes
from featx.data.features import Features, check_rows, load_features
from featx.data.splits import Split, make_split
from featx.data.tasks import Task
from featx.energy import Meter
from featx.errors import DatasetError, InputError
from featx.extraction import Embedder, backbone_of, embed, extract_features, network_embedder, pixel_embedder
from featx.options import (
    DEFAULT_BACKBONES,
    FROM_A_FILE,
    NETWORK_DEFAULTS,
    is_features,
    listed,
    require_no_effect,
)
from featx.studies.comparison.repeats import require_drawn
from featx.studies.comparison.tasks import folders

#: Fewest images with a number: two to train on and two to test on.
FEWEST_NUMBERS = 4


@dataclass
class Material:
    """What there is for all tasks, or, as `of` gives it, for one: then every image has a value in it.

    Attributes
    ----------
    name : str
        Of the data.
    sets : dict of str to Features
        Backbone -> embeddings, all of the same images.
    nets : dict of str to Backbone
        Empty where the embeddings come from a file.
    dataset : Dataset or None
        The same images, where they are at hand.
    pixels : ndarray of shape (n, d) or None
        Their raw pixels.
    pixel_size : int
        Side of the images that `pixels` are of.
    tasks : dict of str to Task
    several : bool
        Whether the whole has more than one task.
    forward_passes : int
        Images sent through a network for all of it.
    notes : list of str
        What a reader of the results should know of the data (`featx.data.study_notes`) and embeddings.
    """

    name: str
    sets: dict[str, Features]
    nets: dict[str, Any]
    dataset: Dataset | None
    pixels: np.ndarray | None
    pixel_size: int
    tasks: dict[str, Task]
    several: bool
    forward_passes: int
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Features:
        """Of the first backbone; ids, splits and groups are those of all."""
        return next(iter(self.sets.values()))

    @property
    def task(self) -> Task:
        """The only task."""
        (task,) = self.tasks.values()
        return task

    def of(self, task: Task) -> Material:
        """The images that have a value in `task`, with nothing else known of them."""
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
            dataset=None if self.dataset is None else _only(self.dataset, task, rows),
            pixels=None if self.pixels is None else self.pixels[rows],
            tasks={one.name: one},
        )

    def split(self, test_size: float, seed: int) -> Split:
        """The split of the only task, stratified by its classes; numbers are shuffled."""
        return _split(self.task, self.first.splits, self.first.groups, test_size, seed)


def gather(
    data: Any,
    labels: Any,
    *,
    label: Any,
    target: Any,
    backbones: Any,
    network: dict[str, Any],
    engine: dict[str, Any],
    common: dict[str, Any],
    limit: int | None,
    test_size: float,
    seed: int,
    seeds: int = 1,
    meter: Meter | None = None,
    split_by: str | None = None,
    check_methods: Callable[[dict[str, Task], bool], None] | None = None,
) -> Material:
    """The embeddings, from a features file or extracted once for all tasks; see `compare`.

    `check_methods` is given the tasks, and whether the images are at hand, before any image is opened.
    """
    is_file = is_features(data)
    if isinstance(data, Features) or is_file:
        if limit is not None:
            raise InputError(
                "limit does not apply to a features file; give it to extract, or use Features.subset"
            )
        if split_by is not None:
            raise InputError("split_by divides a folder, and a features file has its groups already")
        place = str(data) if is_file else "features"
        if labels is not None:
            raise InputError(f"{place} brings its own labels; labels can be given only with images")
        require_no_effect(
            {**network, **engine, **({"backbones": backbones} if backbones else {})},
            {**NETWORK_DEFAULTS, "backbones": DEFAULT_BACKBONES},
            FROM_A_FILE,
        )
        features = data if isinstance(data, Features) else load_features(data)
        try:
            features = features.select(label, target)
        except InputError as error:
            raise InputError(f"{place}: {str(error).removeprefix('features: ')}") from error
        require_drawn(features.splits, seeds, place)
        tasks = _file_tasks(features, place)
        if check_methods is not None:
            check_methods(tasks, False)
        notes = check_rows(features.embeddings, features.ids, place)
        _check_splits(tasks, features.splits, features.groups, test_size, seed)
        name = features.space.get("backbone", {}).get("architecture", "features")
        stem = Path(data).stem if is_file else "features"
        if common.get("verbose", False):
            announce(features, stem)
        notes = [*notes_of(features), *notes]
        passes = _passes([features])
        return Material(stem, {name: features}, {}, None, None, 0, tasks, len(tasks) > 1, passes, notes)

    dataset = load_dataset(
        data,
        labels,
        limit=limit,
        seed=seed,
        label=label,
        target=target,
        split_by=split_by,
        on_error=common.get("on_error", "raise"),
        verbose=common.get("verbose", False),
    )
    require_drawn(dataset.splits, seeds, dataset.name)
    _check(dataset, test_size, seed)
    if check_methods is not None:
        check_methods(dataset.tasks, True)
    nets = _named([backbone_of(backbone, **network) for backbone in listed(backbones)])
    embedders = {name: network_embedder(net, **engine) for name, net in nets.items()}
    sets = {name: _extracted(dataset, e, common, meter or Meter()) for name, e in embedders.items()}
    notes = [
        note
        for name, f in sets.items()
        for note in check_rows(f.embeddings, f.ids, f"{dataset.name}, {name}")
    ]
    first = next(iter(sets.values()))
    if first.failures:
        bad = {failure.id for failure in first.failures}
        dataset = dataset.subset([i for i, id in enumerate(dataset.ids) if id not in bad])
        _check(dataset, test_size, seed)
    shrunk = pixel_embedder()
    pixels = embed(dataset.images, shrunk, **common).embeddings
    return Material(
        dataset.name,
        sets,
        nets,
        dataset,
        pixels,
        shrunk.preparation.shape[0],
        dataset.tasks,
        len(dataset.tasks) > 1,
        _passes(list(sets.values())),
        [*study_notes(dataset), *notes],
    )


def _named(backbones: list[Any]) -> dict[str, Any]:
    nets: dict[str, Any] = {}
    for backbone in backbones:
        if backbone.name in nets:  # two sets of weights of one network of timm have one name
            raise InputError(
                f"backbones: two of them are {backbone.name!r}, and results go by name; "
                "compare them in two runs"
            )
        nets[backbone.name] = backbone
    return nets


def _extracted(dataset: Dataset, embedder: Embedder, common: dict[str, Any], meter: Meter) -> Features:
    """The embeddings, and the joules that each one took which was computed now."""
    with meter.measure() as reading:
        features = extract_features(dataset, embedder, **common)
    run = features.run or {}
    if reading.joules is not None and run.get("computed"):
        run["joules_per_image"] = reading.joules / run["computed"]
    return features


def _passes(sets: list[Features]) -> int:
    return sum(f.run["forward_passes"] for f in sets if f.run)


def _only(dataset: Dataset, task: Task, rows: np.ndarray) -> Dataset:
    """The images of one task, under a name that errors can be read by."""
    named = replace(dataset.with_tasks([]), name=f"{dataset.name}, column {task.name}")
    return named.subset(rows).with_tasks([task.subset(rows)])


def _check(dataset: Dataset, test_size: float, seed: int) -> None:
    """Refuse what cannot be compared, before any image goes through a network."""
    tasks = dataset.tasks
    if len(tasks) > 1:
        folders(tasks)
    for task in tasks.values():
        if task.classes is None:
            _require_numbers(task, dataset.name)
        elif len(tasks) > 1 or not task.present.all():
            require_labelled(_only(dataset, task, np.flatnonzero(task.present)))
        else:
            require_labelled(dataset)
    if not tasks:
        require_labelled(dataset)
    _check_splits(tasks, dataset.splits, dataset.groups, test_size, seed)


def _check_splits(
    tasks: dict[str, Task],
    splits: np.ndarray | None,
    groups: np.ndarray | None,
    test_size: float,
    seed: int,
) -> None:
    """Several tasks have each its own split: whether there is one is known beforehand, and told by name."""
    if len(tasks) < 2:
        return
    for task in tasks.values():
        rows = np.flatnonzero(task.present)
        given, together = (None if values is None else values[rows] for values in (splits, groups))
        try:
            _split(task.subset(rows), given, together, test_size, seed)
        except DatasetError as error:
            raise DatasetError(f"column {task.name}: {error}") from error


def _split(
    task: Task, splits: np.ndarray | None, groups: np.ndarray | None, test_size: float, seed: int
) -> Split:
    # Numbers have no classes to stratify by: to the draw they are all alike.
    labels = task.values if task.classes is not None else np.zeros(len(task), np.int64)
    return make_split(
        labels, splits=splits, groups=groups, test_size=test_size, seed=seed, classes=task.classes
    )


def _file_tasks(features: Features, place: str) -> dict[str, Task]:
    tasks = features.tasks
    if not tasks:
        raise DatasetError(f"{place}: has no labels; a comparison needs a labelled collection")
    if len(tasks) > 1:
        folders(tasks)
    for task in tasks.values():
        if task.classes is None:
            _require_numbers(task, place)
        else:
            _require_classes(task, place if len(tasks) == 1 else f"{place}, column {task.name}")
    return tasks


def _require_numbers(task: Task, place: str) -> None:
    values = task.values[task.present]
    if len(values) < FEWEST_NUMBERS or values.min() == values.max():
        found = f"{len(values)} images have one" if len(values) < FEWEST_NUMBERS else "all are alike"
        raise DatasetError(
            f"{place}, column {task.name}: a number is predicted from at least {FEWEST_NUMBERS} images that "
            f"differ in it; {found}"
        )


def _require_classes(task: Task, name: str) -> None:
    classes = task.classes or ()
    counts = np.bincount(task.values[task.present], minlength=len(classes))
    if len(classes) < 2:
        only = f", {classes[0]!r}" if classes else ""
        raise DatasetError(f"{name}: has only one class{only}; a comparison needs two or more")
    if counts.min() < 2:
        raise DatasetError(
            f"{name}: class {classes[int(counts.argmin())]!r} has {counts.min()} image; "
            "at least 2 are needed, to train on and to test on"
        )
