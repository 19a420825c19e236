import os
import pickle
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from featx import durable
from featx.cache import Cache, Space, SpaceStore, default_root, snapshot
from featx.cache import publisher as publisher_module
from featx.cache.sidecar import read_cost, write_cost
from featx.errors import CacheError


def test_what_is_published_is_read_in_any_order_with_repeats(cache, space, batch):
    digests, rows = batch(0, 20)
    store = cache.space(space)
    store.publish(digests[:12], rows[:12])
    store.publish(digests[12:], rows[12:])
    order = [19, 0, 12, 11, 0, 5]
    for reader in (store, cache.space(space)):
        out, found = reader.read([digests[i] for i in order])
        assert out.dtype == np.float32
        assert found.all()
        np.testing.assert_array_equal(out, rows[order])
        assert len(reader) == 20
        assert reader.held([*digests, b"?" * 32, digests[0]]) == set(digests)
        assert reader.held([]) == set()
        assert reader.dim == 12


def test_a_folder_is_listed_again_only_after_a_change(cache, space, store, batch, monkeypatch):
    digests, rows = batch(0, 3)
    store.publish(digests[:1], rows[:1])
    looks = []
    list_names = snapshot.list_names
    monkeypatch.setattr(snapshot, "list_names", lambda *of: looks.append(of) or list_names(*of))
    assert store.missing([None, None]) == [0, 1]
    assert not looks  # which inputs have no digest yet, the disk does not know
    time.sleep(0.06)  # file systems may give changes at about the same time the same mtime
    assert store.missing(digests) == [1, 2]
    count = len(looks)
    assert store.missing(digests) == [1, 2]
    assert len(looks) == count > 0
    other = cache.space(space)
    other.publish(digests[1:2], rows[1:2])
    assert store.missing(digests) == [2]
    other.shard_paths()[0].unlink()
    other.shard_paths()[0].unlink()
    assert store.missing(digests) == [0, 1, 2]


def test_folders_that_are_on_disk_are_not_synced_for_every_run(store, monkeypatch):
    store.prepare()
    time.sleep(0.06)
    synced = []
    monkeypatch.setattr(publisher_module, "fsync_folder", synced.append)
    store.prepare()
    assert synced == [store.path, store.root]  # they changed too recently to be known as synced
    store.prepare()
    assert len(synced) == 2
    shutil.rmtree(store.path)
    store.prepare()
    assert synced[2:] == [store.path, store.root]


def test_missing_gives_the_positions_without_a_row(store, batch):
    digests, rows = batch(0, 6)
    assert store.missing(digests) == [0, 1, 2, 3, 4, 5]
    store.publish([digests[1], digests[4]], rows[[1, 4]])
    assert store.missing(digests) == [0, 2, 3, 5]
    assert store.missing([None, digests[1], None]) == [0, 2]
    assert digests[1] in store
    assert digests[0] not in store
    assert store.missing([]) == []


def test_what_is_not_there_is_nan_and_not_found(store, batch):
    digests, rows = batch(0, 4)
    out, found = store.read(digests)
    assert out.shape == (4, 0)
    assert not found.any()
    store.publish(digests[:2], rows[:2])
    out, found = store.read(digests)
    assert found.tolist() == [True, True, False, False]
    assert np.isnan(out[2:]).all()
    assert store.read([])[0].shape == (0, 12)


def test_a_declared_dim_shapes_the_empty_answer(cache, space, batch):
    assert cache.space(space, dim=5).read(batch(0, 3)[0])[0].shape == (3, 5)


def test_half_precision_rows_come_back_as_float32(store, batch):
    digests, rows = batch(0, 3)
    store.publish(digests, rows.astype(np.float16))
    out, _ = store.read(digests)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, rows.astype(np.float16).astype(np.float32))


def test_values_come_back_bit_by_bit(store, batch):
    digests, _ = batch(0, 1)
    row = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38]], dtype=np.float32)
    store.publish(digests, row)
    assert store.read(digests)[0].tobytes() == row.tobytes()


def test_of_a_digest_that_comes_twice_the_first_row_is_kept(store, batch):
    digests, rows = batch(0, 3)
    store.publish([digests[0], digests[1], digests[0]], rows)
    np.testing.assert_array_equal(store.read(digests[:2])[0], rows[:2])
    assert len(store) == 2


def test_publishing_nothing_writes_nothing(cache, space, store):
    store.publish([], np.zeros((0, 4), np.float32))
    assert not cache.root.exists()


def test_publishing_the_same_again_changes_nothing(store, batch):
    for _ in range(2):
        store.publish(*batch(0, 5))
    assert len(os.listdir(store.shards)) == 1
    assert os.listdir(store.path / "tmp") == []


def test_reading_an_empty_cache_creates_nothing(cache, store, batch):
    store.missing(batch(0, 3)[0])
    store.read(batch(0, 3)[0])
    assert cache.spaces() == []
    assert not cache.root.exists()


