import json
import os
import warnings

import h5py
import numpy as np
import pytest

from featx.cache import Space, index_file, snapshot
from featx.cache import quarantine as quarantine_module
from featx.cache.encoding import encode_file, encode_shard, shard_name
from featx.cache.header import open_shard
from featx.cache.shard import DamagedShard


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
    path.rename(folder / f"{path.stem}.{path.stem}.suspect")
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
        with pytest.warns(RuntimeWarning, match="cannot be checked: .*No space left"):
            assert not store.read(digests)[1][5]
    with pytest.warns(RuntimeWarning, match="9 intact rows kept"):
        out, found = cache.space(space).read(digests)
    assert np.flatnonzero(~found).tolist() == [5]
    np.testing.assert_array_equal(out[found], rows[found])


# Files that someone made on purpose


def named(folder, image):
    path = folder / shard_name(bytes(image))
    path.write_bytes(image)
    return path


def test_a_shard_whose_keys_do_not_match_and_whose_name_does_is_damage_and_no_endless_loop(
    cache, space, filled
):
    path, digests, rows = filled
    with h5py.File(path, "r+") as file:
        file.attrs["keys_crc32"] = 1
    forged = named(path.parent, path.read_bytes())
    path.unlink()
    store = cache.space(space)
    with pytest.warns(RuntimeWarning, match="its keys do not match their checksum.*10 intact rows kept"):
        np.testing.assert_array_equal(store.read(digests)[0], rows)
    assert not forged.exists()
    assert cache.verify().damaged == []


def test_what_is_no_hdf5_file_and_has_a_fitting_name_is_set_aside(cache, space, filled):
    path, digests, rows = filled
    forged = named(path.parent, b"no HDF5 at all")
    with pytest.warns(RuntimeWarning, match="no shard, though its name fits"):
        np.testing.assert_array_equal(cache.space(space).read(digests)[0], rows)
    assert not forged.exists()


def test_a_shard_of_ten_terabytes_of_nothing_is_refused_before_anything_is_allocated(
    tmp_path, space, monkeypatch
):
    path = tmp_path / "sparse.h5"
    with h5py.File(path, "w", libver=("v108", "v108")) as file:
        n, dim = 10**11, 12
        for name, value in {
            "format": b"featx-shard",
            "format_version": 1,
            "space_id": space.id.encode(),
            "space": space.canonical_json.encode(),
            "n_rows": n,
            "dim": dim,
            "dtype": b"<f4",
            "keys_crc32": 0,
        }.items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, bytes) else value
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        for name, shape, dtype in [
            ("embedding", (n, dim), "<f4"),
            ("key", (n, 32), "u1"),
            ("row_crc32", (n,), "<u4"),
        ]:
            kind, place = h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), kind, place, early)
    if path.stat().st_size < 10**12:
        pytest.skip("this file system has no sparse files")
    monkeypatch.setattr("featx.cache.header.file_damage", lambda path: None)  # to sum it up takes hours
    with pytest.raises(DamagedShard, match=r"reaches beyond the end of the file or \d+ bytes"):
        open_shard(path, space)


@pytest.mark.parametrize(
    "change",
    [
        {"n_rows": 10**30},
        {"n_rows": 0},
        {"dim": 0},
        {"dim": 10**13},
        {"dim": 11},
        {"embedding_offset": -8},
        {"key_offset": 10**9},
        {"name": "../../elsewhere.h5"},
        {"dtype": "<f8"},
        {"n_rows": "many"},
    ],
)
def test_a_forged_index_with_a_right_checksum_does_no_harm(cache, space, filled, monkeypatch, change):
    _, digests, rows = filled
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 0)
    store = cache.space(space)
    store.refresh()
    index = store.path / "index.h5"
    with h5py.File(index) as file:
        arrays = {name: file[name][:] for name in ("shards", "key", "place")}
        attributes = dict(file.attrs)
    (entry,) = json.loads(arrays["shards"].tobytes())
    arrays["shards"] = np.frombuffer(json.dumps([entry | change]).encode(), np.uint8)
    attributes["sha256"] = index_file._checksum(arrays).encode()
    attributes["shards_bytes"] = len(arrays["shards"])
    index.write_bytes(encode_file(attributes, arrays))
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 100)
    assert cache.info()[0].rows == 10
    assert cache.verify().damaged == []
    for dim in (None, 12):
        out, found = cache.space(space, dim=dim).read(digests)
        assert found.all()
        np.testing.assert_array_equal(out, rows)


def test_links_in_a_circle_and_pipes_are_left_alone(cache, space, filled):
    path, digests, rows = filled
    circle = path.parent / ("3" * 32 + ".h5")
    circle.symlink_to(circle)
    described = cache.root / space.id / "space.json"
    described.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(described)
        os.mkfifo(cache.root / space.id / "index.h5")
        os.mkfifo(path.parent / "mine")
    assert cache.spaces() == [space]
    assert cache.info()[0].rows == 10
    np.testing.assert_array_equal(cache.space(space).read(digests)[0], rows)
    (cache.root / space.id / "quarantine").mkdir()
    foreign = cache.root / space.id / "quarantine" / "notes.suspect"
    foreign.write_bytes(b"mine")
    assert cache.verify().damaged == []
    assert foreign.exists()


def test_a_suspect_that_another_process_settled_is_looked_for_again(cache, space, filled, monkeypatch):
    path, digests, _ = filled
    folder = cache.root / space.id / "quarantine"
    folder.mkdir()
    path.rename(folder / f"{path.stem}.{path.stem}.suspect")
    real = quarantine_module.verify_shard

    def first_another(suspect, its_space):
        if suspect.exists():
            suspect.rename(path)
        return real(suspect, its_space)

    monkeypatch.setattr(quarantine_module, "verify_shard", first_another)
    assert cache.space(space).missing(digests) == []
