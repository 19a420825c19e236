"""Which training images each draw takes: pure, seeded, nested.

In each draw the training images of a class have one order, and k shots are its first k: what k shots take,
more shots take too, and every method works on the same images. The order of a class depends on the seed, the
number of the draw, the class and what it has, and on nothing else.

Images that belong together (frames of one video) are near copies, and k of them are worth less than k images.
So where there are groups, an order goes round them: one image of each before a second of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featx.errors import InputError

Shots = int | Literal["all"]

#: What is tried when nothing is said.
DEFAULT_SHOTS: tuple[Shots, ...] = (1, 2, 5, 10, 20, 50, "all")


@dataclass(frozen=True)
class Level:
    """One place on the curve.

    Attributes
    ----------
    shots : int or "all"
        Training images of each class, where it has so many.
    counts : tuple of int
        What each class gives.
    """

    shots: Shots
    counts: tuple[int, ...]

    @property
    def n_train(self) -> int:
        """Training images in all."""
        return sum(self.counts)

    @property
    def per_class(self) -> float:
        """Training images of a class in the mean: where the level stands on the axis."""
        return self.n_train / len(self.counts)

    def short(self, classes: Sequence[str]) -> dict[str, int]:
        """What the classes give that have fewer images than `shots`."""
        if self.shots == "all":
            return {}
        return {name: n for name, n in zip(classes, self.counts, strict=True) if n < self.shots}


def checked_shots(shots: Any) -> tuple[Shots, ...]:
    """Shots as given, sorted, each once, ``"all"`` last.

    Raises
    ------
    InputError
        There are none, or one is neither a positive whole number nor ``"all"``.
    """
    several = isinstance(shots, Iterable) and not isinstance(shots, str)
    given = list(shots) if several else [shots]
    numbers: set[int] = set()
    everything = False
    for k in given:
        if isinstance(k, str) and k == "all":
            everything = True
        elif isinstance(k, int) and not isinstance(k, bool) and k >= 1:
            numbers.add(k)
        else:
            raise InputError(f"shots: expected whole numbers of at least 1, or 'all', got {k!r}")
    if not given:
        raise InputError("shots: at least one number of images per class is needed, or 'all'")
    last: tuple[Shots, ...] = ("all",) if everything else ()
    return (*sorted(numbers), *last)


def levels(shots: Sequence[Shots], available: Iterable[int]) -> tuple[list[Level], list[str]]:
    """The levels that differ, and what a reader should know of those asked for.

    Parameters
    ----------
    shots : sequence of int or "all"
        From `checked_shots`.
    available : iterable of int
        Training images of each class.

    Returns
    -------
    levels : list of Level
        From the fewest images to the most. Shots beyond what any class has are all images, once.
    notes : list of str
    """
    counts = tuple(int(n) for n in available)
    most = max(counts)
    found: dict[tuple[int, ...], Level] = {}
    beyond = [k for k in shots if k != "all" and k > most]
    for k in shots:
        if k == "all" or k > most:
            found.setdefault(counts, Level("all", counts))
        else:
            taken = tuple(min(k, n) for n in counts)
            found.setdefault(taken, Level(k, taken))
    notes = []
    if beyond:
        listed = ", ".join(map(str, beyond))
        notes.append(
            f"no class has more than {most} training images: {listed} shots are all of them, shown once"
        )
    return list(found.values()), notes


@dataclass(frozen=True, eq=False)
class Draw:
    """The training images of one draw, class by class, in their order.

    Attributes
    ----------
    number : int
        From 0.
    seed : int
        For the folds, the classifiers and the fine-tuning on it.
    orders : list of ndarray of int64
        For each class, rows of the dataset.
    """

    number: int
    seed: int
    orders: list[np.ndarray]

    def rows(self, level: Level) -> np.ndarray:
        """The rows that a level takes, sorted."""
        parts = [order[:n] for order, n in zip(self.orders, level.counts, strict=True)]
        return np.sort(np.concatenate(parts))


def draw(labels, train, n_classes: int, *, number: int, seed: int, groups=None) -> Draw:
    """One draw of nested training images.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Class of each image of the dataset.
    train : ndarray of int
        The rows that may be drawn.
    n_classes : int
        Classes; each has a row in `train`.
    number : int
        Of the draw.
    seed : int
        Of the experiment.
    groups : ndarray of shape (n,), optional
        Images that belong together.

    Returns
    -------
    Draw
    """
    y, candidates = np.asarray(labels), np.sort(np.asarray(train))
    orders = []
    for c in range(n_classes):
        rng = np.random.default_rng([seed, number, c])
        order = rng.permutation(candidates[y[candidates] == c])
        if groups is not None:
            order = _round_the_groups(order, np.asarray(groups))
        orders.append(order)
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return Draw(number, own, orders)


def _round_the_groups(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The same rows: first the first of each group, then the second of each, and so on."""
    met: dict[Any, int] = {}
    turns = []
    for group in groups[order].tolist():
        turns.append(met.get(group, 0))
        met[group] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")]
