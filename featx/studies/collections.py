"""Open what a study is given: collections of inputs, features files and `Features`; embed several alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.data import Dataset, announce, load_dataset, require_labelled
from featx.data.features import Features, load_features
from featx.errors import InputError
from featx.extraction import backbone_of, extract_features, network_embedder
from featx.options import DEFAULT_BACKBONES, FROM_A_FILE, NETWORK_DEFAULTS, is_features, require_no_effect


def has_rows(data: Any) -> bool:
    """Whether `data` is a features file or a `Features`: no network is needed for it."""
    return isinstance(data, Features) or is_features(data)


def open_features(
    data: Any, *, limit: int | None = None, split_by: str | None = None
) -> tuple[str, str, Features]:
    """Open a features file, or take a `Features` as it is.

    Returns
    -------
    name, place : str
        What results call it, and what messages do.
    features : Features

    Raises
    ------
    InputError
        `limit` or `split_by` is given, which choose among inputs.
    """
    if limit is not None:
        raise InputError("limit does not apply to features; give it to extract, or use Features.subset")
    if split_by is not None:
        raise InputError("split_by divides a folder, and a features file has its groups already")
    if isinstance(data, Features):
        return "features", "features", data
    return Path(data).stem, str(data), load_features(data)


def open_dataset(data: Any, labels: Any = None, *, common: dict[str, Any], **options: Any) -> Dataset:
    """Read a collection, with the options of a run that reading takes; see `featx.load_dataset`."""
    run = {"on_error": common.get("on_error", "raise"), "verbose": common.get("verbose", False)}
    return load_dataset(data, labels, **run, **options)


def embed_collections(
    collections: Sequence[Any],
    backbone: Any,
    *,
    network: dict[str, Any],
    engine: dict[str, Any],
    common: dict[str, Any],
    limit: int | None,
    seed: int,
    labelled: bool = True,
    split_by: str | None = None,
) -> tuple[list[str], list[Features]]:
    """Return names and features of several collections, features files or `Features`, all in one space.

    Raises
    ------
    InputError
        Features are of different spaces, or `limit` or options of the network are given for them.
    """
    if all(has_rows(data) for data in collections):
        require_no_effect(
            {**network, **engine, "backbone": backbone},
            {**NETWORK_DEFAULTS, "backbone": DEFAULT_BACKBONES[0]},
            FROM_A_FILE,
        )

    def opened(data: Any) -> tuple[str, Features | Dataset]:
        if has_rows(data):
            name, _, features = open_features(
                data, limit=limit, split_by=None if split_by == "none" else split_by
            )
            if common.get("verbose", False):
                announce(features, name)
            return name, features
        dataset = open_dataset(
            data, common=common, limit=limit, seed=seed, labelled=labelled, split_by=split_by
        )
        if labelled:
            require_labelled(dataset)
        return dataset.name, dataset

    def embedded(given: Features | Dataset, engine: dict[str, Any]) -> Features:
        if isinstance(given, Features):
            return given
        return extract_features(given, network_embedder(backbone_of(backbone, **network), **engine), **common)

    # All are read before any image goes through a network, so that bad input is refused at once.
    names, given = zip(*map(opened, collections), strict=True)
    sets = [embedded(one, engine) for one in given]
    if _differ(sets) and not any(isinstance(one, Features) for one in given):
        # In int8 the network is calibrated on each collection, which makes spaces of their own.
        sets = [embedded(one, engine | {"precision": "fp32"}) for one in given]
    if _differ(sets):
        raise InputError(
            f"{' and '.join(names)} are embeddings of different spaces; extract both with the same "
            "backbone, weights, layer and precision"
        )
    return list(names), sets


def _differ(sets: list[Features]) -> bool:
    return any(features.space != sets[0].space for features in sets)
