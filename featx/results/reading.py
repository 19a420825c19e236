"""Reading results back: a file of JSON, and whether its values are of the types that a result has."""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from featx.errors import InputError, as_one_error

__all__ = ["check_types", "read_result"]

_Result = TypeVar("_Result")
# Long lists of these are looked through at once.
_PLAIN: dict[Any, set[type]] = {int: {int}, float: {int, float}, str: {str}}


def read_result(path: str | os.PathLike[str], what: str, make: Callable[[Any], _Result]) -> _Result:
    """Read a JSON file and make a result of it.

    Parameters
    ----------
    path : path-like
    what : str
        Its usual name, for messages.
    make : callable
        Takes the JSON data; raises `InputError` where it is no such result.

    Raises
    ------
    InputError
        One line that names the file, whatever is in it.
    """
    where = os.fspath(path)
    with as_one_error(lambda reason: InputError(f"{where!s}: not a readable {what}: {reason}")):
        if not Path(path).is_file():
            raise InputError(f"{where!s}: not a readable {what}: no such file")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        try:
            return make(content)
        except InputError as error:
            raise InputError(f"{where!s}: {error}") from error


def check_types(value: Any, form: Any, where: str) -> None:
    """Check that data is of an annotated type, through all dataclasses, lists and mappings in it.

    Parameters
    ----------
    value : object
    form : type or annotation
        Numbers that are whole stand for numbers that need not be.
    where : str
        What the value is, for messages.

    Raises
    ------
    InputError
        Naming the first place where it is of another type.
    """
    origin, inner = typing.get_origin(form), typing.get_args(form)
    if form is Any:
        return
    if origin in (typing.Union, types.UnionType):
        if not any(_fits(value, choice, where) for choice in inner):
            raise InputError(f"{where} is a {type(value).__name__}")
        return
    if origin is typing.Literal:
        if value not in inner:
            raise InputError(f"{where} is {value!r:.40}")
        return
    expected: Any = {float: (int, float), None: type(None)}.get(form, origin or form)
    if not isinstance(value, expected) or (
        form is not bool and form is not object and isinstance(value, bool)
    ):
        raise InputError(f"{where} is a {type(value).__name__}")
    if dataclasses.is_dataclass(form):
        hints = typing.get_type_hints(form)
        for field in dataclasses.fields(form):
            check_types(getattr(value, field.name), hints[field.name], f"{where}.{field.name}")
    elif isinstance(value, Mapping) and len(inner) == 2:
        for key, entry in value.items():
            check_types(entry, inner[1], f"{where}.{key!s:.40}")
    elif isinstance(value, list) and len(inner) == 1 and inner[0] is not Any:
        if set(map(type, value)) <= _PLAIN.get(inner[0], set()):
            return
        for i, entry in enumerate(value):
            check_types(entry, inner[0], f"{where}[{i}]")


def _fits(value: Any, form: Any, where: str) -> bool:
    try:
        check_types(value, form, where)
    except InputError:
        return False
    return True