def test_spaces_do_not_see_one_another(cache, space, batch):
    digests, rows = batch(0, 3)
    other = Space({"backbone": "other"})
    cache.space(space).publish(digests, rows)
    cache.space(other).publish(digests[:1], rows[:1, :4])
    assert cache.space(other).missing(digests) == [1, 2]
    assert {s.id for s in cache.spaces()} == {space.id, other.id}


@pytest.mark.parametrize(
    ("digests", "rows", "message"),
    [
        ([b"x" * 31], np.zeros((1, 4), "f4"), "digest 0 is 31 bytes: expected 32"),
        (["x" * 32], np.zeros((1, 4), "f4"), "digest 0 is str: expected 32"),
        ([b"x" * 32], np.zeros((2, 4), "f4"), r"rows of shape \(2, 4\) for 1 digests"),
        ([b"x" * 32], np.zeros(1, "f4"), r"rows of shape \(1,\)"),
        ([b"x" * 32], np.zeros((1, 4), "f8"), "float64: expected float32 or float16"),
        ([b"x" * 32], np.zeros((1, 0), "f4"), r"rows of shape \(1, 0\)"),
    ],
)
def test_bad_arguments_are_refused_and_write_nothing(cache, store, digests, rows, message):
    with pytest.raises(CacheError, match=message):
        store.publish(digests, rows)
    assert not cache.root.exists()


def test_bad_digests_are_refused_when_asking(store):
    with pytest.raises(CacheError, match="digest 1 is 3 bytes"):
        store.missing([b"x" * 32, b"abc"])
    with pytest.raises(CacheError, match="digest 0 is NoneType"):
        store.read([None])


def test_rows_of_another_length_are_refused(cache, space, batch):
    digests, rows = batch(0, 4)
    cache.space(space).publish(digests[:2], rows[:2])
    with pytest.raises(CacheError, match="rows of 3 values: this space has 12"):
        cache.space(space).publish(digests[2:], rows[2:, :3])
    with pytest.raises(CacheError, match=r"\.h5: rows of 12 values, expected 7"):
        cache.space(space, dim=7).missing(digests)


def test_a_reader_sees_what_others_publish_and_clear(cache, space, batch):
    digests, rows = batch(0, 6)
    one, two = cache.space(space), cache.space(space)
    assert one.missing(digests) == list(range(6))
    two.publish(digests[:3], rows[:3])
    assert one.missing(digests) == [3, 4, 5]
    two.publish(digests[3:], rows[3:])
    out, found = one.read(digests)
    assert found.all()
    np.testing.assert_array_equal(out, rows)
    shutil.rmtree(two.path)
    assert one.missing(digests) == list(range(6))
    assert not one.read(digests)[1].any()


def test_a_reader_follows_a_compaction_between_looking_and_reading(cache, space, batch):
    digests, rows = batch(0, 6)
    writer, reader = cache.space(space), cache.space(space)
    writer.publish(digests[:3], rows[:3])
    writer.publish(digests[3:], rows[3:])
    assert reader.missing(digests) == []
    old = os.listdir(writer.shards)
    writer.publish(digests, rows)
    for name in old:
        (writer.shards / name).unlink()
    out, found = reader.read(digests)
    assert found.all()
    np.testing.assert_array_equal(out, rows)


def test_a_writer_survives_that_the_cache_is_cleared_between_two_batches(cache, space, batch):
    digests, rows = batch(0, 6)
    store = cache.space(space)
    store.publish(digests[:3], rows[:3])
    shutil.rmtree(cache.root)
    store.publish(digests[3:], rows[3:])
    assert cache.space(space).missing(digests) == [0, 1, 2]
    assert cache.spaces() == [space]


def test_a_store_travels_to_another_process_as_root_and_space(cache, space, batch):
    store = cache.space(space, dim=12)
    store.publish(*batch(0, 3))
    copy = pickle.loads(pickle.dumps(store))
    assert isinstance(copy, SpaceStore)
    assert (copy.root, copy.space, copy.dim) == (store.root, space, 12)
    assert copy.missing(batch(0, 3)[0]) == []
    assert len(pickle.dumps(store)) < 2000


def test_threads_publish_and_read_at_once(cache, space, batch):
    store = cache.space(space)
    problems = []

    def work(number):
        digests, rows = batch(10 * number, 10 * number + 10)
        store.publish(digests, rows)
        out, found = store.read(digests)
        if not found.all() or not (out == rows).all():
            problems.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(store) == 80


# The space in clear


def test_the_space_stands_in_clear_and_is_repaired(cache, space, batch):
    cache.space(space).publish(*batch(0, 2))
    described = cache.root / space.id / "space.json"
    assert described.read_text(encoding="utf-8") == space.canonical_json
    described.write_text("{damaged")
    assert cache.spaces() == [space]  # a shard says it as well
    cache.space(space).prepare()
    assert described.read_text(encoding="utf-8") == space.canonical_json
    described.unlink()
    assert cache.spaces() == [space]


