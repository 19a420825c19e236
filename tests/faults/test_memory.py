"""Every reader of the cache with less memory than it needs: one clear error or what is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import featx

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to an amount of memory"),
]

#: Six shards of 1 MiB, an index, notes and known images; then each reader in a child of its own, with so much
#: memory more than it has already. A line for each: how it ended.
STARVED = """
import os, resource, sys, time, traceback, warnings
from pathlib import Path
import numpy as np
from featx.cache import Cache, Claims, Space, digest_bytes, snapshot
from featx.cache.sidecar import read_calibration, read_cost, write_cost
from featx.errors import CacheError

warnings.simplefilter("error")
root, steps, snapshot._INDEX_AFTER = Path(sys.argv[1]), int(sys.argv[2]), 2
space = Space({"backbone": "starved"})
digests = [digest_bytes(b"%d" % i) for i in range(6 * 256)]
rows = np.arange(6 * 256 * 1024, dtype=np.float32).reshape(-1, 1024)
store = Cache(root).space(space)
for i in range(0, 6 * 256, 256):
    store.publish(digests[i : i + 256], rows[i : i + 256])
store.refresh()
write_cost(store.path, 0.5)
scales = bytes(1000) * 1000
(store.path / "calibration.bin").write_bytes(scales)
old = time.time_ns() - 10**11
keys = [(f"/photos/{i}.jpg", 1, old, old) for i in range(2000)]
Cache(root).stat_cache.store([(key, digests[i % len(digests)]) for i, key in enumerate(keys)])
(store.path / "index.h5").rename(root / "index.h5")


chosen = np.random.default_rng(0).permutation(len(digests))[:300]
some = [digests[i] for i in chosen]
new = [digest_bytes(b"new")]


def fresh():
    return Cache(root).space(space)


def are(expected):
    def check(found):
        assert found[1].all(), "a row was lost"
        assert (found[0] == expected).all(), "a row is wrong"

    return check


def counts(infos):
    assert infos[0].unreadable or infos[0].rows >= len(digests)


def only_memory(found):
    assert all("memory" in reason or "opened" in reason for _, reason in found.damaged), found.damaged


def known(found):
    assert all(digest in (None, digests[i % len(digests)]) for i, digest in enumerate(found))


def stats():
    stats = Cache(root).stat_cache
    found = stats.lookup(keys)
    stats.store([(keys[0], digests[0])])
    stats.prune()
    return found


def noted():
    return read_cost(store.path), read_calibration(store.path)


def shared():
    mine = Claims(store.path / "tmp")
    try:
        return mine.take(digests)
    finally:
        mine.close()


def scaled(found):
    assert found[0] in (None, 0.5) and found[1] in (None, scales)


def free(taken):
    assert taken == [True] * len(digests)


#: What is done with little memory, and how what came out is checked with enough of it.
READERS = {
    "read": (lambda: fresh().read(digests), are(rows)),
    "index": (lambda: fresh().read(digests), are(rows)),
    "scattered": (lambda: fresh().read(some), are(rows[chosen])),
    "publish": (lambda: fresh().publish(new, rows[:1]), lambda _: are(rows[:1])(fresh().read(new))),
    "info": (lambda: Cache(root).info(), counts),
    "verify": (lambda: Cache(root).verify(), only_memory),
    "stats": (stats, known),
    "notes": (noted, scaled),
    "claims": (shared, free),
    "collect": (lambda: Cache(root).collect_garbage(), lambda _: None),
}
ALLOWED = {"claims": MemoryError}
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for name, (reader, check) in READERS.items():
    if name == "index":
        (root / "index.h5").rename(store.path / "index.h5")
    for step in range(steps):
        spare = int(24 * 2**20 * (step / steps) ** 2)
        pid = os.fork()
        if pid == 0:
            status = 3
            try:
                with open("/proc/self/statm") as file:
                    used = int(file.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + spare, hard))
                try:
                    found = reader()
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
                check(found)
                status = 0
            except (CacheError, ALLOWED.get(name, CacheError)) as error:
                status = 1 if str(error).isprintable() else 3
                print(name, spare, error, flush=True)
            except BaseException:
                traceback.print_exc(file=sys.stdout)
                sys.stdout.flush()
            os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ended", name, spare, code, flush=True)
    if name == "index":
        (store.path / "index.h5").unlink(missing_ok=True)
out, found = fresh().read(digests)
assert found.all() and (out == rows).all()
assert Cache(root).verify().damaged == []
assert not (store.path / "quarantine").exists()
print("all there")
"""


def test_without_memory_a_reader_ends_with_one_error_and_takes_nothing_away(tmp_path, thorough, counted):
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tmp_path / "cache"), "100" if thorough else "5"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=dict(os.environ, PYTHONPATH=str(Path(featx.__file__).parents[1]), OMP_NUM_THREADS="1"),
    )
    ended = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended ")]
    bad = [line for line in ended if line[2] not in ("0", "1")]
    assert not bad, (bad, done.stdout[-3000:])
    assert done.stdout.endswith("all there\n"), (done.stdout[-2000:], done.stderr[-3000:])
    errors = [name for name, _, code in ended if code == "1"]
    counted(readings=len(ended), errors=len(errors), crashes=0, lost=0)
    assert {"read", "verify", "publish"} <= set(errors)
