"""Put shards on the disk: folders, temporary file, sync, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from featx.cache.encoding import encode_shard, shard_name
from featx.cache.files import ADVICE, read_small_file
from featx.cache.identity import Space
from featx.cache.shard import DamagedShard
from featx.durable import fsync_folder, make_folder, replacing, settled_stamp, sweep_parts
from featx.errors import CacheError

__all__ = ["Publisher"]


_ATTEMPTS = 16  # each one after the first means that the cache was cleared meanwhile
_COPIED_BYTES = 2**20  # at a time


class Publisher:
    """Writes into the folder of one space; any number of publishers may do so at once."""

    def __init__(self, root: Path, space: Space) -> None:
        self.root, self.space = root, space
        self.path = root / space.id
        self.shards, self.parts = self.path / "shards", self.path / "tmp"
        self._prepared = False
        self._synced: dict[Path, tuple[int, ...] | None] = {}

    def prepare(self) -> None:
        """Create the folders and ``space.json``; `CacheError` if the place cannot be written."""
        with self._writing():
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(FileNotFoundError):  # cleared meanwhile
                    self._make_folders()
                    break
            else:
                # Others clear the cache all the time. Writing a file makes its folders again: that is enough.
                self.describe(insist=True)
        sweep_parts(self.parts)
        self._prepared = True

    def _make_folders(self) -> None:
        for folder in (self.shards, self.parts):
            make_folder(folder)
        # Another process may have made them a moment ago and not have synced them yet.
        for folder in (self.path, self.root):
            stamp = settled_stamp(folder)
            if stamp is None or stamp != self._synced.get(folder):
                fsync_folder(folder)
                self._synced[folder] = stamp
        self.describe()
        for folder in (self.shards, self.parts):
            if not os.access(folder, os.W_OK):
                folder.stat()  # FileNotFoundError if it was cleared meanwhile
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def describe(self, *, insist: bool = False) -> None:
        """Write ``space.json`` unless it is right already; with `insist`, make missing folders."""
        described = self.path / "space.json"
        text = self.space.canonical_json.encode("utf-8")
        if read_small_file(described, len(text)) != text:
            with replacing(described, parts=self.parts, insist=insist) as file:
                file.write(text)

    def write(self, keys: np.ndarray, rows: np.ndarray, *, nonce: str = "") -> Path:
        """Write a shard, as `encode_shard` makes it, with `put`; return its path."""
        image = encode_shard(keys, rows, self.space, nonce=nonce)
        path = self.shards / shard_name(image)
        self.put(path, image)
        return path

    def put(self, path: Path, content: bytes) -> None:
        """Write `content` to `path` in the space's folder, also if the cache is cleared meanwhile.

        When this returns, it survives a power cut. `CacheError` if it cannot be written; nothing is left
        behind then.
        """
        self._put(path, lambda file: file.write(content))

    def copy(self, source: Path) -> tuple[Path, int]:
        """Copy a shard of another cache; return its path here and its bytes.

        Errors as from `put`; `DamagedShard` if its bytes do not have the SHA-256 in its name, and
        `FileNotFoundError` if it is gone.
        """
        name = source.name.split(".")[0]
        path = self.shards / f"{name}.h5"
        with open(source, "rb", buffering=0) as content:
            self._put(path, lambda file: _copy_checked(content, file, source, name))
            return path, content.tell()

    def _put(self, path: Path, write: Callable[[BinaryIO], Any]) -> None:
        """Let ``write(file)`` write a file that appears at `path`; several times if the cache is cleared."""
        if not self._prepared:
            self.prepare()
        with self._writing():
            for attempt in range(_ATTEMPTS):
                try:
                    with replacing(path, parts=self.parts, insist=True) as file:
                        write(file)
                    break
                except FileNotFoundError:  # the unfinished file was removed with everything else
                    if attempt == _ATTEMPTS - 1:
                        raise
        with contextlib.suppress(OSError):
            if not (self.path / "space.json").exists():
                self.describe(insist=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(
                f"cannot write to the cache {self.root}: {error.strerror or error}; {ADVICE}"
            ) from error


def _copy_checked(content: io.RawIOBase, file: BinaryIO, source: Path, name: str) -> None:
    """Copy a whole file, and compare its SHA-256 with the one in its name."""
    content.seek(0)
    state = hashlib.sha256()
    while block := _read_block(content, source):
        state.update(block)
        file.write(block)
    if state.hexdigest()[:32] != name:
        raise DamagedShard(source, f"its {content.tell()} bytes do not have the SHA-256 in its name")


def _read_block(content: io.RawIOBase, source: Path) -> bytes:
    try:
        return content.read(_COPIED_BYTES) or b""
    except OSError as error:  # of the other cache; others mean that this one cannot be written
        if error.errno == errno.EIO:
            raise DamagedShard(source, "the disk cannot read it (I/O error)") from error
        raise CacheError(f"{source}: cannot be read: {error.strerror or error}") from error
