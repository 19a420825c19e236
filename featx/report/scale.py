"""Place numbers on the axis that all rows of a table share: dots, whiskers, bands and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from featx.metrics import Interval


@dataclass(frozen=True)
class Mark:
    """One element of a drawing: its CSS class, and where it stands (a CSS style)."""

    style: str
    place: str


@dataclass(frozen=True)
class Drawing:
    """Marks on an axis, and what they say in words."""

    label: str
    marks: list[Mark]


class Scale:
    """The axis from a round number below every interval up to 1.

    References do not widen it (they would squeeze everything that matters into a corner); one that lies
    outside is drawn as an arrow at the edge.

    Parameters
    ----------
    intervals : sequence of Interval
        Those that must be seen.
    labels : int
        Most numbers that are written; of more ticks, every second one has its number.
    """

    def __init__(self, intervals: Sequence[Interval], labels: int = 6):
        lows = [b for i in intervals for b in (i.low, i.value) if math.isfinite(b)]
        lowest = min(lows, default=0.0)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (1 - lowest) / s <= 6 or s == 0.25)
        self.step = step
        self.low = max(0.0, min(math.floor(lowest / step - 1e-9) * step, 1 - 2 * step))
        self.labels = labels
        self.grid = [Mark("grid", _place(self.at(t))) for t in self.ticks]

    def at(self, value: float) -> float:
        """Where a value lies, in per cent of the width; negative when off the scale."""
        return 100 * (value - self.low) / (1 - self.low)

    @property
    def ticks(self) -> list[float]:
        """Round values on the axis, 1 included."""
        count = round((1 - self.low) / self.step)
        return [1 - self.step * (count - i) for i in range(count + 1)]

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """The numbers written on the axis and their places."""
        ticks = self.ticks if len(self.ticks) <= self.labels else self.ticks[::-1][::2]
        return [(f"{t:.2f}", _place(self.at(t))) for t in ticks]

    def draw(
        self,
        interval: Interval,
        kind: str,
        what: str,
        band: Interval | None = None,
        singles: Iterable[float] = (),
    ) -> Drawing:
        """Return an interval as dot and whisker.

        Parameters
        ----------
        interval : Interval
        kind : str
            The CSS class of the method's kind.
        what : str
            What the number is.
        band : Interval, optional
            The interval of the best method, drawn behind.
        singles : iterable of float
            The values that the interval is the mean of, drawn as ticks.
        """
        marks = list(self.grid)
        if band is not None and math.isfinite(band.low) and math.isfinite(band.high):
            marks.append(Mark("band", self._span(band)))
        marks += [Mark(f"tick {kind}", _place(at)) for v in singles if (at := self.at(v)) >= 0]
        place = self.at(interval.value)
        if place < 0:
            marks.append(Mark(f"off {kind}", ""))
        elif math.isfinite(place):
            if math.isfinite(interval.low) and math.isfinite(interval.high):
                marks.append(Mark(f"whisk {kind}", self._span(interval)))
            marks.append(Mark(f"dot {kind}", _place(place)))
        return Drawing(f"{what} {interval}", marks)

    def _span(self, interval: Interval) -> str:
        left = max(self.at(interval.low), 0)
        return f"{_place(left)};width:{self.at(interval.high) - left:.2f}%"


def _place(left: float, top: float | None = None) -> str:
    return f"left:{left:.2f}%" if top is None else f"left:{left:.2f}%;top:{top}%"


def draw_points(scale: Scale, label: str, points: Iterable[tuple[float, str]]) -> Drawing:
    """Return several numbers, each with the CSS class of its kind, one below the other."""
    dots = [
        Mark(f"dot {kind}", _place(scale.at(value), top))
        for (value, kind), top in zip(points, (36, 68), strict=False)
    ]
    return Drawing(label, [*scale.grid, *dots])
