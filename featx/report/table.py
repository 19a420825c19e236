"""Describe tables by columns that format a row; the template macro ``table`` draws them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from featx.metrics import METRICS, Interval
from featx.report.scale import Drawing, Scale
from featx.results import ALPHA
from featx.results.formats import format_p

#: What the reports call the methods of a CSS class.
WORDS = {"probe": "frozen features", "finetune": "fine-tuned", "reference": "reference"}


@dataclass(frozen=True)
class Cell:
    """The content of one cell."""

    text: str = ""
    small: str = ""  # small print below the text
    chips: Sequence[tuple[str, str]] = ()  # CSS class and words of each mark, such as ("best", "highest")
    drawing: Drawing | None = None  # instead of the text
    top: bool = False  # the best of its column


@dataclass(frozen=True)
class Column:
    """A heading, and a function that makes the cell of an item."""

    title: str  # of a drawn column, what is drawn
    show: Callable[[Any], Cell | str]
    style: str = "n"  # CSS classes: "n" a number, "minor" hidden on narrow screens
    label: str = ""  # before the value on a phone, where tables have no headings
    hint: str = ""  # shown on hovering over the heading
    scale: Scale | None = None  # the axis of a drawn column


@dataclass(frozen=True)
class Row:
    """The cells of one item; `kind` is a CSS class, `picked` marks the recommendation."""

    cells: list[Cell]
    kind: str
    picked: bool


@dataclass(frozen=True)
class Table:
    """Rows under columns; `style` is ``methods``, ``plain``, ``numbers`` or ``bars`` of the style sheet."""

    columns: Sequence[Column]
    rows: list[Row]
    style: str
    caption: str


def make_table(
    columns: Sequence[Column],
    items: Iterable[Any],
    *,
    kind: Callable[[Any], str] = lambda item: "",
    picked: Any = None,
    style: str = "methods",
    caption: str = "",
) -> Table:
    """Return a table with a row for each item; the first column holds the row headings."""
    rows = []
    for item in items:
        shown = (column.show(item) for column in columns)
        cells = [Cell(cell) if isinstance(cell, str) else cell for cell in shown]
        rows.append(Row(cells, kind(item), picked is not None and item is picked))
    return Table(columns, rows, style, caption)


def plain_table(titles: Sequence[str], rows: Iterable[Sequence[object]], style: str = "plain") -> Table:
    """Return a table of texts."""
    columns = [Column(title, operator.itemgetter(i), style="") for i, title in enumerate(titles)]
    return make_table(columns, ([str(value) for value in row] for row in rows), style=style)


def number_column(title: str, show: Callable[[Any], Cell | str], label: str = "", hint: str = "") -> Column:
    """Return a column of numbers, with its title on two lines."""
    return Column(_on_two_lines(title), show, label=label or title.lower(), hint=hint)


def metric_column(
    name: str,
    get: Callable[[Any], Interval],
    form: Callable[[float], str] | None = None,
    *,
    short: str = "",
    bounds: bool = False,
    first: bool = False,
    minor: bool = False,
) -> Column:
    """Return the column of a metric, with its title in `featx.metrics.METRICS`.

    `short` replaces a title that is too long; `bounds` shows the interval below the value; `first` marks the
    metric that ranks the rows, set large and with its interval.
    """
    metric, form = METRICS[name], form or format_three

    def show(item: Any) -> Cell:
        interval = get(item)
        return Cell(form(interval.value), format_bounds(interval, form) if first or bounds else "")

    hint = metric.title + ("" if metric.higher_is_better else ", lower is better")
    style = "n first" if first else "n minor" if minor else "n"
    return Column(_on_two_lines(short or capitalized(metric.title)), show, style, metric.title, hint)


def drawn_column(
    what: str,
    scale: Scale,
    get: Callable[[Any], Interval],
    kind: Callable[[Any], str],
    band: Interval | None = None,
    singles: Callable[[Any], Iterable[float]] = lambda item: (),
) -> Column:
    """Return the column that draws an interval; see `Scale.draw`."""

    def show(item: Any) -> Cell:
        return Cell(drawing=scale.draw(get(item), kind(item), what, band, singles(item)))

    return Column(f"{capitalized(what)}, drawn", show, "plot", scale=scale)


def kind_of(method: Any) -> str:
    """Return the CSS class of a method."""
    if method.is_reference:
        return "reference"
    return "finetune" if method.trains_network else "probe"


def competing(methods: Iterable[Any]) -> list[Any]:
    """Return the methods that may be the best."""
    return [m for m in methods if m.competes]


def capitalized(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _on_two_lines(title: str) -> str:
    """Break a title at the space that is nearest to its middle."""
    spaces = [i for i, letter in enumerate(title) if letter == " "]
    at = min(spaces, key=lambda i: abs(i - len(title) / 2), default=0)
    return f"{title[:at]}\n{title[at + 1 :]}" if at else title


def format_three(x: float | None) -> str:
    """Format a number with three decimals; a dash if there is none."""
    return "–" if x is None or not math.isfinite(x) else f"{x:.3f}".replace("-", "−")


def format_bounds(interval: Interval, form: Callable[[float], str] = format_three) -> str:
    """Format the bounds of an interval; an empty text if there are none."""
    return f"{form(interval.low)}–{form(interval.high)}" if math.isfinite(interval.low) else ""


def describe_test(p: float, shown: bool | None = None) -> str:
    """Say what a p-value shows; `shown`: whether there is a difference, by default p < `ALPHA`."""
    if shown is None:
        shown = not p >= ALPHA
    return f"p {format_p(p)}" if shown else f"no difference\nshown, p {format_p(p)}"
