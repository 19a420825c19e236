import hashlib
import os
import shutil
import time

import h5py
import numpy as np
import pytest

from featx.cache import Cache, Space, compaction, maintenance
from featx.cache.compaction import compact
from featx.cache.header import open_shard
from featx.errors import CacheError

OTHER = Space({"backbone": "other"})


def flip(path, row=0):
    data = bytearray(path.read_bytes())
    shard = open_shard(path)
    data[shard.embedding_offset + row * shard.row_bytes] ^= 1
    path.write_bytes(data)


@pytest.fixture
def filled(cache, space, batch):
    """Two spaces: one of six shards with 30 rows, one of one shard with 4 rows of another length."""
    store = cache.space(space)
    for start in range(0, 30, 5):
        store.publish(*batch(start, start + 5))
    cache.space(OTHER).publish(*batch(0, 4, dim=7))
    return store


# Compaction


def test_small_shards_become_one_with_the_same_rows_in_the_order_of_publication(filled, cache, space, batch):
    assert compact(filled) == (6, 1)
    (path,) = filled.shard_paths()
    digests, rows = batch(0, 30)
    for store in (filled, cache.space(space)):
        np.testing.assert_array_equal(store.read(digests)[0], rows)
    assert [bytes(key) for key in open_shard(path).read_keys()] == digests
    assert compact(filled) == (0, 0)


def test_a_row_that_was_published_twice_is_kept_once(filled, batch):
    filled.publish(*batch(3, 12))
    compact(filled)
    (path,) = filled.shard_paths()
    assert open_shard(path).n_rows == 30
    np.testing.assert_array_equal(filled.read(batch(0, 30)[0])[0], batch(0, 30)[1])


def test_large_shards_are_left_and_the_size_is_kept(filled, batch, monkeypatch):
    size = filled.shard_paths()[0].stat().st_size
    monkeypatch.setattr(compaction, "_TARGET_BYTES", int(2.5 * size))
    assert compact(filled) == (6, 3)
    before = filled.shard_paths()
    assert compact(filled) == (0, 0)
    assert filled.shard_paths() == before


def test_damage_that_is_met_is_set_aside_and_the_rest_is_merged(filled, batch):
    path = filled.shard_paths()[2]
    flip(path)
    with pytest.warns(RuntimeWarning, match=f"{path.name} is damaged .*4 intact rows kept"):
        compact(filled)
    assert np.count_nonzero(filled.read(batch(0, 30)[0])[1]) == 29
    assert os.listdir(filled.path / "quarantine") == [path.name]


def test_what_cannot_be_read_back_takes_nothing_away(filled, batch, monkeypatch):
    real = filled.publisher.write

    def torn(*args, **options):
        path = real(*args, **options)
        flip(path)
        return path

    monkeypatch.setattr(filled.publisher, "write", torn)
    with pytest.raises(CacheError, match="what was read back is not what was written"):
        compact(filled)
    assert len(filled.shard_paths()) == 7
    monkeypatch.undo()
    with pytest.warns(RuntimeWarning, match="damaged"):
        compact(filled)
    np.testing.assert_array_equal(filled.read(batch(0, 30)[0])[0], batch(0, 30)[1])


def test_merging_the_same_again_never_makes_a_file_of_the_same_name(filled, batch):
    compact(filled)
    (first,) = filled.shard_paths()
    kept = first.read_bytes()
    first.unlink()
    for start in range(0, 30, 5):
        filled.publish(*batch(start, start + 5))
    compact(filled)
    (second,) = filled.shard_paths()
    assert first.name != second.name
    first.write_bytes(kept)
    np.testing.assert_array_equal(filled.read(batch(0, 30)[0])[0], batch(0, 30)[1])


# Looking


def test_info_says_what_is_there_and_changes_nothing(filled, cache, space):
    before = {path: path.stat().st_mtime_ns for path in cache.root.rglob("*")}
    other, first = sorted(cache.info(), key=lambda i: i.rows)
    assert (first.rows, first.dim, first.shards, first.space) == (30, 12, 6, space)
    assert (other.rows, other.dim, other.shards, other.space) == (4, 7, 1, OTHER)
    assert first.bytes == sum(p.stat().st_size for p in filled.path.rglob("*") if p.is_file())
    assert abs(first.last_used - time.time()) < 60
    assert {path: path.stat().st_mtime_ns for path in cache.root.rglob("*")} == before


