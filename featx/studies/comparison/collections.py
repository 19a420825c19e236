"""Embeddings of several collections of images, all in one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featx.data import announce, load_dataset, require_labelled
from featx.data.features import Features, load_features
from featx.errors import InputError
from featx.extraction import backbone_of, extract_features, network_embedder
from featx.options import Network, Reading, Run, is_features, require_no_network


def embedded(
    collections: Sequence[Any],
    backbone: Any,
    *,
    network: Network,
    reading: Reading,
    run: Run,
    seed: int,
    labelled: bool = True,
) -> tuple[list[str], list[Features]]:
    """Names and features of collections of images, of features files and of `Features`.

    Raises
    ------
    InputError
        Features are of different spaces, or `limit` or options of the network are given for them.
    """
    if all(isinstance(data, Features) or is_features(data) for data in collections):
        require_no_network(network, run, backbone=backbone)
    # All are read before any image goes through a network, so that bad input is refused at once.
    opened = [_open(data, reading, run, seed, labelled) for data in collections]
    names = [name for name, _ in opened]

    def extracted(material: Any, run: Run) -> Features:
        if isinstance(material, Features):
            return material
        return extract_features(material, network_embedder(backbone_of(backbone, network), run), run)

    sets = [extracted(material, run) for _, material in opened]
    if _differ(sets) and not any(isinstance(material, Features) for _, material in opened):
        # In int8 the network is calibrated on each collection, which makes spaces of their own.
        sets = [extracted(material, replace(run, precision="fp32")) for _, material in opened]
    if _differ(sets):
        raise InputError(
            f"{' and '.join(names)} are embeddings of different spaces; extract both with the same "
            "backbone, weights, layer and precision"
        )
    return names, sets


def _differ(sets: list[Features]) -> bool:
    return any(features.space != sets[0].space for features in sets)


def _open(data: Any, reading: Reading, run: Run, seed: int, labelled: bool) -> tuple[str, Any]:
    """Return the name and `Features` or `Dataset` of what stands for a collection."""
    is_file = is_features(data)
    if isinstance(data, Features) or is_file:
        if reading.limit is not None:
            raise InputError("limit does not apply to features; give it to extract, or use Features.subset")
        if reading.split_by == "folder":
            raise InputError("split_by divides a folder, and a features file has its groups already")
        name, features = (Path(data).stem, load_features(data)) if is_file else ("features", data)
        if run.verbose:
            announce(features, name)
        return name, features
    dataset = load_dataset(
        data,
        seed=seed,
        labelled=labelled,
        on_error=run.on_error,
        verbose=run.verbose,
        **vars(reading),
    )
    if labelled:
        require_labelled(dataset)
    return dataset.name, dataset
