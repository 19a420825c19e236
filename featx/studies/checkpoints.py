"""Keep the finished pieces of long work on disk, one by one, so that a killed run goes on where it was.

One line a record, ``2 <CRC-32 of what follows, 8 hex digits> <key> <time> <outcome as JSON>``, appended by
one write and synced before it counts. A kill or power cut in the middle of an append leaves a torn line,
which the checksum tells; it is passed over and its piece computed again, and the next record begins on a line
of its own. A later record of the same key takes the place of the earlier. Several processes may append at
once: what they do twice is wasted and harmless. Lines of another format are passed over.

A key names everything that changes the outcome (`key_of`), so a record is found by exactly the work that it
is the result of, and work with other settings may share the file.

What is read is not trusted. A record is decoded only when its key is asked for, within the bytes that such an
outcome may take; the caller then checks its content. A forged record that passes these checks cannot be told
from an honest one, because whoever can write the file can write any outcome. So results say what was taken
from an earlier run and when it was computed (`Checkpoints.made`); without the file, everything is computed
again.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import math
import os
import re
import stat
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from featx.durable import fsync_folder
from featx.errors import InputError, OutputError, as_one_error

__all__ = ["Checkpoints", "digest_rows", "key_of"]

_FORMAT = b"2"
_HEAD = re.compile(rb"2 ([0-9a-f]{8}) ([!-~]{1,80}) ([0-9T:+-]{10,32}) ")
_OTHER_FORMAT = re.compile(rb"(?!2 )[0-9]{1,4} [0-9a-f]{8} ")
_CHECKED = len("2 00000000 ")  # from here on a line is covered by its checksum
_ARRAY = "__array__"
_NUMBERS = r"[<>|][biuf][0-9]{1,2}"
#: Bytes of a line that are looked at together.
_PIECE = 1 << 20
#: Bytes that the arrays of an outcome may take, where its reader does not say.
_MOST = 64 << 20
#: Bytes of the rest of a record: names, notes, parameters.
_REST = 4 << 20


class _Place(NamedTuple):
    """A record's place in the file, and when it was made."""

    start: int
    length: int
    made: str