def test_info_counts_what_does_not_open_and_leaves_it(filled, cache):
    path = filled.shard_paths()[0]
    path.write_bytes(path.read_bytes()[:300])
    first = max(cache.info(), key=lambda i: i.shards)
    assert (first.rows, first.shards, first.unreadable, first.quarantined) == (25, 6, 1, 0)
    assert path.exists()


def test_reading_is_the_last_use(filled, cache, space, batch):
    for store in (filled, cache.space(OTHER)):
        os.utime(store.path / "space.json", (1e9, 1e9))
    cache.space(space).read(batch(0, 3)[0])
    used = {i.space: i.last_used for i in cache.info()}
    assert used[OTHER] == 1e9
    assert used[space] > 1e9
    assert [i.space for i in cache.info()] == [space, OTHER]


# Verifying


def test_all_is_well(filled, cache):
    seen = []
    found = cache.verify(on_file=seen.append)
    assert (found.shards, found.rows, found.damaged) == (7, 34, [])
    assert sum(seen) == 7


def test_damage_is_named_set_aside_and_found_once(filled, cache, batch):
    paths = filled.shard_paths()
    flip(paths[1], row=2)
    paths[3].write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="damaged"):
        found = cache.verify()
    assert {path for path, _ in found.damaged} == {paths[1], paths[3]}
    assert dict(found.damaged)[paths[3]] == "empty"
    assert (found.shards, found.rows) == (8, 28)  # the eighth has what was kept: four rows
    assert np.count_nonzero(filled.read(batch(0, 30)[0])[1]) == 24  # 5 lost with the empty file, 1 flipped
    assert cache.verify().damaged == []


def test_a_space_that_cannot_say_what_it_is_is_named(filled, cache):
    (filled.path / "space.json").unlink()
    for path in filled.shard_paths():
        path.write_bytes(b"x")
    found = cache.verify()
    assert found.damaged == [(filled.path, "no readable file in it names its space")]


def test_an_index_that_is_wrong_is_removed(filled, cache):
    (filled.path / "index.h5").write_bytes(b"x")
    assert cache.verify().damaged == []
    assert not (filled.path / "index.h5").exists()


# Collecting


def test_left_overs_go_and_foreign_files_stay(filled, cache, space, batch):
    flip(filled.shard_paths()[0])
    with pytest.warns(RuntimeWarning, match="damaged"):
        cache.verify()
    part = filled.path / "tmp" / ("0" * 32 + ".host.1.part")
    part.write_bytes(b"x")
    os.utime(part, (0, 0))
    (filled.path / "tmp" / "mine.txt").write_bytes(b"x")
    cache.space({"backbone": "empty"}).prepare()
    done = cache.collect_garbage(older_than=0)
    assert (done.removed_files, done.merged, done.into) == (2, 6, 1)
    assert os.listdir(filled.path / "tmp") == ["mine.txt"]
    assert os.listdir(filled.path / "quarantine") == []
    assert {i.space for i in cache.info()} == {space, OTHER}
    assert done.bytes_after < done.bytes_before
    assert done.bytes_after == sum(i.bytes for i in cache.info())
    assert np.count_nonzero(cache.space(space).read(batch(0, 30)[0])[1]) == 29


def test_a_space_and_an_unfinished_file_that_are_young_stay(cache, space, batch):
    """An extraction may have just made the space, and another machine may be writing the file."""
    store = cache.space(space)
    store.prepare()
    part = store.path / "tmp" / ("0" * 32 + ".elsewhere.1.part")
    part.write_bytes(b"x")
    assert cache.collect_garbage().removed_files == 0
    assert part.exists()
    assert cache.spaces() == [space]
    hours_ago = time.time() - 2 * 3600
    os.utime(part, (hours_ago, hours_ago))
    assert cache.collect_garbage().removed_files == 1
    assert cache.spaces() == [space]
    for folder in (store.path, store.shards, store.path / "tmp", store.path / "space.json"):
        os.utime(folder, (hours_ago, hours_ago))
    cache.collect_garbage()
    assert not store.path.exists()


