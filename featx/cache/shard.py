"""Read one immutable file of rows, a shard.

Rows are read by plain reads at the offsets in the header: HDF5 holds one global lock, and a memory map of a
file that shrinks ends the process (SIGBUS).
"""

from __future__ import annotations

import errno
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featx.cache.checksums import crc32, crc_of_stretch, row_crcs
from featx.cache.identity import DIGEST_SIZE

__all__ = ["DamagedShard", "Shard"]

_CHUNK_BYTES = 2 * 2**20  # read and checked at a time, so that they fit into the processor's cache


class DamagedShard(ValueError):
    """A shard's bytes are not those that were written, or it belongs to another space."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Shard:
    """The header of a shard, from which its rows are read. No file stays open."""

    path: Path
    space_json: str  # canonical JSON
    n_rows: int
    dim: int
    dtype: str  # "<f4" or "<f2"
    embedding_offset: int  # where the array begins in the file, in bytes
    key_offset: int
    crc_offset: int
    keys_crc32: int  # of the keys and the row checksums

    @property
    def row_bytes(self) -> int:
        """Length of a row in the file."""
        return self.dim * np.dtype(self.dtype).itemsize

    def read_keys(self) -> np.ndarray:
        """Return all keys, (n_rows, 32) uint8.

        `FileNotFoundError` if the file is gone; `DamagedShard` if the keys do not match their checksum, the
        file is shorter than its header says, or the disk cannot read it.
        """
        with open(self.path, "rb", buffering=0) as file:
            keys = self._keys(file)
            crcs = self._read(file, self.crc_offset, 4 * self.n_rows, "u1")
        if crc32(crcs.data, crc32(keys.data)) != self.keys_crc32:
            raise DamagedShard(self.path, "its keys do not match their checksum")
        return keys

    def read_into(
        self, out: np.ndarray, positions: np.ndarray, rows: np.ndarray, keys: np.ndarray
    ) -> np.ndarray:
        """Read row ``rows[i]`` into ``out[positions[i]]``, check it, and return which were intact, bool (k,).

        `rows` (k,) may be in any order and repeat; ``keys[i]`` is the key that row i must have been written
        with. Where a row is damaged, and everywhere if this raises (as `read_keys`), `out` is undefined.
        """
        good = np.zeros(len(rows), dtype=bool)
        if not len(rows):
            return good
        order = np.argsort(rows, kind="stable")
        positions, rows, keys = positions[order], rows[order], keys[order]
        first, count = int(rows[0]), len(rows)
        offset = self.embedding_offset + first * self.row_bytes
        with open(self.path, "rb", buffering=0) as file:
            crcs = self._read(file, self.crc_offset + 4 * first, 4 * int(rows[-1] + 1 - first), "<u4")
            crcs = crcs[rows - first]
            whole = _consecutive(rows)
            if whole and _consecutive(positions) and out.dtype == self.dtype and out.flags.c_contiguous:
                block = out[positions[0] : positions[0] + count]  # the common case, one copy less
            else:
                block = np.empty((count, self.dim), dtype=self.dtype)
            if whole:
                crc = self._fill(file, offset, block)
                intact = crc == crc_of_stretch(keys, crcs, self.row_bytes)
            else:
                bounds = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), count]
                for start, stop in itertools.pairwise(bounds):
                    self._fill(file, offset + int(rows[start] - first) * self.row_bytes, block[start:stop])
                intact = False
        each = np.ones(count, dtype=bool) if intact else row_crcs(keys, block) == crcs
        if not np.may_share_memory(block, out):
            out[positions[each]] = block if each.all() else block[each]
        good[order] = each
        return good

    def salvage(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys (k, 32) and rows (k, dim) whose CRC is right, in the file's order and dtype."""
        with open(self.path, "rb", buffering=0) as file:
            keys = self._keys(file)
        rows = np.empty((self.n_rows, self.dim), dtype=self.dtype)
        everything = np.arange(self.n_rows)
        good = self.read_into(rows, everything, everything, keys)
        return keys[good], rows[good]

    def _keys(self, file: io.RawIOBase) -> np.ndarray:
        return self._read(file, self.key_offset, self.n_rows * DIGEST_SIZE, "u1").reshape(-1, DIGEST_SIZE)

    def _read(self, file: io.RawIOBase, offset: int, size: int, dtype: str) -> np.ndarray:
        block = np.empty(size, dtype=np.uint8)  # not zeroed: `_fill` fills it or raises
        self._fill(file, offset, block)
        return block.view(dtype)

    def _fill(self, file: io.RawIOBase, offset: int, block: np.ndarray) -> int:
        """Fill an array with the bytes from `offset` on; return their CRC-32."""
        view = block.reshape(-1).view(np.uint8).data
        done = crc = 0
        try:
            file.seek(offset)
            while done < len(view):
                count = file.readinto(view[done : done + _CHUNK_BYTES])
                if not count:
                    raise DamagedShard(self.path, f"truncated: {len(view) - done} bytes are missing")
                crc = crc32(view[done : done + count], crc)
                done += count
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedShard(self.path, "the disk cannot read it (I/O error)") from error
        return crc


def _consecutive(numbers: np.ndarray) -> bool:
    return bool((np.diff(numbers) == 1).all())
