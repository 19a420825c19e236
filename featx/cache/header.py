"""Open a shard: read its header and check every field of it."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import h5py
import numpy as np

from featx.cache.encoding import (
    DTYPES,
    FORMAT,
    FORMAT_VERSION,
    MAX_FILE_BYTES,
    MAX_SPACE_BYTES,
    encode_file,
    room_for_hdf5,
)
from featx.cache.files import enough_memory
from featx.cache.identity import DIGEST_SIZE, Space
from featx.cache.shard import DamagedShard, Shard
from featx.errors import CacheError, reason_of

__all__ = [
    "Malformed",
    "contiguous_offset",
    "file_damage",
    "integer_attribute",
    "open_shard",
    "text_attribute",
    "verify_shard",
]


class Malformed(ValueError):
    """The header can be read, but it is not one that featx writes."""


def open_shard(path: Path, space: Space | None = None) -> Shard:
    """Open a shard: check attributes, shapes, dtypes, the length of the file, and that it is of `space`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedShard
        If the file is damaged, or intact and of another space.
    CacheError
        If the file is intact by its hash but cannot be opened: no permission, no file descriptors or memory
        left, or a format newer than this featx.
    """
    try:
        room_for_hdf5()
        with h5py.File(path, "r", locking=False) as file:  # it never changes: no lock is needed
            shard = _described(file, path)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        # h5py raises any of these for a damaged header, but also for a healthy file if the machine
        # is in trouble. The bytes and the name decide which of the two it is.
        with enough_memory(path):
            reason = file_damage(path)
        if reason is not None:
            raise DamagedShard(path, reason) from error
        if isinstance(error, CacheError):
            raise
        in_trouble = isinstance(error, MemoryError) or (
            isinstance(error, OSError) and error.errno is not None
        )
        if in_trouble or not _hdf5_works():
            raise CacheError(f"{path}: intact, but it cannot be opened: {reason_of(error)}") from error
        if isinstance(error, Malformed):
            raise DamagedShard(path, str(error)) from error
        raise DamagedShard(path, f"no shard, though its name fits ({error})") from error
    if space is not None and shard.space_json != space.canonical_json:
        differences = Space.from_json(shard.space_json).differences(space)
        raise DamagedShard(path, "belongs to another space (" + "; ".join(differences[:3]) + ")")
    return shard


def verify_shard(path: Path, space: Space | None = None) -> Shard:
    """Do as `open_shard`, and check the name against all bytes, and the CRC of each row."""
    reason = file_damage(path)
    if reason is not None:
        raise DamagedShard(path, reason)
    shard = open_shard(path, space)
    try:
        with enough_memory(path):
            shard.read_keys()
            intact = len(shard.salvage()[0])
    except (FileNotFoundError, CacheError):
        raise
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
    if intact < shard.n_rows:
        raise DamagedShard(
            path, f"{shard.n_rows - intact} of {shard.n_rows} rows do not match their checksum"
        )
    return shard


def file_damage(path: Path) -> str | None:
    """Compare a file with the SHA-256 in its name; return what is wrong with it, or None.

    `FileNotFoundError` if it is gone, `CacheError` if it cannot be read for another reason than a bad disk.
    """
    state, size = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(2**20):
                state.update(block)
                size += len(block)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.EIO:
            return "the disk cannot read it (I/O error)"
        raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size == 0:
        return "empty"
    if state.hexdigest()[:32] != path.name.split(".")[0]:
        return f"its {size} bytes do not have the SHA-256 in its name"
    return None


def _hdf5_works() -> bool:
    """Whether HDF5 works at all: without memory it takes every file for damaged."""
    try:
        encode_file({"n": 1}, {"a": np.zeros(1, dtype=np.uint8)})
    except (CacheError, MemoryError):
        return False
    return True


def _described(file: h5py.File, path: Path) -> Shard:
    if text_attribute(file, "format", 64) != FORMAT:
        raise Malformed(f"no featx shard: attribute format is not {FORMAT!r}")
    version = integer_attribute(file, "format_version")
    if version != FORMAT_VERSION:
        raise CacheError(
            f"{path}: shard format {version}, this featx reads {FORMAT_VERSION}; "
            "update featx or choose another folder with --cache or FEATX_CACHE"
        )
    n_rows, dim, dtype = (
        integer_attribute(file, "n_rows"),
        integer_attribute(file, "dim"),
        text_attribute(file, "dtype", 8),
    )
    if n_rows < 1 or dim < 1 or dtype not in DTYPES:
        raise Malformed(f"{n_rows} rows of {dim} x {dtype}: expected at least 1 of 1 x <f4 or <f2")
    space_json = text_attribute(file, "space", MAX_SPACE_BYTES)
    try:
        space = Space.from_json(space_json)
    except CacheError as error:
        raise Malformed(str(error)) from error
    if space.canonical_json != space_json or space.id != text_attribute(file, "space_id", 64):
        raise Malformed("attributes space and space_id disagree")
    return Shard(
        path=path,
        space_json=space_json,
        n_rows=n_rows,
        dim=dim,
        dtype=dtype,
        embedding_offset=contiguous_offset(file, "embedding", (n_rows, dim), dtype),
        key_offset=contiguous_offset(file, "key", (n_rows, DIGEST_SIZE), "|u1"),
        crc_offset=contiguous_offset(file, "row_crc32", (n_rows,), "<u4"),
        keys_crc32=integer_attribute(file, "keys_crc32"),
    )


def _attribute(file: h5py.File, name: str) -> h5py.h5a.AttrID:
    if name not in file.attrs:
        raise Malformed(f"attribute {name} is missing")
    attribute = file.attrs.get_id(name)
    if attribute.shape != ():
        raise Malformed(f"attribute {name} has shape {attribute.shape}: expected a scalar")
    return attribute


def text_attribute(file: h5py.File, name: str, limit: int) -> str:
    """Return an attribute of at most `limit` bytes of UTF-8, or raise `Malformed`."""
    dtype = _attribute(file, name).dtype
    if dtype.kind != "S" or dtype.itemsize > limit:
        raise Malformed(f"attribute {name} is of dtype {dtype}: expected at most {limit} bytes of text")
    try:
        return bytes(file.attrs[name]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"attribute {name} is not UTF-8") from error


def integer_attribute(file: h5py.File, name: str) -> int:
    """Return an integer attribute, or raise `Malformed`."""
    dtype = _attribute(file, name).dtype
    if dtype.kind not in "iu":
        raise Malformed(f"attribute {name} is of dtype {dtype}: expected an integer")
    return int(file.attrs[name])


def contiguous_offset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """Return where a dataset's bytes begin, after checking that all of them are in the file."""
    # A link would be followed and opened before anything could be checked.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise Malformed(f"dataset {name} is missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise Malformed(f"{name} is no dataset")
    if dataset.shape != shape or dataset.dtype.str != dtype:
        raise Malformed(f"dataset {name} is {dataset.shape} {dataset.dtype}: expected {shape} {dtype}")
    plist = dataset.id.get_create_plist()
    offset = dataset.id.get_offset()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or offset is None:
        raise Malformed(f"dataset {name} is not stored contiguously in this file")
    size = int(np.dtype(dtype).itemsize) * int(np.prod([int(s) for s in shape], dtype=object))
    if offset + size > min(file.id.get_filesize(), MAX_FILE_BYTES):  # a sparse file can have any length
        raise Malformed(f"dataset {name} reaches beyond the end of the file or {MAX_FILE_BYTES} bytes")
    return int(offset)