class Checkpoints:
    """The finished pieces of work in one file.

    Parameters
    ----------
    path : path-like or None
        The file, made with the first record; its folder must exist. None keeps everything in memory.

    Attributes
    ----------
    damaged : int
        Records that were torn or damaged, or were not what their reader asked for, and are passed over.
    found, added : int
        Outcomes that were found here, and that were computed and added, since it was opened.

    Raises
    ------
    OutputError
        The file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self.path = None if path is None else Path(path)
        self.damaged = self.found = self.added = self._told = 0
        self._lock = threading.Lock()
        self._outcomes: dict[str, Any] = {}  # of this run
        self._places: dict[str, _Place] = {}  # of earlier ones
        self._torn = False
        if self.path is not None:
            self._index(self.path)

    def __len__(self) -> int:
        return len(self._outcomes.keys() | self._places.keys())

    def __contains__(self, key: str) -> bool:
        return key in self._outcomes or key in self._places

    def made(self, key: str) -> str | None:
        """Return when an earlier run computed this outcome, in ISO 8601; None where none did."""
        place = None if key in self._outcomes else self._places.get(key)
        return None if place is None else place.made

    def get(self, key: str, fits: Callable[[Any], bool] | None = None, most: int = _MOST) -> Any:
        """Return the outcome of this key, None where there is none.

        `fits` tells whether what an earlier run left is such an outcome; what is not counts as damaged, and
        is no longer here. `most` are the bytes that its arrays take at most: a record that says more is not
        unpacked.
        """
        found = self._outcomes.get(key)
        place = self._places.get(key)
        if found is None and place is not None:
            found = self._decoded(place, most)
            if found is None or not _fits(found, fits):
                with self._lock:
                    self._places.pop(key, None)
                    self.damaged += 1
                return None
        if found is not None:
            self.found += 1
        return found

    def add(self, key: str, outcome: Any) -> Any:
        """Keep an outcome, a dict of JSON values and arrays; when this returns, it is on the disk.

        Returns the outcome as `get` does, now and after any number of restarts. A file that cannot be written
        is an `OutputError`.
        """
        text = json.dumps(outcome, ensure_ascii=True, default=_encoded)
        kept = json.loads(text, object_hook=_Arrays(None).decoded)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            if self.path is not None:
                self._append(self.path, f"{key} {made} {text}".encode("ascii"))
            self._outcomes[key] = kept
            self.added += 1
        return kept

    def once(
        self,
        key: str,
        work: Callable[[], Any],
        fits: Callable[[Any], bool] | None = None,
        most: int = _MOST,
    ) -> Any:
        """Return the outcome of this key: the one that is kept, or that of `work`, kept from now on."""
        found = self.get(key, fits, most)
        return self.add(key, work()) if found is None else found

    def notes(self, made: Iterable[str | None], what: str) -> list[str]:
        """Say in sentences what was taken from an earlier run, and, once, what was damaged.

        `made` is `Checkpoints.made` of each piece of this run, `what` the word for them, such as "methods".
        """
        if self.path is None:
            return []
        times = list(made)
        taken = sorted(time[:10] for time in times if time is not None)
        place = _shown(self.path)
        said = []
        if taken:
            when = taken[0] if taken[0] == taken[-1] else f"{taken[0]} to {taken[-1]}"
            folder = os.path.join(os.path.dirname(place) or os.curdir, "")
            said.append(
                f"{len(taken)} of {len(times)} {what} were taken from an earlier run in {folder} ({when}); "
                f"delete {place} to compute them again"
            )
        if self.damaged > self._told:
            said.append(
                f"{place}: records that are damaged, and were passed over: {self.damaged - self._told}; what "
                "was needed of them was computed again"
            )
            self._told = self.damaged
        return said

    def _index(self, path: Path) -> None:
        """Note where the records of the file are; none of them is unpacked."""
        with as_one_error(lambda reason: OutputError(f"{path}: cannot be read ({reason})")):
            try:
                file = _opened(path)
            except FileNotFoundError:
                return
            with file:
                for line in _lines(file):
                    self._torn = not line.ended
                    match = _HEAD.match(line.head)
                    if match is not None and int(match[1], 16) == line.crc:
                        place = _Place(line.start, line.length, match[3].decode("ascii"))
                        self._places[match[2].decode("ascii")] = place
                    elif line.head.strip() and not _OTHER_FORMAT.match(line.head):
                        self.damaged += 1

    def _decoded(self, place: _Place, most: int) -> Any:
        """Unpack one record of the file; None where it is damaged, or larger than it may be."""
        assert self.path is not None
        if place.length > 2 * most + _REST:
            return None
        try:
            with as_one_error(InputError), _opened(self.path) as file:
                file.seek(place.start)
                line = file.read(place.length).removesuffix(b"\n")
                match = _HEAD.match(line)
                # Somebody may have written another file there meanwhile.
                if match is None or int(match[1], 16) != zlib.crc32(line[_CHECKED:]):
                    return None
                return json.loads(line[match.end() :], object_hook=_Arrays(most).decoded)
        except InputError:
            return None

    def _append(self, path: Path, text: bytes) -> None:
        line = b"%s %08x %s\n" % (_FORMAT, zlib.crc32(text), text)
        if self._torn:
            line = b"\n" + line
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        # A folder of a stranger may hold a link of this name to any file.
        flags |= getattr(os, "O_NOFOLLOW", 0)
        try:
            new = not path.exists()
            descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                self._torn = True  # until all of the line is there
                written = os.write(descriptor, line)
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
                self._torn = False
            finally:
                os.close(descriptor)
            if new:
                fsync_folder(path.parent)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _fits(found: Any, fits: Callable[[Any], bool] | None) -> bool:
    """Whether a record is what it should be; where the check itself fails, it is not."""
    try:
        with as_one_error(InputError):
            return fits is None or fits(found)
    except InputError:
        return False


class _Line(NamedTuple):
    """A line of the file, of which only the beginning is held."""

    start: int
    length: int
    head: bytes
    crc: int
    ended: bool


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """Go through a file line by line, however long the lines are."""
    start = 0
    while head := file.readline(_PIECE):
        length, last = len(head), head
        crc = zlib.crc32(head[_CHECKED:].removesuffix(b"\n"))
        while not last.endswith(b"\n") and (last := file.readline(_PIECE)):
            length += len(last)
            crc = zlib.crc32(last.removesuffix(b"\n"), crc)
        yield _Line(start, length, head, crc, last.endswith(b"\n"))
        start += length


def _shown(path: Path) -> str:
    """Return a path relative to the working folder, if it lies below that."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def _opened(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return open(path, "rb")


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the key of a piece of work: 32 hexadecimal digits, a digest of all that changes its outcome.

    `parts` are JSON values, among them digests of the data.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def digest_rows(rows: np.ndarray) -> np.ndarray:
    """Return a digest of dtype, shape and bytes of each row, ndarray of shape (n,), dtype V16.

    Those of any selection of rows are put together without reading the rows again.
    """
    about = f"{rows.dtype.str}{rows.shape[1:]}".encode("ascii")
    found = [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16, key=about[:64]).digest()
        for row in rows
    ]
    return np.frombuffer(b"".join(found), "V16")


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 1)).decode("ascii")
        return {_ARRAY: packed, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept as a checkpoint")


class _Arrays:
    """Unpack the arrays of one record, of at most `most` bytes together; None: of any number."""

    def __init__(self, most: int | None):
        self._left = math.inf if most is None else most

    def decoded(self, value: dict[str, Any]) -> Any:
        if _ARRAY not in value:
            return value
        packed, kind, shape = value[_ARRAY], value["dtype"], value["shape"]
        if not (isinstance(packed, str) and isinstance(kind, str) and re.fullmatch(_NUMBERS, kind)):
            raise InputError(f"an array of {kind!r} instead of numbers")
        if not (
            isinstance(shape, list)
            and len(shape) <= 8
            and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
        ):
            raise InputError("an array without a valid shape")
        size = math.prod(shape) * np.dtype(kind).itemsize
        if size > self._left:
            raise InputError(f"an array of {size} bytes; at most {self._left} more may be in this record")
        self._left -= size
        unpacker = zlib.decompressobj()
        # Not a byte more than it says is unpacked; one, to see that there is none.
        raw = unpacker.decompress(base64.b64decode(packed, validate=True), size + 1)
        if len(raw) != size or not unpacker.eof:
            raise InputError("an array that is shorter or longer than it says")
        return np.ndarray(shape, kind, raw).copy()
