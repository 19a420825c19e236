"""Read and check results: whoever wrote the file, it becomes data of the right types or one error.

`read_json` reads the file, `parse_as` converts its content to a type, such as a dataclass. A dataclass field
whose type is too general names the type of its JSON: ``metadata={"json": a TypedDict}``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import stat
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Union

from featx.errors import InputError, as_one_error
from featx.terminal import shortened

#: Bound for counts and sizes in a result.
_LARGEST = 2**53
#: Metadata of a dataclass field that stays out of the file.
NOT_STORED = {"stored": False}


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read a regular JSON file, or raise `InputError` with the path and `what` it should be."""
    place = os.fspath(path)
    with as_one_error(lambda reason: InputError(f"{place}: not a readable {what}: {reason}")):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{place}: not a readable {what}: it is not a regular file")
        with open(path, "rb") as file:
            return json.loads(file.read().decode("utf-8"), parse_constant=_no_number)


def parse_as(kind: Any, value: Any, place: str = "") -> Any:
    """Convert parsed JSON to a type, or raise `InputError` that names the `place`: ``methods[2].metrics``.

    `kind` is a dataclass (its method ``check`` is called, if it has one), a `TypedDict`, ``list[...]``,
    ``dict[str, ...]``, a union, ``int``, ``float``, ``str``, ``bool``, ``None`` or ``Any``. Where a number is
    expected, null becomes NaN; unknown keys of a dataclass are ignored.
    """
    if kind is Any:
        return value
    if kind is None or kind is type(None):
        return value if value is None else _refuse(place, "null", value)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _either(typing.get_args(kind), value, place)
    if origin is Literal:
        known = typing.get_args(kind)
        return value if value in known else _refuse(place, " or ".join(map(repr, known)), value)
    if origin is list:
        (inner,) = typing.get_args(kind)
        items = value if isinstance(value, list | tuple) else _refuse(place, "a list", value)
        if inner is int and all(type(item) is int and abs(item) <= _LARGEST for item in items):
            return list(items)  # fast path for a row of a large confusion matrix
        return [parse_as(inner, item, f"{place}[{i}]") for i, item in enumerate(items)]
    if origin is dict:
        inner = typing.get_args(kind)[1]
        content = _mapping(value, place)
        return {name: parse_as(inner, item, f"{place}.{name}") for name, item in content.items()}
    if typing.is_typeddict(kind):
        hints, content = _hints(kind), _mapping(value, place)
        if missing := sorted(kind.__required_keys__ - set(content)):
            raise InputError(f"{place[:200]}.{missing[0]} is missing")
        return {n: parse_as(hints.get(n, Any), item, f"{place}.{n}") for n, item in content.items()}
    if dataclasses.is_dataclass(kind):
        found = kind(**_fields(kind, _mapping(value, place), place))  # type: ignore[operator]
        if hasattr(found, "check"):
            found.check()
        return found
    return _number_or_text(kind, value, place)


def _fields(kind: Any, content: Mapping[str, Any], place: str) -> dict[str, Any]:
    hints, found = _hints(kind), {}
    for field in dataclasses.fields(kind):
        inside = f"{place}.{field.name}".lstrip(".")
        if field.name in content and field.metadata.get("stored", True):
            found[field.name] = parse_as(hints[field.name], content[field.name], inside)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{inside[:200]} is missing")
    return found


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        hints |= {f.name: f.metadata["json"] for f in dataclasses.fields(kind) if "json" in f.metadata}
    return hints


def _either(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    """Convert to the first type of a union that fits; the message is that of the last type."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds[:-1]:
        try:
            return parse_as(kind, value, place)
        except InputError:
            continue
    return parse_as(kinds[-1], value, place)


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        _refuse(place or "it", "an object", value)
    return typing.cast("Mapping[str, Any]", value)


def _number_or_text(kind: type, value: Any, place: str) -> Any:
    if kind is bool:
        return value if isinstance(value, bool) else _refuse(place, "true or false", value)
    if kind is str:
        return value if isinstance(value, str) else _refuse(place, "a text", value)
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
        return value if whole else _refuse(place, "a whole number", value)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST**8:
        _refuse(place, "a number", value)
    return float(value) if not math.isinf(value) else _refuse(place, "a finite number", value)


def quoted(value: Any, most: int = 60) -> str:
    """Return a value for a message: on one line, with at most `most` characters."""
    if isinstance(value, Mapping | list):
        return type(value).__name__
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return "int"
    return shortened(repr(value), most)


def _refuse(place: str, expected: str, value: Any) -> NoReturn:
    raise InputError(f"{shortened(place, 200)} must be {expected}, got {quoted(value)}")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
