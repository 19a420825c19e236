"""Decode images and clips into batches, in threads, a few batches ahead; and order inputs of many lengths."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np

from featx import machine
from featx.inputs.image.augment import SCALE, augment_image
from featx.inputs.image.preprocess import Preprocessing

#: Batches that are decoded ahead of the one in use; bounds the memory.
AHEAD = 2
#: Batches whose inputs are sorted by cost together: the order in which a training sees them stays random.
_SORTED_TOGETHER = 8

#: ``view(source, position)`` returns uint8 pixels (h, w, 3), or the windows of a clip.
View = Callable[[Any, int], np.ndarray]


def plain_view(preprocessing: Preprocessing) -> View:
    """Return the view that extraction uses: the preprocessing of the backbone."""

    def view(source: Any, position: int) -> np.ndarray:
        pixels: np.ndarray = preprocessing.prepare(source.read())
        return pixels

    return view


def random_view(
    preprocessing: Preprocessing,
    seed: int,
    epoch: int,
    *,
    crop_scale: float = SCALE[0],
    flip: float = 0.5,
    jitter: float = 0.0,
) -> View:
    """Return a view with random crops, flips and colours, drawn for each image from (seed, epoch, position).

    The order in which threads decode the images does not matter. `crop_scale` is the smallest share of the
    area that a crop covers; the rest is as in `featx.inputs.image.augment.augment_image`.
    """

    def view(source: Any, position: int) -> np.ndarray:
        rng = np.random.default_rng([seed, epoch, position])
        image = source.read().image()
        return augment_image(image, rng, preprocessing, scale=(crop_scale, 1.0), flip=flip, jitter=jitter)

    return view


def decoding_threads() -> int:
    """Return the number of decoding threads: the cores that this process may use, at most eight."""
    return min(8, machine.cores())


def decode_batches(
    inputs: Sequence[Any],
    positions: np.ndarray,
    batch_size: int,
    view: View,
    pool: ThreadPoolExecutor | None = None,
    collate: Callable[[Sequence[np.ndarray]], np.ndarray] = np.stack,
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions (b,) and batches of decoded inputs, in the order of `positions`.

    Threads of `pool` decode them, or of one for this call alone. `collate` joins them; images become uint8
    pixels (b, h, w, 3). At most ``(AHEAD + 1) * batch_size`` inputs
    are in memory or being decoded. A `SourceError` names one that cannot be decoded; no thread then goes on
    working on this call.
    """
    todo = iter(positions.tolist())
    pending: deque[tuple[int, Future]] = deque()

    def submit(threads: ThreadPoolExecutor, count: int) -> None:
        for position in islice(todo, count):
            pending.append((position, threads.submit(view, inputs[position], position)))

    own = ThreadPoolExecutor(decoding_threads(), "featx-decode") if pool is None else nullcontext(pool)
    with own as threads:
        try:
            submit(threads, (AHEAD + 1) * batch_size)
            while pending:
                ready = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
                batch = collate([future.result() for _, future in ready])
                yield np.array([position for position, _ in ready]), batch
                submit(threads, batch_size)
        finally:
            for _, future in pending:
                future.cancel()


def pad_pieces(inputs: Sequence[np.ndarray], padding: float) -> np.ndarray:
    """Return inputs (pieces, length, ...) as one batch (b, most pieces, longest, ...) with `padding` behind.

    The same stands in the place of pieces that an input does not have.
    """
    pieces, length = np.max([one.shape[:2] for one in inputs], axis=0)
    batch = np.full((len(inputs), pieces, length, *inputs[0].shape[2:]), padding, inputs[0].dtype)
    for row, one in zip(batch, inputs, strict=True):
        row[: one.shape[0], : one.shape[1]] = one
    return batch


def arrange_by_cost(order: np.ndarray, costs: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Sort the inputs of every few batches by cost, and shuffle these batches; return the new order.

    A batch takes as long as its longest input; which inputs meet in a batch stays mostly random. A batch that
    is not full comes last. `costs` (n,) are those of the inputs at each place of `order`.
    """
    arranged = []
    for start in range(0, len(order), _SORTED_TOGETHER * size):
        window = slice(start, start + _SORTED_TOGETHER * size)
        near = order[window][np.argsort(costs[window], kind="stable")]
        full = len(near) // size
        batches = [near[i * size : (i + 1) * size] for i in rng.permutation(full)]
        arranged += [*batches, near[full * size :]]
    return np.concatenate(arranged) if arranged else order


def dearest_first(positions: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return positions by falling cost: the first batch shows whether memory is enough."""
    return positions[np.argsort(-costs, kind="stable")]
