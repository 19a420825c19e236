"""Show objects briefly in a console and in a notebook, whatever their size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from featx.metrics import Interval
from featx.results.tables import Lines, html_table, interval_text
from featx.terminal import printable, shortened

#: Most characters of one fact, most facts, and most entries of a collection that are shown.
_LONGEST, _MOST_FACTS, _MOST_ENTRIES = 200, 9, 3


class Shown:
    """Mixin: a short `repr`, and a table in a notebook, made of the facts that `_facts` returns.

    All text is made printable, shortened, and escaped in HTML: names of files and classes may be anybody's.
    """

    #: Whether the facts stand below one another in the `repr`.
    _line_by_line: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # `dataclass` would otherwise generate a __repr__ that writes out all fields.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Shown.__repr__  # type: ignore[method-assign]

    def _facts(self) -> dict[str, str]:
        """Return what is worth knowing at a glance, by name; the name may be empty. Default: the fields."""
        shown = [f.name for f in fields(self) if f.repr]  # type: ignore[arg-type]
        facts = {name: brief(getattr(self, name)) for name in shown if not name.startswith("_")}
        return {name: text for name, text in facts.items() if text}

    def _shown_facts(self) -> list[tuple[str, str]]:
        facts = [(name, printable(text)) for name, text in self._facts().items()]
        return [(name, shortened(text, _LONGEST)) for name, text in facts[:_MOST_FACTS]]

    def __repr__(self) -> str:
        between = "\n  " if self._line_by_line else "; "
        try:
            facts = self._shown_facts()
        except AttributeError:  # a debugger also shows an object whose __init__ has failed
            return f"{type(self).__name__}(not complete)"
        said = between.join(f"{name}: {text}" if name else text for name, text in facts)
        return f"{type(self).__name__}({said})"

    def _repr_html_(self) -> str:
        lines: Lines = [[type(self).__name__, ""], *map(list, self._shown_facts())]
        return html_table(lines)


def brief(value: Any) -> str:
    """Return a value in a few words; empty if it is None or there is nothing in it."""
    if value is None or (hasattr(value, "__len__") and not len(value)):
        return ""
    if isinstance(value, str):
        return shortened(value, 80)
    if isinstance(value, Interval):
        return interval_text(value, "{:.3f}")
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    if isinstance(value, bool | int):
        return str(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{' x '.join(map(str, value.shape))} {value.dtype}"
    if isinstance(value, Mapping):
        entries = [f"{key} {text}" for key, inner in value.items() if (text := brief(inner))]
        return _listed(entries, len(entries))
    if isinstance(value, list | tuple):
        first = value[:_MOST_ENTRIES]
        plain = all(isinstance(one, str | int | float) for one in first)
        return _listed(list(map(brief, first)), len(value)) if plain else f"{len(value):,}"
    return type(value).__name__


def _listed(entries: list[str], n: int) -> str:
    more = [f"and {n - _MOST_ENTRIES:,} more"] if n > _MOST_ENTRIES else []
    return ", ".join([*entries[:_MOST_ENTRIES], *more])
