"""How a shard comes to be on the disk: folders, temporary file, sync, name."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.cache.encoding import encode_shard, shard_name
from featx.cache.identity import Space
from featx.cache.root import ADVICE
from featx.durable import fsync_folder, make_folder, replacing, sweep_parts
from featx.errors import CacheError

__all__ = ["Publisher"]


_ATTEMPTS = 16  # each one after the first means that the cache was cleared meanwhile


class Publisher:
    """Writes into the folder of one space; any number of them may do so at once.

    Parameters
    ----------
    root : Path
        The cache's folder.
    space : Space
        What the rows are made with.
    """

    def __init__(self, root: Path, space: Space) -> None:
        self.root, self.space = root, space
        self.path = root / space.id
        self.shards, self.parts = self.path / "shards", self.path / "tmp"
        self._prepared = False

    def prepare(self) -> None:
        """Create the folders and ``space.json``, so that an unusable place is known before any work.

        Raises
        ------
        CacheError
            If the place cannot be written, saying where and what to do.
        """
        with self._writing():
            for folder in (self.shards, self.parts):
                make_folder(folder)
            # Another process may have made them a moment ago and not have come to its own fsync.
            for folder in (self.path, self.root):
                fsync_folder(folder)
            self.describe()
            for folder in (self.shards, self.parts):
                if not os.access(folder, os.W_OK):
                    folder.stat()  # cleared meanwhile: then it is no question of permission
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        sweep_parts(self.parts)
        self._prepared = True

    def describe(self) -> None:
        """Say in ``space.json`` what space this is, if it does not say so already; OSError if that fails."""
        described = self.path / "space.json"
        text = self.space.canonical_json.encode("utf-8")
        if not described.is_file() or described.read_bytes() != text:
            with replacing(described, parts=self.parts) as file:
                file.write(text)

    def write(self, keys: np.ndarray, rows: np.ndarray, *, nonce: str = "") -> Path:
        """Put a shard onto the disk; when this returns it survives a power cut.

        Parameters
        ----------
        keys, rows, nonce
            As for `encode_shard`.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CacheError
            If it cannot be written; nothing is left behind then.
        """
        image = encode_shard(keys, rows, self.space, nonce=nonce)
        path = self.shards / shard_name(image)
        for attempt in range(_ATTEMPTS):
            try:
                if not self._prepared:
                    self.prepare()
                with self._writing(), replacing(path, parts=self.parts) as file:
                    file.write(image)
            except _Cleared:
                # Someone cleared the cache between two batches: that is no reason to lose this one.
                self._prepared = False
                if attempt == _ATTEMPTS - 1:
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


class _Cleared(CacheError):
    """A folder of the cache vanished while it was written to."""
