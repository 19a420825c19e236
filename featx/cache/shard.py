"""One immutable file of rows: how it is encoded, opened, read and verified.

A shard is a plain HDF5 file without filters: ``/embedding (n, d)`` in little-endian float32 or
float16, ``/key (n, 32) u1`` and ``/row_crc32 (n,) u4`` over key‖row, all contiguous. Its name is the
SHA-256 of its bytes, and it holds no time stamps, so equal rows give an equal file. It also carries
its space in clear: a folder of shards says by itself what it is.

Two checks guard what is returned. HDF5's own checksums cover the header (superblock 2 and object
headers 2, which is what ``libver="v108"`` writes; all attributes have a fixed length so that none
lies outside of them). The CRC covers each row *with its key*, so that an intact row of another
image is no match either. Rows are read with plain reads at the offsets the header gives: HDF5 holds
one global lock, and a memory map of a file that shrinks is a SIGBUS.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from featx.cache.identity import DIGEST_SIZE, Space
from featx.errors import CacheError

__all__ = ["DamagedShard", "Shard", "encode_shard", "file_damage", "open_shard", "shard_name", "verify_shard"]

FORMAT = "featx-shard"
FORMAT_VERSION = 1

_DTYPES = ("<f4", "<f2")
_LIBVER = ("v108", "v108")
_MAX_SPACE_BYTES = 32 * 1024  # an attribute lives in the checksummed object header up to 64 KiB
_BLOCK_BYTES = 32 * 2**20  # rows read at once
_MAX_GAP_BYTES = 64 * 1024  # reading over a gap this wide is cheaper than another read


class DamagedShard(ValueError):
    """A shard whose bytes are not what they were when it was written.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class _Malformed(ValueError):
    """The header is readable and says something a shard's header never says."""


def encode_shard(keys: np.ndarray, rows: np.ndarray, space: Space) -> bytes:
    """Encode rows as the bytes of one HDF5 file.

    Parameters
    ----------
    keys : ndarray of shape (n, 32), dtype uint8
        Content digests.
    rows : ndarray of shape (n, d), dtype float32 or float16
        Embeddings, n >= 1 and d >= 1.
    space : Space
        Where the rows live; stored in clear.

    Returns
    -------
    bytes
        The file. Equal arguments give equal bytes.

    Raises
    ------
    CacheError
        If the arrays do not have these shapes and dtypes, or the space is too large.
    """
    keys, rows = np.asarray(keys), np.asarray(rows)
    dtype = rows.dtype.newbyteorder("<").str
    if rows.ndim != 2 or 0 in rows.shape or dtype not in _DTYPES:
        raise CacheError(
            f"rows of shape {rows.shape} and dtype {rows.dtype}: expected (n, d) float32 or float16"
        )
    if keys.shape != (len(rows), DIGEST_SIZE) or keys.dtype != np.uint8:
        raise CacheError(
            f"keys of shape {keys.shape} and dtype {keys.dtype}: expected {(len(rows), DIGEST_SIZE)} uint8"
        )
    text = space.canonical_json.encode("utf-8")
    if len(text) > _MAX_SPACE_BYTES:
        raise CacheError(f"the space takes {len(text)} bytes of JSON: expected at most {_MAX_SPACE_BYTES}")
    keys = np.ascontiguousarray(keys)
    rows = np.ascontiguousarray(rows, dtype=dtype)
    # In memory, not on disk: a full disk then fails in a plain write, where h5py would lose every
    # row and crash in close. HDF5 knows open files by name, those in memory too: one name each.
    with h5py.File(
        f"shard-{uuid.uuid4().hex}", "w", driver="core", backing_store=False, block_size=2**20, libver=_LIBVER
    ) as file:
        file.attrs["format"] = np.bytes_(FORMAT.encode())
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        file.attrs["space_id"] = np.bytes_(space.id.encode())
        file.attrs["space"] = np.bytes_(text)
        file.attrs["n_rows"] = np.int64(rows.shape[0])
        file.attrs["dim"] = np.int64(rows.shape[1])
        file.attrs["dtype"] = np.bytes_(dtype.encode())
        file.create_dataset("embedding", data=rows, track_times=False)
        file.create_dataset("key", data=keys, track_times=False)
        file.create_dataset("row_crc32", data=_row_crcs(keys, rows), track_times=False)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def shard_name(image: bytes) -> str:
    """The name of a shard: 32 hex digits of the SHA-256 of its bytes, and ``.h5``."""
    return hashlib.sha256(image).hexdigest()[:32] + ".h5"


