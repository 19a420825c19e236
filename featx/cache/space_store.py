"""The rows of one space: many shards, found by digest, published durably, several processes at once.

There is no lock and no index on disk. A shard never changes and is named by its bytes, so writers
cannot disturb one another, and the worst that two of them can do is the same work twice. What is
known is worked out by reading the key arrays of the shards; a reader that finds a shard gone
(compacted, cleared, set aside) looks again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.identity import DIGEST_SIZE, Space
from featx.cache.quarantine import Quarantine
from featx.cache.root import ADVICE, absolute, listed
from featx.cache.shard import DamagedShard, Shard, encode_shard, open_shard, shard_name, split_keys
from featx.durable import fsync_folder, make_folder, replacing, sweep_parts
from featx.errors import CacheError

__all__ = ["SpaceStore"]

_READ_ATTEMPTS = 16  # each one after the first means that a shard vanished or was set aside meanwhile
_ROW_BITS = 32  # an index entry is shard number << 32 | row


class SpaceStore:
    """The rows of one space: what is known, what is missing, publish and read.

    Thread-safe. Pickles as (root, space, dim): the other side looks at the disk itself.

    Parameters
    ----------
    root : path-like
        The cache's folder.
    space : Space
        What the rows are made with.
    dim : int, optional
        Values per row; else taken from the first shard seen or published.
    """

    def __init__(self, root: str | os.PathLike[str], space: Space, dim: int | None = None) -> None:
        self.root = absolute(root)
        self.space = space
        self.path = self.root / space.id
        self.shards = self.path / "shards"
        self._tmp = self.path / "tmp"
        self._declared_dim = self._dim = dim
        self._lock = threading.RLock()
        self._prepared = False
        self._quarantine = Quarantine(self.shards, self.path / "quarantine", space, self._write)
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return (SpaceStore, (self.root, self.space, self._declared_dim))

    @property
    def dim(self) -> int | None:
        """Values per row, None while neither declared nor seen."""
        return self._dim

    # What is there

    def known(self) -> set[bytes]:
        """The digests that have a row, as the disk stands now: a set of the caller's own."""
        with self._lock:
            self.refresh()
            return set(self._index)

    def missing(self, digests: Sequence[bytes | None]) -> list[int]:
        """Positions of the digests that have no row, as the disk stands now.

        Parameters
        ----------
        digests : sequence of bytes or None
            32 bytes each; None, of an image that was not read yet, is missing.

        Returns
        -------
        list of int
            Ascending.

        Raises
        ------
        CacheError
            If a digest is not 32 bytes, or the folder cannot be read.
        """
        _check_digests([digest for digest in digests if digest is not None])
        with self._lock:
            self.refresh()
            return [i for i, digest in enumerate(digests) if digest not in self._index]

    def __contains__(self, digest: bytes) -> bool:
        return not self.missing([digest])

    def __len__(self) -> int:
        with self._lock:
            self.refresh()
            return len(self._index)

    def refresh(self) -> None:
        """Take notice of what other processes published, compacted or cleared.

        Raises
        ------
        CacheError
            If the folder cannot be read.
        """
        with self._lock:
            if not self._opened:
                self._quarantine.settle_all()
            settled = -1
            while settled != self._quarantine.settled:  # what is kept of a damaged shard is a new shard
                settled = self._quarantine.settled
                names = {name for name in listed(self.shards) if name.endswith(".h5")}
                if self._opened.keys() - names:  # its rows may live in another shard by now
                    self._forget()
                    self._quarantine.settle_all()
                    names = {name for name in listed(self.shards) if name.endswith(".h5")}
                for name in sorted(names - self._opened.keys()):
                    self._adopt(self.shards / name)

    # Writing

    def prepare(self) -> None:
        """Create the folders and ``space.json``, so that an unusable place is known before any work.

        Raises
        ------
        CacheError
            If the place cannot be written, saying where and what to do.
        """
        with self._writing():
            for folder in (self.shards, self._tmp):
                make_folder(folder)
            # Another process may have made them a moment ago and not have come to its own fsync.
            for folder in (self.path, self.root):
                fsync_folder(folder)
            described = self.path / "space.json"
            text = self.space.canonical_json.encode("utf-8")
            if not described.is_file() or described.read_bytes() != text:
                with replacing(described, parts=self._tmp) as file:
                    file.write(text)
            if not os.access(self.shards, os.W_OK) or not os.access(self._tmp, os.W_OK):
                raise PermissionError(errno.EACCES, "permission denied")
        sweep_parts(self._tmp)
        self._prepared = True

    def publish(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Store rows; when this returns they are on the disk and survive a power cut.

        Parameters
        ----------
        digests : sequence of n bytes
            Content digests, 32 bytes each. Of one that comes twice the first row is kept.
        rows : ndarray of shape (n, dim), dtype float32 or float16
            Embeddings; n may be 0.

        Raises
        ------
        CacheError
            If the arguments do not fit, or the rows cannot be written (nothing is left behind then).
        """
        _check_digests(digests)
        rows = np.asarray(rows)
        if rows.ndim != 2 or len(rows) != len(digests):
            raise CacheError(f"rows of shape {rows.shape} for {len(digests)} digests: expected one row each")
        if rows.dtype not in (np.float32, np.float16):
            raise CacheError(f"rows of dtype {rows.dtype}: expected float32 or float16")
        with self._lock:
            if self._dim is None:
                self.refresh()
        if self._dim is not None and rows.shape[1] != self._dim:
            raise CacheError(f"rows of {rows.shape[1]} values: this space has {self._dim}")
        if len(digests) == 0:
            return
        first = {digest: i for i, digest in reversed(list(enumerate(digests)))}
        keep = np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))
        keys = np.frombuffer(b"".join(digests[i] for i in keep.tolist()), dtype=np.uint8)
        path = self._write(keys.reshape(-1, DIGEST_SIZE), rows[keep])
        with self._lock:
            if self._opened.get(path.name) is None:  # what was damaged under that name is replaced
                self._opened.pop(path.name, None)
            self._adopt(path)

    # Reading

    def read(self, digests: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Rows by digest, each checked against its CRC.

        Parameters
        ----------
        digests : sequence of n bytes
            In any order, repeats allowed.

        Returns
        -------
        rows : ndarray of shape (n, dim), dtype float32
            NaN where there is no row. ``dim`` is 0 while nothing is known about it.
        found : ndarray of shape (n,), bool
            False where there is no row, or where it was damaged: extract that image again.

        Raises
        ------
        CacheError
            If a digest is not 32 bytes, or the folder cannot be read.

        Warns
        -----
        RuntimeWarning
            When a damaged file is met, naming it. It is moved to ``quarantine/``, and those of its
            rows that are intact are kept.
        """
        _check_digests(digests)
        found = np.zeros(len(digests), dtype=bool)
        pending = list(range(len(digests)))
        out: np.ndarray | None = None
        with self._lock:
            if any(digest not in self._index for digest in digests):
                self.refresh()
        for _ in range(_READ_ATTEMPTS):
            with self._lock:
                plan = self._located(digests, pending)
            if out is None and self._dim is not None:
                out = np.full((len(digests), self._dim), np.nan, dtype=np.float32)
            pending = []
            for shard, positions, rows in plan:
                assert out is not None  # a located row has a shard, and a shard has a dim
                try:
                    good = shard.read_into(out, positions, rows, [digests[i] for i in positions.tolist()])
                except FileNotFoundError:
                    good = np.zeros(len(positions), dtype=bool)
                except DamagedShard as damage:
                    good = np.zeros(len(positions), dtype=bool)
                    self._set_aside(shard.path, damage.reason)
                except OSError as error:
                    raise CacheError(f"{shard.path}: cannot be read: {error.strerror or error}") from error
                else:
                    if not good.all():
                        self._set_aside(
                            shard.path, f"{np.count_nonzero(~good)} rows do not match their checksum"
                        )
                found[positions[good]] = True
                pending += positions[~good].tolist()
            if not pending:
                break
            with self._lock:
                self._forget()
                self.refresh()
        if out is None:
            out = np.full((len(digests), 0), np.nan, dtype=np.float32)
        out[~found] = np.nan  # a shard may have given some rows before it turned out to be cut off
        return out, found

    # The index in memory

    def _forget(self) -> None:
        self._index: dict[bytes, int] = {}
        self._numbered: list[Shard] = []
        self._opened: dict[str, Shard | None] = {}  # None: seen and not to be used

    def _adopt(self, path: Path) -> None:
        """Open one shard and enter its keys into the index."""
        if path.name in self._opened:
            return
        if self._quarantine.ignores(path):
            self._opened[path.name] = None
            return
        try:
            shard = open_shard(path, self.space)
            keys = split_keys(shard.read_keys())
        except FileNotFoundError:
            return
        except DamagedShard as damage:
            self._set_aside(path, damage.reason)
            return
        except CacheError:
            raise
        except OSError as error:
            raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
        if self._dim is None:
            self._dim = shard.dim
        if shard.dim != self._dim:
            raise CacheError(
                f"{path}: rows of {shard.dim} values, expected {self._dim}; "
                f"something that changes the embedding is not in its space, {ADVICE}"
            )
        base = len(self._numbered) << _ROW_BITS
        self._index.update(zip(keys, range(base, base + len(keys)), strict=True))
        self._numbered.append(shard)
        self._opened[path.name] = shard

    def _located(
        self, digests: Sequence[bytes], pending: list[int]
    ) -> list[tuple[Shard, np.ndarray, np.ndarray]]:
        """Which rows of which shards answer the pending positions; what is unknown is left out."""
        places = [(self._index.get(digests[i], -1), i) for i in pending]
        table = np.array([place for place in places if place[0] >= 0], dtype=np.int64).reshape(-1, 2)
        table = table[np.argsort(table[:, 0], kind="stable")]
        numbers = table[:, 0] >> _ROW_BITS
        plan = []
        for number in np.unique(numbers).tolist():
            part = table[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, "right")]
            plan.append((self._numbered[number], part[:, 1], part[:, 0] & (2**_ROW_BITS - 1)))
        return plan

    # The disk

    def _write(self, keys: np.ndarray, rows: np.ndarray) -> Path:
        """Publish one shard durably and return its path."""
        image = encode_shard(keys, rows, self.space)
        path = self.shards / shard_name(image)
        for attempt in (1, 2):
            if not self._prepared:
                self.prepare()
            try:
                with self._writing(), replacing(path, parts=self._tmp) as file:
                    file.write(image)
            except _Cleared:
                # Someone cleared the cache between two batches: that is no reason to lose this one.
                self._prepared = False
                if attempt == 2:
                    raise
            else:
                break
        return path

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = _Cleared if isinstance(error, FileNotFoundError) else CacheError
            raise kind(
                f"cannot write to the cache {self.root}: {error.strerror or error}; {ADVICE}"
            ) from error

    def _set_aside(self, path: Path, reason: str) -> None:
        with self._lock:
            if not self._quarantine.take(path, reason):
                self._opened[path.name] = None

    def __repr__(self) -> str:
        return f"SpaceStore({str(self.root)!r}, {self.space.id[:12]})"


class _Cleared(CacheError):
    """A folder of the cache vanished while it was written to."""


def _check_digests(digests: Sequence[bytes]) -> None:
    for i, digest in enumerate(digests):
        if not isinstance(digest, bytes) or len(digest) != DIGEST_SIZE:
            got = f"{len(digest)} bytes" if isinstance(digest, bytes) else type(digest).__name__
            raise CacheError(f"digest {i} is {got}: expected {DIGEST_SIZE} bytes")
