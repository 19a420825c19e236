"""The embedding cache: rows by image content and space, on disk, crash-safe, checked on every read.

::

    <root>/<space id>/space.json        the space in clear; its SHA-256 is the folder's name
                      shards/*.h5       immutable, named by their SHA-256: the only truth
                      tmp/*.part        what a killed writer leaves behind; never read
                      quarantine/*.h5   damaged shards, set aside and never read
    <root>/stat.sqlite                  which digest a file had when it was last read; disposable

`identity` names things, `shard` is one file of rows,
`space_store` the rows of one space, `quarantine` its damaged files, `store` all of it,
and `stats` saves reading unchanged images again.
"""

from featx.cache.identity import DIGEST_SIZE, Space, digest_array, digest_bytes
from featx.cache.root import default_root
from featx.cache.space_store import SpaceStore
from featx.cache.stats import StatCache
from featx.cache.store import Cache

__all__ = [
    "DIGEST_SIZE",
    "Cache",
    "Space",
    "SpaceStore",
    "StatCache",
    "default_root",
    "digest_array",
    "digest_bytes",
]
