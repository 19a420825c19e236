"""Merge many small shards into few large ones, while others read and write.

The merged shard is published, durably, and read back; then the old ones are unlinked. A kill in between
leaves rows twice, which is harmless. A reader that finds a shard gone looks again. Two compactions at once do
the same work twice and lose nothing: a merged shard carries a nonce, so that no other process can make a file
of its name, and a row is only unlinked after a file newer than all its older copies holds it. (Without the
nonce, two processes that merge one another's results could each publish what the other is about to unlink.)
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.cache.header import open_shard, verify_shard
from featx.cache.shard import DamagedShard
from featx.cache.space_store import SpaceStore
from featx.errors import CacheError

__all__ = ["compact"]

_TARGET_BYTES = 64 * 2**20


def compact(store: SpaceStore) -> tuple[int, int]:
    """Merge the small shards of a space; return how many were merged, and into how many.

    A damaged one is set aside with a warning, and its intact rows are kept. `CacheError` if a merged shard
    cannot be written or read back; the old ones then still exist.
    """
    before = after = 0
    for group in _groups(store.shard_paths()):
        merged, keys, rows = _contents(store, group)
        if len(merged) < 2:
            continue
        path = store.publisher.write(keys, rows, nonce=uuid.uuid4().hex)
        try:
            verify_shard(path, store.space)
        except FileNotFoundError:
            continue  # cleared, or merged by another compaction
        except DamagedShard as damage:
            raise CacheError(
                f"{path}: what was read back is not what was written ({damage.reason})"
            ) from damage
        for old in merged:
            with contextlib.suppress(OSError):  # gone, or open elsewhere on Windows: then it stays
                old.unlink()
        before, after = before + len(merged), after + 1
    store.refresh()
    return before, after


def _groups(paths: list[Path]) -> Iterator[list[Path]]:
    """Yield groups of small shards, in the order of their publication, up to the target size."""
    seen = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_size < _TARGET_BYTES // 2:
                seen.append((status.st_mtime_ns, path.name, status.st_size, path))
    group: list[Path] = []
    size = 0
    for _, _, bytes_, path in sorted(seen):
        if group and size + bytes_ > _TARGET_BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += bytes_
    if group:
        yield group


def _contents(store: SpaceStore, group: list[Path]) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Return the intact shards of a group, and their keys and rows without repeats."""
    merged: list[Path] = []
    keys: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for path in group:
        try:
            shard = open_shard(path, store.space)
            its_keys, its_rows = shard.salvage()
        except FileNotFoundError:
            continue
        except DamagedShard as damage:
            store.set_aside(path, damage.reason)
            continue
        except CacheError:
            raise
        except OSError as error:
            raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
        if len(its_keys) < shard.n_rows:
            store.set_aside(path, f"{shard.n_rows - len(its_keys)} rows do not match their checksum")
        elif not rows or (its_rows.shape[1], its_rows.dtype) == (rows[0].shape[1], rows[0].dtype):
            merged.append(path)
            keys.append(its_keys)
            rows.append(its_rows)
    if not merged:
        return [], np.empty((0, 0), np.uint8), np.empty((0, 0), np.float32)
    all_keys, all_rows = np.concatenate(keys), np.concatenate(rows)
    first = {key.tobytes(): i for i, key in reversed(list(enumerate(all_keys)))}
    keep = np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))
    return merged, all_keys[keep], all_rows[keep]
