"""Try again: which failures pass by themselves, how often and after which pauses requests are repeated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from featx.places import stopping
from featx.places.place import PlaceError

_T = TypeVar("_T")


class Passing(Exception):
    """A failure that may pass: a dropped connection, no answer in time, a busy server.

    Parameters
    ----------
    reason : str
        In a few words, without the URL.
    after : float, optional
        Seconds that the server asks to wait (``Retry-After``).
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


@dataclass(frozen=True)
class Retries:
    """How often a request is made, and how long the pauses are.

    The pause before try ``n + 1`` is drawn from half to all of ``first * 2**(n - 1)`` seconds, at most
    `longest`, so that many readers do not come back at the same moment. If the server says how long to wait,
    that is waited for, up to `longest_asked`.
    """

    tries: int = 5
    first: float = 0.5
    longest: float = 20.0
    longest_asked: float = 60.0
    sleep: Callable[[float], None] | None = None

    def run(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` returns; `PlaceError` when it has failed `tries` times."""
        for number in range(1, self.tries + 1):
            try:
                return attempt()
            except Passing as error:
                if number == self.tries:
                    raise self.give_up(error) from None
                seconds = self.pause(number, error.after)
            (self.sleep or stopping.pause)(seconds)
        raise AssertionError("unreachable")

    def give_up(self, error: Passing) -> PlaceError:
        """Return the failure that is left after the last try."""
        times = f"tried {self.tries} times" if self.tries > 1 else "tried once"
        return PlaceError(f"cannot be read ({error.reason}; {times})")

    def pause(self, number: int, asked: float | None) -> float:
        """Return the seconds to wait after try `number`, from 1."""
        most = min(self.longest, self.first * 2.0 ** (number - 1))
        drawn = random.uniform(most / 2, most)
        return drawn if asked is None else max(drawn, min(asked, self.longest_asked))
