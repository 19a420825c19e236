"""The embedding cache: rows by image content and space, on disk, crash-safe, checked on every read.

::

    <root>/<space id>/space.json        the space in clear; its SHA-256 is the folder's name
                      shards/*.h5       immutable, named by their SHA-256: the only truth
                      *.json, *.bin     notes on it (`notes`)
                      index.h5          where each key is; derived, and written anew when it is lost
                      tmp/*.part        what a killed writer leaves behind; never read
                      tmp/*.claim       which rows somebody is computing (`claims`)
                      quarantine/*.h5   damaged shards, set aside and never read
    <root>/stat.sqlite                  which digest a file had when it was last read; disposable

`identity` names things. One file of rows: `encoding` makes it, `header` opens and checks it, `shard`
reads it, `checksums` guards its rows. `space_store` has the rows of one space: `catalogue` (`key_index`,
`index_file`) says where they are, `view` keeps that in step with the disk, `publisher` writes, `gather`
reads, `quarantine` takes damaged files, `compaction` merges small ones. `store` is all of it,
`maintenance` looks after it, and `stats` saves reading unchanged images again.
"""

from featx.cache.cache import Cache
from featx.cache.claims import Claims
from featx.cache.files import default_root
from featx.cache.identity import DIGEST_SIZE, Space, digest_array, digest_bytes
from featx.cache.maintenance import GarbageCollection, SpaceInfo, Verification
from featx.cache.space_store import SpaceStore
from featx.cache.stat_cache import StatCache

__all__ = [
    "DIGEST_SIZE",
    "Cache",
    "Claims",
    "GarbageCollection",
    "Space",
    "SpaceInfo",
    "SpaceStore",
    "StatCache",
    "Verification",
    "default_root",
    "digest_array",
    "digest_bytes",
]
