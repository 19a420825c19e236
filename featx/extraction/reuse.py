"""Backbones, engines and stores that stay ready in a process, for the next call to reuse.

Clones of an estimator do not know each other, and building a network takes longer than sending a few images
through it. So a backbone is found again by the arguments that it was loaded with, as long as the file of its
weights is the same. What is known of a space on disk is brought up to date and not read anew. An engine
whose run is over is lent to the next run of the same space and of about as many inputs; it serves one run at
a time, and a second run that comes meanwhile builds its own. Few of each are kept, those that were used
last. Nothing of this is pickled, and a forked child begins with nothing.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from featx.cache import Cache, Space, SpaceStore
from featx.errors import InputError
from featx.extraction.embedder import Embedder
from featx.machine import cores

_BACKBONES = 8
_ENGINES = 4
_STORES = 16
#: From this many inputs on, engines are built alike.
_MANY = 1024

#: What the parent process had. A child must neither use nor destroy it: it may hold threads or a device.
_inherited: list[Any] = []

#: What an engine was built for: space ids, plan, batch size, number of inputs, cores.
EngineKey = tuple[Any, ...]


class _Ready:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backbones: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self.stores: OrderedDict[Any, SpaceStore] = OrderedDict()
        self.engines: OrderedDict[int, tuple[EngineKey, Any]] = OrderedDict()  # idle, last used last


_ready = _Ready()


def _begin_anew() -> None:
    global _ready
    _inherited.append(_ready)
    _ready = _Ready()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def forget_reused() -> None:
    """Drop everything that is kept for reuse; what is in use goes on."""
    with _ready.lock:
        _ready.backbones.clear()
        _ready.stores.clear()
        _ready.engines.clear()


def reuse_backbone(
    name: Any, *, weights: Any = "default", layers: tuple[str | None, ...] = (None,), **options: Any
) -> Any:
    """Return the backbone of that name, loaded already or now; for several layers, the `MultiLayerBackbone`.

    It is shared, so it must not be changed.

    Parameters
    ----------
    name : str or Backbone
        A loaded backbone is returned as it is.
    weights, **options
        As for `featx.backbones.load_backbone`.
    layers : tuple of str or None
        Where the embeddings are taken.

    Raises
    ------
    InputError
        An option is given with a backbone that is loaded already, and cannot change it.
    """
    from featx.backbones import MultiLayerBackbone, load_backbone

    if not isinstance(name, str):
        given = [option for option, value in options.items() if value is not None]
        given += ["layer"] if layers != (None,) else []
        given += ["weights"] if weights != "default" else []
        if given:
            raise InputError(
                f"backbone: {getattr(name, 'name', name)!r} is loaded already, and {given[0]} cannot change "
                f"it any more; give its name, or leave {given[0]} out"
            )
        return name
    key = (name, repr(weights), layers, repr(sorted(options.items())), os.environ.get("TORCH_HOME"))
    with _ready.lock:
        found = _ready.backbones.get(key)
        if found is not None and _stamp(found[0]) == found[1]:
            _ready.backbones.move_to_end(key)
            return found[0]
    members = [load_backbone(name, weights=weights, layer=layer, **options) for layer in layers]
    backbone = members[0] if len(members) == 1 else MultiLayerBackbone(members)
    with _ready.lock:
        _ready.backbones[key] = backbone, _stamp(backbone)
        while len(_ready.backbones) > _BACKBONES:
            _ready.backbones.popitem(last=False)
    return backbone


def reuse_store(cache: Cache, space: Space, dim: int) -> SpaceStore:
    """Return the store of a space, with what this process knows of it; it is thread-safe."""
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
    """Return what an engine must have been built for, to serve a run of so many inputs."""
    about = min(_MANY, 1 << (max(1, inputs).bit_length() - 1))
    spaces = tuple(space.id for space in embedder.spaces)
    return spaces, str(embedder.plan), embedder.batch_size, about, threads or cores()


def take_engine(key: EngineKey) -> Any | None:
    """Take an idle engine, None where there is none; the caller owns it until `return_engine`."""
    with _ready.lock:
        for number in reversed(_ready.engines):
            if _ready.engines[number][0] == key:
                return _ready.engines.pop(number)[1]
    return None


def return_engine(key: EngineKey, engine: Any) -> None:
    """Keep an engine for the next run; it must not have failed."""
    with _ready.lock:
        _ready.engines[id(engine)] = key, engine
        while len(_ready.engines) > _ENGINES:
            _ready.engines.popitem(last=False)


def _stamp(backbone: Any) -> Any:
    """Return what changes when another file takes the place of the weights that were read."""
    checkpoint = getattr(getattr(backbone, "members", (backbone,))[0], "checkpoint", None)
    if checkpoint is None:
        return None
    try:
        seen = os.stat(Path(checkpoint.path))
    except OSError:
        return "gone"
    return seen.st_size, seen.st_mtime_ns, seen.st_ino
