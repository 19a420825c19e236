import os
import warnings

import numpy as np
import pytest

from featx.cache import Space
from featx.cache import quarantine as quarantine_module
from featx.cache.encoding import encode_shard, shard_name
from featx.cache.header import open_shard


@pytest.fixture
def filled(store, batch):
    digests, rows = batch(0, 10)
    store.publish(digests, rows)
    (path,) = store.shards.iterdir()
    return path, digests, rows


def flip(path, offset, bit=3):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def row_offset(path, row):
    shard = open_shard(path)
    return shard.embedding_offset + row * shard.dim * 4 + 5


def test_a_flipped_byte_is_named_not_returned_and_costs_one_row(cache, space, filled):
    path, digests, rows = filled
    flip(path, row_offset(path, 4))
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match=rf"{path.name} is damaged .* 9 intact rows kept"):
        out, found = store.read(digests)
    assert found.tolist() == [i != 4 for i in range(10)]
    np.testing.assert_array_equal(out[found], rows[found])
    assert np.isnan(out[4]).all()
    assert store.missing(digests) == [4]
    assert os.listdir(store.path / "quarantine") == [path.name]
    store.publish(digests[4:5], rows[4:5])
    for reader in (store, cache.space(space)):
        np.testing.assert_array_equal(reader.read(digests)[0], rows)


def test_damage_is_met_by_a_store_that_had_opened_the_file_before(store, filled):
    path, digests, rows = filled
    assert store.missing(digests) == []
    flip(path, row_offset(path, 9))
    with pytest.warns(RuntimeWarning, match=path.name):
        out, found = store.read(digests)
    assert np.flatnonzero(~found).tolist() == [9]
    np.testing.assert_array_equal(out[found], rows[found])


def test_a_damaged_header_is_met_by_the_first_look(cache, space, filled):
    path, digests, rows = filled
    flip(path, 60)
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match=r"SHA-256 in its name\); moved to .*quarantine.*0 intact rows"):
        assert store.missing(digests) == list(range(10))
    store.publish(digests, rows)  # the same rows have the same name
    np.testing.assert_array_equal(cache.space(space).read(digests)[0], rows)


def test_a_truncated_file_costs_its_rows_and_no_manual_repair(cache, space, filled, batch):
    path, digests, _ = filled
    more, more_rows = batch(10, 13)
    cache.space(space).publish(more, more_rows)
    path.write_bytes(path.read_bytes()[:-100])
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match=path.name):
        out, found = store.read(digests + more)
    assert found.tolist() == [False] * 10 + [True] * 3
    np.testing.assert_array_equal(out[10:], more_rows)


def test_a_file_cut_off_under_an_open_store_gives_nan_and_not_leftovers(store, filled):
    path, digests, _ = filled
    assert store.missing(digests) == []
    path.write_bytes(path.read_bytes()[: row_offset(path, 6)])
    with pytest.warns(RuntimeWarning, match=path.name):
        out, found = store.read(digests)
    assert not found.any()
    assert np.isnan(out).all()


def test_a_row_that_lives_in_two_shards_survives_the_damage_of_either(cache, space, filled, batch):
    _, digests, rows = filled
    again, again_rows = batch(2, 6)
    cache.space(space).publish(again, again_rows)
    for target in cache.space(space).shards.iterdir():
        intact = target.read_bytes()
        n_rows = open_shard(target).n_rows
        flip(target, row_offset(target, 3 if n_rows == 10 else 1))  # the image 3 in both
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            out, found = cache.space(space).read(digests)
        assert found.all()
        np.testing.assert_array_equal(out, rows)
        target.write_bytes(intact)


def test_only_bytes_between_the_rows_damaged_means_that_no_row_is_lost(cache, space, filled):
    path, digests, rows = filled
    shard = open_shard(path)
    used = shard.embedding_offset + rows.nbytes
    data = bytearray(path.read_bytes())
    data[shard.crc_offset + 2] ^= 1  # a checksum, not a row: that row cannot be trusted
    path.write_bytes(data)
    assert used <= len(data)
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match="9 intact rows kept"):
        out, found = store.read(digests)
    assert np.flatnonzero(~found).tolist() == [0]
    np.testing.assert_array_equal(out[1:], rows[1:])


