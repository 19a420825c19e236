"""The embedding cache: rows by image content and space, on disk, crash-safe, checked on every read.

::

    <root>/<space id>/space.json        the space in clear; its SHA-256 is the folder's name
                      shards/*.h5       immutable, named by their SHA-256: the only truth
                      *.json, *.bin     small files about the space (`sidecar`)
                      index.h5          where each key is; derived, written again if it is lost
                      tmp/*.part        unfinished file, perhaps of a killed writer; never read
                      tmp/*.claim       which rows a run is computing (`claims`)
                      quarantine/*.h5   damaged shards, never read
    <root>/stat.sqlite                  the digest of each file when it was last read; disposable
    <root>/checks.journal               what the data checks of studies found; can be found again

`identity` defines digests and spaces. One shard: `encoding` makes the file, `header` opens and checks it,
`shard` reads it, `checksums` guards its rows. One space: `space_store`, with `publisher` (writes), `reading`
(reads many shards), `shard_index` (where each key is), `index_file` (the same on disk),
`snapshot` (keeps the index in step with the disk), `quarantine` (damaged files), `compaction` (merges small
ones). `cache` is the whole root, `maintenance` checks and cleans it, `merging` brings other caches into it,
`stat_cache` recognises unchanged files.
"""

from featx.cache.cache import Cache
from featx.cache.claims import Claims
from featx.cache.files import default_root
from featx.cache.identity import DIGEST_SIZE, Space, digest_array, digest_bytes
from featx.cache.maintenance import GarbageCollection, SpaceInfo, Verification
from featx.cache.merging import Merging
from featx.cache.space_store import SpaceStore
from featx.cache.stat_cache import StatCache

__all__ = [
    "DIGEST_SIZE",
    "Cache",
    "Claims",
    "GarbageCollection",
    "Merging",
    "Space",
    "SpaceInfo",
    "SpaceStore",
    "StatCache",
    "Verification",
    "default_root",
    "digest_array",
    "digest_bytes",
]
