"""Draw the training images of a learning curve: seeded and nested.

Each draw puts the training images of a class into an order, and k shots are its first k: what k shots take,
more shots take too, and every method works on the same images. The order of a class depends on the seed, the
number of the draw, the class and its images, and on nothing else.

Images of one group (frames of one video) are near copies, and k of them are worth less than k images. So
where there are groups, an order takes one image of each before a second of any.
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
    """One place on the curve."""

    shots: Shots  # training images of each class, where it has so many
    counts: tuple[int, ...]  # what each class gives

    @property
    def n_train(self) -> int:
        """Training images in all."""
        return sum(self.counts)

    @property
    def per_class(self) -> float:
        """Mean number of training images of a class: where the level stands on the axis."""
        return self.n_train / len(self.counts)

    def short(self, classes: Sequence[str]) -> dict[str, int]:
        """Return what those classes give that have fewer images than `shots`."""
        if self.shots == "all":
            return {}
        return {name: n for name, n in zip(classes, self.counts, strict=True) if n < self.shots}


def check_shots(shots: Any) -> tuple[Shots, ...]:
    """Return shots as given, sorted, each once, ``"all"`` last.

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


def find_levels(shots: Sequence[Shots], available: Iterable[int]) -> tuple[list[Level], list[str]]:
    """Return the levels that differ, from the fewest images to the most, and notes for a reader.

    `available` are the training images of each class. Shots beyond what any class has are all images, once.
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
    """The training images of one draw, class by class, in their order."""

    number: int  # from 0
    seed: int  # of the folds, the classifiers and the fine-tuning on it
    orders: list[np.ndarray]  # for each class, rows of the dataset

    def rows(self, level: Level) -> np.ndarray:
        """Return the rows that a level takes, sorted."""
        parts = [order[:n] for order, n in zip(self.orders, level.counts, strict=True)]
        return np.sort(np.concatenate(parts))


def draw(labels, train, n_classes: int, *, number: int, seed: int, groups=None) -> Draw:
    """Draw nested training images.

    Parameters
    ----------
    labels, groups : ndarray of shape (n,)
        Class of each image of the dataset; groups are optional.
    train : ndarray of int
        The rows that may be drawn; each of `n_classes` classes has one.
    number, seed : int
        Of the draw, and of the study.
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
    """Reorder rows: the first of each group, then the second of each, and so on."""
    met: dict[Any, int] = {}
    turns = []
    for group in groups[order].tolist():
        turns.append(met.get(group, 0))
        met[group] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")]
