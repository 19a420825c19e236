"""Read rows of many shards into one array, several shards at once.

Reading and checksums run without Python's lock, so that two threads take half the time of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featx.cache.shard import DamagedShard, Shard
from featx.errors import CacheError

__all__ = ["read_rows"]

_PIECE_BYTES = 8 * 2**20  # what one thread reads before it takes the next piece
_MOST_THREADS = 8

_Piece = tuple[Shard, np.ndarray, np.ndarray]


def read_rows(
    plan: Iterable[_Piece], out: np.ndarray, keys: np.ndarray
) -> Iterator[tuple[Shard, np.ndarray, np.ndarray, str | None]]:
    """Read rows from shards into `out` (m, dim) and check each against its CRC.

    `plan` has (shard, positions in `out`, rows of the shard); `keys` (m, 32) has the key of each position.
    Yields (shard, positions, good, damage): `good`, bool, is True where the row is intact and in `out`, which
    is else undefined; `damage` says what is wrong with the file, None if it is in order or gone. `CacheError`
    if a file cannot be read although it may be intact.
    """

    def read(piece: _Piece) -> tuple[Shard, np.ndarray, np.ndarray, str | None]:
        shard, positions, rows = piece
        nothing = np.zeros(len(positions), dtype=bool)
        try:
            good = shard.read_into(out, positions, rows, keys[positions])
        except FileNotFoundError:
            return shard, positions, nothing, None
        except DamagedShard as damage:
            return shard, positions, nothing, damage.reason
        except OSError as error:
            raise CacheError(f"{shard.path}: cannot be read: {error.strerror or error}") from error
        bad = len(good) - int(np.count_nonzero(good))
        return shard, positions, good, f"{bad} rows do not match their checksum" if bad else None

    pieces = [piece for part in plan for piece in _cut(part)]
    threads = min(len(pieces), _MOST_THREADS, os.cpu_count() or 1)
    if threads < 2:
        yield from map(read, pieces)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="featx-read") as pool:
            try:
                results = pool.map(read, pieces)
            except RuntimeError:  # there is no room for another thread
                pool.shutdown(cancel_futures=True)
                results = map(read, pieces)
            yield from results


def _cut(part: _Piece) -> Iterator[_Piece]:
    """Cut a part of the plan into pieces of bounded size, each from its own stretch of the shard."""
    shard, positions, rows = part
    most = max(1, _PIECE_BYTES // shard.row_bytes)
    if len(rows) <= most:
        yield part
        return
    order = np.argsort(rows, kind="stable")
    for start in range(0, len(rows), most):
        chosen = order[start : start + most]
        yield shard, positions[chosen], rows[chosen]
