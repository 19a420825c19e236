"""Open the data of a study: collections, features files or `Features`; embed several in one space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from featx.data import Dataset, announce, load_dataset, require_labelled
from featx.data.features import Failure, Features
from featx.data.rows import has_rows, take_features
from featx.data.splits import Split, make_split
from featx.errors import InputError
from featx.extraction import backbone_of, extract_for_study, network_embedder
from featx.kinds import count_of
from featx.options import Network, Reading, Run, require_no_network
from featx.results import describe_environment
from featx.studies.fingerprints import Fingerprints, take_fingerprints
from featx.studies.kept_checks import Found, KeptChecks
from featx.studies.units import Units, find_copies, find_units


def open_dataset(data: Any, labels: Any = None, *, reading: Reading, run: Run, **options: Any) -> Dataset:
    """Read a collection; `options` are other options of `featx.load_dataset`."""
    return load_dataset(data, labels, on_error=run.on_error, verbose=run.verbose, **vars(reading), **options)


def embed_collections(
    collections: Sequence[Any],
    backbone: Any,
    *,
    network: Network,
    reading: Reading,
    run: Run,
    seed: int,
    labelled: bool = True,
    check: Callable[[str, Dataset | Features], None] = lambda name, last: None,
) -> tuple[list[str], list[Features], list[Dataset | None]]:
    """Return the names and features of several collections, features files or `Features`, all in one space.

    Also their datasets, None for features; these have the inputs that could not be read, too. With
    `labelled`, each must have labels. All are of one kind of input. `check` is given the last one with its
    name, before any input goes through a network, and raises what is wrong with it.
    """
    if all(has_rows(data) for data in collections):
        require_no_network(network, run, backbone=backbone)

    def opened(data: Any, reading: Reading) -> tuple[str, Features | Dataset]:
        if has_rows(data):
            whole = replace(reading, split_by=None) if reading.split_by == "none" else reading
            name, _, features = take_features(data, whole)
            if run.verbose:
                announce(features, name)
            features = features.select(reading.label, reading.target)
            return name, features.labelled() if labelled else features
        dataset = open_dataset(data, reading=reading, run=run, seed=seed, labelled=labelled)
        if labelled:
            require_labelled(dataset)
        return dataset.name, dataset

    net = cache(lambda: backbone_of(backbone, network, given[-1].kind))

    def embedded(given: Features | Dataset, run: Run) -> Features:
        if isinstance(given, Features):
            return given
        return extract_for_study(given, network_embedder(net(), run), run)

    # All are read before any input goes through a network, so that bad input is refused at once.
    # Columns of labels are those of the last one, where the others need no labels.
    unlabelled = reading if labelled else replace(reading, label=None, target=None)
    readings = [*[unlabelled] * (len(collections) - 1), reading]
    names, given = zip(*map(opened, collections, readings), strict=True)
    require_one_kind([(name, one.kind) for name, one in zip(names, given, strict=True)])
    check(names[-1], given[-1])
    rows = [one for one in given if isinstance(one, Features)]
    spaces = [one.space for one in rows]
    # In int8 the network is calibrated on each collection, so each gets a space of its own.
    if rows and len(rows) < len(given) and run.precision != "int8":
        spaces.append(network_embedder(net(), run).space.fields)
    _require_one(spaces, names)
    sets = [embedded(one, run) for one in given]
    if not rows and _differ([one.space for one in sets]):
        sets = [embedded(one, replace(run, precision="fp32")) for one in given]
    _require_one([one.space for one in sets], names)
    return list(names), sets, [one if isinstance(one, Dataset) else None for one in given]


def require_one_kind(collections: Sequence[tuple[str, str]]) -> None:
    """Raise `InputError` unless all collections, given as names and kinds, have inputs of one kind."""
    (first, kind), *others = collections
    for name, other in others:
        if other != kind:
            raise InputError(
                f"{first} has {kind}s and {name} has {other}s; give two collections of one kind of input"
            )


def find_copies_among(embeddings: np.ndarray, fingerprints: Fingerprints | None, run: Run) -> Found:
    """Find copies among rows, by fingerprints of their inputs where there are any; see `find_copies`.

    An earlier search of the same rows is found beside the cache of `run`.
    """
    kept = KeptChecks.beside(run.cache)
    return find_copies(embeddings, fingerprints=fingerprints, kept=kept)


def units_of(features: Features, dataset: Dataset | None, run: Run) -> Units:
    """Find the units of all rows: groups and, unless `run` leaves out the checks, copies of an input.

    `dataset` has the inputs; None if there are none.
    """
    if not run.checks:
        return find_units(features.groups, None, len(features))
    fingerprints = None
    if dataset is not None:
        inputs = dict(zip(dataset.ids, dataset.inputs, strict=True))
        fingerprints = take_fingerprints([inputs[id] for id in features.ids], run)
    copies = find_copies_among(features.embeddings, fingerprints, run)
    return find_units(features.groups, copies, len(features))


def split_features(features: Features, test_size: float, seed: int) -> Split:
    """Return the given split of labelled features, or a drawn one."""
    return make_split(
        features.labels,
        splits=features.splits,
        groups=features.groups,
        test_size=test_size,
        seed=seed,
        classes=features.classes,
    )


def describe_embeddings(sets: Sequence[Features]) -> dict[str, Any]:
    """Return the fields of a result on embeddings in one space and on the machine."""
    space = sets[0].space
    backbone = space.get("backbone", {}).get("architecture", "features")
    return {
        "backbone": backbone,
        "space": space,
        "about": {backbone: sets[0].about} if sets[0].about else {},
        "forward_passes": sum((features.run or {}).get("forward_passes", 0) for features in sets),
        "failures": [{"id": f.id, "reason": f.reason} for features in sets for f in features.failures],
        "environment": describe_environment(),
    }


def describe_failures(failures: Sequence[Failure], kind: str) -> str:
    """Say how many inputs could not be read, and name the first ones."""
    named = "; ".join(map(str, failures[:5])) + ("; ..." if len(failures) > 5 else "")
    were = "was" if len(failures) == 1 else "were"
    return f"{count_of(len(failures), kind)} could not be read and {were} left out: {named}"


def _differ(spaces: Sequence[Mapping[str, Any]]) -> bool:
    return any(space != spaces[0] for space in spaces)


def _require_one(spaces: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    if _differ(spaces):
        raise InputError(
            f"{' and '.join(names)} are embeddings of different spaces; extract both with the same "
            "backbone, weights, layer and precision"
        )
