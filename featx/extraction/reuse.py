"""What stays ready in a process: backbones, stores and engines that one call made, for the next one.

A clone of an estimator knows nothing of the others, and building a network takes longer than sending a few
images through it. So backbones are found again by the arguments that they were loaded with, as long as the
file of their weights is the same; what is known of a space on disk is brought up to date rather than read
anew; and an engine whose run is over is lent to the next run of the same space and of about as many images.
An engine serves one run at a time: a second run that comes meanwhile builds its own. Few are kept, those
used last; nothing of this is pickled, and a forked child begins with nothing.
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
#: From so many images on an engine is built alike.
_MANY = 1024

#: What a parent process had: a child must neither use nor destroy what may hold threads or a device.
_inherited: list[Any] = []

#: Space ids, plan, batch size, images and cores that an engine was built for.
Key = tuple[Any, ...]


class _Ready:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backbones: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self.stores: OrderedDict[Any, SpaceStore] = OrderedDict()
        self.engines: OrderedDict[int, tuple[Key, Any]] = OrderedDict()  # idle ones, the last used at the end


_ready = _Ready()


def _begin_anew() -> None:
    global _ready
    _inherited.append(_ready)
    _ready = _Ready()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def forget_reused() -> None:
    """Let go of everything that is kept; what is in use goes on."""
    with _ready.lock:
        _ready.backbones.clear()
        _ready.stores.clear()
        _ready.engines.clear()


def reuse_backbone(
    name: Any, *, weights: Any = "default", layers: tuple[str | None, ...] = (None,), **options: Any
) -> Any:
    """The backbone of that name, or of several layers the `MultiLayerBackbone`; shared, so not to be changed.

    Parameters
    ----------
    name : str or Backbone
        A loaded one is returned as it is.
    weights, **options
        As for `featx.backbones.load_backbone`.
    layers : tuple of str or None
        Where the embeddings are taken.

    Raises
    ------
    InputError
        An option goes with a backbone that is loaded already, which it would not change.
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
    """The store of a space, with what this process has learned of it; it is thread-safe."""
    key = (cache.root, space.id, dim)
    with _ready.lock:
        store = _ready.stores.get(key)
        if store is None:
            store = _ready.stores[key] = cache.space(space, dim=dim)
        _ready.stores.move_to_end(key)
        while len(_ready.stores) > _STORES:
            _ready.stores.popitem(last=False)
    return store


def engine_key(embedder: Embedder, images: int, threads: int | None) -> Key:
    """What an engine must have been built for, to serve a run."""
    about = min(_MANY, 1 << (max(1, images).bit_length() - 1))
    spaces = tuple(space.id for space in embedder.spaces)
    return spaces, str(embedder.plan), embedder.batch_size, about, threads or cores()


def take_engine(key: Key) -> Any | None:
    """An idle engine, which is the caller's until it is given back; None where there is none."""
    with _ready.lock:
        for number in reversed(_ready.engines):
            if _ready.engines[number][0] == key:
                return _ready.engines.pop(number)[1]
    return None


def return_engine(key: Key, engine: Any) -> None:
    """An engine that its run no longer needs and that has not failed."""
    with _ready.lock:
        _ready.engines[id(engine)] = key, engine
        while len(_ready.engines) > _ENGINES:
            _ready.engines.popitem(last=False)


def _stamp(backbone: Any) -> Any:
    """What changes when another file stands where the weights were read."""
    checkpoint = getattr(getattr(backbone, "members", (backbone,))[0], "checkpoint", None)
    if checkpoint is None:
        return None
    try:
        seen = os.stat(Path(checkpoint.path))
    except OSError:
        return "gone"
    return seen.st_size, seen.st_mtime_ns, seen.st_ino
