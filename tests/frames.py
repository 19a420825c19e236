"""Embeddings of frames that belong to scenes, and how often a test on them finds what is not there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featx.analysis.distances import mmd_test

Sizes = Callable[[np.random.Generator], np.ndarray]


def frames_of(rng: np.random.Generator, sizes, icc: float, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Rows of scenes with these numbers of frames, and the scene of each; `icc` is what a scene shares."""
    scene = np.repeat(np.arange(len(sizes)), sizes)
    of_scenes, own = rng.normal(size=(len(sizes), d)), rng.normal(size=(len(scene), d))
    return icc**0.5 * of_scenes[scene] + (1 - icc) ** 0.5 * own, scene


def rejection_rate(
    first: Sizes, second: Sizes, icc: float, trials: int, *, n_permutations: int = 99, by_rows: bool = False
) -> float:
    """How often the test of MMD rejects at 5 % if both sets have scenes of one kind; `by_rows` ignores them.

    `first` and `second` draw the numbers of frames of each scene. With 99 or 199 permutations, a p-value of
    at most 0.05 has exactly this probability where no two divisions have one value.
    """
    hits = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        (x, u), (y, v) = frames_of(rng, first(rng), icc), frames_of(rng, second(rng), icc)
        units = None if by_rows else np.append(u, v + u.max() + 1)
        hits += mmd_test(x, y, units=units, n_permutations=n_permutations, seed=trial).p_value <= 0.05
    return hits / trials
