"""Write CSV that a spreadsheet shows and does not compute.

A spreadsheet takes text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and the name of a file
may be a formula that sends data away. Such cells get a leading apostrophe, as is usual; numbers are left
alone, and control characters are written as escapes (`featx.terminal.printable`). featx removes that
apostrophe when it reads a table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from featx.terminal import printable

if TYPE_CHECKING:
    import pandas

#: Characters that begin a formula; spreadsheets accept full-width forms, too.
_FORMULA = tuple("=+-@＝＋－＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe_cell(value: Any) -> Any:
    """Return `value` as it is written into a CSV file; only text is changed."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _is_formula(text) else text


def safe_text(text: str) -> str:
    """Return a text as it is written into a CSV file that is read again: `original_cell` returns it."""
    return f"'{text}" if _is_formula(text) else text


def original_cell(text: str) -> str:
    """Return the text that `safe_cell` made safe (escapes stay escapes)."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def csv_text(
    header: Sequence[str], rows: Iterable[Iterable[Any]], delimiter: str = ",", exact: Sequence[str] = ()
) -> str:
    """Return a CSV file of these columns and rows, with every cell safe.

    The columns in `exact` hold texts, which keep their control characters (see `safe_text`).
    """
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in header])
    safe = [safe_text if name in exact else safe_cell for name in header]
    writer.writerows([make(value) for make, value in zip(safe, row, strict=True)] for row in rows)
    return file.getvalue()


def frame_csv(frame: pandas.DataFrame) -> str:
    """Return a data frame as a CSV file, with every cell safe."""
    safe = frame.map(safe_cell).rename(columns=safe_cell)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text


def _is_formula(text: str) -> bool:
    # Text that begins with apostrophes gets another one, so that reading it back loses none.
    bare = text.lstrip("'")
    return bare.startswith(_FORMULA) and (bare != text or _NUMBER.fullmatch(text) is None)
