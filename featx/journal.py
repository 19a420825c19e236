"""Finished pieces of long work, kept on disk one by one, so that a killed run goes on where it was.

One line a record, ``1 <CRC-32 of what follows, 8 hex digits> <JSON object: key, outcome>``, appended by one
write and synced before it counts. A kill or power cut in the middle of an append leaves a torn line, which
the checksum tells; it is passed over and its piece computed again, and the next record begins on a line of
its own. A later record of the same key takes the place of the earlier. Several processes may append at once:
what they do twice is wasted and harmless.

A key names everything that changes the outcome (`key_of`), so a record is found by exactly the work that it
is the result of, and work with other settings may share the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.durable import fsync_folder
from featx.errors import OutputError

__all__ = ["Journal", "digest_images", "digest_rows", "key_of"]

_FORMAT = b"1"
_ARRAY = "__array__"


class Journal:
    """The finished pieces of work in one file.

    Parameters
    ----------
    path : path-like or None
        The file, made with the first record; its folder must exist. None keeps everything in memory.

    Attributes
    ----------
    damaged : int
        Lines of the file that were torn or damaged, and are passed over.
    found, added : int
        Outcomes that were found here, and that were computed and added, since it was opened.

    Raises
    ------
    OutputError
        The file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self.path = None if path is None else Path(path)
        self.damaged = self.found = self.added = 0
        self._lock = threading.Lock()
        self._outcomes: dict[str, Any] = {}
        self._torn = False
        if self.path is not None:
            self._read(self.path)

    def __len__(self) -> int:
        return len(self._outcomes)

    def __contains__(self, key: str) -> bool:
        return key in self._outcomes

    def get(self, key: str) -> Any:
        """The outcome of this key, None where there is none."""
        found = self._outcomes.get(key)
        if found is not None:
            self.found += 1
        return found

    def add(self, key: str, outcome: Any) -> Any:
        """Keep an outcome; when this returns, it is on the disk.

        Parameters
        ----------
        key : str
            From `key_of`.
        outcome : dict
            JSON values and arrays.

        Returns
        -------
        dict
            The outcome as `get` gives it, now and after any number of restarts.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        text = json.dumps({"key": key, "outcome": outcome}, ensure_ascii=True, default=_encoded)
        kept = json.loads(text, object_hook=_decoded)["outcome"]
        with self._lock:
            if self.path is not None:
                self._append(self.path, text.encode("ascii"))
            self._outcomes[key] = kept
            self.added += 1
        return kept

    def once(self, key: str, work: Callable[[], Any]) -> Any:
        """The outcome of this key: the one that is kept, or that of `work`, kept from now on."""
        found = self.get(key)
        return self.add(key, work()) if found is None else found

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror or error})") from error
        self._torn = bool(content) and not content.endswith(b"\n")
        lines = content.split(b"\n")
        for line in lines:
            if not line:
                continue
            record = _record(line)
            if record is None:
                self.damaged += 1
            else:
                self._outcomes[record["key"]] = record["outcome"]

    def _append(self, path: Path, text: bytes) -> None:
        line = b"%s %08x %s\n" % (_FORMAT, zlib.crc32(text), text)
        if self._torn:
            line = b"\n" + line
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
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


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of a piece of work: a digest of everything that changes its outcome.

    Parameters
    ----------
    parts : mapping
        JSON values, among them the digests of the data.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def digest_rows(rows: np.ndarray) -> np.ndarray:
    """A digest of each row, so that those of any selection are put together without reading it again.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)

    Returns
    -------
    ndarray of shape (n,), dtype V16
        Of dtype, shape and bytes of the row.
    """
    about = f"{rows.dtype.str}{rows.shape[1:]}".encode("ascii")
    found = [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16, key=about[:64]).digest()
        for row in rows
    ]
    return np.frombuffer(b"".join(found), "V16")


def digest_images(images: Iterable[Any]) -> str:
    """A digest of whole images, for work that sees more of them than their embeddings do: random crops.

    Parameters
    ----------
    images : iterable of image sources
        In the order of the work; each is read.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return hashlib.blake2b(b"".join(image.read().digest for image in images), digest_size=16).hexdigest()


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, None where it is not what was written."""
    parts = line.split(b" ", 2)
    if len(parts) != 3 or parts[0] != _FORMAT or parts[1] != b"%08x" % zlib.crc32(parts[2]):
        return None
    return json.loads(parts[2], object_hook=_decoded)


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 1)).decode("ascii")
        return {_ARRAY: packed, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept in a journal")


def _decoded(value: dict[str, Any]) -> Any:
    if _ARRAY not in value:
        return value
    raw = zlib.decompress(base64.b64decode(value[_ARRAY]))
    return np.frombuffer(raw, np.dtype(value["dtype"])).reshape(value["shape"]).copy()
