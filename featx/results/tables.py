"""Lay out rows of cells as text for a terminal, as HTML for a notebook, as records for a data frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from featx.metrics import METRICS, Interval
from featx.terminal import printable

#: Most rows that a notebook shows of one table.
MOST_ROWS = 50

Lines = list[list[str]]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title : str
        Its heading.
    value : str or callable
        The attribute (or key) of a row that it shows, or a function of the result and the row.
    form : str, default="{:.3f}"
        How a number, or each of an interval, is written; None and NaN are ``-``.
    """

    title: str
    value: str | Callable[[Any, Any], Any]
    form: str = "{:.3f}"

    def text(self, result: Any, row: Any) -> str:
        """Return the cell of this column in a row of `result`."""
        if callable(self.value):
            value = self.value(result, row)
        else:
            value = row[self.value] if isinstance(row, Mapping) else getattr(row, self.value)
        if isinstance(value, Interval):
            return interval_text(value, self.form)
        return value if isinstance(value, str) else number_text(value, self.form)


def metric_column(name: str, title: str = "", *, interval: bool = False, form: str = "{:.3f}") -> Column:
    """Return the column of a metric in `METRICS`, for rows that have ``metric(name)``.

    Its heading is `title` or else the metric's title; with `interval` the 95 % interval is shown, too.
    """
    heading = (title or METRICS[name].title) + (" [95 %]" if interval else "")
    return Column(heading, lambda _, row: row.metric(name) if interval else row.metric(name).value, form)


def number_text(x: float | None, form: str = "{:.3f}") -> str:
    """Return a number as `form` writes it, or ``-`` where there is none."""
    return "-" if x is None or not math.isfinite(x) else form.format(x)


def interval_text(interval: Interval, form: str = "{:.3f}") -> str:
    """Return ``value [low, high]``, without the bounds where there are none."""
    value, low, high = (number_text(x, form) for x in (interval.value, interval.low, interval.high))
    return value if "-" in (value, low, high) else f"{value} [{low}, {high}]"


def aligned(lines: Lines) -> list[str]:
    """Return rows of cells as lines of text: the head underlined, the first column aligned left."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: list[str]) -> str:
        rest = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *rest]).rstrip()

    return [text(line) for line in (lines[0], ["-" * w for w in widths], *lines[1:])]


def html_table(lines: Lines, caption: str = "") -> str:
    """Return rows of cells as an HTML table with everything escaped; of many rows, the first `MOST_ROWS`."""
    head, *body = [[html_text(cell) for cell in line] for line in lines[: MOST_ROWS + 1]]
    if left := len(lines) - 1 - len(body):
        body.append([f"… {left} more", *[""] * (len(head) - 1)])
    rows = "".join(f"<tr><th>{first}</th>{_cells(rest)}</tr>" for first, *rest in body)
    title = f"<caption>{html_text(caption)}</caption>" if caption else ""
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def html_text(text: str) -> str:
    """Return text as HTML: markup escaped, control characters as `featx.terminal.printable` writes them."""
    return escape(printable(text))


def record_of(row: Any) -> dict[str, Any]:
    """Return a row of a result as a row of a data frame: an entry for each field that a cell can hold.

    An interval becomes ``name``, ``name_low`` and ``name_high``, a dict an entry for each key; lists are left
    out.
    """
    content = row if isinstance(row, Mapping) else {n: getattr(row, n) for n in row.__dataclass_fields__}
    record: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Interval):
            record |= interval_record(name, value)
        elif isinstance(value, Mapping):
            record |= record_of({f"{name}_{key}": inner for key, inner in value.items()})
        elif not isinstance(value, Sequence) or isinstance(value, str):
            record[name] = value
    return record


def interval_record(name: str, interval: Interval | None) -> dict[str, float]:
    """Return ``name``, ``name_low`` and ``name_high``; NaN where there is no interval."""
    found = interval or Interval(math.nan)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _cells(cells: list[str]) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)
