"""Backbones, engines and stores that are kept in a process for the next call to reuse.

Building a network takes longer than sending a few images through it, and clones of an estimator cannot share
one. So a backbone is kept under the arguments that it was loaded with, as long as the file of its weights is
the same; one of a user's module, under the hash of its values and code. The store of a space is updated, not
read anew. An idle engine serves the next run of the same space and of about as many inputs, one run at a
time; a run that comes meanwhile builds its own. The last few of each are kept. Nothing of this is pickled,
and a forked child begins with nothing.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from featx.cache import Cache, Space, SpaceStore
from featx.durable import file_stamp
from featx.errors import InputError
from featx.extraction.embedder import Embedder
from featx.machine import cores
from featx.options import OPTIONS, is_module

_BACKBONES = 8
_ENGINES = 4
_STORES = 16
#: From this many inputs on, the number does not matter to how an engine is built.
_MANY = 1024

#: Objects of the parent process, which a child must neither use nor destroy: they hold threads or devices.
_inherited: list[Any] = []

#: Space ids, plan, batch size, number of inputs and cores that an engine was built for.
EngineKey = tuple[Any, ...]


class _Ready:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backbones: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self.stores: OrderedDict[Any, SpaceStore] = OrderedDict()
        self.engines: OrderedDict[int, tuple[EngineKey, Any]] = OrderedDict()  # idle, last used last


_ready = _Ready()


def _forget_inherited() -> None:
    global _ready
    _inherited.append(_ready)
    _ready = _Ready()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)


def forget_reused() -> None:
    """Drop all backbones, stores and idle engines that are kept for reuse."""
    with _ready.lock:
        _ready.backbones.clear()
        _ready.stores.clear()
        _ready.engines.clear()


def reuse_backbone(
    name: Any, *, weights: Any = "default", layers: tuple[str | None, ...] = (None,), **options: Any
) -> Any:
    """Return the backbone of that name, kept or loaded now; for several layers, a `MultiLayerBackbone`.

    It is shared, so it must not be changed. `name` may be a module of the user's, whose values are hashed at
    each call. Options as for `featx.backbones.load_backbone`. A `name` that is a loaded backbone is returned
    as it is (of a user's module, the first one that is equal); `InputError` if options are given with it.
    """
    from featx.backbones import MultiLayerBackbone, load_backbone, module_key

    if not isinstance(name, str) and not is_module(name):
        given = [option for option, value in options.items() if value != OPTIONS[option].default]
        given += ["layer"] if layers != (None,) else []
        given += ["weights"] if weights != "default" else []
        if given:
            raise loaded_already(name, given[0])
        return _first_equal(name)
    asked = name if isinstance(name, str) else module_key(name)
    key = _key(asked, weights, layers, options)
    found = _find_kept(key)
    if found is not None:
        return found
    members = [load_backbone(name, weights=weights, layer=layer, **options) for layer in layers]
    backbone = members[0] if len(members) == 1 else MultiLayerBackbone(members)
    _keep(key, backbone)
    return backbone


def is_ready(
    name: str, *, weights: Any = "default", layers: tuple[str | None, ...] = (None,), **options: Any
) -> bool:
    """Return whether `reuse_backbone` with these arguments would return a backbone that is kept."""
    return _find_kept(_key(name, weights, layers, options)) is not None


def _key(asked: Any, weights: Any, layers: tuple[str | None, ...], options: dict[str, Any]) -> Any:
    return asked, repr(weights), layers, repr(sorted(options.items())), os.environ.get("TORCH_HOME")


def reuse_with_values(values: Any, load: Callable[[], Any]) -> Any:
    """Return the backbone that holds these `values` of a model, kept or made now by `load`.

    The key is the id of `values`: a backbone that is kept refers to them, so no other object can have it.
    """
    found = find_with_values(values)
    if found is None:
        found = load()
        _keep(("values", id(values)), found)
    return found


def find_with_values(values: Any) -> Any:
    """Return the backbone that is kept for these `values`, None where there is none."""
    found = _find_kept(("values", id(values)))
    return None if found is None or found.values is not values else found


def _find_kept(key: Any) -> Any:
    """Return the backbone that is kept under a key, None where there is none or its file has changed."""
    with _ready.lock:
        found = _ready.backbones.get(key)
        if found is None or _file_stamp(found[0]) != found[1]:
            return None
        _ready.backbones.move_to_end(key)
        return found[0]


def _keep(key: Any, backbone: Any) -> None:
    with _ready.lock:
        _ready.backbones[key] = backbone, _file_stamp(backbone)
        while len(_ready.backbones) > _BACKBONES:
            _ready.backbones.popitem(last=False)


def _first_equal(backbone: Any) -> Any:
    """Return the first of equal backbones of a user's module: copies of an estimator bring one each."""
    from featx.backbones import Backbone

    if not isinstance(backbone, Backbone) or backbone.identity["source"] != "module":
        return backbone
    key = (backbone.name, repr(backbone.identity), repr(backbone.preprocessing))
    found = _find_kept(key)
    if found is not None:
        return found
    _keep(key, backbone)
    return backbone


def loaded_already(backbone: Any, option: str) -> InputError:
    """Return the error for an option that is given with a loaded backbone."""
    return InputError(
        f"backbone: {getattr(backbone, 'name', backbone)!r} is loaded already, and {option} cannot change it "
        f"any more; give its name, or leave {option} out"
    )


def reuse_store(cache: Cache, space: Space, dim: int | None) -> SpaceStore:
    """Return the store of a space, kept or new; it is thread-safe. `dim` is None where it is not known."""
    key = (cache.root, space.id, dim)
    with _ready.lock:
        store = _ready.stores.get(key)
        if store is None:
            store = _ready.stores[key] = cache.space(space, dim=dim)
        _ready.stores.move_to_end(key)
        while len(_ready.stores) > _STORES:
            _ready.stores.popitem(last=False)
    return store


def engine_key(embedder: Embedder, inputs: int, threads: int | None) -> EngineKey:
    """Return the key of engines that can serve a run of `inputs` inputs."""
    about = min(_MANY, 1 << (max(1, inputs).bit_length() - 1))
    spaces = tuple(space.id for space in embedder.spaces)
    return spaces, str(embedder.plan), embedder.batch_size, about, threads or cores()


def take_engine(key: EngineKey) -> Any | None:
    """Take an idle engine, None if there is none; the caller owns it until `return_engine`."""
    with _ready.lock:
        for number in reversed(_ready.engines):
            if _ready.engines[number][0] == key:
                return _ready.engines.pop(number)[1]
    return None


def return_engine(key: EngineKey, engine: Any) -> None:
    """Keep an engine, which has not failed, for the next run."""
    with _ready.lock:
        _ready.engines[id(engine)] = key, engine
        while len(_ready.engines) > _ENGINES:
            _ready.engines.popitem(last=False)


def _file_stamp(backbone: Any) -> Any:
    """Return size, time and inode of the weights' files, and the stamp of code or of a tokenizer's files."""
    first = getattr(backbone, "members", (backbone,))[0]
    checkpoint = getattr(first, "checkpoint", None)
    stamps: list[Any] = []
    try:
        stamps.append(first.architecture.stamp() if hasattr(first, "architecture") else None)
    except (OSError, InputError):
        stamps.append("gone")
    if checkpoint is not None:
        stamps += map(file_stamp, getattr(checkpoint, "files", None) or (checkpoint.path,))
    return stamps
