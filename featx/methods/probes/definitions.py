"""Write down an estimator as JSON: its class, its parameters and those of everything inside it.

Finished work is found by the definition of what was fitted, not by its name. A definition must therefore
change whenever the outcome may: with a class, a parameter of any step, a grid, the way a setting is chosen.
An object that shows no parameters gets a unique definition: its work is done again, which is safe but slow.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import uuid
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, MethodType
from typing import Any

import numpy as np

#: Packages whose versions are part of every key already.
_VERSIONED = ("featx", "numpy", "scipy", "sklearn", "torch", "builtins")
#: Limits beyond any estimator; what exceeds them gets a unique definition.
_DEEPEST, _MOST_PARTS = 40, 20_000


def define(value: Any) -> Any:
    """Write down an estimator, a grid, a function or an array as JSON; equal only for equal values.

    Floats and arrays count to the last bit. A function is its code, the constants that it names, and the
    variables that it closes over.
    """
    return _Writer().write(value, 0)


class _Writer:
    """Write one definition, and count its parts."""

    def __init__(self) -> None:
        self._parts = 0

    def write(self, value: Any, depth: int) -> Any:
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            return _unique(value)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, bytes | complex | range | EllipsisType):
            return {"value": repr(value)}
        if isinstance(value, np.generic | np.ndarray):
            return self._array(np.asarray(value), depth)
        if isinstance(value, Mapping):
            # Order counts: of equally good candidates the first is taken.
            return {"mapping": [self._all(pair, depth) for pair in value.items()]}
        if isinstance(value, list | tuple):
            return self._all(value, depth)
        if isinstance(value, set | frozenset):
            return {"set": sorted(map(str, self._all(value, depth)))}
        if isinstance(value, type):
            return {"class": _name(value)} | _version(value)
        if isinstance(value, FunctionType):
            return self._function(value, depth)
        if isinstance(value, MethodType):
            return {"method": value.__name__, "of": self.write(value.__self__, depth + 1)}
        if isinstance(value, functools.partial):
            return {"partial": self._all([value.func, value.args, value.keywords], depth)}
        if isinstance(value, BuiltinFunctionType | np.ufunc):
            return {"function": value.__name__, "module": _module(value)}
        parameters = _parameters(value)
        if parameters is None:
            return _unique(value)
        inside = {name: self.write(parameters[name], depth + 1) for name in sorted(parameters)}
        return {"class": _name(type(value)), "parameters": inside} | _version(type(value))

    def _all(self, values: Iterable[Any], depth: int) -> list[Any]:
        return [self.write(value, depth + 1) for value in values]

    def _array(self, value: np.ndarray, depth: int) -> Any:
        if value.dtype.hasobject:
            return {"array": self.write(value.tolist(), depth + 1)}
        content = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
        return {"array": content, "dtype": value.dtype.str, "shape": list(value.shape)}

    def _function(self, value: FunctionType, depth: int) -> dict[str, Any]:
        named = {name: value.__globals__.get(name) for name in sorted(_names(value.__code__))}
        constants = {name: x for name, x in named.items() if isinstance(x, _CONSTANTS)}
        closed = [_content(cell) for cell in value.__closure__ or ()]
        inside = [value.__defaults__, value.__kwdefaults__, closed, constants]
        return {
            "function": _name(value),
            "code": self._code(value.__code__, depth),
            "with": self._all(inside, depth),
        }

    def _code(self, code: CodeType, depth: int) -> str:
        """Return a digest of a function's code, constants and names; line numbers do not count."""
        constants = [
            self._code(constant, depth) if isinstance(constant, CodeType) else self.write(constant, depth)
            for constant in code.co_consts
        ]
        text = repr((code.co_names, code.co_varnames, code.co_freevars, constants))
        return hashlib.blake2b(code.co_code + text.encode(), digest_size=16).hexdigest()


_CONSTANTS = (bool, int, float, str, tuple, list, np.ndarray)


def _parameters(value: Any) -> Mapping[str, Any] | None:
    """Return the parameters or attributes of an object, or None if it shows none."""
    if hasattr(value, "get_params"):
        return value.get_params(deep=False)  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    inside = getattr(value, "__dict__", None)
    return inside if isinstance(inside, dict) and inside else None


def _names(code: CodeType) -> set[str]:
    """Return the global names that a function, or one inside it, may look up."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet
        return None


def _name(value: Any) -> str:
    return f"{_module(value)}.{value.__qualname__}"


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "")


def _version(kind: type) -> dict[str, Any]:
    """Return the version of the package of a class, unless every key holds it."""
    package = _module(kind).partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    return {} if package in _VERSIONED or not isinstance(version, str) else {"version": version}


def _unique(value: Any) -> dict[str, str]:
    return {"unknown": _name(type(value)), "once": uuid.uuid4().hex}
