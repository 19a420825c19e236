"""The cache as a whole: one root, a folder for each space."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.cache.header import open_shard
from featx.cache.identity import Space
from featx.cache.root import ADVICE, absolute, default_root, listed
from featx.cache.space_store import SpaceStore
from featx.cache.stats import StatCache
from featx.errors import CacheError

__all__ = ["Cache"]

_SPACE_ID = re.compile(r"[0-9a-f]{64}")


class Cache:
    """A folder of embeddings, shared by all projects.

    Parameters
    ----------
    root : path-like, optional
        The folder; `default_root` when not given. It is created when first written to.

    Attributes
    ----------
    root : Path
        Absolute.
    stats : StatCache
        Which digest a file had when it was last read.

    Raises
    ------
    CacheError
        If the root exists and is not a folder.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = default_root() if root is None else absolute(root)
        if self.root.exists() and not self.root.is_dir():
            raise CacheError(f"the cache {self.root} is not a folder; {ADVICE}")
        self.stats = StatCache(self.root)

    def space(self, space: Space | Mapping[str, Any], dim: int | None = None) -> SpaceStore:
        """The rows of one space.

        Parameters
        ----------
        space : Space or mapping
            What the rows are made with.
        dim : int, optional
            Values per row, when it is known already.

        Returns
        -------
        SpaceStore
        """
        return SpaceStore(self.root, space if isinstance(space, Space) else Space(space), dim)

    def spaces(self) -> list[Space]:
        """The spaces that have a folder here, ordered by id; nothing is written.

        Returns
        -------
        list of Space
            Read from ``space.json``, or from a shard where that is missing or damaged.
        """
        found = []
        for name in sorted(listed(self.root)):
            if _SPACE_ID.fullmatch(name) and (space := _space_of(self.root / name)) is not None:
                found.append(space)
        return found

    def nearest(self, space: Space) -> tuple[Space, list[str]] | None:
        """The cached space that differs least from one, to say why nothing of it can be used.

        Parameters
        ----------
        space : Space
            The space asked for.

        Returns
        -------
        tuple of (Space, list of str) or None
            The nearest other space and `Space.differences` from it; None when there is no other.
        """
        others = [(other.differences(space), other) for other in self.spaces() if other.id != space.id]
        if not others:
            return None
        differences, other = min(others, key=lambda item: (len(item[0]), item[1].id))
        return other, differences

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r})"


def _space_of(folder: Path) -> Space | None:
    """The space of a folder, if something in it says so and agrees with the folder's name."""
    with contextlib.suppress(OSError, ValueError):
        space = Space.from_json((folder / "space.json").read_text(encoding="utf-8"))
        if space.id == folder.name:
            return space
    for name in sorted(listed(folder / "shards")):
        with contextlib.suppress(OSError, ValueError):
            space = Space.from_json(open_shard(folder / "shards" / name).space_json)
            if space.id == folder.name:
                return space
    return None
