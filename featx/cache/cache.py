"""The class `Cache`: one root folder with a folder for each space."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from featx.cache.encoding import MAX_SPACE_BYTES, SHARD_NAME
from featx.cache.files import (
    ADVICE,
    CHECKS_FILE,
    absolute,
    default_root,
    enough_memory,
    is_file,
    list_names,
    read_small_file,
)
from featx.cache.header import open_shard
from featx.cache.identity import Space
from featx.cache.maintenance import (
    YOUNG_SECONDS,
    GarbageCollection,
    SpaceInfo,
    Verification,
    clear_space,
    collect_garbage,
    remove_file,
    survey,
    verify,
)
from featx.cache.merging import Merging, merge
from featx.cache.space_store import SpaceStore
from featx.cache.stat_cache import StatCache
from featx.errors import CacheError

__all__ = ["Cache"]

_SPACE_ID = re.compile(r"[0-9a-f]{64}")


class Cache:
    """A folder of embeddings, shared by all projects; it is created when it is first written to.

    `root` is by default `default_root`; `CacheError` if it exists and is not a folder. The attribute `root`
    is absolute; `stat_cache` knows which digest a file had when it was last read.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = default_root() if root is None else absolute(root)
        try:
            if not stat.S_ISDIR(self.root.stat().st_mode):
                raise CacheError(f"the cache {self.root} is not a folder; {ADVICE}")
        except CacheError:
            raise
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # it is made when it is needed
                raise CacheError(f"cannot read the cache {self.root}: {error.strerror}; {ADVICE}") from error
        self.stat_cache = StatCache(self.root)

    def space(self, space: Space | Mapping[str, Any], dim: int | None = None) -> SpaceStore:
        """Return the store of one space; `dim` is the number of values per row, if it is known already."""
        return SpaceStore(self.root, space if isinstance(space, Space) else Space(space), dim)

    def spaces(self) -> list[Space]:
        """Return the spaces that have a folder here, ordered by id; nothing is written.

        They are read from ``space.json``, or from a shard if that is missing or damaged.
        """
        found = [_space_of(folder) for folder in self._folders()]
        return [space for space in found if space is not None]

    def nearest(self, space: Space) -> tuple[Space, list[str]] | None:
        """Return the cached space nearest to another one, and their differences; None if there is no other.

        This explains why no cached row can be used.
        """
        others = [(other.differences(space), other) for other in self.spaces() if other.id != space.id]
        if not others:
            return None
        differences, other = min(others, key=lambda item: (len(item[0]), item[1].id))
        return other, differences

    def info(self) -> list[SpaceInfo]:
        """Describe each space, the last used one first; nothing is changed."""
        with enough_memory(self.root):
            infos = [survey(self.space(space)) for space in self.spaces()]
        return sorted(infos, key=lambda info: info.last_used or 0.0, reverse=True)

    def verify(self, *, on_file: Callable[[int], None] | None = None) -> Verification:
        """Check all shards and rows; set damaged files aside with a warning, and keep their intact rows.

        `on_file` is called with 1 after each file.
        """
        with enough_memory(self.root):
            spaces = self.spaces()
            found = verify([self.space(space) for space in spaces], on_file=on_file)
        for folder in self.unnamed():
            found.damaged.append((folder, "no readable file in it names its space"))
        return found

    def count_shards(self) -> int:
        """Return the number of shards of all spaces; none is opened."""
        return sum(len(list_names(folder / "shards", SHARD_NAME)) for folder in self._folders())

    def unnamed(self) -> list[Path]:
        """Return the folders with shards whose space no readable file names."""
        known = {space.id for space in self.spaces()}
        return [
            folder
            for folder in self._folders()
            if folder.name not in known and list_names(folder / "shards", SHARD_NAME)
        ]

    def merge(
        self, roots: Iterable[str | os.PathLike[str]], *, on_file: Callable[[int], None] | None = None
    ) -> Merging:
        """Copy into this cache what other ones have and it lacks: rows, scales of int8, notes, stat entries.

        The others are only read, and both may be in use meanwhile. What was killed half-way is finished by
        running it again. Of a damaged shard, the intact rows are taken, and `Merging.damaged` names it.

        Parameters
        ----------
        roots : iterable of path-like
            The folders of the other caches.
        on_file : callable, optional
            Called with 1 after each shard.

        Raises
        ------
        CacheError
            A root is no cache, comes twice, or is this cache; a file has a newer format; or this cache cannot
            be written.
        """
        return merge(self, list(roots), on_file=on_file)

    def collect_garbage(
        self, *, max_bytes: int | None = None, older_than: float = YOUNG_SECONDS
    ) -> GarbageCollection:
        """Remove what is not needed, and merge small shards; `CacheError` if the cache cannot be written.

        With `max_bytes`, whole spaces are removed, the least recently used first, until the rest is no
        larger; the space used last always stays. A space without rows, and an unfinished file whose writer
        cannot be seen, are removed if they are older than `older_than` seconds: younger ones may belong to an
        extraction that has just begun.
        """
        spaces = self.spaces()
        known = {space.id for space in spaces}
        with enough_memory(self.root):
            done = collect_garbage(
                [self.space(space) for space in spaces],
                [folder for folder in self._folders() if folder.name not in known],
                max_bytes=max_bytes,
                older_than=older_than,
            )
        done.forgotten = self.stat_cache.prune()
        return done

    def is_empty(self) -> bool:
        """Whether there is nothing here that `clear` would remove."""
        return not self._folders() and not is_file(self.stat_cache.path) and not self.has_checks()

    def has_checks(self) -> bool:
        """Whether studies have left here what their data checks found."""
        return is_file(self.root / CHECKS_FILE)

    def clear(self, spaces: Iterable[Space] | None = None) -> None:
        """Remove the given spaces or, by default, everything that featx has in the folder. Other files stay.

        `CacheError` if a file cannot be removed.
        """
        if spaces is not None:
            for space in spaces:
                clear_space(self.root / space.id)
            return
        for folder in self._folders():
            clear_space(folder)
        self.stat_cache.clear()
        if self.has_checks():
            remove_file(self.root / CHECKS_FILE)

    def _folders(self) -> list[Path]:
        """Return the folders that are named like a space."""
        return [self.root / name for name in sorted(list_names(self.root)) if _SPACE_ID.fullmatch(name)]

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r})"


def _space_of(folder: Path) -> Space | None:
    """Return the space of a folder, from the first file in it that agrees with the folder's name."""
    text = read_small_file(folder / "space.json", MAX_SPACE_BYTES)
    if text is not None:
        with contextlib.suppress(CacheError, ValueError):
            space = Space.from_json(text.decode("utf-8"))
            if space.id == folder.name:
                return space
    for name in sorted(list_names(folder / "shards", SHARD_NAME)):
        with contextlib.suppress(OSError, ValueError):
            space = Space.from_json(open_shard(folder / "shards" / name).space_json)
            if space.id == folder.name:
                return space
    return None
