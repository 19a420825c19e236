"""Keep finished pieces of long work on disk, one by one, so that a killed run can go on.

A record is one line, ``2 <CRC-32 of the rest, 8 hex digits> <key> <time> <outcome as JSON>``, appended by one
write and synced before it counts. A kill or power cut during an append leaves a torn line, which the checksum
reveals: it is skipped, its work is done again, and the next record begins on a new line. Of two records with
the same key the later one counts. Several processes may append at once; work that two of them do is wasted,
but harmless. Lines of another format are skipped.

A key names everything that changes the outcome (`key_of`), so work with other settings may share the file.

What is read is not trusted. A record is decoded only when its key is asked for, and only within the size that
such an outcome may have; the caller then checks its content. A forged record that passes these checks cannot
be told from an honest one, so results say what was taken from an earlier run, and from when
(`Checkpoints.made`). Without the file, everything is computed again.
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

from featx.data.features.stored_rows import StoredRows
from featx.durable import fsync_folder
from featx.errors import InputError, OutputError, as_one_error

__all__ = ["Checkpoints", "digest_rows", "key_of"]

_FORMAT = b"2"
_HEAD = re.compile(rb"2 ([0-9a-f]{8}) ([!-~]{1,80}) ([0-9T:+-]{10,32}) ")
_OTHER_FORMAT = re.compile(rb"(?!2 )[0-9]{1,4} [0-9a-f]{8} ")
_CHECKED = len("2 00000000 ")  # where the part of a line begins that its checksum covers
_ARRAY = "__array__"
_NUMBERS = r"[<>|][biuf][0-9]{1,2}"
#: Bytes that are read at once.
_PIECE = 1 << 20
#: The most bytes that the arrays of an outcome may take, unless its reader says otherwise.
_MOST = 64 << 20
#: The most bytes of everything else in a record: names, notes, parameters.
_REST = 4 << 20


class _Place(NamedTuple):
    """A record's place in the file, and when it was made."""

    start: int
    length: int
    made: str


class Checkpoints:
    """The finished pieces of work in the file `path`, or in memory without one.

    The file is made with the first record, in a folder that must exist.

    Attributes
    ----------
    damaged : int
        Records that were skipped: torn, damaged, or not what their reader asked for.
    found, added : int
        Outcomes that were found here, and outcomes that were computed and added, since it was opened.
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

    @property
    def folder(self) -> str | None:
        """The folder of the file, as messages name it; None in memory."""
        return None if self.path is None else os.path.dirname(_shown(self.path)) or os.curdir

    def made(self, key: str) -> str | None:
        """Return when an earlier run computed this outcome, in ISO 8601; None where none did."""
        place = None if key in self._outcomes else self._places.get(key)
        return None if place is None else place.made

    def get(self, key: str, is_valid: Callable[[Any], bool] | None = None, most: int = _MOST) -> Any:
        """Return the outcome of this key; None if there is none.

        `is_valid` checks what an earlier run left; a record that fails counts as damaged and is dropped. A
        record whose arrays would take more than `most` bytes is not unpacked.
        """
        found = self._outcomes.get(key)
        place = self._places.get(key)
        if found is None and place is not None:
            found = self._decode(place, most)
            if found is None or not _passes(found, is_valid):
                with self._lock:
                    self._places.pop(key, None)
                    self.damaged += 1
                return None
        if found is not None:
            self.found += 1
        return found

    def add(self, key: str, outcome: Any) -> Any:
        """Keep an outcome, a dict of JSON values and arrays; it is on the disk when this returns.

        Returns the outcome just as `get` will, also after a restart.
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

    def get_or_run(
        self,
        key: str,
        work: Callable[[], Any],
        is_valid: Callable[[Any], bool] | None = None,
        most: int = _MOST,
    ) -> Any:
        """Return the kept outcome of this key, or run `work` and keep its outcome."""
        found = self.get(key, is_valid, most)
        return self.add(key, work()) if found is None else found

    def notes(self, made: Iterable[str | None], what: str) -> list[str]:
        """Return sentences on work of earlier runs and, once, on what was damaged.

        `made` is `Checkpoints.made` for each piece of this run; `what` is the word for them ("methods").
        """
        if self.path is None:
            return []
        times = list(made)
        taken = sorted(time[:10] for time in times if time is not None)
        place, folder = _shown(self.path), os.path.join(self.folder or os.curdir, "")
        said = []
        if taken:
            when = taken[0] if taken[0] == taken[-1] else f"{taken[0]} to {taken[-1]}"
            said.append(
                f"{len(taken)} of {len(times)} {what} were taken from an earlier run in {folder} ({when}); "
                f"delete {place} to compute them again"
            )
        if self.damaged > self._told:
            said.append(
                f"{place}: damaged records were skipped ({self.damaged - self._told}), and what was needed "
                "of them was computed again"
            )
            self._told = self.damaged
        return said

    def _index(self, path: Path) -> None:
        """Note the places of the records in the file, without unpacking them."""
        with as_one_error(lambda reason: OutputError(f"{path}: cannot be read ({reason})")):
            try:
                file = _open_regular(path)
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

    def _decode(self, place: _Place, most: int) -> Any:
        """Unpack one record of the file; return None if it is damaged or too large."""
        assert self.path is not None
        if place.length > 2 * most + _REST:
            return None
        try:
            with as_one_error(InputError), _open_regular(self.path) as file:
                file.seek(place.start)
                line = file.read(place.length).removesuffix(b"\n")
                match = _HEAD.match(line)
                # Another file may have been written there since.
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
        # In a folder that somebody else made, this name may be a link to any file.
        flags |= getattr(os, "O_NOFOLLOW", 0)
        try:
            new = not path.exists()
            descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                self._torn = True  # until the whole line is written
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


def _passes(found: Any, is_valid: Callable[[Any], bool] | None) -> bool:
    """Whether a record passes its check; a check that raises has failed."""
    try:
        with as_one_error(InputError):
            return is_valid is None or is_valid(found)
    except InputError:
        return False


class _Line(NamedTuple):
    """A line of the file: its beginning (`head`), checksum, and whether it has its line end."""

    start: int
    length: int
    head: bytes
    crc: int
    ended: bool


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """Read a file line by line, without holding a long line in memory."""
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
    """Return a path relative to the working folder if it lies below it, otherwise as it is."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def _open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; refuse a pipe, which would block for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return open(path, "rb")


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the key of a piece of work: a digest of `parts`, the JSON values that decide its outcome."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def digest_rows(rows: Any) -> np.ndarray:
    """Return a digest of the dtype, shape and bytes of each row, ndarray of shape (n,), dtype V16.

    `rows` is an array (n, ...), or rows that stay in a file, which are read in blocks.
    """
    about = f"{rows.dtype.str}{rows.shape[1:]}".encode("ascii")
    blocks = (block for _, block in rows.blocks()) if isinstance(rows, StoredRows) else [rows]
    # As bytes of a block, because a million digests take much more as objects.
    found = [
        b"".join(
            hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16, key=about[:64]).digest()
            for row in block
        )
        for block in blocks
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
    """Unpack the arrays of one record, `most` bytes in all; None: no limit."""

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
            raise InputError(f"an array of {size} bytes, where {self._left} are left for this record")
        self._left -= size
        unpacker = zlib.decompressobj()
        # At most one byte more than stated is unpacked: it shows that the array is longer.
        raw = unpacker.decompress(base64.b64decode(packed, validate=True), size + 1)
        if len(raw) != size or not unpacker.eof:
            raise InputError("an array that is shorter or longer than it says")
        return np.ndarray(shape, kind, raw).copy()
