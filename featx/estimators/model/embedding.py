"""Compute the rows that a model's classifier takes: of one backbone, or of the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data import Dataset
from featx.errors import InputError
from featx.extraction import Embedder, Rows, embed_dataset_together, matching_embedder
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
        )
        for one in model.members or (model,)
    ]


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
