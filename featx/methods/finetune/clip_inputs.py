"""Clips as inputs of a training: windows in batches, changed at random where the recipe says so.

A training without augmentation sees all windows of a clip, whose rows are joined as in extraction: what is
validated is what is trained. With augmentation it sees one window of each longer clip, which begins anywhere
and is another one in every epoch, as is usual where clips are long (Gong et al., *AST*, 2021, and others crop
to one length). Validation and predictions always join all windows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from featx.inputs.audio import PADDING, AudioPreparation
from featx.inputs.audio.augment import augment_clip
from featx.methods.finetune.batches import (
    View,
    arrange_by_cost,
    dearest_first,
    decode_batches,
    decoding_threads,
    pad_pieces,
)
from featx.methods.finetune.recipe import Recipe

#: Most bytes of samples that are kept, and as many of prepared windows: four and a half hours at 16 kHz.
KEPT_BYTES = 1 << 30


class _Kept:
    """Arrays by position; those beyond `KEPT_BYTES` are made anew whenever they are asked for."""

    def __init__(self) -> None:
        self._arrays: dict[int, np.ndarray] = {}
        self._bytes = 0

    def get(self, position: int, make: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return the array of a position, from `make` unless it is kept."""
        if (found := self._arrays.get(position)) is not None:
            return found
        made = make(position)
        if self._bytes + made.nbytes <= KEPT_BYTES:
            self._bytes += made.nbytes
            self._arrays[position] = made
        return made


class ClipInputs:
    """Clips; a batch is float32 (b, windows, positions[, bands]).

    `PADDING` stands behind shorter windows, and in the place of windows that a clip does not have.
    """

    kind = "clip"

    def __init__(self, sources: Sequence[Any], preparation: AudioPreparation):
        self._sources, self._preparation = sources, preparation
        self._samples, self._windows = _Kept(), _Kept()
        self._shapes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def samples(self, position: int) -> np.ndarray:
        """Return the samples of a clip at the network's rate, float32 (frames,)."""
        return self._samples.get(position, lambda i: self._preparation.samples_of(self._sources[i].read()))

    def windows(self, position: int) -> np.ndarray:
        """Return the prepared windows of a clip, float32 (windows, positions[, bands])."""
        found = self._windows.get(position, self._prepare)
        self._shapes[position] = (found.shape[0], found.shape[1])
        return found

    def _prepare(self, position: int) -> np.ndarray:
        return self._preparation.prepare(self._sources[position].read())

    def view(self, recipe: Recipe, seed: int, number: int) -> View | None:
        """Return random changes if the recipe says so, drawn for each clip from (seed, number, position)."""
        if not recipe.augment:
            return None

        def show(source: Any, position: int) -> np.ndarray:
            return augment_clip(
                self.samples(position),
                np.random.default_rng([seed, number, position]),
                self._preparation,
                time_mask=recipe.time_mask,
                band_mask=recipe.band_mask,
                noise=recipe.noise,
                gain=recipe.gain,
                shift=recipe.shift,
            )

        return show

    def shapes(self, positions: np.ndarray) -> np.ndarray:
        """Return windows and positions of each clip, int64 (n, 2)."""
        todo = [i for i in positions.tolist() if i not in self._shapes]
        if todo:
            with ThreadPoolExecutor(decoding_threads(), "featx-decode") as pool:
                for _ in pool.map(lambda i: len(self.windows(i)), todo):
                    pass
        return np.array([self._shapes[i] for i in positions.tolist()], np.int64).reshape(-1, 2)

    def arrange(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """Put clips of about one length into each batch (`arrange_by_cost`)."""
        return arrange_by_cost(order, self.shapes(order).prod(axis=1), size, rng)

    def sort(self, positions: np.ndarray) -> np.ndarray:
        """Return the longest clips first."""
        return dearest_first(positions, self.shapes(positions).prod(axis=1))

    def rows_at_once(self, positions: np.ndarray, recipe: Recipe) -> int:
        """Return how many clips go through the network together.

        Fewer where clips have several windows, so that a step has about as many windows as a batch has clips.
        """
        if recipe.augment and self._preparation.windows is None:
            return len(positions)
        return max(1, len(positions) // int(self.shapes(positions)[:, 0].max()))

    def batches(
        self,
        positions: np.ndarray,
        size: int,
        view: View | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Yield padded windows."""
        show = view or (lambda source, position: self.windows(position))
        return decode_batches(
            self._sources, positions, size, show, pool, partial(pad_pieces, padding=PADDING)
        )
