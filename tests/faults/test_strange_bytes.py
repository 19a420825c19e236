"""Whatever bytes are in a file of the cache: what it says is right, or not known; no crash, no hang."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import time
import warnings

import h5py
import numpy as np
import pytest

from faults.actors import BATCH, SPACE, batch
from featx.cache import Cache, Claims, StatCache, digest_bytes, snapshot
from featx.cache.encoding import encode_file, shard_name
from featx.cache.index_file import load_index
from featx.cache.sidecar import read_calibration, read_cost, read_note

pytestmark = pytest.mark.faults

STARTS = range(0, 15, BATCH)
OLD = time.time_ns() - 10**11


def key(i):
    return (f"/photos/{i}.jpg", 10, OLD, OLD)


def entry(i):
    return key(i), digest_bytes(b"%d" % i)


def test_a_flipped_bit_of_stat_sqlite_is_no_error_and_no_wrong_digest(tmp_path, thorough, counted):
    n = 40
    stats = StatCache(tmp_path)
    stats.store(map(entry, range(n)))
    intact = stats.path.read_bytes()
    bits = len(intact) * 8
    chosen = range(0, bits, bits // 20_000) if thorough else random.Random(0).sample(range(bits), 300)
    discarded, longest = 0, 0.0
    for bit in chosen:
        damaged = bytearray(intact)
        damaged[bit // 8] ^= 1 << (bit % 8)
        stats.clear()
        stats.path.write_bytes(damaged)
        began = time.monotonic()
        fresh = StatCache(tmp_path)
        known = fresh.lookup([key(i) for i in range(n)])
        assert all(digest in (None, entry(i)[1]) for i, digest in enumerate(known)), bit
        discarded += not stats.path.exists()
        fresh.store(map(entry, range(n)))
        known = fresh.lookup([key(i) for i in range(n)])
        assert all(digest in (None, entry(i)[1]) for i, digest in enumerate(known)), bit
        fresh.prune()
        fresh.store([entry(0)])
        assert fresh.lookup([key(0)]) == [entry(0)[1]], bit  # it has healed
        longest = max(longest, time.monotonic() - began)
    counted(flips=len(chosen), errors=0, wrong=0, begun_anew=discarded, longest_ms=round(1000 * longest))
    assert longest < 2


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A cache with every kind of file in it, each of which can be put back."""
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 1)
    root = tmp_path / "cache"
    store = Cache(root).space(SPACE)
    for start in STARTS:
        store.publish(*batch(start))
    store.refresh()
    for name in ("cost", "parity", "calibration"):
        (store.path / f"{name}.json").write_text(json.dumps({"seconds_per_image": 0.5, "images": 3}))
    (store.path / "calibration.bin").write_bytes(b"scales")
    (store.path / "tmp" / f"{'0' * 32}.host.1.claim").write_bytes(bytes(64))
    (store.path / "tmp" / f"{'0' * 32}.host.1.part").write_bytes(bytes(64))
    (store.path / "quarantine").mkdir()
    shutil.copy(store.shard_paths()[0], store.path / "quarantine" / f"{'0' * 32}.{'1' * 32}.suspect")
    Cache(root).stat_cache.store(map(entry, range(10)))
    return root, store.path


def everything(root, path):
    """Ask every reader; what they say of rows and images is right."""
    digests = [d for start in STARTS for d in batch(start)[0]]
    rows = np.concatenate([batch(start)[1] for start in STARTS])
    cache = Cache(root)
    store = cache.space(SPACE)
    cost = read_cost(path)
    assert cost is None or cost > 0
    assert isinstance(read_note(path, "parity"), dict)
    read_calibration(path)
    claims = Claims(path / "tmp")
    claims.take(digests[:3])
    claims.close()
    for image, digest in enumerate(cache.stat_cache.lookup([key(i) for i in range(10)])):
        assert digest in (None, entry(image)[1])
    cache.info()
    out, found = store.read(digests)
    np.testing.assert_array_equal(out[found], rows[found])
    assert SPACE in cache.spaces()
    cache.verify()
    cache.collect_garbage()
    lost = store.missing(digests)  # also of those that an index knew, and whose shard is damaged
    store.publish([digests[i] for i in lost], rows[lost])
    assert store.read(digests)[1].all()


