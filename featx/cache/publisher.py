"""Put shards on the disk: folders, temporary file, sync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.cache.encoding import encode_shard, shard_name
from featx.cache.files import ADVICE, read_small_file
from featx.cache.identity import Space
from featx.durable import fsync_folder, make_folder, replacing, sweep_parts
from featx.errors import CacheError

__all__ = ["Publisher"]


_ATTEMPTS = 16  # each one after the first means that the cache was cleared meanwhile


class Publisher:
    """Writes into the folder of one space; any number of publishers may do so at once."""

    def __init__(self, root: Path, space: Space) -> None:
        self.root, self.space = root, space
        self.path = root / space.id
        self.shards, self.parts = self.path / "shards", self.path / "tmp"
        self._prepared = False

    def prepare(self) -> None:
        """Create the folders and ``space.json``, so that an unusable place is noticed before any work.

        `CacheError` if the place cannot be written, saying where and what to do.
        """
        with self._writing():
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(FileNotFoundError):  # cleared meanwhile
                    self._make_folders()
                    break
            else:
                # Others clear the cache all the time. A file that is written makes its folders again, so that
                # only that has to work.
                self.describe(insist=True)
        sweep_parts(self.parts)
        self._prepared = True

    def _make_folders(self) -> None:
        for folder in (self.shards, self.parts):
            make_folder(folder)
        # Another process may have made them a moment ago and not have synced them yet.
        for folder in (self.path, self.root):
            fsync_folder(folder)
        self.describe()
        for folder in (self.shards, self.parts):
            if not os.access(folder, os.W_OK):
                folder.stat()  # cleared meanwhile: then it is no question of permission
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def describe(self, *, insist: bool = False) -> None:
        """Write ``space.json`` if it does not describe this space already; `OSError` if that fails.

        With `insist`, missing folders are made.
        """
        described = self.path / "space.json"
        text = self.space.canonical_json.encode("utf-8")
        if read_small_file(described, len(text)) != text:
            with replacing(described, parts=self.parts, insist=insist) as file:
                file.write(text)

    def write(self, keys: np.ndarray, rows: np.ndarray, *, nonce: str = "") -> Path:
        """Write a shard and return its path; when this returns, it survives a power cut.

        Parameters as for `encode_shard`. `CacheError` if it cannot be written; nothing is left behind then.
        """
        image = encode_shard(keys, rows, self.space, nonce=nonce)
        path = self.shards / shard_name(image)
        self.put(path, image)
        return path

    def put(self, path: Path, content: bytes) -> None:
        """Write `content` to `path` in the space's folder, even if somebody clears the cache meanwhile.

        When this returns, it survives a power cut. `CacheError` if it cannot be written; nothing is left
        behind then.
        """
        if not self._prepared:
            self.prepare()
        with self._writing():
            for attempt in range(_ATTEMPTS):
                try:
                    with replacing(path, parts=self.parts, insist=True) as file:
                        file.write(content)
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