def test_a_foreign_file_among_the_shards_is_set_aside(cache, space, filled):
    path, digests, _ = filled
    (path.parent / ("0" * 32 + ".h5")).write_bytes(b"no HDF5 at all")
    other = encode_shard(np.zeros((1, 32), "u1"), np.zeros((1, 3), "f4"), Space({"backbone": "other"}))
    (path.parent / shard_name(other)).write_bytes(other)
    (path.parent / "notes.txt").write_text("not a shard, not touched")
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match="damaged") as caught:
        assert store.missing(digests) == []
    text = "\n".join(str(w.message) for w in caught)
    assert "backbone: other in the cache, tiny asked for" in text
    assert "SHA-256" in text
    assert store.dim == 12
    assert sorted(os.listdir(store.shards)) == sorted([path.name, "notes.txt"])


def test_an_intact_file_put_in_place_meanwhile_is_not_lost(cache, space, filled):
    """A publisher replaces the damaged file just before it is moved away."""
    path, digests, rows = filled
    store = cache.space(space)
    assert store.missing(digests) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store._quarantine.take(path, "seen before it was replaced")
    assert path.exists()
    assert os.listdir(store.path / "quarantine") == []
    np.testing.assert_array_equal(store.read(digests)[0], rows)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_suspect_left_by_a_killed_process_is_settled_by_the_next_scan(cache, space, filled, damaged):
    path, digests, rows = filled
    if damaged:
        flip(path, row_offset(path, 2))
    folder = cache.space(space).path / "quarantine"
    folder.mkdir()
    path.rename(folder / f"{path.stem}.0123.suspect")
    store = cache.space(space)
    if damaged:
        with pytest.warns(RuntimeWarning, match="9 intact rows kept"):
            assert store.missing(digests) == [2]
        assert os.listdir(folder) == [path.name]
    else:
        assert store.missing(digests) == []
        assert os.listdir(folder) == []
        np.testing.assert_array_equal(store.read(digests)[0], rows)


def test_the_same_damage_twice_keeps_both_files(cache, space, filled):
    path, digests, rows = filled
    for _ in range(2):
        flip(path, 60)
        with pytest.warns(RuntimeWarning, match=path.name):
            cache.space(space).missing(digests)
        cache.space(space).publish(digests, rows)
    names = os.listdir(cache.space(space).path / "quarantine")
    assert len(names) == 2
    assert all(name.startswith(path.stem) and name.endswith(".h5") for name in names)


def test_damage_in_a_read_only_cache_is_named_once_and_never_returned(cache, space, filled, monkeypatch):
    path, digests, rows = filled
    flip(path, row_offset(path, 0))

    def read_only(*_args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(quarantine_module.os, "replace", read_only)
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match="not movable: Read-only file system"):
        out, found = store.read(digests)
    assert not found[0]
    assert np.isnan(out[0]).all()
    np.testing.assert_array_equal(out[found], rows[found])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.missing(digests) == list(range(10))
    monkeypatch.undo()
    store.publish(digests, np.ones((10, 12), np.float32))
    assert (store.read(digests)[0] == 1).all()


def test_a_full_disk_while_rescuing_keeps_the_file_for_the_next_time(cache, space, filled, monkeypatch):
    path, digests, rows = filled
    flip(path, row_offset(path, 5))

    def full(*_args):
        raise OSError(28, "No space left on device")

    store = cache.space(space)
    with monkeypatch.context() as patch:
        patch.setattr(store._quarantine, "_write", full)
        with pytest.warns(RuntimeWarning, match="cannot be settled: .*No space left"):
            assert not store.read(digests)[1][5]
    with pytest.warns(RuntimeWarning, match="9 intact rows kept"):
        out, found = cache.space(space).read(digests)
    assert np.flatnonzero(~found).tolist() == [5]
    np.testing.assert_array_equal(out[found], rows[found])