def strange(content: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.choice([0, 1, 7, 100, 5000]))
    if kind == 1:
        return content[: chance.randrange(len(content) + 1)]
    if kind == 2:
        return chance.choice([b"[" * 100_000, b"\xff" * 4096, bytes(4096), b'{"a":' * 50_000, b"1" * 10_000])
    changed = bytearray(content)
    for _ in range(chance.choice([1, 4, 64])):
        if not changed:
            break
        at = chance.randrange(len(changed))
        if kind == 3:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 4:  # a size or a place, made huge
            changed[at : at + 8] = chance.choice([2**63 - 1, 2**40, 2**31, 2**64 - 1]).to_bytes(8, "little")
        else:
            changed[at : at + 4] = chance.randbytes(4)
    return bytes(changed)


def test_strange_bytes_in_any_file_of_the_cache(filled, tmp_path, thorough, counted):
    root, path = filled
    chance, tried = random.Random(0), 0
    kept = tmp_path / "kept"
    shutil.copytree(root, kept)
    files = sorted(p.relative_to(kept) for p in kept.rglob("*") if p.is_file())
    assert len({p.suffix for p in files}) >= 7
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    longest = 0.0
    for _ in range(60 if thorough else 1):
        for file in files:
            shutil.rmtree(root)
            shutil.copytree(kept, root)
            content = strange((kept / file).read_bytes(), chance)
            target = root / file
            if file.parent.name == "shards" and chance.random() < 0.3:  # and a name that fits
                target.unlink()
                target = target.with_name(shard_name(content))
            target.write_bytes(content)
            began = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of damage
                everything(root, path)
            longest = max(longest, time.monotonic() - began)
            tried += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    counted(files=tried, errors=0, wrong=0, longest_s=round(longest, 1), grown_MiB=round(grown))
    assert grown < 300


def test_a_small_index_or_shard_that_claims_gigabytes_is_not_believed(filled):
    """Datasets that were never written take no room in a file, and say any shape."""
    root, path = filled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for target, attributes in [
        (path / "index.h5", {"format": b"featx-index", "n_keys": 10**9, "shards_bytes": 10**9}),
        (path / "shards" / f"{'5' * 32}.h5", {"format": b"featx-shard", "n_rows": 10**9, "dim": 1000}),
    ]:
        attributes |= {"format_version": 1, "space_id": SPACE.id.encode(), "sha256": b"0" * 64}
        attributes |= {"space": SPACE.canonical_json.encode(), "dtype": b"<f4", "keys_crc32": 0}
        target.write_bytes(encode_file(attributes, {}))
        with h5py.File(target, "r+", libver=("v108", "v108")) as file:
            for name, shape, dtype in [
                ("shards", (10**9,), "u1"),
                ("key", (10**9, 32), "u1"),
                ("place", (10**9,), "<i8"),
                ("embedding", (10**9, 1000), "<f4"),
                ("row_crc32", (10**9,), "<u4"),
            ]:
                file.create_dataset(name, shape, dtype, track_times=False)
        assert os.path.getsize(target) < 10_000
    (path / "cost.json").write_bytes(b"[" + b"1," * 3_000_000 + b"1]")
    with open(path / "parity.json", "wb") as file:
        file.truncate(2**33)
    with open(path / "calibration.bin", "wb") as file:
        file.truncate(2**33)
    with open(path / "space.json", "wb") as file:
        file.truncate(2**33)
    assert load_index(path / "index.h5", path / "shards", SPACE) is None
    assert read_calibration(path) is None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        everything(root, path)
    assert any("5" * 32 in str(w.message) for w in said)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100
