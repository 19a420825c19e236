"""Which names Python code looks up, and which functions of a class one function leads to."""

from __future__ import annotations

import dis
import sysconfig
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

#: Beginnings of the paths of code that is installed: the standard library, packages, and frozen modules.
_INSTALLED = (
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<frozen",
)
#: Functions of a class that do not run when an object of it is called.
NOT_RUN = frozenset(
    ("__init__", "__new__", "__init_subclass__", "__repr__", "__getstate__", "__setstate__", "extra_repr")
)


def names_in_code(code: types.CodeType) -> list[str]:
    """Return the names that code and the functions in it look up, globals and attributes, in order."""
    return list(dict.fromkeys(name for part in _nested(code) for name in part.co_names))


def global_names(code: types.CodeType) -> list[str]:
    """Return the names that code and the functions in it look up among globals, in order."""
    return list(
        dict.fromkeys(
            str(step.argval)
            for part in _nested(code)
            for step in dis.get_instructions(part)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        )
    )


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def reachable(classes: Sequence[type], instance: Iterable[Any]) -> set[str]:
    """Return the names of the members of a module's classes that run when the module is called."""
    members: dict[str, list[Any]] = {}
    for cls in classes:
        for key, value in vars(cls).items():
            members.setdefault(key, []).append(value)
    used = {key for key in members if key == "forward" or key.startswith("__")}
    used = {key for key in used if any(isinstance(value, types.FunctionType) for value in members[key])}
    names = {name for value in instance for name in _names_in(value)}
    while True:
        names |= {name for key in used - NOT_RUN for value in members[key] for name in _names_in(value)}
        found = set(members) if "getattr" in names else names & members.keys()
        found = {key for key in found if not key.startswith("__")} | used
        if found == used:
            return used
        used = found


def _names_in(value: Any) -> list[str]:
    """Return the names that a function looks up, also one inside a decorator, a property or a method."""
    for inner in ("__func__", "fget", "func", "__wrapped__"):
        value = getattr(value, inner, None) or value
    if not isinstance(value, types.FunctionType):
        return []
    cells = [cell.cell_contents for cell in value.__closure__ or () if is_filled(cell)]
    inside = [
        name
        for held in cells
        if isinstance(held, types.FunctionType)
        for name in names_in_code(held.__code__)
    ]
    return [*names_in_code(value.__code__), *inside]


def is_installed(file: str) -> bool:
    """Return whether a file of code is part of Python or of an installed package."""
    return file.startswith(_INSTALLED)


def is_filled(cell: types.CellType) -> bool:
    """Return whether a variable of an outer function has a value yet."""
    try:
        cell.cell_contents  # noqa: B018  # raises where the cell is still empty
    except ValueError:
        return False
    return True


def is_member(key: str, value: Any) -> bool:
    """Return whether an entry of a class is its author's, and not one that Python adds to every class."""
    return not key.startswith("__") or isinstance(value, types.FunctionType)