@dataclass(frozen=True)
class Shard:
    """An opened shard: what its header says. No file stays open.

    Attributes
    ----------
    path : Path
        The file.
    space_json : str
        Canonical JSON of its space.
    n_rows, dim : int
        Shape of the rows.
    dtype : str
        ``"<f4"`` or ``"<f2"``.
    embedding_offset, key_offset, crc_offset : int
        Where the three arrays begin in the file, in bytes.
    """

    path: Path
    space_json: str
    n_rows: int
    dim: int
    dtype: str
    embedding_offset: int
    key_offset: int
    crc_offset: int

    def read_keys(self) -> np.ndarray:
        """All keys, of shape (n_rows, 32), dtype uint8.

        Raises
        ------
        FileNotFoundError
            If the file is gone.
        DamagedShard
            If it is shorter than its header says, or the disk cannot read it.
        """
        with open(self.path, "rb", buffering=0) as file:
            return self._read(file, self.key_offset, self.n_rows * DIGEST_SIZE, "u1").reshape(-1, DIGEST_SIZE)

    def read_into(
        self, out: np.ndarray, positions: np.ndarray, rows: np.ndarray, keys: Sequence[bytes]
    ) -> np.ndarray:
        """Read rows, check each one, and put the intact ones into an array.

        Parameters
        ----------
        out : ndarray of shape (m, dim), floating
            Receives ``out[positions[i]] = row rows[i]``; left alone where a row is damaged.
        positions : ndarray of shape (k,), integer
            Where in `out`.
        rows : ndarray of shape (k,), integer
            Which rows of this shard, in any order, repeats allowed.
        keys : sequence of k bytes
            The key that each row must have been written with.

        Returns
        -------
        ndarray of shape (k,), bool
            True where the row was intact.

        Raises
        ------
        FileNotFoundError
            If the file is gone.
        DamagedShard
            If it is shorter than its header says, or the disk cannot read it.
        """
        row_bytes = self.dim * np.dtype(self.dtype).itemsize
        order = np.argsort(rows, kind="stable")
        good = np.zeros(len(rows), dtype=bool)
        with open(self.path, "rb", buffering=0) as file:
            crcs = self._read(file, self.crc_offset, 4 * self.n_rows, "<u4").tolist()
            for part in _runs(rows[order], row_bytes):
                chosen = order[part]
                first, last = int(rows[chosen[0]]), int(rows[chosen[-1]])
                block = self._read(
                    file,
                    self.embedding_offset + first * row_bytes,
                    (last - first + 1) * row_bytes,
                    self.dtype,
                ).reshape(-1, self.dim)
                view = block.reshape(-1).view(np.uint8).data
                for i in chosen.tolist():
                    at = (int(rows[i]) - first) * row_bytes
                    crc = zlib.crc32(view[at : at + row_bytes], zlib.crc32(keys[i]))
                    good[i] = crc == crcs[rows[i]]
                whole = np.array_equal(rows[chosen], np.arange(first, last + 1))
                if whole and good[chosen].all():
                    out[positions[chosen]] = block  # the common case, one copy less
                else:
                    intact = chosen[good[chosen]]
                    out[positions[intact]] = block[rows[intact] - first]
        return good

    def salvage(self) -> tuple[np.ndarray, np.ndarray]:
        """Everything in the file that is still intact.

        Returns
        -------
        keys : ndarray of shape (k, 32), dtype uint8
        rows : ndarray of shape (k, dim)
            The rows whose CRC holds, in the file's order and dtype.
        """
        keys = self.read_keys()
        rows = np.empty((self.n_rows, self.dim), dtype=self.dtype)
        everything = np.arange(self.n_rows)
        good = self.read_into(rows, everything, everything, split_keys(keys))
        return keys[good], rows[good]

    def _read(self, file: io.RawIOBase, offset: int, size: int, dtype: str) -> np.ndarray:
        block = np.empty(size, dtype=np.uint8)  # not zeroed: it is filled, or given to nobody
        view, done = block.data, 0
        try:
            file.seek(offset)
            while done < size:
                count = file.readinto(view[done:])
                if not count:
                    raise DamagedShard(self.path, f"truncated: {size - done} bytes are missing")
                done += count
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedShard(self.path, "the disk cannot read it (I/O error)") from error
        return block.view(dtype)


