"""Compute the rows that a model's classifier takes: of one backbone, or of the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data import Dataset
from featx.data.features import Failure
from featx.errors import InputError
from featx.extraction import (
    Embedder,
    Profile,
    Rows,
    embed_dataset_together,
    find_cached_rows,
    matching_embedder,
    network_is_ready,
)
from featx.options import Run

if TYPE_CHECKING:
    from featx.estimators.model.model import Model


def model_embedders(
    model: Model, run: Run, *, weights: Any = None, trust_code: bool = False
) -> list[Embedder]:
    """Return the embedder of a model's backbone; of an ensemble, those of its members in order.

    Raises
    ------
    ModelMismatch
        A backbone installed here gives other embeddings than the model was trained on.
    InputError
        `weights` is one file, and an ensemble has several backbones; or a network of the user's is missing.
    """
    if model.members and weights is not None:
        raise InputError(
            f"weights={str(weights)!r} is the checkpoint of one backbone, and this model has "
            f"{len(model.members)}; put each file where it was"
        )
    return [
        matching_embedder(
            one.space,
            one.backbone,
            "the model",
            run,
            weights=weights,
            trust_code=trust_code,
            module=one.module,
            values=one.values,
            files=one.files,
        )
        for one in model.members or (model,)
    ]


@dataclass(frozen=True)
class ModelRows:
    """The rows that a model's classifier takes, (n_readable, d), in the order of the inputs.

    `kept` has the positions of the inputs that could be read, `failures` the others, `profile` the times of
    `featx.extraction.Profile`.
    """

    embeddings: np.ndarray
    kept: np.ndarray
    failures: list[Failure]
    profile: dict[str, Any]


def embed_for_model(
    model: Model, dataset: Dataset, run: Run, *, weights: Any = None, trust_code: bool = False
) -> ModelRows:
    """Return the rows of images for a model, from the cache alone if it has all of them.

    Rows in the cache come from the network that the model's space names, so none is loaded or compared with
    the model's. With `weights`, which must fit the model, the network is loaded in any case. Errors are those
    of `model_embedders`.
    """
    parts = model.members or (model,)
    # A network that is ready asks the cache itself, once.
    ready = all(
        network_is_ready(one.space, one.backbone, trust_code=trust_code, values=one.values) for one in parts
    )
    rows = None if ready or weights is not None else _find_rows(parts, dataset, run)
    if rows is not None:
        unlisted = [Failure(e.id, e.reason) for e in dataset.reading.failures]
        return ModelRows(rows, np.arange(len(rows)), unlisted, Profile().to_dict())
    embedders = model_embedders(model, run, weights=weights, trust_code=trust_code)
    computed = embed_side_by_side(dataset, embedders, run)
    return ModelRows(computed.embeddings, computed.kept, computed.failures, computed.profile.to_dict())


def _find_rows(parts: Sequence[Model], dataset: Dataset, run: Run) -> np.ndarray | None:
    """Return the rows of a model's backbones, side by side, if the cache has all of them."""
    rows: list[np.ndarray] = []
    for one in parts:
        found = find_cached_rows(dataset.inputs, one.space, run.cache)
        if found is None:
            return None
        rows.append(found)
    return rows[0] if len(rows) == 1 else np.hstack(rows)


def embed_side_by_side(dataset: Dataset, embedders: Sequence[Embedder], run: Run) -> Rows:
    """Return the rows of images by all embedders, side by side: (n_readable, sum of their lengths).

    `embedder` and `profile` are those of the first one.
    """
    found = embed_dataset_together(dataset, embedders, run)
    if len(found) == 1:
        return found[0]
    return replace(
        found[0],
        embeddings=np.hstack([rows.embeddings for rows in found]),
        forward_passes=sum(rows.forward_passes for rows in found),
        computed=sum(rows.computed for rows in found),
    )
