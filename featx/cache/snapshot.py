"""The shards and keys of a space as one process last saw them, kept in step with the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featx.cache.encoding import SHARD_NAME
from featx.cache.files import ADVICE, is_file, list_names
from featx.cache.header import open_shard
from featx.cache.index_file import load_index, save_index
from featx.cache.publisher import Publisher
from featx.cache.quarantine import Quarantine
from featx.cache.shard import DamagedShard, Shard
from featx.cache.shard_index import ShardIndex
from featx.errors import CacheError

__all__ = ["Snapshot"]

_MOST_LOOKS = 64  # each after the first means that a file vanished or was set aside meanwhile
_INDEX_AFTER = 8  # shards: opening fewer one by one is fast enough without an index file


class Snapshot:
    """The shards of a space as they were when the disk was last looked at. Not thread-safe.

    ``index`` says which shards exist and where each key is; ``dim`` is the number of values per row, None
    while it is neither given nor seen.
    """

    def __init__(self, publisher: Publisher, quarantine: Quarantine, dim: int | None) -> None:
        self._publisher, self._quarantine = publisher, quarantine
        self._shards, self._index_path = publisher.shards, publisher.path / "index.h5"
        self.dim = self._given_dim = dim
        self._can_index = self._trust_index = True
        self.index = ShardIndex()
        self._unusable: set[str] = set()  # names of damaged shards that could not be moved away
        self._suspects_checked = False  # whether suspects that stopped processes left were checked

    def refresh(self) -> None:
        """Look at the disk again, for what others published, compacted or cleared.

        `CacheError` if the folder, or an intact file, cannot be read.
        """
        if not self._suspects_checked:
            self._quarantine.check_suspects()
            self._suspects_checked = True
        vanished, checked = False, -1
        for _ in range(_MOST_LOOKS):
            if not vanished and checked == self._quarantine.checked:
                break
            checked = self._quarantine.checked  # the intact rows of a damaged shard are a new shard
            names = self.shard_names()
            if self.index.names - names:  # its rows may live in another shard by now
                self._forget()
                self._quarantine.check_suspects()
                names = self.shard_names()
            if names and not self.index.names and self._trust_index:
                self._recall()
            vanished = self._adopt(sorted(names - self.index.names - self._unusable))
        self._keep_index()

    def add(self, name: str) -> None:
        """Add a shard that was just published, even if it was damaged before."""
        self._unusable.discard(name)
        if name not in self.index.names:
            self._adopt([name])

    def distrust(self) -> None:
        """Forget everything, and ignore the index file when looking again."""
        self._forget()
        self._trust_index, self.dim = False, self._given_dim

    def set_aside(self, path: Path, reason: str) -> None:
        """Take a shard that looks damaged out of use, and keep its intact rows."""
        if not self._quarantine.take(path, reason):
            self._unusable.add(path.name)

    def shard_names(self) -> set[str]:
        """List the shards; none is missed while a compaction replaces it."""
        seen: set[str] = set()
        while True:
            names = self._listed()
            # One listing may miss both a new shard and the old one that it replaces; but then the old one
            # was in the listing before.
            if seen <= names and (seen or not names):
                return names
            seen = names

    def _listed(self) -> set[str]:
        """Return the names of the shards in one listing; only those of new files are looked at closely."""
        names = set(list_names(self._shards))
        new = names - self.index.names
        odd = {n for n in new if not (SHARD_NAME.fullmatch(n) and is_file(self._shards / n))}
        return names - odd if odd else names

    def _forget(self) -> None:
        self.index, self._unusable, self._suspects_checked = ShardIndex(), set(), False

    def _recall(self) -> None:
        """Load the index file, if it can be used."""
        stored = load_index(self._index_path, self._shards, self._publisher.space)
        dims = {shard.dim for shard in stored.shards} if stored is not None else set()
        if stored is not None and dims <= {self.dim or stored.shards[0].dim}:
            self._agree(stored.shards[0])
            self.index = stored

    def _keep_index(self) -> None:
        """Write the index file if it lacks more than half of the shards."""
        fresh = len(self.index.names) - self.index.n_indexed
        if fresh > max(_INDEX_AFTER, self.index.n_indexed) and self._can_index:
            try:
                save_index(self._index_path, self._publisher.parts, self._publisher.space, self.index)
                self.index.n_indexed = len(self.index.names)
                self._trust_index = True
            except OSError:  # read-only, full, cleared: nothing is lost but a little time
                self._can_index = False

    def _adopt(self, names: Sequence[str]) -> bool:
        """Open shards and add their keys to the index; return whether one of them is gone."""
        opened, vanished = [], False
        for name in names:
            path = self._shards / name
            if self._quarantine.ignores(path):
                self._unusable.add(name)
                continue
            try:
                shard = open_shard(path, self._publisher.space)
                keys = shard.read_keys()
            except FileNotFoundError:
                vanished = True  # compacted: its rows are in another shard by now
                continue
            except DamagedShard as damage:
                self.set_aside(path, damage.reason)
                continue
            except CacheError:
                raise
            except OSError as error:
                raise CacheError(f"{path}: cannot be read: {error.strerror or error}") from error
            self._agree(shard)
            opened.append((shard, keys))
        self.index.add(opened)
        return vanished

    def _agree(self, shard: Shard) -> None:
        if self.dim is None:
            self.dim = shard.dim
        if shard.dim != self.dim:
            raise CacheError(
                f"{shard.path}: rows of {shard.dim} values, expected {self.dim}; "
                f"something that changes the embedding is not in its space, {ADVICE}"
            )
