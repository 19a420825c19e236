"""Draw the training inputs of a learning curve; few-shot protocols of the literature.

A draw puts the training inputs of each class into an order, and k shots are the first k: a level contains
the inputs of all smaller ones, and every method gets the same inputs. The order of a class depends only on
the seed, the number of the draw, the class and its inputs.

Inputs of one group (frames of a video) are near copies, so k of them are worth less than k others. Where
there are groups, an order takes one input of each group before the second of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featx.errors import InputError, UnknownName

Shots = int | Literal["all"]

DEFAULT_SHOTS: tuple[Shots, ...] = (1, 2, 5, 10, 20, 50, "all")


@dataclass(frozen=True)
class Protocol:
    """A few-shot protocol of the literature."""

    shots: tuple[Shots, ...]
    seeds: int  # draws
    classifiers: tuple[str, ...]  # names of `featx.methods.probes.CLASSIFIERS`
    source: str  # where it is described


PROTOCOLS = {
    "lsr-fewshot": Protocol(
        (1, 5, 10, 25),
        3,
        ("lsr-fewshot",),
        "big_vision, evaluators/fewshot_lsr.py: least squares to targets of 1 and -1 on standardised "
        "features (Kolesnikov et al. 2020; Zhai et al. 2022)",
    ),
}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name."""
    found = PROTOCOLS.get(str(name).lower().replace("_", "-"))
    if found is None:
        raise UnknownName("protocol", str(name), PROTOCOLS)
    return found


@dataclass(frozen=True)
class Level:
    """One place on the curve."""

    shots: Shots  # training inputs of each class, as asked for
    counts: tuple[int, ...]  # training inputs of each class, as it has them

    @property
    def n_train(self) -> int:
        """Training inputs of all classes together."""
        return sum(self.counts)

    @property
    def per_class(self) -> float:
        """Mean number of training inputs of a class: the level's place on the axis."""
        return self.n_train / len(self.counts)

    def short(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the counts of the classes that have fewer inputs than `shots`."""
        if self.shots == "all":
            return {}
        return {name: n for name, n in zip(classes, self.counts, strict=True) if n < self.shots}


def check_shots(shots: Any) -> tuple[Shots, ...]:
    """Return the shots sorted, without repetitions, ``"all"`` last; refuse what is not a number of inputs."""
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
        raise InputError("shots: at least one number of labels per class is needed, or 'all'")
    last: tuple[Shots, ...] = ("all",) if everything else ()
    return (*sorted(numbers), *last)


def find_levels(
    shots: Sequence[Shots], available: Iterable[int], kind: str = "image"
) -> tuple[list[Level], list[str]]:
    """Return the distinct levels, from the fewest inputs to the most, and notes for a reader.

    `available` holds the number of training inputs of each class. Shots beyond the largest of them become
    one level, ``"all"``.
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
            f"no class has more than {most} training {kind}s: {listed} shots are all of them, shown once"
        )
    return list(found.values()), notes


@dataclass(frozen=True, eq=False)
class Draw:
    """The training inputs of one draw: an order for each class."""

    number: int  # from 0
    seed: int  # for the folds, the classifiers and the fine-tuning on this draw
    orders: list[np.ndarray]  # for each class, rows of the dataset

    def rows(self, level: Level) -> np.ndarray:
        """Return the rows that a level takes, sorted."""
        parts = [order[:n] for order, n in zip(self.orders, level.counts, strict=True)]
        return np.sort(np.concatenate(parts))


def draw(labels, train, n_classes: int, *, number: int, seed: int, groups=None) -> Draw:
    """Make draw `number` of a study with this seed.

    `labels` and `groups` have one entry for each input of the dataset, shape (n,); `train` are the rows that
    may be drawn, at least one of each class.
    """
    y, candidates = np.asarray(labels), np.sort(np.asarray(train))
    orders = []
    for c in range(n_classes):
        rng = np.random.default_rng([seed, number, c])
        order = rng.permutation(candidates[y[candidates] == c])
        if groups is not None:
            order = _alternate_groups(order, np.asarray(groups))
        orders.append(order)
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return Draw(number, own, orders)


def _alternate_groups(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Reorder rows: the first of each group, then the second of each, and so on."""
    met: dict[Any, int] = {}
    turns = []
    for group in groups[order].tolist():
        turns.append(met.get(group, 0))
        met[group] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")]
