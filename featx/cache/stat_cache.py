"""The stat cache: which digest a file had, so that an unchanged image is not read to be recognised.

It is a convenience and disposable. Whatever is wrong with it (locked, damaged, read-only, full) the
answer is "not known", and the image is read; a database that is damaged is removed, and the next entries
begin a fresh one. An entry carries its own checksum, so that damage below SQLite's notice is no wrong
answer either. Who meets a lock that is not given up waits once, and from then on goes on at once.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from featx.cache.files import is_file
from featx.cache.identity import DIGEST_SIZE

__all__ = ["StatCache"]

StatKey = tuple[str, int, int, int]

_T = TypeVar("_T")

_RACY_NS = 2 * 10**9
_BUSY_SECONDS = 2.0
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

#: Errors of SQLite that say nothing against the file: locked, no memory, full, no permission, ...
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
#: Those among them that do: the disk cannot read it.
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


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
        self._stalled = False  # somebody held the lock for longer than anybody needs it

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
        found: list[bytes | None] = [None] * len(keys)
        if not keys or not is_file(self.path):
            return found
        names = [(i, os.fsencode(key[0])) for i, key in enumerate(keys) if key is not None]

        def find(connection: sqlite3.Connection) -> list[bytes | None]:
            for start in range(0, len(names), _KEYS_PER_QUERY):
                part = names[start : start + _KEYS_PER_QUERY]
                query = _QUERY + ", ".join("?" * len(part)) + ")"
                rows = connection.execute(query, [name for _, name in part])
                entries = {row[0]: row[1:] for row in rows}
                for i, name in part:
                    if name in entries:
                        found[i] = _trusted(keys[i], name, entries[name])
            return found

        return self._attempt(find) or [None] * len(keys)

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

        def insert(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE}")
                connection.executemany("INSERT OR REPLACE INTO entries_2 VALUES (?, ?, ?, ?, ?, ?)", rows)
            return True

        with contextlib.suppress(OSError):  # no place for the folder: the store will say so
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._attempt(insert) and not os.path.lexists(self.path):  # it was damaged
                self._attempt(insert)

    def prune(self) -> int:
        """Forget the files that are gone; their number. Of a damaged database everything is forgotten."""
        if not is_file(self.path):
            return 0

        def forget(connection: sqlite3.Connection) -> int:
            # Pages that name one another, or themselves, make a table that has no end.
            most = self.path.stat().st_size // _SHORTEST
            gone = []
            known = connection.execute("SELECT * FROM entries_2 LIMIT ?", [most + 1])
            for count, (name, *numbers, digest, checksum) in enumerate(known):
                # Where one is damaged the order may be too, and then others are not found any more.
                if count == most or checksum != _checksum(name, numbers, digest):
                    raise sqlite3.DatabaseError("damaged")
                if not os.path.exists(os.fsdecode(name)):
                    gone.append((name,))
            with connection:
                connection.executemany("DELETE FROM entries_2 WHERE path = ?", gone)
            if gone:
                connection.execute("VACUUM")
            return len(gone)

        return self._attempt(forget) or 0

    def clear(self) -> None:
        """Forget everything."""
        for path in (self.path, *self._beside()):
            with contextlib.suppress(OSError):
                path.unlink()

    def _attempt(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Return what `work` makes of the database; None after any trouble with it.

        A database that turns out to be damaged is removed.
        """
        try:
            with self._connection() as connection:
                done = work(connection)
        # Bytes that anything may have happened to: SQLite fails in many ways, and what it says of them may
        # itself be no text. None of that is a reason to end an extraction.
        except Exception as error:
            code = getattr(error, "sqlite_errorcode", 0)
            self._stalled = code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if self._is_damage(error):
                self.clear()
            return None
        self._stalled = False
        return done

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        for path in (self.path, *self._beside()):
            if os.path.lexists(path) and not is_file(path):  # a pipe would be waited for
                raise OSError(f"{path} is no file")
        connection = sqlite3.connect(self.path, timeout=0 if self._stalled else _BUSY_SECONDS)
        try:
            connection.text_factory = bytes  # damage makes texts of numbers, and they need not be UTF-8
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            # A rollback journal survives a kill, needs no shared memory (network folders), and what
            # a power cut may do without fsync is caught by the checksums: it is disposable.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            # A view or a trigger of somebody else's may compute for ever.
            schema = connection.execute("SELECT type, sql FROM sqlite_master LIMIT 2").fetchall()
            if schema not in ([], [(b"table", b"CREATE TABLE " + _TABLE.encode())]):
                raise sqlite3.DatabaseError("another schema")
            yield connection
        finally:
            connection.close()

    def _is_damage(self, error: Exception) -> bool:
        """Whether an error says that the file is no working database of entries."""
        if isinstance(error, OSError | MemoryError):
            return False
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF == sqlite3.SQLITE_READONLY:  # a damaged header can say so too
            return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return code & 0xFF not in _NOT_ITS_FAULT or code in _UNREADABLE

    def _beside(self) -> list[Path]:
        """The files that SQLite may have beside the database."""
        return [self.path.with_name(self.path.name + suffix) for suffix in ("-journal", "-wal", "-shm")]


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
