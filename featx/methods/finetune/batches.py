"""Decode images into batches of pixels: in threads, a few batches ahead, in a fixed order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from featx.inputs.image.augment import SCALE, augment_image
from featx.inputs.image.preprocess import Preprocessing

#: Batches decoded or being decoded ahead of the one in use; it bounds the memory.
AHEAD = 2

View = Callable[[Any, int], np.ndarray]


def plain(preprocessing: Preprocessing) -> View:
    """Return the view of an image that extraction takes: the preprocessing of the backbone."""

    def view(source: Any, position: int) -> np.ndarray:
        pixels: np.ndarray = preprocessing.prepare(source.read())
        return pixels

    return view


def random_crops(
    preprocessing: Preprocessing,
    seed: int,
    epoch: int,
    *,
    crop_scale: float = SCALE[0],
    flip: float = 0.5,
    jitter: float = 0.0,
) -> View:
    """Return a view with random crops, flips and colours, drawn for each image from (seed, epoch, position).

    What an image gets does not depend on the order in which threads reach it. `crop_scale` is the smallest
    share of the area that a crop covers; the rest is as in `featx.inputs.image.augment.augment_image`.
    """

    def view(source: Any, position: int) -> np.ndarray:
        rng = np.random.default_rng([seed, epoch, position])
        image = source.read().image()
        return augment_image(image, rng, preprocessing, scale=(crop_scale, 1.0), flip=flip, jitter=jitter)

    return view


def workers() -> int:
    """Return the number of decoding threads: the processors that this process may use, at most eight."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


def batches(
    images: Sequence[Any], positions: np.ndarray, batch_size: int, view: View, pool: ThreadPoolExecutor
) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of decoded images, in the order of `positions`.

    Parameters
    ----------
    images : sequence of sources
        With ``read()``, see `featx.inputs.image.source`.
    positions : ndarray of shape (n,)
        Which images, in which order.
    batch_size : int
        Images in a batch; the last one may be smaller.
    view : callable
        ``view(source, position)`` gives uint8 pixels (h, w, 3).
    pool : ThreadPoolExecutor
        Decodes; at most ``(AHEAD + 1) * batch_size`` images are in memory or under way.

    Yields
    ------
    (ndarray of shape (b,), ndarray of shape (b, h, w, 3), uint8)
        Positions and pixels.

    Raises
    ------
    ImageError
        An image cannot be decoded; it carries the image's id. No thread is left working on this call.
    """
    todo = iter(positions.tolist())
    under_way: deque[tuple[int, Future]] = deque()

    def submit(count: int) -> None:
        for position in islice(todo, count):
            under_way.append((position, pool.submit(view, images[position], position)))

    try:
        submit((AHEAD + 1) * batch_size)
        while under_way:
            ready = [under_way.popleft() for _ in range(min(batch_size, len(under_way)))]
            pixels = np.stack([future.result() for _, future in ready])
            yield np.array([position for position, _ in ready]), pixels
            submit(batch_size)
    finally:
        for _, future in under_way:
            future.cancel()