def split_keys(keys: np.ndarray) -> list[bytes]:
    """Keys of shape (n, 32) as a list of n digests."""
    joined = np.ascontiguousarray(keys).tobytes()
    return [joined[i : i + DIGEST_SIZE] for i in range(0, len(joined), DIGEST_SIZE)]


def open_shard(path: Path, space: Space | None = None) -> Shard:
    """Read and check a shard's header: attributes, shapes, dtypes, and that the file is long enough.

    Parameters
    ----------
    path : Path
        The file.
    space : Space, optional
        The space it must belong to.

    Returns
    -------
    Shard

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedShard
        If the file is damaged, or intact and of another space.
    CacheError
        If the file is intact by its hash and cannot be opened all the same: no permission, no
        file descriptors left, or a format newer than this version of featx.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:  # it never changes: no lock is needed
            shard = _described(file, path)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        # h5py meets a damaged header with any of these, but also a healthy file on an ailing
        # machine. The bytes and the name decide which of the two it is.
        reason = file_damage(path)
        if reason is not None:
            raise DamagedShard(path, reason) from error
        if isinstance(error, _Malformed):
            raise DamagedShard(path, str(error)) from error
        if isinstance(error, CacheError):
            raise
        raise CacheError(f"{path}: intact, but it cannot be opened: {error}") from error
    if space is not None and shard.space_json != space.canonical_json:
        differences = Space.from_json(shard.space_json).differences(space)
        raise DamagedShard(path, "belongs to another space (" + "; ".join(differences[:3]) + ")")
    return shard


def verify_shard(path: Path, space: Space | None = None) -> Shard:
    """Check a shard completely: its header, its name against its bytes, and the CRC of every row.

    Parameters
    ----------
    path : Path
        The file.
    space : Space, optional
        The space it must belong to.

    Returns
    -------
    Shard

    Raises
    ------
    FileNotFoundError, DamagedShard, CacheError
        As `open_shard`.
    """
    reason = file_damage(path)
    if reason is not None:
        raise DamagedShard(path, reason)
    shard = open_shard(path, space)
    intact = len(shard.salvage()[0])
    if intact < shard.n_rows:
        raise DamagedShard(
            path, f"{shard.n_rows - intact} of {shard.n_rows} rows do not match their checksum"
        )
    return shard


def file_damage(path: Path) -> str | None:
    """Say what is wrong with a file whose name begins with the hash of its bytes.

    Parameters
    ----------
    path : Path
        ``<32 hex digits of the SHA-256>.<anything>``.

    Returns
    -------
    str or None
        The reason, or None when bytes and name agree.

    Raises
    ------
    FileNotFoundError
        If the file is gone.
    CacheError
        If it cannot be read for a reason that is not the disk's.
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


