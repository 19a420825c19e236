"""Decode images into batches of pixels: in threads, a few batches ahead, in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from featx import machine
from featx.inputs.image.augment import SCALE, augment_image
from featx.inputs.image.preprocess import Preprocessing

#: Batches that are decoded ahead of the one in use; bounds the memory.
AHEAD = 2

#: ``view(source, position)`` returns uint8 pixels (h, w, 3).
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
    images: Sequence[Any], positions: np.ndarray, batch_size: int, view: View, pool: ThreadPoolExecutor
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions (b,) and uint8 pixels (b, h, w, 3) of decoded images, in the order of `positions`.

    At most ``(AHEAD + 1) * batch_size`` images are in memory or being decoded. An `ImageError` names one
    that cannot be decoded; no thread then goes on working on this call.
    """
    todo = iter(positions.tolist())
    pending: deque[tuple[int, Future]] = deque()

    def submit(count: int) -> None:
        for position in islice(todo, count):
            pending.append((position, pool.submit(view, images[position], position)))

    try:
        submit((AHEAD + 1) * batch_size)
        while pending:
            ready = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
            pixels = np.stack([future.result() for _, future in ready])
            yield np.array([position for position, _ in ready]), pixels
            submit(batch_size)
    finally:
        for _, future in pending:
            future.cancel()
