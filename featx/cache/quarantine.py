"""Take damaged shards out of use, keep their intact rows, and never lose an intact shard.

A publisher may at any time put an intact file at the name of a damaged one (equal rows have an equal name),
and a rename cannot depend on the content. So a file that looks damaged is first moved to a ``.suspect`` name,
checked there, and moved back if it is intact. A process killed in between leaves a suspect, which the next
process that looks at the space checks.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featx.cache.files import list_names
from featx.cache.header import open_shard, verify_shard
from featx.cache.identity import Space
from featx.cache.shard import DamagedShard
from featx.durable import fsync_folder, make_folder
from featx.errors import DataLossWarning

__all__ = ["SET_ASIDE", "Quarantine"]

_SUSPECT = ".suspect"
SET_ASIDE = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{32})?\.(h5|suspect)")
"""Names of featx's files in the quarantine."""


class Quarantine:
    """Moves the damaged shards of one space into `folder`; ``write(keys, rows)`` publishes the intact rows.

    ``checked`` counts the suspects checked so far; when it changes, there may be new shards.
    """

    def __init__(
        self, shards: Path, folder: Path, space: Space, write: Callable[[np.ndarray, np.ndarray], Path]
    ) -> None:
        self.shards, self.folder = shards, folder
        self._space, self._write = space, write
        self._ignored: set[tuple[str, int, int]] = set()  # damaged, and it cannot be moved away
        self.checked = 0

    def ignores(self, path: Path) -> bool:
        """Whether a file is known to be damaged and could not be moved away."""
        return bool(self._ignored) and _fingerprint(path) in self._ignored

    def take(self, path: Path, reason: str) -> bool:
        """Take a shard that looks damaged out of use, publish its intact rows again, and warn.

        Return False if the file cannot be moved (a read-only folder); it is ignored from now on.
        """
        fingerprint = _fingerprint(path)
        suspect = self.folder / f"{path.stem}.{uuid.uuid4().hex}{_SUSPECT}"
        try:
            make_folder(self.folder)  # durably: it must not vanish with a file in it
            os.replace(path, suspect)
        except FileNotFoundError:
            return True  # another process took it, or cleared the cache
        except OSError as error:
            if fingerprint is not None:
                self._ignored.add(fingerprint)
            _warn(f"cache file {path} is damaged ({reason}), not used and not movable: {error.strerror}")
            return False
        self._check(suspect, reason)
        return True

    def check_suspects(self) -> None:
        """Check the suspects that stopped processes left behind."""
        for name in list_names(self.folder, SET_ASIDE):
            if name.endswith(_SUSPECT):
                self._check(self.folder / name, "set aside by a process that was stopped")

    def _check(self, suspect: Path, reason: str) -> None:
        """Put a suspect back into use if it is intact, else into quarantine, and keep its intact rows."""
        original = self.shards / f"{suspect.name.split('.')[0]}.h5"
        try:
            try:
                try:
                    verify_shard(suspect, self._space)
                except DamagedShard as damage:
                    kept = self._rescue(suspect)
                    final = self.folder / original.name
                    if final.exists():
                        final = final.with_name(suspect.name.removesuffix(_SUSPECT) + ".h5")
                    os.replace(suspect, final)
                    fsync_folder(self.folder)
                    self.checked += 1
                    _warn(
                        f"cache file {original} is damaged ({damage.reason}); moved to {final}, "
                        f"{kept} intact rows kept, what is lost will be extracted again"
                    )
                else:
                    os.replace(suspect, original)
                    fsync_folder(self.shards)
                    self.checked += 1
            except FileNotFoundError:  # checked by another process: there may be a new shard
                self.checked += 1
        except OSError as error:
            # Read-only, or full: its rows count as missing now, and the next scan tries again.
            _warn(f"cache file {original} is damaged ({reason}) and cannot be checked: {error}")

    def _rescue(self, suspect: Path) -> int:
        """Publish the intact rows of a damaged file again; return their number."""
        try:
            keys, rows = open_shard(suspect, self._space).salvage()
        except DamagedShard:
            return 0
        if len(keys):
            self._write(keys, rows)
        return len(keys)


def _fingerprint(path: Path) -> tuple[str, int, int] | None:
    with contextlib.suppress(OSError):
        status = path.stat()
        return path.name, status.st_ino, status.st_mtime_ns
    return None


def _warn(message: str) -> None:
    warnings.warn(message, DataLossWarning, stacklevel=2)