def test_a_folder_in_which_nothing_says_what_it_is_goes_when_it_is_old_and_has_no_rows(cache):
    folder = cache.root / ("ab" * 32)
    (folder / "tmp").mkdir(parents=True)
    (folder / "cost.json").write_text("{}")
    cache.collect_garbage()
    assert folder.exists()
    cache.collect_garbage(older_than=0)
    assert not folder.exists()


def test_the_least_recently_used_space_goes_first_and_the_last_one_stays(filled, cache, space):
    os.utime(filled.path / "space.json", (1e9, 1e9))
    assert cache.collect_garbage(max_bytes=10**9).removed_spaces == []
    assert cache.collect_garbage(max_bytes=1).removed_spaces == [space]
    assert cache.spaces() == [OTHER]
    assert not filled.path.exists()
    done = cache.collect_garbage(max_bytes=1)
    assert done.removed_spaces == []
    assert cache.spaces() == [OTHER]


def test_a_space_is_not_empty_while_its_rows_wait_to_be_rescued(filled, cache, batch, monkeypatch):
    """A full disk: verify sets the file aside and cannot write its intact rows anew; gc must not go on."""
    for path in filled.shard_paths()[1:]:
        path.unlink()
    (path,) = filled.shard_paths()
    flip(path)

    def full(*_args, **_options):
        raise CacheError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("featx.cache.publisher.Publisher.write", full)
        with pytest.warns(RuntimeWarning, match="cannot be checked"):
            cache.verify()
        with pytest.warns(RuntimeWarning, match="cannot be checked"):
            cache.collect_garbage()
    with pytest.warns(RuntimeWarning, match="4 intact rows kept"):
        assert np.count_nonzero(cache.space(filled.space).read(batch(0, 30)[0])[1]) == 4


def test_a_row_that_is_published_while_its_space_looks_empty_is_kept(cache, space, batch, monkeypatch):
    store = cache.space(space)
    store.prepare()
    real = maintenance._remove_if_empty

    def published_first(folder):
        store.publish(*batch(0, 3))
        real(folder)

    monkeypatch.setattr(maintenance, "_remove_if_empty", published_first)
    cache.collect_garbage(older_than=0)
    assert cache.space(space).missing(batch(0, 3)[0]) == []


def test_publishing_is_a_use_and_an_empty_space_is_not_the_one_that_stays(filled, cache, space, batch):
    for store in (filled, cache.space(OTHER)):
        os.utime(store.path / "space.json", (1e9, 1e9))
    cache.space(space).publish(*batch(50, 51))
    cache.space({"backbone": "empty"}).prepare()
    assert cache.collect_garbage(max_bytes=1, older_than=0).removed_spaces == [OTHER]
    assert cache.spaces() == [space]


def test_a_merged_shard_that_another_one_took_away_is_no_error(filled, batch, monkeypatch):
    real = filled.publisher.write

    def taken(*args, **options):
        path = real(*args, **options)
        path.unlink()
        return path

    monkeypatch.setattr(filled.publisher, "write", taken)
    assert compact(filled) == (0, 0)
    np.testing.assert_array_equal(filled.read(batch(0, 30)[0])[0], batch(0, 30)[1])


def test_one_file_of_a_newer_featx_does_not_stop_the_check_of_the_others(filled, cache, monkeypatch):
    newer, damaged, *_ = filled.shard_paths()
    with h5py.File(newer, "r+") as file:
        file.attrs["format_version"] = 2
    newer = newer.rename(newer.with_name(hashlib.sha256(newer.read_bytes()).hexdigest()[:32] + ".h5"))
    flip(damaged)
    with pytest.warns(RuntimeWarning, match=damaged.name):
        found = cache.verify()
    said = dict(found.damaged)
    assert set(said) == {newer, damaged}
    assert "shard format 2, this featx reads 1" in said[newer]
    assert newer.exists()


def test_images_that_are_gone_are_forgotten(cache, tmp_path):
    old = time.time_ns() - 10**11
    cache.stat_cache.store([((str(tmp_path / "gone.png"), 1, old, old), b"x" * 32)])
    assert cache.collect_garbage().forgotten == 1


