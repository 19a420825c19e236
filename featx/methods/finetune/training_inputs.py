"""The inputs of a training, by kind: how they are read, in which order they come, and what makes a batch.

Images are decoded anew whenever they are needed, because pixels are large. Texts are turned into tokens once,
and clips into samples as far as memory reaches; batches hold texts or clips of about one length.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from featx.inputs.image.preprocess import Preprocessing
from featx.inputs.text import PADDING, TextPreparation
from featx.methods.finetune.batches import (
    View,
    arrange_by_cost,
    dearest_first,
    decode_batches,
    pad_pieces,
    plain_view,
    random_view,
)
from featx.methods.finetune.clip_inputs import ClipInputs
from featx.methods.finetune.recipe import Recipe


class TrainingInputs(Protocol):
    """The inputs of a training or of a forward pass; a position is a place in the sequence of sources."""

    kind: str

    def __len__(self) -> int: ...

    def view(self, recipe: Recipe, seed: int, number: int) -> View | None:
        """Return the view number `number`, from 1, of a training; None is the plain one."""

    def arrange(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the positions of an epoch, given in random order, as batches of `size` take them."""

    def sort(self, positions: np.ndarray) -> np.ndarray:
        """Return positions in the best order for a forward pass."""

    def shapes(self, positions: np.ndarray) -> np.ndarray | None:
        """Return the shape (n, 2) of each input, if they differ."""

    def rows_at_once(self, positions: np.ndarray, recipe: Recipe) -> int:
        """Return how many inputs of a batch go through the network together in a step, at most."""

    def batches(
        self,
        positions: np.ndarray,
        size: int,
        view: View | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions (b,) and batches for `TrainableBackbone.run_lower`, in this order."""


class ImageInputs:
    """Images; a batch is uint8 pixels (b, h, w, 3)."""

    kind = "image"

    def __init__(self, sources: Sequence[Any], preparation: Preprocessing):
        self._sources, self._preparation = sources, preparation

    def __len__(self) -> int:
        return len(self._sources)

    def view(self, recipe: Recipe, seed: int, number: int) -> View | None:
        """Return random crops if the recipe says so."""
        if not recipe.augment:
            return None
        return random_view(
            self._preparation,
            seed,
            number,
            crop_scale=recipe.crop_scale,
            flip=recipe.flip,
            jitter=recipe.jitter,
        )

    def arrange(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the order as it is."""
        return order

    def sort(self, positions: np.ndarray) -> np.ndarray:
        """Return the positions as they are."""
        return positions

    def shapes(self, positions: np.ndarray) -> np.ndarray | None:
        """Return None: all images have one size."""
        return None

    def rows_at_once(self, positions: np.ndarray, recipe: Recipe) -> int:
        """Return their number."""
        return len(positions)

    def batches(
        self,
        positions: np.ndarray,
        size: int,
        view: View | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Yield decoded images."""
        return decode_batches(self._sources, positions, size, view or plain_view(self._preparation), pool)


class TextInputs:
    """Texts; a batch is int32 tokens (b, pieces, length), padded with `PADDING`.

    A text that the preparation splits has several pieces, and its features are the mean of theirs, weighted
    by their tokens, in training as in extraction.
    """

    kind = "text"

    def __init__(self, sources: Sequence[Any], preparation: TextPreparation):
        self._sources, self._preparation = sources, preparation
        self._known: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def tokens(self, position: int) -> np.ndarray:
        """Return the tokens of a text, int32 (pieces, length)."""
        if position not in self._known:
            self._known[position] = self._preparation.prepare(self._sources[position].read())
        return self._known[position]

    def view(self, recipe: Recipe, seed: int, number: int) -> View | None:
        """Return None: texts are always shown as they are."""
        return None

    def shapes(self, positions: np.ndarray) -> np.ndarray:
        """Return pieces and length of each text."""
        return np.array([self.tokens(i).shape for i in positions.tolist()], np.int64).reshape(-1, 2)

    def arrange(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """Put texts of about one length into each batch (`arrange_by_cost`)."""
        return arrange_by_cost(order, self.shapes(order).prod(axis=1), size, rng)

    def sort(self, positions: np.ndarray) -> np.ndarray:
        """Return the longest texts first."""
        return dearest_first(positions, self.shapes(positions).prod(axis=1))

    def rows_at_once(self, positions: np.ndarray, recipe: Recipe) -> int:
        """Return their number."""
        return len(positions)

    def batches(
        self,
        positions: np.ndarray,
        size: int,
        view: View | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Yield padded tokens."""
        for start in range(0, len(positions), size):
            rows = positions[start : start + size]
            yield rows, pad_pieces([self.tokens(i) for i in rows.tolist()], PADDING)


#: The inputs of each kind.
_INPUTS: dict[str, Any] = {"image": ImageInputs, "text": TextInputs, "clip": ClipInputs}


def training_inputs(sources: Any, kind: str, preparation: Any) -> TrainingInputs:
    """Return the inputs of sources; what is such inputs already is returned as it is."""
    own = isinstance(sources, tuple(_INPUTS.values()))
    found: TrainingInputs = sources if own else _INPUTS[kind](sources, preparation)
    return found
