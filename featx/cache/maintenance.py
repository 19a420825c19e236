"""Survey a cache, verify it, and remove what it does not need.

Only files that featx names are counted or removed; all others stay.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.cache.claims import CLAIM_NAME
from featx.cache.compaction import compact
from featx.cache.encoding import SHARD_NAME
from featx.cache.files import is_file, list_names
from featx.cache.header import open_shard, verify_shard
from featx.cache.identity import Space
from featx.cache.index_file import load_index
from featx.cache.quarantine import SET_ASIDE
from featx.cache.shard import DamagedShard
from featx.cache.shard_index import ShardIndex
from featx.cache.sidecar import ABOUT, SIDECARS, read_note
from featx.cache.space_store import SpaceStore
from featx.durable import PART_NAME, is_left_over, sweep_parts
from featx.errors import CacheError

__all__ = [
    "YOUNG_SECONDS",
    "GarbageCollection",
    "SpaceInfo",
    "Verification",
    "clear_space",
    "collect_garbage",
    "survey",
    "verify",
]

#: Anything younger may belong to a run that has just begun.
YOUNG_SECONDS = 3600.0

_OWN_FILES = ("index.h5", *SIDECARS, "space.json")


@dataclass(frozen=True)
class SpaceInfo:
    """One space of a cache."""

    space: Space
    path: Path
    rows: int  # distinct ones; their checksums are not checked
    dim: int | None  # None without a readable shard
    shards: int
    unreadable: int  # shards that do not open
    quarantined: int  # damaged shards, set aside
    bytes: int  # of all files of featx in the folder
    last_used: float | None  # seconds since the epoch
    about: dict[str, Any] = field(default_factory=dict)  # of the network; it changes no number


@dataclass
class Verification:
    """What `verify` found."""

    shards: int = 0  # checked
    rows: int = 0  # in intact shards
    damaged: list[tuple[Path, str]] = field(default_factory=list)  # files, and what is wrong with each


@dataclass
class GarbageCollection:
    """What `collect_garbage` did."""

    bytes_before: int = 0
    bytes_after: int = 0
    removed_files: int = 0  # unfinished files of killed writers, and damaged shards
    merged: int = 0  # small shards, merged `into` this many
    into: int = 0
    removed_spaces: list[Space] = field(default_factory=list)  # to keep within the limit
    forgotten: int = 0  # entries of the stat cache about files that are gone


def survey(store: SpaceStore) -> SpaceInfo:
    """Describe one space; nothing is changed."""
    index = load_index(store.path / "index.h5", store.shards, store.space)
    index = ShardIndex() if index is None else index
    paths = store.shard_paths()
    opened, unreadable = [], 0
    for path in paths:
        if path.name not in index.names:
            try:
                shard = open_shard(path, store.space)
                opened.append((shard, shard.read_keys()))
            except FileNotFoundError:
                continue
            except (DamagedShard, OSError):
                unreadable += 1
    index.add(opened)
    times = [_changed(path) for path in (store.path / "space.json", *paths)]
    used = times[0] or max(times)
    return SpaceInfo(
        space=store.space,
        path=store.path,
        rows=len(index),
        dim=index.shards[0].dim if index.shards else None,
        shards=len(paths),
        unreadable=unreadable,
        quarantined=len(list_names(store.path / "quarantine", SET_ASIDE)),
        bytes=sum(_size(path) for path in _own_files(store.path)),
        last_used=used or None,
        about=read_note(store.path, ABOUT),
    )


def verify(stores: Sequence[SpaceStore], *, on_file: Callable[[int], None] | None = None) -> Verification:
    """Do as `Cache.verify`, for the spaces of `stores`."""
    found = Verification()
    for store in stores:
        seen: set[Path] = set()
        for _ in range(2):  # the second time for new shards with the intact rows of damaged ones
            for path in store.shard_paths():
                if path not in seen:
                    seen.add(path)
                    _verify_file(store, path, found)
                    if on_file is not None:
                        on_file(1)
        index = store.path / "index.h5"
        if is_file(index) and load_index(index, store.shards, store.space) is None:
            with contextlib.suppress(OSError):  # stale or damaged, and only derived
                index.unlink()
        with contextlib.suppress(CacheError):  # what cannot be read has been reported
            store.refresh()
    return found


def _verify_file(store: SpaceStore, path: Path, found: Verification) -> None:
    try:
        found.rows += verify_shard(path, store.space).n_rows
    except FileNotFoundError:
        return  # compacted or cleared meanwhile
    except DamagedShard as damage:
        found.damaged.append((path, damage.reason))
        store.set_aside(path, damage.reason)
    except CacheError as error:  # written by a newer featx, or not readable by this user: it stays
        found.damaged.append((path, str(error).removeprefix(f"{path}: ")))
    found.shards += 1


def collect_garbage(
    stores: Sequence[SpaceStore],
    unnamed: Sequence[Path] = (),
    *,
    max_bytes: int | None = None,
    older_than: float = YOUNG_SECONDS,
) -> GarbageCollection:
    """Do as `Cache.collect_garbage`, for `stores` and for `unnamed` folders whose space is not known."""
    done = GarbageCollection(bytes_before=sum(survey(store).bytes for store in stores))
    for store in stores:
        store.refresh()  # checks the files that stopped processes had set aside
        done.removed_files += sweep_parts(store.path / "tmp", older_than=older_than)
        merged, into = compact(store)
        done.merged, done.into = done.merged + merged, done.into + into
        for name in list_names(store.path / "quarantine", SET_ASIDE):
            if name.endswith(".h5"):  # not those that are still to be checked: they have rows
                done.removed_files += _removed(store.path / "quarantine" / name)
        if survey(store).shards == 0 and _age(store.path) >= older_than:
            _remove_if_empty(store.path)
    for folder in unnamed:
        done.removed_files += sweep_parts(folder / "tmp", older_than=older_than)
        if _age(folder) >= older_than:
            _remove_if_empty(folder)
    infos = [survey(store) for store in stores]
    done.bytes_after = sum(info.bytes for info in infos)
    for info in sorted((info for info in infos if info.shards), key=lambda info: info.last_used or 0.0)[:-1]:
        if max_bytes is not None and done.bytes_after > max_bytes:
            clear_space(info.path)
            done.bytes_after -= info.bytes
            done.removed_spaces.append(info.space)
    return done


def _age(folder: Path) -> float:
    """Return the seconds since the folder of a space last changed."""
    return time.time() - max(_changed(folder / part) for part in ("", "shards", "tmp", "space.json"))


def _remove_if_empty(folder: Path) -> None:
    """Remove a space without rows, unless some are about to be published or rescued."""
    if list_names(folder / "quarantine", SET_ASIDE):
        return
    try:
        (folder / "shards").rmdir()  # fails if a shard has come; a publisher makes the folder again
    except FileNotFoundError:
        pass
    except OSError:
        return
    _remove(folder, [path for path in _own_files(folder) if path.parent.name not in ("shards", "quarantine")])


def clear_space(folder: Path) -> None:
    """Remove one space: its own files, and its folders if nothing else is left in them.

    A file that is being written stays, and is then published. `CacheError` if a file cannot be removed.
    """
    _remove(folder, list(_own_files(folder)))


def remove_file(path: Path) -> None:
    """Remove a file that may be gone already; `CacheError` if that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{path}: cannot be removed: {error.strerror or error}") from error


def _remove(folder: Path, files: list[Path]) -> None:
    for path in files:
        with contextlib.suppress(OSError):  # gone already, or `remove_file` says what is wrong
            if PART_NAME.fullmatch(path.name) and not is_left_over(path, older_than=YOUNG_SECONDS):
                continue
        remove_file(path)
    for part in ("shards", "tmp", "quarantine", ""):
        with contextlib.suppress(OSError):  # not there, or something foreign is in it
            (folder / part).rmdir()


def _own_files(folder: Path) -> Iterator[Path]:
    """Yield the files of featx in the folder of a space; the one that names the space comes last."""
    for part, ours in (
        ("shards", SHARD_NAME.fullmatch),
        ("quarantine", SET_ASIDE.fullmatch),
        ("tmp", PART_NAME.fullmatch),
        ("tmp", CLAIM_NAME.fullmatch),
        ("", _OWN_FILES.__contains__),
    ):
        for name in list_names(folder / part):
            if ours(name):
                yield folder / part / name


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _changed(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _removed(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.unlink()
        return True
    return False
