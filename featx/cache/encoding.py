"""Encode rows as one immutable file, a shard.

A shard is a plain HDF5 file without filters: ``/embedding (n, d)`` in little-endian float32 or float16,
``/key (n, 32) u1`` and ``/row_crc32 (n,) u4`` over key‖row, all contiguous. Its name is the SHA-256 of its
bytes, and it holds no time stamps, so equal rows give an equal file. It also carries its space in clear.

Three checks guard what is returned. HDF5's own checksums cover the header (superblock 2 and object headers 2,
which ``libver="v108"`` writes; all attributes have a fixed length so that none lies outside of them). The
attribute ``keys_crc32`` covers the keys and the row checksums. Each of those covers its row *with its key*,
so that an intact row of another image does not match.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import uuid
import zlib
from collections.abc import Mapping

import h5py
import numpy as np

from featx.cache.checksums import row_crcs
from featx.cache.identity import DIGEST_SIZE, Space
from featx.errors import CacheError, as_one_error

__all__ = [
    "DTYPES",
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_FILE_BYTES",
    "MAX_SPACE_BYTES",
    "SHARD_NAME",
    "encode_file",
    "encode_shard",
    "room_for_hdf5",
    "shard_name",
]

FORMAT = "featx-shard"
FORMAT_VERSION = 1
DTYPES = ("<f4", "<f2")
SHARD_NAME = re.compile(r"[0-9a-f]{32}\.h5")
MAX_FILE_BYTES = 2**34
_HDF5_BYTES = 8 * 2**20
MAX_SPACE_BYTES = 32 * 1024  # an attribute lives in the checksummed object header up to 64 KiB


def encode_shard(keys: np.ndarray, rows: np.ndarray, space: Space, *, nonce: str = "") -> bytes:
    """Encode rows (n, d), float32 or float16, as the bytes of an HDF5 file; equal arguments give equal bytes.

    `keys` (n, 32) uint8 are the content digests; a `nonce` makes the name unique, whatever the rows.
    `CacheError` if the arrays have other shapes or dtypes, or the space is too large.
    """
    keys, rows = np.asarray(keys), np.asarray(rows)
    dtype = rows.dtype.newbyteorder("<").str
    if rows.ndim != 2 or 0 in rows.shape or dtype not in DTYPES:
        raise CacheError(
            f"rows of shape {rows.shape} and dtype {rows.dtype}: expected (n, d) float32 or float16"
        )
    if rows.nbytes > MAX_FILE_BYTES // 2:
        raise CacheError(f"{rows.nbytes} bytes of rows for one file: expected at most {MAX_FILE_BYTES // 2}")
    if keys.shape != (len(rows), DIGEST_SIZE) or keys.dtype != np.uint8:
        raise CacheError(
            f"keys of shape {keys.shape} and dtype {keys.dtype}: expected {(len(rows), DIGEST_SIZE)} uint8"
        )
    text = space.canonical_json.encode("utf-8")
    if len(text) > MAX_SPACE_BYTES:
        raise CacheError(f"the space takes {len(text)} bytes of JSON: expected at most {MAX_SPACE_BYTES}")
    keys = np.ascontiguousarray(keys)
    rows = np.ascontiguousarray(rows, dtype=dtype)
    attributes: dict[str, bytes | int] = {
        "format": FORMAT.encode(),
        "format_version": FORMAT_VERSION,
        "space_id": space.id.encode(),
        "space": text,
        "n_rows": rows.shape[0],
        "dim": rows.shape[1],
        "dtype": dtype.encode(),
    }
    if nonce:
        attributes["nonce"] = nonce.encode()
    crcs = row_crcs(keys, rows).astype("<u4")
    attributes["keys_crc32"] = zlib.crc32(crcs.tobytes(), zlib.crc32(keys.tobytes()))
    return encode_file(attributes, {"embedding": rows, "key": keys, "row_crc32": crcs})


def encode_file(attributes: Mapping[str, bytes | int], datasets: Mapping[str, np.ndarray]) -> bytes:
    """Return a small HDF5 file as bytes; equal arguments give equal bytes.

    Attributes are stored as text of fixed length or 64-bit integers, datasets contiguously. `CacheError` if
    HDF5 lacks memory.
    """
    # In memory, not on disk: a full disk then fails in a plain write, where h5py would lose every
    # row and crash in close. HDF5 knows open files by name, those in memory too: one name each.
    name = f"memory-{uuid.uuid4().hex}"
    options = {"driver": "core", "backing_store": False, "block_size": 2**20, "libver": ("v108", "v108")}
    with as_one_error(lambda reason: CacheError(f"cannot make a file of the cache: {reason}")):
        room_for_hdf5()
        with h5py.File(name, "w", **options) as file:
            for name, value in attributes.items():
                file.attrs[name] = np.bytes_(value) if isinstance(value, bytes) else np.int64(value)
            for name, data in datasets.items():
                file.create_dataset(name, data=data, track_times=False)
            file.flush()
            image: bytes = file.id.get_file_image()
        return image


def room_for_hdf5() -> None:
    """Raise `MemoryError` unless HDF5 can get memory for a small file; else it ends the process."""
    try:
        mmap.mmap(-1, _HDF5_BYTES).close()
    except OSError as error:
        raise MemoryError("no memory to open a file of the cache") from error


def shard_name(image: bytes) -> str:
    """Return the name of a shard: 32 hex digits of the SHA-256 of its bytes, and ``.h5``."""
    return hashlib.sha256(image).hexdigest()[:32] + ".h5"