# Clearing


def test_clearing_removes_all_that_is_ours_and_nothing_else(filled, cache):
    (cache.root / "mine.txt").write_bytes(b"x")
    (cache.root / "checks.journal").write_bytes(b"2 ")
    cache.stat_cache.store([(("/a.png", 1, 1, 1), b"x" * 32)])
    cache.clear()
    assert os.listdir(cache.root) == ["mine.txt"]
    assert cache.is_empty()
    cache.clear()
    (cache.root / "checks.journal").mkdir()  # not ours
    cache.clear()
    assert cache.is_empty()


def test_what_is_being_written_survives_that_everything_is_cleared(filled, cache, space, batch, monkeypatch):
    real = os.replace

    def cleared_first(part, target):
        if str(target).endswith(".h5"):
            monkeypatch.setattr(os, "replace", real)
            cache.clear()
            assert os.listdir(filled.path) == ["tmp"]  # with the file that is about to get its name
        real(part, target)

    monkeypatch.setattr(os, "replace", cleared_first)
    filled.publish(*batch(50, 55))
    assert cache.space(space).missing(batch(0, 30)[0] + batch(50, 55)[0]) == list(range(30))
    assert cache.spaces() == [space]
    assert (filled.path / "space.json").exists()


def test_some_spaces_can_be_cleared(filled, cache, space):
    cache.clear([OTHER])
    assert cache.spaces() == [space]


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    cache = Cache(tmp_path / "nowhere")
    assert cache.info() == []
    assert cache.verify().shards == 0
    assert cache.collect_garbage().bytes_before == 0
    cache.clear()
    assert not (tmp_path / "nowhere").exists()


def test_a_cache_that_is_cleared_while_it_is_read_gives_misses(filled, cache, batch):
    assert filled.missing(batch(0, 30)[0]) == []
    cache.clear()
    assert not filled.read(batch(0, 30)[0])[1].any()
    filled.publish(*batch(0, 5))
    assert filled.missing(batch(0, 6)[0]) == [5]


def test_a_copy_of_a_cache_works_elsewhere(filled, cache, space, batch, tmp_path):
    shutil.copytree(cache.root, tmp_path / "elsewhere")
    shutil.rmtree(cache.root)
    np.testing.assert_array_equal(
        Cache(tmp_path / "elsewhere").space(space).read(batch(0, 30)[0])[0], batch(0, 30)[1]
    )


def test_a_lost_description_is_written_again_by_the_next_use(filled, cache, space, batch):
    (filled.path / "space.json").unlink()
    assert next(i for i in cache.info() if i.space == space).last_used is not None
    cache.space(space).read(batch(0, 3)[0])
    assert (filled.path / "space.json").read_text() == space.canonical_json


def test_one_collection_settles_the_damage_that_it_meets(filled, cache, batch):
    flip(filled.shard_paths()[0])
    with pytest.warns(RuntimeWarning, match="damaged"):
        done = cache.collect_garbage()
    assert (done.removed_files, done.bytes_after < done.bytes_before) == (1, True)
    assert os.listdir(filled.path / "quarantine") == []


def test_a_row_in_two_shards_counts_once(filled, cache, space, batch):
    filled.publish(*batch(3, 12))
    assert next(i for i in cache.info() if i.space == space).rows == 30


def test_a_row_that_is_published_while_an_empty_space_is_removed_is_kept(cache, space, batch, monkeypatch):
    store = cache.space(space)
    store.prepare()
    real = maintenance._remove

    def published_first(folder, files):
        cache.space(space).publish(*batch(0, 3))
        real(folder, files)

    monkeypatch.setattr(maintenance, "_remove", published_first)
    cache.collect_garbage(older_than=0)
    assert cache.space(space).missing(batch(0, 3)[0]) == []


def test_a_check_beside_a_busy_writer_comes_to_an_end(filled, cache, space, batch):
    starts = iter(range(100, 10_000, 5))

    def busy(_number):
        start = next(starts)
        cache.space(space).publish(*batch(start, start + 5))

    found = cache.verify(on_file=busy)
    assert found.damaged == []
    assert 7 <= found.shards <= 40
