"""Merge other caches into one: copy the shards whose rows it lacks, and what is noted beside them.

The other caches are only read, and may be in use. A shard is named by the SHA-256 of its bytes, which is
compared while it is copied, and has its name only when it is durable. So a merge that is killed, or finds the
disk full, leaves whole shards; when it is run again, it goes on with those that are still lacking. Of a
damaged shard, the intact rows are taken. Nothing in a file decides where anything is written: spaces are
folders named by the hash of their text, shards are files named by their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featx.cache.encoding import MAX_FILE_BYTES
from featx.cache.files import absolute, enough_memory, list_names
from featx.cache.header import open_shard
from featx.cache.identity import Space
from featx.cache.quarantine import SET_ASIDE
from featx.cache.shard import DamagedShard
from featx.cache.sidecar import CALIBRATION, copy_notes, read_calibration
from featx.cache.space_store import SpaceStore
from featx.errors import CacheError

if TYPE_CHECKING:
    from featx.cache.cache import Cache

__all__ = ["Merging", "merge"]


@dataclass
class Merging:
    """What `merge` did."""

    rows: dict[Space, int] = field(default_factory=dict)  # of each space with rows, in the merged caches
    new: int = 0  # rows that the cache lacked
    known: int = 0  # rows that it had already
    bytes: int = 0  # copied
    entries: int = 0  # of the stat caches
    damaged: list[tuple[Path, str]] = field(default_factory=list)  # files, and what is wrong with each


def merge(
    cache: Cache, roots: Sequence[str | os.PathLike[str]], *, on_file: Callable[[int], None] | None = None
) -> Merging:
    """Do as `Cache.merge`."""
    done = Merging()
    others = _checked(cache, roots)  # all of them, before anything is written
    for other in others:
        spaces = other.spaces()
        for space in spaces:
            _merge_space(cache.space(space), other.space(space), done, on_file)
        for folder in other.unnamed():
            done.damaged.append((folder, "no readable file in it names its space"))
        done.entries += cache.stat_cache.take(other.stat_cache)
    return done


def _checked(cache: Cache, roots: Sequence[str | os.PathLike[str]]) -> list[Cache]:
    """Open the caches to merge; `CacheError` names one that is none, comes twice, or is the cache itself."""
    from featx.cache.cache import Cache

    seen = {os.path.realpath(cache.root)}
    others = []
    for root in map(absolute, roots):
        other = Cache(root)
        if not root.is_dir():
            raise CacheError(f"{root}: no such folder")
        real = os.path.realpath(root)
        if real in seen:
            twice = "given twice" if real != os.path.realpath(cache.root) else "the cache to merge into"
            raise CacheError(f"{root} is {twice}")
        seen.add(real)
        if list_names(root) and other.is_empty():
            raise CacheError(f"{root} is no cache: none of its files is of featx")
        others.append(other)
    return others


def _merge_space(
    store: SpaceStore, other: SpaceStore, done: Merging, on_file: Callable[[int], None] | None
) -> None:
    scales = read_calibration(other.path)
    if scales is not None and hashlib.sha256(scales).hexdigest() != other.space.fields.get("calibration"):
        scales = None
    paths = list(_paths(other))
    if not paths and scales is None:
        return
    with enough_memory(store.path):
        store.prepare()
        # The scales first: without them no row could be added to their space.
        if scales is not None and read_calibration(store.path) != scales:
            store.publisher.put(store.path / CALIBRATION, scales)
        copy_notes(other.path, store.path)
        seen: set[str] = set()
        while True:
            vanished = [path for path in paths if not _merge_shard(store, path, done, on_file)]
            seen.update(path.name for path in paths)
            # What was compacted meanwhile, or put aside and back, has another name now.
            paths = [path for path in _paths(other) if path.name not in seen] if vanished else []
            if not paths:
                break


def _paths(other: SpaceStore) -> Iterator[Path]:
    """Yield the shards, and those that a stopped process had set aside and not yet checked."""
    yield from other.shard_paths()
    for name in sorted(list_names(other.path / "quarantine", SET_ASIDE)):
        if name.endswith(".suspect"):
            yield other.path / "quarantine" / name


def _merge_shard(store: SpaceStore, path: Path, done: Merging, on_file: Callable[[int], None] | None) -> bool:
    """Take the rows of one shard that the store lacks; return False if the shard has vanished."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DamagedShard(path, f"larger than {MAX_FILE_BYTES:,} bytes")
        shard = open_shard(path, store.space)
        lacking = _lacking(store, shard.read_keys(), shard.dim, path)
        if len(lacking):
            done.bytes += store.copy(path)
        done.new += len(lacking)
        done.known += shard.n_rows - len(lacking)
        done.rows[store.space] = done.rows.get(store.space, 0) + shard.n_rows
    except FileNotFoundError:
        return False
    except DamagedShard as damage:
        kept = _rescue(store, path, done)
        done.damaged.append((path, f"{damage.reason}; {kept:,} intact rows taken"))
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
    if on_file is not None:
        on_file(1)
    return True


def _rescue(store: SpaceStore, path: Path, done: Merging) -> int:
    """Take the intact rows of a damaged shard; return their number."""
    with contextlib.suppress(DamagedShard, FileNotFoundError):
        if path.stat().st_size > MAX_FILE_BYTES:
            return 0
        shard = open_shard(path, store.space)
        keys, rows = shard.salvage()
        lacking = _lacking(store, keys, shard.dim, path)
        store.publish([keys[i].tobytes() for i in lacking], rows[lacking])
        done.new += len(lacking)
        done.known += len(keys) - len(lacking)
        done.rows[store.space] = done.rows.get(store.space, 0) + len(keys)
        return len(keys)
    return 0


def _lacking(store: SpaceStore, keys: np.ndarray, dim: int, path: Path) -> list[int]:
    """Return the positions of the keys without a row; `DamagedShard` for rows of another length."""
    lacking = store.missing([key.tobytes() for key in keys])
    if store.dim not in (None, dim):
        raise DamagedShard(path, f"rows of {dim} values: this space has {store.dim}")
    return lacking
