"""Inputs of different lengths, or of several pieces: batches of about one length, and rows joined again.

Pieces are sorted by length before they are divided into batches, because a batch takes as long as its longest
piece. A row depends neither on its batch nor on its place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.inputs import Preparation


def varies(preparation: Preparation) -> bool:
    """Return whether inputs of the network differ in shape or number, so that no one array holds them."""
    return preparation.in_pieces or None in preparation.shape


class Pieces:
    """The pieces of some prepared inputs, in batches that suit an engine.

    Parameters
    ----------
    prepared : sequence of ndarray
    preparation : Preparation
    engine : Engine
        It says how many pieces of a length make a batch.

    Attributes
    ----------
    batches : list of ndarray
        Collated, the longest pieces first: the first batch shows whether memory is enough.
    """

    def __init__(self, prepared: Sequence[np.ndarray], preparation: Preparation, engine: Any) -> None:
        self._prepared, self._preparation = prepared, preparation
        pieces = [piece for one in prepared for piece in self._divide(one)]
        lengths = np.array([len(piece) for piece in pieces])
        self._order = np.argsort(-lengths, kind="stable")
        self.batches = []
        start = 0
        while start < len(pieces):
            size = engine.inputs_of_length(int(lengths[self._order[start]]))
            chosen = self._order[start : start + size]
            self.batches.append(preparation.collate([pieces[i] for i in chosen]))
            start += size

    def _divide(self, one: np.ndarray) -> Sequence[np.ndarray]:
        """Return the pieces of an input, each of its own length."""
        if not self._preparation.in_pieces:
            return (one,)
        return [self._preparation.collate([piece])[0] for piece in one] if len(one) > 1 else list(one)

    def join(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return the rows (n, dim) of the inputs, from the rows (b, dim) of each batch."""
        found = np.concatenate(rows)
        in_order = np.empty_like(found)
        in_order[self._order] = found
        if not self._preparation.in_pieces:
            return in_order
        ends = np.cumsum([len(one) for one in self._prepared])
        parts = np.split(in_order, ends[:-1])
        joined = [self._preparation.join(*pair) for pair in zip(parts, self._prepared, strict=True)]
        return np.stack(joined)
