"""Show tables as terminal text and notebook HTML, and flatten rows for data frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from featx.metrics import METRICS, Interval
from featx.terminal import printable

#: Most rows of a table in a notebook.
MOST_ROWS = 50

Lines = list[list[str]]


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str | Callable[[Any], str]  # a function of the result
    value: str | Callable[[Any, Any], Any]  # an attribute or key of the row, or a function of result and row
    form: str = "{:.3f}"  # the format of numbers; None and NaN are shown as "-"

    def heading(self, result: Any) -> str:
        """Return the title of this column in the table of `result`."""
        return self.title if isinstance(self.title, str) else self.title(result)

    def text(self, result: Any, row: Any) -> str:
        """Return the text of this column's cell in a row of `result`."""
        if callable(self.value):
            value = self.value(result, row)
        else:
            value = row[self.value] if isinstance(row, Mapping) else getattr(row, self.value)
        if isinstance(value, Interval):
            return interval_text(value, self.form)
        return value if isinstance(value, str) else number_text(value, self.form)


def metric_column(name: str, title: str = "", *, interval: bool = False, form: str = "{:.3f}") -> Column:
    """Return the column of a metric, for rows with a method ``metric``; `interval` adds the 95 % interval."""
    heading = (title or METRICS[name].title) + (" [95 %]" if interval else "")
    return Column(heading, lambda _, row: row.metric(name) if interval else row.metric(name).value, form)


def number_text(x: float | None, form: str = "{:.3f}") -> str:
    """Format a number; None, NaN and infinities are ``-``."""
    return "-" if x is None or not math.isfinite(x) else form.format(x)


def interval_text(interval: Interval, form: str = "{:.3f}") -> str:
    """Return ``value [low, high]``, or the value alone if it has no bounds."""
    value, low, high = (number_text(x, form) for x in (interval.value, interval.low, interval.high))
    return value if "-" in (value, low, high) else f"{value} [{low}, {high}]"


def align_columns(lines: Lines, width: int | None = None) -> list[str]:
    """Pad cells to lines of text: the head is underlined, the first column is aligned left.

    Columns that do not fit into `width` characters follow below, again with the first column.
    """
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: list[str], columns: Sequence[int]) -> str:
        rest = [line[i].rjust(widths[i]) for i in columns]
        return "  ".join([line[0].ljust(widths[0]), *rest]).rstrip()

    said: list[str] = []
    for columns in _split_columns(widths, width):
        said += [""] if said else []
        said += [text(line, columns) for line in (lines[0], ["-" * w for w in widths], *lines[1:])]
    return said


def _split_columns(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Divide the columns behind the first one into parts that fit beside it."""
    parts: list[list[int]] = [[]]
    used = widths[0]
    for i, own in enumerate(widths[1:], start=1):
        if width is not None and parts[-1] and used + 2 + own > width:
            parts.append([])
            used = widths[0]
        parts[-1].append(i)
        used += 2 + own
    return parts


def html_table(lines: Lines, caption: str = "") -> str:
    """Return the head and the first `MOST_ROWS` rows as an HTML table, everything escaped."""
    head, *body = [[html_text(cell) for cell in line] for line in lines[: MOST_ROWS + 1]]
    if left := len(lines) - 1 - len(body):
        body.append([f"… {left} more", *[""] * (len(head) - 1)])
    rows = "".join(
        f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>" for first, *rest in body
    )
    title = f"<caption>{html_text(caption)}</caption>" if caption else ""
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def html_text(text: str) -> str:
    """Escape markup and control characters."""
    return escape(printable(text))


def flatten_row(row: Any) -> dict[str, Any]:
    """Return the fields of a row as cells of a data frame.

    An interval becomes ``name``, ``name_low`` and ``name_high``; a dict becomes a cell for each key; lists
    are left out.
    """
    content = row if isinstance(row, Mapping) else {n: getattr(row, n) for n in row.__dataclass_fields__}
    record: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Interval):
            record |= interval_record(name, value)
        elif isinstance(value, Mapping):
            record |= flatten_row({f"{name}_{key}": inner for key, inner in value.items()})
        elif not isinstance(value, Sequence) or isinstance(value, str):
            record[name] = value
    return record


def interval_record(name: str, interval: Interval | None) -> dict[str, float]:
    """Return the cells ``name``, ``name_low`` and ``name_high``; NaN if there is no interval."""
    found = interval or Interval(math.nan)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