def test_folders_that_are_no_space_are_left_out(cache, space, batch):
    cache.space(space).prepare()
    (cache.root / "other").mkdir()
    (cache.root / ("0" * 64)).mkdir()
    (cache.root / ("1" * 64)).write_text("a file")
    assert cache.spaces() == [space]


def test_the_nearest_space_says_why_nothing_can_be_used(cache, space):
    assert cache.nearest(space) is None
    asked = Space({"backbone": "tiny", "preprocessing": {"interpolation": "bicubic", "size": [4, 4]}})
    cache.space(space).prepare()
    cache.space({"backbone": "quite", "another": 1}).prepare()
    cache.space(asked).prepare()
    other, differences = cache.nearest(asked)
    assert other == space
    assert differences == ["preprocessing.interpolation: bilinear in the cache, bicubic asked for"]


# Places


def test_prepare_makes_the_folders_and_sweeps_old_parts(cache, space):
    store = cache.space(space)
    store.prepare()
    part = store.path / "tmp" / ("0" * 32 + ".host.1.part")
    part.write_bytes(b"x")
    os.utime(part, (0, 0))
    store.prepare()
    assert sorted(os.listdir(store.path)) == ["shards", "space.json", "tmp"]
    assert os.listdir(store.path / "tmp") == []


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match="is not a folder; choose another folder with --cache or FEATX"):
        Cache(tmp_path / "file")


def test_a_root_below_a_file_fails_in_one_line_with_advice(tmp_path, space):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match=r"cannot write to the cache .*; choose another folder with --cache"):
        Cache(tmp_path / "file" / "below").space(space).prepare()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_root_can_be_read_and_says_that_it_cannot_be_written(cache, space, batch):
    digests, rows = batch(0, 3)
    cache.space(space).publish(digests, rows)
    folders = [cache.root, *(p for p in cache.root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        store = cache.space(space)
        assert store.read(digests)[1].all()
        with pytest.raises(CacheError, match="Permission denied"):
            store.prepare()
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_place_without_permission_says_so(cache, space, monkeypatch):
    monkeypatch.setattr(publisher_module.os, "access", lambda *_args: False)
    with pytest.raises(CacheError, match=r"cannot write to the cache .*: Permission denied; choose"):
        cache.space(space).prepare()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_loses_the_batch_and_nothing_else(cache, space, batch, monkeypatch, call):
    digests, rows = batch(0, 6)
    store = cache.space(space)
    store.publish(digests[:3], rows[:3])

    def fail(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, call, fail)
        with pytest.raises(CacheError, match="No space left on device; choose another folder"):
            store.publish(digests[3:], rows[3:])
    assert os.listdir(store.path / "tmp") == []
    assert store.missing(digests) == [3, 4, 5]
    store.publish(digests[3:], rows[3:])
    np.testing.assert_array_equal(store.read(digests)[0], rows)


def test_an_unreadable_folder_is_no_empty_cache(cache, store, batch, monkeypatch):
    def fail(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("featx.cache.files.os.scandir", fail)
    with pytest.raises(CacheError, match=r"cannot read the cache .*Permission denied"):
        store.missing(batch(0, 1)[0])


def test_the_root_is_what_is_named_then_the_variable_then_the_platform(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "variable"))
    assert Cache(tmp_path / "named").root == tmp_path / "named"
    assert Cache("~/x").root == tmp_path / "x"
    assert default_root() == tmp_path / "variable"
    monkeypatch.delenv("FEATX_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "featx"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == tmp_path / ".cache" / "featx"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_root() == tmp_path / "Library" / "Caches" / "featx"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_root() == tmp_path / "local" / "featx" / "Cache"


def test_without_a_home_the_advice_is_to_name_a_folder(monkeypatch):
    def homeless(_self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FEATX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(CacheError, match=r"no home folder .*FEATX_CACHE"):
        default_root()


def test_a_publisher_lives_with_a_cache_that_is_cleared_all_the_time(cache, space, batch):
    stop, failures = threading.Event(), []

    def clearing():
        while not stop.is_set():
            cache.clear()
            time.sleep(0.005)

    thread = threading.Thread(target=clearing)
    thread.start()
    try:
        for start in range(0, 200, 5):
            try:
                cache.space(space).publish(*batch(start, start + 5))
            except CacheError as error:
                failures.append(str(error))
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_a_root_in_a_place_that_cannot_be_looked_into_is_a_cache_error(tmp_path, monkeypatch):
    def forbidden(_self, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", forbidden)
    with pytest.raises(CacheError, match=r"cannot read the cache .*: Permission denied; choose another"):
        Cache(tmp_path / "x")


def test_a_remembered_cost_that_is_absurd_is_forgotten(cache, space):
    store = cache.space(space)
    store.prepare()
    write_cost(store.path, 0.25)
    assert read_cost(store.path) == 0.25
    for text in ("1" + "0" * 400, "NaN", "-1", '"fast"', "{"):
        (store.path / "cost.json").write_text(f'{{"seconds_per_image": {text}}}')
        assert read_cost(store.path) is None
