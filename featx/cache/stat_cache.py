"""The stat cache: the digest of each file when it was last read, so that unchanged files are not read again.

It is disposable. Whatever is wrong with it (locked, damaged, read-only, full), the file counts as unknown and
is read; a damaged database is removed and begun again. Each entry has its own checksum, so that damage that
SQLite does not notice gives no wrong answer. A lock that is not released is waited for once, then no more.
Several machines share one file, so that each knows what another has read. On a network file system without
locks they damage it now and then, which loses entries, and makes no wrong ones.

The racy rule is that of git's index: a file that changes again within the clock's resolution keeps its size
and times. So an entry counts only if its times were two seconds old when the file was read (FAT's resolution,
the coarsest in use). An mtime can be set back (``touch -r``, ``rsync -t``, unpacking an archive); the ctime,
which nobody can set, shows it.

Of an object behind a URL the entry has the ETag, or the time of change that its server says, and instead of a
ctime the time at which it was stored: whether the object still exists cannot be asked at no cost, so `prune`
removes entries of URLs after `URL_DAYS`. The object is then read once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from featx.cache.files import is_file
from featx.cache.identity import DIGEST_SIZE

__all__ = ["StatCache"]

StatKey = tuple[str, int, int, int]

_T = TypeVar("_T")

#: Days after which the entry of a URL is removed by `StatCache.prune`.
URL_DAYS = 90

_RACY_NS = 2 * 10**9
_DAY_NS = 24 * 3600 * 10**9
_BUSY_SECONDS = 2.0
_TAKEN = 10_000  # entries of another stat cache at a time
_KEYS_PER_QUERY = 500  # SQLite takes at least 999 parameters
_QUERY = "SELECT path, size, mtime_ns, ctime_ns, digest, checksum FROM entries_2 WHERE path IN ("
_TABLE = (
    "entries_2 (path BLOB PRIMARY KEY, size INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, digest BLOB NOT NULL, checksum BLOB NOT NULL) "
    "WITHOUT ROWID"
)
_LONGEST = 2**20
"""Bytes of the largest value that is read: a path is shorter, and a damaged length asks for more."""
_SHORTEST = 32
"""Bytes that an entry takes at least: it has a digest."""

#: Errors of SQLite that do not mean damage: locked, no memory, full, no permission, ...
_NOT_ITS_FAULT = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}
#: Except these: the disk cannot read the file.
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


class StatCache:
    """Digests by (absolute path, size, mtime_ns, ctime_ns), for all projects and processes.

    No connection is kept: an instance may be pickled, forked and used by several threads. The entries are in
    ``stat.sqlite`` in the cache's folder, `root`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.path = Path(root) / "stat.sqlite"
        # Every file of this instance is read after this moment: a safe "time of reading" for the racy
        # rule, whenever its entry is stored.
        self._opened_ns = time.time_ns()
        self._stalled = False  # the lock was not free in time

    def lookup(self, keys: Sequence[StatKey | None]) -> list[bytes | None]:
        """Return the digests of files that have not changed since they were read.

        `keys` are (absolute path, size in bytes, mtime and ctime in ns), or None for an image that is no
        file. A part of a file is another entry: behind its path stand a null byte and the part's name. The
        name of an object is its URL, perhaps with a null byte and its ETag, and its ctime is 0. A
        digest is None where the file is not known, has changed, or its entry is damaged.
        """
        found: list[bytes | None] = [None] * len(keys)
        if not keys or not is_file(self.path):
            return found
        names = [(i, os.fsencode(key[0])) for i, key in enumerate(keys) if key is not None]

        def find(connection: sqlite3.Connection) -> list[bytes | None]:
            for start in range(0, len(names), _KEYS_PER_QUERY):
                part = names[start : start + _KEYS_PER_QUERY]
                query = _QUERY + ", ".join("?" * len(part)) + ")"
                rows = connection.execute(query, [name for _, name in part])
                entries = {entry[0]: entry for entry in rows}
                for i, name in part:
                    if (entry := entries.get(name)) is not None:
                        found[i] = _trusted(keys[i], entry)
            return found

        return self._attempt(find) or [None] * len(keys)

    def knows(self, prefix: str) -> bool:
        """Whether there is an entry of a name that begins so."""
        if not is_file(self.path):
            return False
        start = os.fsencode(prefix)

        def find(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT path FROM entries_2 WHERE path >= ? LIMIT 1", [start]).fetchone()
            return row is not None and isinstance(row[0], bytes) and row[0].startswith(start)

        return bool(self._attempt(find))

    def store(self, entries: Iterable[tuple[StatKey, bytes]], *, read_ns: int | None = None) -> None:
        """Store digests; entries that the racy rule forbids are left out.

        `entries` have the stat key from *before* the file was read, and the digest; compare the stat before
        and after reading to be certain. `read_ns` is a time (``time.time_ns``) before these files were read,
        by default when this instance was made.
        """
        limit = (self._opened_ns if read_ns is None else read_ns) - _RACY_NS
        rows = []
        for key, digest in entries:
            path, *numbers = key
            name = os.fsencode(path)
            if not os.path.isabs(path):
                if not _is_url(name):
                    raise ValueError(f"stat key of {path!r}: expected an absolute path or a URL")
                numbers[2] = self._opened_ns // _DAY_NS
            if len(digest) != DIGEST_SIZE:
                raise ValueError(f"digest of {len(digest)} bytes for {path}: expected {DIGEST_SIZE}")
            if max(numbers[1:]) < limit and all(abs(number) < 2**63 for number in numbers):
                rows.append((name, *numbers, digest, _checksum(name, numbers, digest)))
        if not rows:
            return

        def insert(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE}")
                connection.executemany("INSERT OR REPLACE INTO entries_2 VALUES (?, ?, ?, ?, ?, ?)", rows)
            return True

        with contextlib.suppress(OSError):  # no place for the folder: the store will say so
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._attempt(insert) and not os.path.lexists(self.path):  # it was damaged
                self._attempt(insert)

    def take(self, other: StatCache) -> int:
        """Add the intact entries of another stat cache about files that this one does not know.

        Return their number. They help where both caches see the same files: on one machine, or on a shared
        file system.
        """
        if not is_file(other.path):
            return 0
        added = 0
        # Whatever is wrong with the other one, it is neither repaired nor removed.
        with contextlib.suppress(Exception), other._connection(read_only=True) as connection:
            most = other.path.stat().st_size // _SHORTEST  # damaged pages may make a table without an end
            rows = connection.execute("SELECT * FROM entries_2 LIMIT ?", [most])
            while part := rows.fetchmany(_TAKEN):
                added += self._attempt(partial(_add, [row for row in part if _is_intact(*row)])) or 0
        return added

    def prune(self) -> int:
        """Remove the entries of files that are gone, and old ones of URLs; return their number.

        A damaged database is emptied.
        """
        if not is_file(self.path):
            return 0

        def forget(connection: sqlite3.Connection) -> int:
            # Damaged pages that point to one another make a table without an end.
            most = self.path.stat().st_size // _SHORTEST
            today = time.time_ns() // _DAY_NS
            gone = []
            known = connection.execute("SELECT * FROM entries_2 LIMIT ?", [most + 1])
            for count, (name, *numbers, digest, checksum) in enumerate(known):
                # If one is damaged, the order may be too, and others are no longer found.
                if count == most or checksum != _checksum(name, numbers, digest):
                    raise sqlite3.DatabaseError("damaged")
                # Behind a null byte stands which part of the file it is, or the ETag.
                if _is_url(name):
                    is_gone = not today - URL_DAYS <= numbers[2] <= today
                else:
                    is_gone = not os.path.exists(os.fsdecode(name.partition(b"\0")[0]))
                if is_gone:
                    gone.append((name,))
            with connection:
                connection.executemany("DELETE FROM entries_2 WHERE path = ?", gone)
            if gone:
                connection.execute("VACUUM")
            return len(gone)

        return self._attempt(forget) or 0

    def clear(self) -> None:
        """Remove all entries."""
        for path in (self.path, *self._beside()):
            with contextlib.suppress(OSError):
                path.unlink()

    def _attempt(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Call `work` with a connection; return None on any error. A damaged database is removed."""
        try:
            with self._connection() as connection:
                done = work(connection)
        # On damaged bytes SQLite fails in many ways, and its message may not even be text. None of that is a
        # reason to end an extraction.
        except Exception as error:
            code = getattr(error, "sqlite_errorcode", 0)
            self._stalled = code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if self._is_damage(error):
                self.clear()
            return None
        self._stalled = False
        return done

    @contextlib.contextmanager
    def _connection(self, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
        for path in (self.path, *self._beside()):
            if os.path.lexists(path) and not is_file(path):  # opening a pipe would wait
                raise OSError(f"{path} is no file")
        place = f"{self.path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
        connection = sqlite3.connect(place, timeout=0 if self._stalled else _BUSY_SECONDS, uri=True)
        try:
            connection.text_factory = bytes  # damage makes texts of numbers, and they need not be UTF-8
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            # A rollback journal survives a kill and needs no shared memory (network folders). What a power
            # cut does without fsync is caught by the checksums.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            # A foreign view or trigger could compute for ever.
            schema = connection.execute("SELECT type, sql FROM sqlite_master LIMIT 2").fetchall()
            if schema not in ([], [(b"table", b"CREATE TABLE " + _TABLE.encode())]):
                raise sqlite3.DatabaseError("another schema")
            yield connection
        finally:
            connection.close()

    def _is_damage(self, error: Exception) -> bool:
        """Whether an error means that the file is no working database of entries."""
        if isinstance(error, OSError | MemoryError):
            return False
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF == sqlite3.SQLITE_READONLY:  # a damaged header can say so too
            return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return code & 0xFF not in _NOT_ITS_FAULT or code in _UNREADABLE

    def _beside(self) -> list[Path]:
        """Return the files that SQLite may write beside the database."""
        return [self.path.with_name(self.path.name + suffix) for suffix in ("-journal", "-wal", "-shm")]


def _trusted(key: StatKey | None, entry: tuple[Any, ...]) -> bytes | None:
    """Return the digest of an entry if it is undamaged and the file unchanged."""
    name, size, mtime, ctime, digest, checksum = entry
    assert key is not None
    if (size, mtime, ctime) != key[1:] or not isinstance(digest, bytes) or len(digest) != DIGEST_SIZE:
        return None
    return digest if checksum == _checksum(name, (size, mtime, ctime), digest) else None


def _add(entries: Sequence[tuple[Any, ...]], connection: sqlite3.Connection) -> int:
    """Insert entries about files that are not known yet; return their number."""
    with connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE}")
        before = connection.total_changes
        connection.executemany("INSERT OR IGNORE INTO entries_2 VALUES (?, ?, ?, ?, ?, ?)", entries)
        return connection.total_changes - before


def _is_intact(name: Any, *entry: Any) -> bool:
    """Whether an entry that was read in whole is one that was stored."""
    *numbers, digest, checksum = entry
    return (
        isinstance(name, bytes)
        and all(isinstance(number, int) for number in numbers)
        and isinstance(digest, bytes)
        and len(digest) == DIGEST_SIZE
        and checksum == _checksum(name, numbers, digest)
    )


def _is_url(name: bytes) -> bool:
    return not os.path.isabs(name) and b"://" in name


def _checksum(name: bytes, numbers: Sequence[int], digest: bytes) -> bytes:
    text = b"%d:%d:%d:%d:" % (len(name), *numbers)
    return hashlib.blake2b(text + name + digest, digest_size=8).digest()
