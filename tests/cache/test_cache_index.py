import os
import zlib

import numpy as np
import pytest

from featx.cache import snapshot
from featx.cache.checksums import crc_of_keys, crc_of_stretch, row_crcs
from featx.cache.index_file import load_index, save_index
from featx.cache.shard_index import ROW_BITS, KeyIndex, ShardIndex, as_keys


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_keys(rng, n):
    return rng.integers(0, 256, (n, 32), dtype=np.uint8)


# Checksums, against zlib


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 17, 64, 1000])
@pytest.mark.parametrize("row_bytes", [1, 7, 512, 5120])
def test_the_checksum_of_a_stretch_is_that_of_zlib_over_its_bytes(rng, n, row_bytes):
    keys = random_keys(rng, n)
    rows = rng.integers(0, 256, (n, row_bytes), dtype=np.uint8)
    crcs = row_crcs(keys, rows)
    slow = [zlib.crc32(key.tobytes() + row.tobytes()) for key, row in zip(keys, rows, strict=True)]
    assert crcs.tolist() == slow
    assert crc_of_keys(keys).tolist() == [zlib.crc32(key.tobytes()) for key in keys]
    assert crc_of_stretch(keys, crcs, row_bytes) == zlib.crc32(rows.tobytes())


def test_any_single_change_of_a_stretch_is_seen(rng):
    keys, rows = random_keys(rng, 6), rng.integers(0, 256, (6, 20), dtype=np.uint8)
    expected = crc_of_stretch(keys, row_crcs(keys, rows), 20)
    for i in range(6 * 20 * 8):
        torn = rows.copy()
        torn.reshape(-1)[i // 8] ^= 1 << (i % 8)
        assert zlib.crc32(torn.tobytes()) != expected
    for other in ([1, 0, 2, 3, 4, 5], [0, 1, 2, 3, 5, 4]):
        assert crc_of_stretch(keys[other], row_crcs(keys, rows), 20) != expected


# Keys, against a dict


@pytest.mark.parametrize(("ratio", "block"), [(1, 7), (4, 1 << 16), (1000, 100)])
def test_keys_are_found_as_in_a_dict(rng, monkeypatch, ratio, block):
    monkeypatch.setattr("featx.cache.shard_index._RATIO", ratio)
    monkeypatch.setattr("featx.cache.shard_index._BLOCK", block)
    index, slow = KeyIndex(), {}
    pool = random_keys(rng, 300)
    pool[1::3, :8] = pool[0::3, :8]  # many that begin alike
    pool[2::9, :31] = pool[0::9, :31]
    for step in range(20):
        chosen = rng.integers(0, 300, rng.integers(0, 40))
        places = np.arange(1000 * step, 1000 * step + len(chosen))
        index.add(pool[chosen], places)
        for key, place in zip(pool[chosen], places.tolist(), strict=True):
            slow.setdefault(key.tobytes(), place)
        found = index.find(pool)
        assert found.tolist() == [slow.get(key.tobytes(), -1) for key in pool]
        assert len(index) == len(slow)
    keys, places = index.items()
    assert [key.tobytes() for key in keys] == sorted(slow)
    assert places.tolist() == [slow[key] for key in sorted(slow)]


def test_no_keys_are_no_trouble():
    index = KeyIndex()
    assert index.find(as_keys([])).shape == (0,)
    assert index.find(as_keys([b"x" * 32])).tolist() == [-1]
    index.add(as_keys([]), np.zeros(0, np.int64))
    assert len(index) == 0


# The index file


@pytest.fixture
def indexed(cache, space, batch, monkeypatch):
    """Four shards and an index of them."""
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 3)
    store = cache.space(space)
    for start in range(0, 20, 5):
        store.publish(*batch(start, start + 5))
    store.refresh()
    return store


def test_the_index_is_written_when_there_are_many_shards_and_not_for_each_one(indexed, cache, space, batch):
    path = indexed.path / "index.h5"
    first = path.read_bytes()
    for start in range(20, 40, 5):
        indexed.publish(*batch(start, start + 5))
        cache.space(space).refresh()
        assert path.read_bytes() == first  # four more than four: not yet twice as many
    indexed.publish(*batch(40, 45))
    indexed.refresh()
    assert path.read_bytes() != first
    assert len(load_index(path, indexed.shards, space).shards) == 9


def test_with_an_index_no_shard_is_opened_to_know_what_is_there(indexed, cache, space, batch, monkeypatch):
    def refuse(path, *_args):
        raise AssertionError(f"opened {path}")

    monkeypatch.setattr(snapshot, "open_shard", refuse)
    store = cache.space(space)
    digests, rows = batch(0, 20)
    assert store.missing(digests) == []
    assert len(store) == 20
    out, found = store.read(digests[::-1])
    assert found.all()
    np.testing.assert_array_equal(out, rows[::-1])


def test_what_came_after_the_index_is_found_too(indexed, cache, space, batch):
    cache.space(space).publish(*batch(20, 25))
    digests, rows = batch(0, 25)
    np.testing.assert_array_equal(cache.space(space).read(digests)[0], rows)


def test_a_shard_of_another_size_makes_the_index_worthless(indexed, space):
    shard = indexed.shard_paths()[2]
    shard.write_bytes(shard.read_bytes() + b"x")
    assert load_index(indexed.path / "index.h5", indexed.shards, space) is None


def test_an_index_that_cannot_be_written_is_no_error(cache, space, batch, monkeypatch):
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 0)
    calls = []

    def full(*_args):
        calls.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "save_index", full)
    store = cache.space(space)
    store.publish(*batch(0, 5))
    for _ in range(3):
        store.refresh()
    assert len(calls) == 1
    assert not (store.path / "index.h5").exists()


def test_an_index_that_lies_is_not_believed_twice(indexed, cache, space, batch, monkeypatch):
    """Right by its checksum and wrong all the same: rows are checked, and the shards are asked."""
    stored = load_index(indexed.path / "index.h5", indexed.shards, space)
    keys, places = stored.items()
    lie = ShardIndex(stored.shards, keys, np.roll(places, 1))
    save_index(indexed.path / "index.h5", indexed.path / "tmp", space, lie)
    digests, rows = batch(0, 20)
    out, found = cache.space(space).read(digests)
    assert found.all()
    np.testing.assert_array_equal(out, rows)
    assert sorted(os.listdir(indexed.path / "quarantine")) == []
    repaired = load_index(indexed.path / "index.h5", indexed.shards, space)
    for key, place in zip(*repaired.items(), strict=True):
        shard = repaired.shards[place >> ROW_BITS]
        assert bytes(shard.read_keys()[place & (2**ROW_BITS - 1)]) == bytes(key)
