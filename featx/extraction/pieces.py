"""Inputs of different lengths, or of several pieces: batches of about one length, and rows joined again.

Pieces are sorted by length before they are divided into batches, because a batch takes as long as its longest
piece. A row depends neither on its batch nor on its place in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.inputs import Preparation


def varies(preparation: Preparation) -> bool:
    """Return whether inputs of the network differ in shape or number, so that no one array holds them."""
    return preparation.in_pieces or None in preparation.shape


class Pieces:
    """The pieces of some prepared inputs, in batches that suit an engine.

    Where the network does not mask what stands behind shorter pieces, all pieces of a batch have one length.

    Parameters
    ----------
    prepared : sequence of ndarray
    preparation : Preparation
    engine : Engine
        It says how many pieces of a length make a batch.
    """

    def __init__(self, prepared: Sequence[np.ndarray], preparation: Preparation, engine: Any) -> None:
        self._prepared, self._preparation, self._engine = prepared, preparation, engine
        self._pieces = [piece for one in prepared for piece in self._divide(one)]
        self._lengths = np.array([len(piece) for piece in self._pieces])
        self._order = np.argsort(-self._lengths, kind="stable")

    @property
    def batches(self) -> Iterator[np.ndarray]:
        """The batches, each collated when it is asked for.

        The longest pieces come first: the first batch shows whether memory is enough.
        """
        lengths, start = self._lengths[self._order], 0
        while start < len(lengths):
            end = start + self._engine.inputs_of_length(int(lengths[start]))
            if not self._preparation.masks:
                end = min(end, int(np.searchsorted(-lengths, -lengths[start], side="right")))
            yield self._preparation.collate([self._pieces[i] for i in self._order[start:end]])
            start = end

    def _divide(self, one: np.ndarray) -> Sequence[np.ndarray]:
        """Return the pieces of an input, each of its own length."""
        if not self._preparation.in_pieces:
            return (one,)
        return [self._preparation.collate([piece])[0] for piece in one] if len(one) > 1 else list(one)

    def join(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return the rows of the inputs, from the rows (b, dim) of each batch; each layer is joined alone."""
        found = np.concatenate(rows)
        in_order = np.empty_like(found)
        in_order[self._order] = found
        if not self._preparation.in_pieces:
            return in_order
        ends = np.cumsum([len(one) for one in self._prepared])
        parts = np.split(in_order, ends[:-1])
        dims, join = self._layer_dims(), self._preparation.join
        if not dims:
            return np.stack([join(*pair) for pair in zip(parts, self._prepared, strict=True)])
        starts = np.cumsum(dims)[:-1]
        return np.stack(
            [
                np.concatenate([join(layer, one) for layer in np.split(rows, starts, axis=1)])
                for rows, one in zip(parts, self._prepared, strict=True)
            ]
        )

    def _layer_dims(self) -> list[int]:
        """Return the lengths of the rows of several layers, if the joined rows of each stand side by side.

        Empty where all layers can be joined as one row.
        """
        members = getattr(getattr(self._engine, "backbone", None), "members", ())
        if len(members) < 2 or self._preparation.joined_dim(1) == 1:
            return []
        return [member.dim for member in members]