def _described(file: h5py.File, path: Path) -> Shard:
    if _text(file, "format", 64) != FORMAT:
        raise _Malformed(f"no featx shard: attribute format is not {FORMAT!r}")
    version = _integer(file, "format_version")
    if version != FORMAT_VERSION:
        raise CacheError(
            f"{path}: shard format {version}, this featx reads {FORMAT_VERSION}; "
            "update featx or choose another folder with --cache or FEATX_CACHE"
        )
    n_rows, dim, dtype = _integer(file, "n_rows"), _integer(file, "dim"), _text(file, "dtype", 8)
    if n_rows < 1 or dim < 1 or dtype not in _DTYPES:
        raise _Malformed(f"{n_rows} rows of {dim} x {dtype}: expected at least 1 of 1 x <f4 or <f2")
    space_json = _text(file, "space", _MAX_SPACE_BYTES)
    try:
        space = Space.from_json(space_json)
    except CacheError as error:
        raise _Malformed(str(error)) from error
    if space.canonical_json != space_json or space.id != _text(file, "space_id", 64):
        raise _Malformed("attributes space and space_id disagree")
    return Shard(
        path=path,
        space_json=space_json,
        n_rows=n_rows,
        dim=dim,
        dtype=dtype,
        embedding_offset=_offset(file, "embedding", (n_rows, dim), dtype),
        key_offset=_offset(file, "key", (n_rows, DIGEST_SIZE), "|u1"),
        crc_offset=_offset(file, "row_crc32", (n_rows,), "<u4"),
    )


def _attribute(file: h5py.File, name: str) -> h5py.h5a.AttrID:
    if name not in file.attrs:
        raise _Malformed(f"attribute {name} is missing")
    attribute = file.attrs.get_id(name)
    if attribute.shape != ():
        raise _Malformed(f"attribute {name} has shape {attribute.shape}: expected a scalar")
    return attribute


def _text(file: h5py.File, name: str, limit: int) -> str:
    dtype = _attribute(file, name).dtype
    if dtype.kind != "S" or dtype.itemsize > limit:
        raise _Malformed(f"attribute {name} is of dtype {dtype}: expected at most {limit} bytes of text")
    try:
        return bytes(file.attrs[name]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed(f"attribute {name} is not UTF-8") from error


def _integer(file: h5py.File, name: str) -> int:
    dtype = _attribute(file, name).dtype
    if dtype.kind not in "iu":
        raise _Malformed(f"attribute {name} is of dtype {dtype}: expected an integer")
    return int(file.attrs[name])


def _offset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """Where a dataset's bytes begin, after checking that all of them are in the file."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise _Malformed(f"dataset {name} is missing")
    if dataset.shape != shape or dataset.dtype.str != dtype:
        raise _Malformed(f"dataset {name} is {dataset.shape} {dataset.dtype}: expected {shape} {dtype}")
    plist = dataset.id.get_create_plist()
    offset = dataset.id.get_offset()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or offset is None:
        raise _Malformed(f"dataset {name} is not stored contiguously in this file")
    size = int(np.dtype(dtype).itemsize) * int(np.prod([int(s) for s in shape], dtype=object))
    if offset + size > file.id.get_filesize():
        raise _Malformed(f"dataset {name} reaches beyond the end of the file")
    return int(offset)


def _row_crcs(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    row_bytes = rows.shape[1] * rows.itemsize
    view = rows.reshape(-1).view(np.uint8).data
    crcs = [
        zlib.crc32(view[i * row_bytes : (i + 1) * row_bytes], zlib.crc32(key))
        for i, key in enumerate(split_keys(keys))
    ]
    return np.array(crcs, dtype="<u4")


def _runs(ordered: np.ndarray, row_bytes: int) -> list[slice]:
    """Cut ascending row numbers into stretches that are worth one read each."""
    if len(ordered) == 0:
        return []
    wide = np.flatnonzero((np.diff(ordered) - 1) * row_bytes > _MAX_GAP_BYTES) + 1
    most = max(1, _BLOCK_BYTES // row_bytes)
    parts = []
    bounds = [0, *wide.tolist(), len(ordered)]
    for start, stop in itertools.pairwise(bounds):
        # Within a stretch the gaps are small, so the span is bounded by cutting at block borders.
        borders = np.flatnonzero(np.diff((ordered[start:stop] - ordered[start]) // most)) + 1 + start
        edges = [start, *borders.tolist(), stop]
        parts += [slice(a, b) for a, b in itertools.pairwise(edges)]
    return parts
