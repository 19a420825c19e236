"""Embeddings of several collections of images, all in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.data import announce, load_dataset, require_labelled
from featx.data.features import Features, load_features
from featx.errors import InputError
from featx.extraction import backbone_of, extract_features, network_embedder
from featx.options import DEFAULT_BACKBONES, FROM_A_FILE, NETWORK_DEFAULTS, is_features, require_no_effect


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
    """Names and features of collections of images, of features files and of `Features`.

    Raises
    ------
    InputError
        Features are of different spaces, or `limit` or options of the network are given for them.
    """
    if all(isinstance(data, Features) or is_features(data) for data in collections):
        require_no_effect(
            {**network, **engine, "backbone": backbone},
            {**NETWORK_DEFAULTS, "backbone": DEFAULT_BACKBONES[0]},
            FROM_A_FILE,
        )
    # All are read before any image goes through a network, so that bad input is refused at once.
    opened = [_open(data, limit, seed, labelled, split_by, common) for data in collections]
    names = [name for name, _ in opened]

    def extracted(material: Any) -> Features:
        if isinstance(material, Features):
            return material
        return extract_features(
            material, network_embedder(backbone_of(backbone, **network), **engine), **common
        )

    sets = [extracted(material) for _, material in opened]
    if _differ(sets) and not any(isinstance(material, Features) for _, material in opened):
        # In int8 the network is calibrated on each collection, which makes spaces of their own.
        engine = engine | {"precision": "fp32"}
        sets = [extracted(material) for _, material in opened]
    if _differ(sets):
        raise InputError(
            f"{' and '.join(names)} are embeddings of different spaces; extract both with the same "
            "backbone, weights, layer and precision"
        )
    return names, sets


def _differ(sets: list[Features]) -> bool:
    return any(features.space != sets[0].space for features in sets)


def _open(
    data: Any,
    limit: int | None,
    seed: int,
    labelled: bool,
    split_by: str | None,
    common: dict[str, Any],
) -> tuple[str, Any]:
    """Name and `Features` or `Dataset` of what stands for a collection."""
    is_file = is_features(data)
    if isinstance(data, Features) or is_file:
        if limit is not None:
            raise InputError("limit does not apply to features; give it to extract, or use Features.subset")
        if split_by == "folder":
            raise InputError("split_by divides a folder, and a features file has its groups already")
        name, features = (Path(data).stem, load_features(data)) if is_file else ("features", data)
        if common.get("verbose", False):
            announce(features, name)
        return name, features
    dataset = load_dataset(
        data,
        limit=limit,
        seed=seed,
        labelled=labelled,
        split_by=split_by,
        on_error=common.get("on_error", "raise"),
        verbose=common.get("verbose", False),
    )
    if labelled:
        require_labelled(dataset)
    return dataset.name, dataset
