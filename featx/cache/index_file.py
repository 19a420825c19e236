"""The index of a space on disk: the headers and keys of all shards, in one file that may be lost.

``index.h5`` holds ``/key (n, 32) u1`` in ascending order, ``/place (n,) i8`` (shard << 32 | row) and
``/shards``, JSON with the names, sizes and headers of the shards, under one SHA-256. It is used only if the
SHA-256 is right and every shard exists with its size; else the shards are opened one by one and it is written
again. Rows are checked against their own CRC in any case.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.cache.encoding import DTYPES, SHARD_NAME, encode_file, room_for_hdf5
from featx.cache.files import is_file
from featx.cache.header import contiguous_offset, integer_attribute, text_attribute
from featx.cache.identity import DIGEST_SIZE, Space
from featx.cache.shard import Shard
from featx.cache.shard_index import ROW_BITS, ShardIndex
from featx.durable import replacing

__all__ = ["load_index", "save_index"]

_FORMAT = "featx-index"
_FORMAT_VERSION = 1
_HEADER = ("n_rows", "dim", "embedding_offset", "key_offset", "crc_offset", "keys_crc32")


def save_index(path: Path, parts: Path, space: Space, index: ShardIndex) -> None:
    """Write the index of a space to `path`, through a temporary file in `parts`.

    `OSError` if it cannot be written or a shard is gone by now; the older index then stays.
    """
    keys, places = index.items()
    described = [
        {"name": shard.path.name, "size": shard.path.stat().st_size, "dtype": shard.dtype}
        | {name: getattr(shard, name) for name in _HEADER}
        for shard in index.shards
    ]
    arrays = {
        "shards": np.frombuffer(json.dumps(described).encode(), dtype=np.uint8),
        "key": np.ascontiguousarray(keys),
        "place": places.astype("<i8"),
    }
    attributes: dict[str, bytes | int] = {
        "format": _FORMAT.encode(),
        "format_version": _FORMAT_VERSION,
        "space_id": space.id.encode(),
        "sha256": _checksum(arrays).encode(),
        "n_keys": len(keys),
        "shards_bytes": len(arrays["shards"]),
    }
    with replacing(path, parts=parts) as file:
        file.write(encode_file(attributes, arrays))


def load_index(path: Path, shards: Path, space: Space) -> ShardIndex | None:
    """Read the index of a space from `path`; `shards` is the folder of its shards.

    Return None if it is missing, damaged, of another space or version, or if a shard that it names is gone or
    has another size: its keys may then be in another shard.
    """
    if not is_file(path):
        return None
    try:
        room_for_hdf5()
        with h5py.File(path, "r", locking=False) as file:
            arrays = _read(file, path, space)
        described = json.loads(arrays["shards"].tobytes())
        found = [_shard(entry, shards, space) for entry in described]
        numbers, rows = arrays["place"] >> ROW_BITS, arrays["place"] & (2**ROW_BITS - 1)
        n_rows = np.array([shard.n_rows for shard in found], dtype=np.int64)
        inside = (numbers >= 0) & (numbers < len(n_rows))
        if not found or not inside.all() or not (rows < n_rows[numbers]).all():
            return None
    except (ArithmeticError, OSError, LookupError, MemoryError, RuntimeError, TypeError, ValueError):
        return None
    return ShardIndex(found, arrays["key"], arrays["place"])


def _read(file: h5py.File, path: Path, space: Space) -> dict[str, np.ndarray]:
    if (
        text_attribute(file, "format", 64) != _FORMAT
        or integer_attribute(file, "format_version") != _FORMAT_VERSION
        or text_attribute(file, "space_id", 64) != space.id
    ):
        raise ValueError("another kind of file, or of another space")
    n_keys, shards_bytes = integer_attribute(file, "n_keys"), integer_attribute(file, "shards_bytes")
    layout = {
        "shards": ((shards_bytes,), "|u1"),
        "key": ((n_keys, DIGEST_SIZE), "|u1"),
        "place": ((n_keys,), "<i8"),
    }
    arrays = {}
    for name, (shape, dtype) in layout.items():
        offset = contiguous_offset(file, name, shape, dtype)  # also: that all of it is in the file
        arrays[name] = np.fromfile(path, dtype=dtype, count=int(np.prod(shape)), offset=offset).reshape(shape)
    if _checksum(arrays) != text_attribute(file, "sha256", 64):
        raise ValueError("damaged")
    return arrays


def _shard(entry: dict[str, Any], shards: Path, space: Space) -> Shard:
    name, dtype = entry["name"], entry["dtype"]
    if not SHARD_NAME.fullmatch(name) or dtype not in DTYPES:
        raise ValueError("no shard")
    shard = Shard(
        path=shards / name,
        space_json=space.canonical_json,
        dtype=dtype,
        **{key: int(entry[key]) for key in _HEADER},
    )
    size = shard.path.stat().st_size
    ends = (
        shard.embedding_offset + shard.n_rows * shard.row_bytes,
        shard.key_offset + shard.n_rows * DIGEST_SIZE,
        shard.crc_offset + shard.n_rows * 4,
    )
    numbers = [getattr(shard, name) for name in _HEADER]
    if size != entry["size"] or min(numbers) < 0 or shard.n_rows < 1 or shard.dim < 1 or max(ends) > size:
        raise ValueError("not the header of a shard")
    return shard


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    state = hashlib.sha256()
    for name in ("shards", "key", "place"):
        state.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return state.hexdigest()
