"""Draw dots, whiskers, bands and ticks on the axis that all rows of a table share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from featx.metrics import Interval


class Mark(NamedTuple):
    """One element of a drawing: its CSS class, and its position (a CSS style)."""

    style: str
    place: str


class Drawing(NamedTuple):
    """Marks on an axis, and their text for screen readers."""

    label: str
    marks: list[Mark]


class Scale:
    """An axis from a round number below every interval up to 1, with at most `labels` numbers.

    References do not widen it, as they would squeeze all other methods into a corner; one that lies outside
    is drawn as an arrow at the edge.
    """

    def __init__(self, intervals: Sequence[Interval], labels: int = 6):
        lows = [b for i in intervals for b in (i.low, i.value) if math.isfinite(b)]
        lowest = min(lows, default=0.0)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (1 - lowest) / s <= 6 or s == 0.25)
        self.step = step
        self.low = max(0.0, min(math.floor(lowest / step - 1e-9) * step, 1 - 2 * step))
        count = round((1 - self.low) / step)
        self.ticks = [1 - step * (count - i) for i in range(count + 1)]
        self.grid = [Mark("grid", self.place(tick)) for tick in self.ticks]
        numbered = self.ticks if count < labels else self.ticks[::-1][::2]
        self.numbers = [(f"{tick:.2f}", self.place(tick)) for tick in numbered]

    def at(self, value: float) -> float:
        """Return the position of a value in per cent of the width; negative if it is off the scale."""
        return 100 * (value - self.low) / (1 - self.low)

    def place(self, value: float) -> str:
        """Return the position as a CSS style."""
        return f"left:{self.at(value):.2f}%"

    def draw(
        self,
        interval: Interval,
        kind: str,
        what: str,
        band: Interval | None = None,
        singles: Iterable[float] = (),
    ) -> Drawing:
        """Draw an interval as dot and whisker, in the CSS class `kind`.

        `band`, the interval of the best method, is drawn behind it; `singles`, the values whose mean it is,
        are drawn as ticks.
        """
        marks = [*self.grid, *([] if band is None else self._span("band", band))]
        marks += [Mark(f"tick {kind}", self.place(value)) for value in singles if self.at(value) >= 0]
        if self.at(interval.value) < 0:
            marks.append(Mark(f"off {kind}", ""))
        elif math.isfinite(interval.value):
            marks += [*self._span(f"whisk {kind}", interval), Mark(f"dot {kind}", self.place(interval.value))]
        return Drawing(f"{what} {interval}", marks)

    def draw_points(self, points: Iterable[tuple[float, str]], label: str) -> Drawing:
        """Draw up to two numbers with the CSS classes of their kinds, one below the other."""
        dots = [
            Mark(f"dot {kind}", f"{self.place(value)};top:{top}%")
            for (value, kind), top in zip(points, (36, 68), strict=False)
        ]
        return Drawing(label, [*self.grid, *dots])

    def _span(self, style: str, interval: Interval) -> list[Mark]:
        if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
            return []
        left = max(self.at(interval.low), 0)
        return [Mark(style, f"left:{left:.2f}%;width:{self.at(interval.high) - left:.2f}%")]
