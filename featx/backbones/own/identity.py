"""Identify a network of the user's by what it computes with: its graph, or where there is none, its code.

A network that `torch.fx` traces is identified by the operations of its graph, the settings of the modules
that it calls and the constants in it. Any other is identified by the code of its classes, of the functions
that they call, and by the attributes of its modules. Values of parameters and buffers have a hash of their
own (`featx.backbones.loading.values_sha256`).

Code is compared as bytecode, so comments do not matter. Installed packages are not read: what comes from one
is identified by its name and the version of the package. The texts below hold no address and no order of a
set, so every process gets the same hash.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from featx.backbones.loading import tensor_bytes
from featx.backbones.own.code_names import (
    NOT_RUN,
    global_names,
    is_filled,
    is_installed,
    is_member,
    names_in_code,
    reachable,
)
from featx.errors import InputError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_TORCH_VALUES = (torch.dtype, torch.device, torch.layout, torch.memory_format)
#: What every module has. Parameters, buffers and children are described apart; hooks by their functions.
_COMMON = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
#: Packages whose version is left out: an upgrade of torch keeps the rows of featx's other networks too.
_UNVERSIONED = ("torch", "torchvision", "numpy")


def graph_sha256(network: nn.Module, graph: fx.Graph | None) -> str:
    """Return the sha256 of what a network does, without its values.

    `graph` is the graph of the whole network, None where it cannot be traced.

    Raises
    ------
    InputError
        It uses a network that is not part of it, whose values would not be seen.
    """
    description = _Description(network)
    text = description.of_module(network) if graph is None else description.of_graph(graph)
    kind = "code" if graph is None else "graph"
    return hashlib.sha256(f"{kind} 1\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


class _Description:
    """Describe parts of a network as text; an object that comes again is named by its first place."""

    def __init__(self, network: nn.Module):
        self._network = network
        self._paths = {id(module): name for name, module in network.named_modules()}
        self._states = set(network.state_dict())
        self._seen: dict[int, int] = {}
        self._open: set[int] = set()  # containers that are being described
        self._alive: list[Any] = []  # so that no id is used twice

    def of_graph(self, graph: fx.Graph) -> str:
        """Return the operations of a graph, one a line, and what they use of the network."""
        numbers = {node: f"%{i}" for i, node in enumerate(graph.nodes)}

        def argument(value: Any) -> str:
            if isinstance(value, fx.Node):
                return numbers[value]
            if isinstance(value, slice):
                return f"slice {argument((value.start, value.stop, value.step))}"
            if isinstance(value, list | tuple):
                return f"{'[' if isinstance(value, list) else '('}{', '.join(map(argument, value))})"
            if isinstance(value, Mapping):
                return "{" + ", ".join(f"{key}: {argument(item)}" for key, item in value.items()) + "}"
            return self.of(value)

        lines, used = [], dict[str, str]()
        for node in graph.nodes:
            target = str(node.target)
            if node.op == "call_function":
                target = self.of(node.target)
            elif node.op == "call_module" and target not in used:
                used[target] = self.of_module(self._network.get_submodule(target))
            elif node.op == "get_attr" and target not in self._states:
                parent, _, name = target.rpartition(".")
                used[target] = self.of(getattr(self._network.get_submodule(parent), name))
            if node.op == "placeholder":
                target = ""
            lines.append(f"{node.op} {target} {argument(node.args)} {argument(node.kwargs)}")
        return "\n".join([*lines, *(f"{name}: {text}" for name, text in used.items())])

    def of_module(self, module: nn.Module) -> str:
        """Return class, settings, constants and children of a module, without the values of its state."""
        if (again := self._again(module)) is not None:
            return again
        lines = [self._of_class(type(module), vars(module).values())]
        if isinstance(module, torch.jit.ScriptModule):
            lines.append(_script(module))
        attributes = {key: value for key, value in vars(module).items() if key not in _COMMON}
        lines += [f".{key} = {self.of(value)}" for key, value in attributes.items()]
        lines += [f"{hooks} {self.of(list(vars(module).get(hooks, {}).values()))}" for hooks in _HOOKS]
        kept: set[str] = getattr(module, "_non_persistent_buffers_set", set())
        lines += [f"buffer {key} = {self.of(module._buffers.get(key))}" for key in sorted(kept)]
        lines += [
            f"child {name} = {'None' if child is None else self.of_module(child)}"
            for name, child in module._modules.items()
        ]
        return "{" + "\n".join(lines) + "}"

    def of(self, value: Any) -> str:
        """Return a text that is equal for equal values, in every process."""
        if isinstance(value, (enum.Enum, *_TORCH_VALUES)):
            return f"{type(value).__qualname__} {value}"
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, nn.Module):
            if id(value) not in self._paths:
                raise InputError(
                    f"it uses a {type(value).__name__} that is not one of its modules, so its weights cannot "
                    "be seen; assign it to an attribute of the module, or put it into a "
                    "torch.nn.ModuleList; a lambda must not hold self"
                )
            return f"module {self._paths[id(value)]}"
        if isinstance(value, Tensor):
            return _tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return _array(np.asarray(value))
        if isinstance(value, type):
            return self._of_class(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset | types.CodeType):
            return self._of_container(value)
        if (again := self._again(value)) is not None:
            return again
        return self._of_object(value)

    def _of_container(self, value: Any) -> str:
        # Processes share equal constants as they like, so a container is named again only inside itself.
        if id(value) in self._open:
            return "itself"
        self._open.add(id(value))
        try:
            if isinstance(value, types.CodeType):
                return self._of_code(value)
            if isinstance(value, Mapping):
                return (
                    "{" + ", ".join(f"{self.of(key)}: {self.of(item)}" for key, item in value.items()) + "}"
                )
            if isinstance(value, list | tuple):
                return f"{type(value).__name__} [{', '.join(map(self.of, value))}]"
            return f"set [{', '.join(sorted(map(self.of, value)))}]"
        finally:
            self._open.remove(id(value))

    def _of_object(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            return f"partial {self.of(value.func)} {self.of(value.args)} {self.of(value.keywords)}"
        if isinstance(value, types.MethodType):
            return f"method {self.of(value.__func__)} of {self.of(value.__self__)}"
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, property):
            return f"property {self.of(value.fget)}"
        if isinstance(value, functools.cached_property):
            return f"cached property {self.of(value.func)}"
        if isinstance(value, staticmethod | classmethod):
            return f"{type(value).__name__} {self.of(value.__func__)}"
        if isinstance(value, types.ModuleType):
            return f"import {value.__name__}"
        if callable(value) and not hasattr(value, "__dict__"):  # written in C, as torch.flatten
            return (
                f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', type(value).__name__)}"
            )
        found = getattr(value, "__dict__", {})
        if is_installed(_file_of(type(value))):  # a logger or a trainer leads to half the process
            found = {key: item for key, item in found.items() if type(item) in _PLAIN}
        return f"{self._of_class(type(value))} {self.of(dict(found))}"

    def _of_class(self, cls: type, instance: Iterable[Any] = ()) -> str:
        """Return the names of a class and of those that it inherits from, and their functions.

        Of a module, those are the functions that `forward` or the functions in `instance` lead to: a training
        loop beside them changes no row.
        """
        own = [base for base in cls.__mro__ if not is_installed(_file_of(base))]
        used = reachable(own, instance) if issubclass(cls, nn.Module) else None
        texts = []
        for base in cls.__mro__:
            if base not in own:
                texts.append(_name(base.__module__, base.__qualname__))
            elif self._again(base) is None:
                members = [
                    f"{key} {self.of(value)}"
                    for key, value in sorted(vars(base).items())
                    if key not in NOT_RUN and (is_member(key, value) if used is None else key in used)
                ]
                texts.append(f"{base.__qualname__} ({', '.join(members)})")
            else:
                texts.append(base.__qualname__)
        return f"class {' < '.join(texts)}"

    def _of_function(self, function: types.FunctionType) -> str:
        cells = [
            self.of(cell.cell_contents) if is_filled(cell) else "empty" for cell in function.__closure__ or ()
        ]
        if is_installed(function.__code__.co_filename):
            # A decorator of a package, such as torch.no_grad, holds the function of the user.
            return f"{_name(function.__module__, function.__qualname__)} {cells}"
        parts = [self._of_code(function.__code__), *cells]
        parts += [self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        known, names = function.__globals__, names_in_code(function.__code__)
        for name in global_names(function.__code__):
            if name in known:
                parts.append(f"{name} {self.of(known[name])}")
            module = known.get(name)
            if isinstance(module, types.ModuleType) and not is_installed(_file(module)):
                held = vars(module)
                parts += [f"{name}.{used} {self.of(held[used])}" for used in names if used in held]
        return f"function {parts}"

    def _of_code(self, code: types.CodeType) -> str:
        names = (code.co_names, code.co_freevars, code.co_argcount, code.co_kwonlyargcount, code.co_flags)
        constants = ", ".join(map(self.of, code.co_consts))
        return f"code {code.co_code.hex()} {names} ({constants})"

    def _again(self, value: Any) -> str | None:
        """Return the place of an object that was described already; else remember it."""
        if id(value) in self._seen:
            return f"again {self._seen[id(value)]}"
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        return None


def _tensor(tensor: Tensor) -> str:
    if tensor.is_meta:
        return f"tensor {tensor.dtype} {tuple(tensor.shape)}"
    return f"tensor {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(tensor_bytes(tensor)).hexdigest()}"


def _array(values: np.ndarray) -> str:
    data = np.ascontiguousarray(values)
    if data.dtype.hasobject:
        return f"objects {data.shape}"
    return f"array {data.dtype} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"


def _script(module: torch.jit.ScriptModule) -> str:
    try:
        code, constants = module.code_with_constants
    except (RuntimeError, AttributeError):  # scripted or traced without a forward, as a loss that is not run
        return ""
    found = constants.const_mapping
    return code + "".join(
        f"{key} {_tensor(value)}" for key, value in sorted(found.items()) if torch.is_tensor(value)
    )


def _file_of(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return "" if module is None else _file(module)


def _file(module: types.ModuleType) -> str:
    if module.__name__ == "__main__":
        return ""
    return getattr(module, "__file__", None) or "<frozen"  # a module written in C has no file


def _name(module: str, qualified: str) -> str:
    """Return the name of something installed, with the version of its package."""
    top = (module or "").partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", "")
    return f"{module}.{qualified}" + ("" if top in _UNVERSIONED else f" {version}".rstrip())
