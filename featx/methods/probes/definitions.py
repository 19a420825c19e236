"""What an estimator is, as plain JSON: its class, its parameters and those of everything inside it.

Finished work is found by the definition of what was fitted, not by its name, so a definition has to change
whenever the outcome may: with a class, a parameter of any step, a grid, the way a setting is chosen. What
cannot be written down (an object that tells nothing of itself) gets a definition that no other one equals:
its work is then done again, which is right, if slow.
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

#: Of classes of these packages the version is part of every key already.
_VERSIONED = ("featx", "numpy", "scipy", "sklearn", "torch", "builtins")
#: Deeper or larger than any estimator; what goes on for longer is not written down.
_DEEPEST, _MOST_PARTS = 40, 20_000


def define(value: Any) -> Any:
    """Write a value down as JSON that tells it from every other one.

    Parameters
    ----------
    value : object
        An estimator, a grid, a function, an array, or what these are made of.

    Returns
    -------
    None, bool, int, str, list or dict
        Floats and arrays to the last bit; of functions their code, the constants that it names, and what it
        closes over.
    """
    return _Writer().write(value, 0)


class _Writer:
    """Writes one definition, and counts its parts."""

    def __init__(self) -> None:
        self._parts = 0

    def write(self, value: Any, depth: int) -> Any:
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            return _unlike_any_other(value)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, bytes | complex | range | EllipsisType):
            return {"value": repr(value)}
        if isinstance(value, np.generic | np.ndarray):
            return self._array(np.asarray(value), depth)
        if isinstance(value, Mapping):
            # In their order: of candidates that are as good as each other the first is taken.
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
            return _unlike_any_other(value)
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
        """A digest of what a function does: its code, constants and names, not the lines it stands on."""
        constants = [
            self._code(constant, depth) if isinstance(constant, CodeType) else self.write(constant, depth)
            for constant in code.co_consts
        ]
        text = repr((code.co_names, code.co_varnames, code.co_freevars, constants))
        return hashlib.blake2b(code.co_code + text.encode(), digest_size=16).hexdigest()


_CONSTANTS = (bool, int, float, str, tuple, list, np.ndarray)


def _parameters(value: Any) -> Mapping[str, Any] | None:
    """What an object is made of; None where it does not tell."""
    if hasattr(value, "get_params"):
        return value.get_params(deep=False)  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    inside = getattr(value, "__dict__", None)
    return inside if isinstance(inside, dict) and inside else None


def _names(code: CodeType) -> set[str]:
    """Names that a function, or one inside it, may look up among its module's."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None


def _name(value: Any) -> str:
    return f"{_module(value)}.{value.__qualname__}"


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "")


def _version(kind: type) -> dict[str, Any]:
    """The version of a package whose version is not in every key."""
    package = _module(kind).partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    return {} if package in _VERSIONED or not isinstance(version, str) else {"version": version}


def _unlike_any_other(value: Any) -> dict[str, str]:
    return {"unknown": _name(type(value)), "once": uuid.uuid4().hex}
