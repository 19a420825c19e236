"""Follow a fine-tuning through its phases: what it does now, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.workload import PHASES, Costs, Images, plan_phases
from featx.progress import describe_seconds

#: The measurement before a training counts as much as this many seconds of the training.
_PRIOR = 5.0
#: Images of the training after which an estimate without a measurement is worth showing.
_TELLING = 32


class TrainingProgress:
    """The progress of a fine-tuning, which reports to it; any thread may ask for `describe`.

    Parameters
    ----------
    costs : Costs, optional
        Measured seconds for an image. Without them the time left is known after the first images.
    clock : callable, optional
        Returns seconds.
    """

    def __init__(self, costs: Costs | None = None, *, clock: Callable[[], float] = time.perf_counter):
        self._measured, self._costs, self._clock = costs is not None, costs or Costs(), clock
        self._phases: dict[str, Images] = {}
        self._done = 0.0  # expected seconds of the images that are done
        self._images = 0.0
        self._doing, self._epoch = "", ""
        self._first: float | None = None  # when the first phase began
        self._last = 0.0  # when the last images were done

    def plan(self, recipe: Recipe, n_train: int, n_val: int) -> None:
        """Plan the phases of a training of the network."""
        self._phases = plan_phases(recipe, n_train, n_val, self._costs)

    def begin(self, phase: str, doing: str) -> None:
        """Begin a phase, which ends those before it; `doing` says in words what is done now."""
        self._doing, self._epoch = doing, ""
        if self._first is None:
            self._first = self._last = self._clock()
        for earlier in PHASES[: PHASES.index(phase)]:
            self._phases.pop(earlier, None)

    def shorten(self, phase: str, share: float) -> None:
        """Plan a share of the images of a phase, which has fewer epochs than were planned."""
        if phase in self._phases:
            self._phases[phase] = Images(*(share * number for number in self._phases[phase]))

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Begin an epoch of the training that runs now."""
        self._epoch = f", epoch {epoch} of {epochs}"

    def count(self, kind: str, images: float) -> None:
        """Count images, ``"train"``, ``"check"`` or ``"store"``, of the phase that runs now."""
        phase = next((name for name in PHASES if name in self._phases), None)
        now = Images(**{kind: images})
        if phase is not None:
            left = (max(0.0, a - b) for a, b in zip(self._phases[phase], now, strict=True))
            self._phases[phase] = Images(*left)
        self._done += now.seconds(self._costs)
        self._images += images
        self._last = self._clock()

    @property
    def seconds_left(self) -> float | None:
        """About how many seconds it still takes; None before anything is known."""
        spent = 0.0 if self._first is None else self._last - self._first
        prior = _PRIOR if self._measured else 0.0
        if not self._phases or (not self._measured and self._images < _TELLING):
            return None
        left = sum(images.seconds(self._costs) for images in list(self._phases.values()))
        left *= (spent + prior) / (self._done + prior)
        since = 0.0 if self._first is None else self._clock() - self._last
        return max(0.0, left - since)

    def describe(self) -> tuple[float, str]:
        """Return the share of the time that has passed, and the time left with what is done now."""
        left = self.seconds_left
        passed = 0.0 if self._first is None else self._clock() - self._first
        share = 0.0 if left is None or passed + left <= 0 else passed / (passed + left)
        said = [f"about {describe_seconds(left)} left"] if left else []
        return share, "; ".join([*said, self.doing] if self.doing else said)

    @property
    def doing(self) -> str:
        """What is done now, in words: ``"rate 1 of 2, epoch 3 of 8"``; empty while only a head is trained."""
        return self._doing + self._epoch
