"""Gather labelled rows to train on: of inputs through one or several backbones, or of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featx.data import Dataset, announce, load_dataset, require_labelled
from featx.data.features import Features, check_rows
from featx.data.rows import has_rows, take_features
from featx.data.splits import Split
from featx.errors import DatasetError, InputError
from featx.estimators.model.windows import usual_seconds
from featx.extraction import backbone_of, extract_for_study, network_embedder
from featx.extraction.matching import OWN_MODULE, backbone_arguments
from featx.options import DEFAULT_RUN, Network, Reading, Run, require_no_network


@dataclass
class TrainingSet:
    """Labelled rows of the same inputs by each of some backbones, without those of a test split.

    Attributes
    ----------
    sets : list of Features
        One for each backbone.
    nets : list of Backbone
        The backbones; empty where the rows come from features.
    images : sequence of Source, or None
        The inputs, where the rows do not come from features.
    places : list of str
        Where each of `sets` comes from, for messages.
    notes : list of str
        Remarks on the rows.
    seconds : float or None
        Median length of the clips, where the inputs are clips that were read.
    """

    sets: list[Features]
    nets: list[Any]
    images: Sequence[Any] | None
    places: list[str]
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None

    @property
    def first(self) -> Features:
        """The rows of the first backbone; ids, labels, splits and groups are those of all."""
        return self.sets[0]

    @property
    def labels(self) -> np.ndarray:
        """Class of each input, (n,)."""
        return np.asarray(self.first.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.first.classes or ()

    @property
    def split(self) -> Split:
        """All inputs as training inputs, those of a split ``val`` as validation inputs."""
        val = None if self.first.splits is None else np.flatnonzero(self.first.splits == "val")
        given = val if val is not None and len(val) else None
        return Split(np.arange(len(self.first)), np.array([], np.int64), given)

    def parts_of_model(self, number: int = 0) -> dict[str, Any]:
        """Return the fields of a `Model` on the rows of one backbone, apart from the classifier."""
        features = self.sets[number]
        net = self.nets[number] if self.nets else None
        arguments = (
            backbone_arguments(features.space, self.places[number]) | {"seed": 0}
            if net is None
            else net.arguments
        )
        return {
            "classes": self.classes,
            "space": features.space,
            "backbone": arguments,
            "failures": features.failures,
            "extraction": (features.run or {}).get("profile", {}),
            "module": net if net is not None and net.identity["source"] == OWN_MODULE else None,
        }


def gather_images(
    data: Any,
    labels: Any,
    backbones: Sequence[Any],
    *,
    network: Network,
    reading: Reading,
    run: Run,
    seed: int,
    mode: str | None = None,
) -> TrainingSet:
    """Embed the labelled inputs of a collection with each backbone.

    With `mode`, one of fine-tuning, a backbone without gradients is refused before any input goes through it.
    """
    dataset = load_dataset(
        data, labels, seed=seed, on_error=run.on_error, verbose=run.verbose, **vars(reading)
    )
    if dataset.splits is not None:
        dataset = dataset.subset(np.flatnonzero(dataset.splits != "test"))
    dataset = _of_one_task(dataset, dataset.name)
    require_labelled(dataset)
    nets = [backbone_of(backbone, network, dataset.kind) for backbone in backbones]
    if mode is not None:
        from featx.methods.finetune import require_trainable

        require_trainable(nets[0], [mode])
    sets = [extract_for_study(dataset, network_embedder(net, run), run) for net in nets]
    if sets[0].failures:
        dataset = _keep_read(dataset, sets[0])
        require_labelled(dataset)
    notes = [note for one in sets for note in check_rows(one.embeddings, one.ids, dataset.name, one.kind)]
    seconds = usual_seconds(dataset.inputs) if dataset.kind == "clip" else None
    names = [dataset.name] * len(sets)
    return TrainingSet(sets, nets, dataset.inputs, names, list(dict.fromkeys(notes)), seconds)


def _keep_read(dataset: Dataset, features: Features) -> Dataset:
    """Return the inputs of which there are features: those that could be read."""
    known = set(features.ids)
    return dataset.subset([i for i, id in enumerate(dataset.ids) if id in known])


def gather_features(
    given: Sequence[Any], backbone: Any, *, network: Network, reading: Reading, run: Run
) -> TrainingSet:
    """Take the labelled rows of features, one for each backbone, in the order of the first."""
    # Classifiers use the device, too.
    require_no_network(network, replace(run, device=DEFAULT_RUN.device), backbone=backbone)
    sets: list[Features] = []
    places: list[str] = []
    notes: list[str] = []
    for one in given:
        name, place, features = take_features(one, reading)
        features = _of_one_task(features.select(reading.label), place)
        if run.verbose:
            announce(features, name)
        features = features.labelled()
        _require_usable(features, place)
        if features.splits is not None:
            features = features.subset(features.splits != "test")
        if sets:
            features = _in_order_of(sets[0], features, places[0], place)
        _require_classes(features, place)
        notes += check_rows(features.embeddings, features.ids, place, features.kind)
        sets.append(features)
        places.append(place)
    return TrainingSet(sets, [], None, places, notes)


def listed_features(data: Any) -> list[Any]:
    """Return the features that `data` is, or holds as a list or tuple; an empty list for anything else."""
    if has_rows(data):
        return [data]
    several = list(data) if isinstance(data, list | tuple) else []
    return several if several and all(map(has_rows, several)) else []


def _of_one_task(given: Any, place: str) -> Any:
    """Return a collection, or features, unless there are several tasks of classes to choose from."""
    names = [task.name for task in given.tasks.values() if task.classes is not None]
    if len(names) > 1:
        raise InputError(f"{place}: has the tasks {', '.join(names)}; choose one with label")
    return given


def _require_usable(features: Features, place: str) -> None:
    """Refuse features of an unknown network, in int8 (no later image can be compared), or without labels."""
    backbone_arguments(features.space, place)
    if "calibration" in features.space:
        raise InputError(
            f"{place}: its rows are in int8, which depends on the {features.kind}s that it was calibrated "
            "on, and a model meets others; extract with precision 'bf16' or 'fp32'"
        )
    if features.labels is None or features.classes is None:
        raise DatasetError(f"{place}: has no labels; a classifier needs those of one task of classes")


def _require_classes(features: Features, place: str) -> None:
    counts = np.bincount(np.asarray(features.labels), minlength=len(features.classes or ()))
    if len(counts) < 2 or counts.min() < 2:
        few = [f"{name!r} has {n}" for name, n in zip(features.classes or (), counts, strict=True) if n < 2]
        raise DatasetError(
            f"{place}: a classifier needs at least 2 classes with 2 {features.kind}s each; "
            f"{', '.join(few[:5]) or f'there is {len(counts)}'}"
        )


def _in_order_of(first: Features, other: Features, place: str, here: str) -> Features:
    """Return the rows of `other` in the order of `first`; both must have the same labelled images."""
    at = {id: i for i, id in enumerate(other.ids)}
    if at.keys() != set(first.ids):
        odd = sorted(at.keys() ^ set(first.ids))[0]
        raise InputError(
            f"{here}: has other {first.kind}s than {place}, such as {odd!r:.80}; extract the same "
            f"{first.kind}s with each backbone"
        )
    ordered = other.subset([at[id] for id in first.ids])
    same = ordered.classes == first.classes and np.array_equal(ordered.labels, first.labels)  # type: ignore[arg-type]
    if not same:
        raise InputError(f"{here}: has other labels than {place} for the same {first.kind}s")
    if ordered.space == first.space:
        raise InputError(f"{here}: is of the same backbone and settings as {place}; give each one once")
    return ordered
