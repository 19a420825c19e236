"""The stat cache: which digest a file had, so that an unchanged image is not read to be recognised.

It is a convenience and disposable. Whatever is wrong with it (locked, damaged, read-only, full) the
answer is "not known", and the file is read. An entry carries its own checksum, so that damage below
SQLite's notice is no wrong answer either.

The racy rule is that of git's index: a file changed again within the clock's granularity keeps its
size and its times. So an entry counts only if they were already two seconds old when the file was
read; two seconds is FAT's granularity, the coarsest in use. An mtime can also be put back (``touch
-r``, ``rsync -t``, unpacking an archive over a folder): the ctime, which nobody can set, tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from featx.cache.identity import DIGEST_SIZE
from featx.cache.root import is_file

__all__ = ["StatCache"]

StatKey = tuple[str, int, int, int]

_RACY_NS = 2 * 10**9
_BUSY_SECONDS = 5.0
_KEYS_PER_QUERY = 500  # SQLite takes at least 999 parameters
_QUERY = "SELECT path, size, mtime_ns, ctime_ns, digest, checksum FROM entries_2 WHERE path IN ("
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS entries_2 (path BLOB PRIMARY KEY, size INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, digest BLOB NOT NULL, checksum BLOB NOT NULL) "
    "WITHOUT ROWID"
)


class StatCache:
    """Digests by (absolute path, size, mtime_ns, ctime_ns), for all projects and processes.

    Parameters
    ----------
    root : path-like
        The cache's folder; the entries live in ``stat.sqlite`` there.

    Notes
    -----
    No connection is kept: an instance may be pickled, forked and used by several threads.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.path = Path(root) / "stat.sqlite"
        # Every file read through this instance is read after this moment, so it is a safe "time of
        # reading" for the racy rule, whenever the caller comes to store its entries.
        self._opened_ns = time.time_ns()

    def lookup(self, keys: Sequence[StatKey | None]) -> list[bytes | None]:
        """The digests of files that have not changed since they were read.

        Parameters
        ----------
        keys : sequence of (str, int, int, int) or None
            Absolute path, size in bytes, mtime and ctime in nanoseconds; None for an image that is no file.

        Returns
        -------
        list of bytes or None
            None where the file is not known, has changed, or its entry is damaged.
        """
        nothing: list[bytes | None] = [None] * len(keys)
        if not keys or not is_file(self.path):
            return nothing
        found = list(nothing)
        try:
            with self._connection() as connection:
                for start in range(0, len(keys), _KEYS_PER_QUERY):
                    part = range(start, min(start + _KEYS_PER_QUERY, len(keys)))
                    names = {i: os.fsencode(key[0]) for i in part if (key := keys[i]) is not None}
                    query = _QUERY + ", ".join("?" * len(names)) + ")"
                    entries = {row[0]: row[1:] for row in connection.execute(query, list(names.values()))}
                    for i, name in names.items():
                        if name in entries:
                            found[i] = _trusted(keys[i], name, entries[name])
        except sqlite3.Error as error:
            self._discard_if_damaged(error)
            return nothing
        return found

    def store(self, entries: Iterable[tuple[StatKey, bytes]], *, read_ns: int | None = None) -> None:
        """Remember digests; entries that the racy rule forbids are left out.

        Parameters
        ----------
        entries : iterable of ((str, int, int, int), bytes)
            The stat key as it was *before* the file was read, and the digest of what was read.
        read_ns : int, optional
            A time (``time.time_ns``) before the reading of these files began. Default: when this
            instance was made, which is always early enough.

        Notes
        -----
        A caller that wants to be certain compares the file's stat before and after reading it.
        """
        limit = (self._opened_ns if read_ns is None else read_ns) - _RACY_NS
        rows = []
        for key, digest in entries:
            path, *numbers = key
            name = os.fsencode(path)
            if not os.path.isabs(path):
                raise ValueError(f"stat key of {path!r}: expected an absolute path")
            if len(digest) != DIGEST_SIZE:
                raise ValueError(f"digest of {len(digest)} bytes for {path}: expected {DIGEST_SIZE}")
            if max(numbers[1:]) < limit and all(abs(number) < 2**63 for number in numbers):
                rows.append((name, *numbers, digest, _checksum(name, numbers, digest)))
        if not rows:
            return
        for _ in range(2):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self._connection() as connection, connection:
                    connection.execute(_SCHEMA)
                    connection.executemany("INSERT OR REPLACE INTO entries_2 VALUES (?, ?, ?, ?, ?, ?)", rows)
            except sqlite3.Error as error:
                if self._discard_if_damaged(error):
                    continue
            except OSError:
                pass  # no place for the folder: the store will say so, here it only costs time
            return

    def prune(self) -> int:
        """Forget the files that are gone; their number."""
        if not is_file(self.path):
            return 0
        try:
            with self._connection() as connection:
                known = connection.execute("SELECT path FROM entries_2 WHERE typeof(path) = 'blob'")
                names = [row[0] for row in known]
                gone = [(name,) for name in names if not os.path.exists(os.fsdecode(name))]
                with connection:
                    connection.executemany("DELETE FROM entries_2 WHERE path = ?", gone)
                if gone:
                    connection.execute("VACUUM")
            return len(gone)
        except sqlite3.Error as error:
            self._discard_if_damaged(error)
            return 0

    def clear(self) -> None:
        """Forget everything."""
        for path in (self.path, self.path.with_name(self.path.name + "-journal")):
            with contextlib.suppress(OSError):
                path.unlink()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        try:
            # A rollback journal survives a kill, needs no shared memory (network folders), and what
            # a power cut may do without fsync is caught by the checksums: it is disposable.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA trusted_schema = OFF")
            kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'entries_2'").fetchall()
            if kinds not in ([], [("table",)]):  # somebody made a view of it, which may compute for ever
                raise sqlite3.DatabaseError("entries_2 is no table")
            yield connection
        finally:
            connection.close()

    def _discard_if_damaged(self, error: sqlite3.Error) -> bool:
        """Remove the file if it is no working database; whether it was removed."""
        if isinstance(error, sqlite3.OperationalError) or not isinstance(error, sqlite3.DatabaseError):
            return False  # locked, read-only, full, not yet created: the file may be healthy
        for path in (self.path, self.path.with_name(self.path.name + "-journal")):
            try:
                path.unlink(missing_ok=True)
            except OSError:
                return False
        return True


def _trusted(key: StatKey | None, name: bytes, entry: tuple[Any, ...]) -> bytes | None:
    """The digest of an entry, if it is that of an unchanged file and undamaged."""
    assert key is not None
    *numbers, digest, checksum = entry
    if tuple(numbers) != key[1:] or not isinstance(digest, bytes) or len(digest) != DIGEST_SIZE:
        return None
    return digest if checksum == _checksum(name, numbers, digest) else None


def _checksum(name: bytes, numbers: Sequence[int], digest: bytes) -> bytes:
    text = b"%d:%d:%d:%d:" % (len(name), *numbers)
    return hashlib.blake2b(text + name + digest, digest_size=8).digest()
