"""Several caches become one: everything intact arrives, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from featx.cache import Cache, Space, digest_bytes, encoding
from featx.cache.compaction import compact
from featx.cache.sidecar import read_note, write_note
from featx.errors import CacheError


@pytest.fixture
def filled(tmp_path, space, batch):
    """``filled("a", 0, 10, 5)`` is a cache with the rows of these images, in shards of 5."""

    def fill(name, start, stop, each=5, space=space):
        cache = Cache(tmp_path / name)
        for at in range(start, stop, each):
            cache.space(space).publish(*batch(at, at + each))
        return cache

    return fill


def rows_of(cache, space, batch, start, stop):
    digests, wanted = batch(start, stop)
    rows, found = cache.space(space).read(digests)
    assert found.all()
    assert np.array_equal(rows, wanted)


def files_of(cache):
    return {path: path.read_bytes() for path in sorted(cache.root.rglob("*")) if path.is_file()}


def test_the_rows_of_all_caches_are_in_the_merged_one(cache, filled, space, batch):
    a, b = filled("a", 0, 20), filled("b", 10, 40)
    before = files_of(a), files_of(b)
    done = cache.merge([a.root, str(b.root)])
    assert (done.new, done.known, done.rows, done.damaged) == (40, 10, {space: 50}, [])
    assert done.bytes == sum(path.stat().st_size for path in cache.space(space).shard_paths())
    rows_of(cache, space, batch, 0, 40)
    assert (files_of(a), files_of(b)) == before
    assert cache.verify().damaged == []
    assert os.listdir(cache.space(space).path / "tmp") == []
    again = cache.merge([a.root, b.root])
    assert (again.new, again.known, again.bytes) == (0, 50, 0)


def test_each_row_that_is_there_is_left_as_it_is(cache, filled, space, batch):
    digests, rows = batch(0, 5)
    cache.space(space).publish(digests[:3], rows[:3])
    done = cache.merge([filled("a", 0, 5).root])
    assert (done.new, done.known) == (2, 3)
    rows_of(cache, space, batch, 0, 5)


@pytest.mark.parametrize("command", [["cp", "-r"], ["rsync", "-a"]], ids=lambda command: command[0])
def test_caches_may_also_be_copied_together(filled, space, batch, command):
    """Names of shards are hashes; what is overwritten (index, notes, stat cache) is derived or checked."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    a, b = filled("a", 0, 100, 2), filled("b", 90, 160, 2)
    for cache in (a, b):
        len(cache.space(space))  # writes the index
        assert (cache.space(space).path / "index.h5").exists()
    subprocess.run([*command, f"{b.root}/.", str(a.root)], check=True)
    merged = Cache(a.root)
    rows_of(merged, space, batch, 0, 160)
    assert merged.verify().damaged == []


def test_merging_is_the_same_as_copying(cache, filled, space, batch, tmp_path):
    a, b = filled("a", 0, 20), filled("b", 20, 40)
    shutil.copytree(a.root, tmp_path / "copied")
    shutil.copytree(b.root, tmp_path / "copied", dirs_exist_ok=True)
    cache.merge([a.root, b.root])
    names = [path.name for path in cache.space(space).shard_paths()]
    assert names == [path.name for path in Cache(tmp_path / "copied").space(space).shard_paths()]


def test_several_spaces_and_an_empty_folder_are_fine(cache, filled, space, batch, tmp_path):
    other = Space({"backbone": "other"})
    a = filled("a", 0, 5)
    filled("a", 5, 10, space=other)
    (tmp_path / "empty").mkdir()
    done = cache.merge([tmp_path / "empty", a.root])
    assert done.rows == {space: 5, other: 5}
    assert set(cache.spaces()) == {space, other}


# What is beside the rows


def test_notes_come_along_and_those_that_are_there_stay(cache, filled, space):
    a = filled("a", 0, 5).space(space).path
    write_note(a, "parity", {"torch bf16 on cpu of A": {"passed": True}, "of both": {"passed": False}})
    write_note(a, "cost", {"seconds_per_image": 2.0})
    write_note(a, "about", {"licence": "MIT"})
    cache.space(space).prepare()
    here = cache.space(space).path
    write_note(here, "parity", {"of both": {"passed": True}})
    write_note(here, "cost", {"seconds_per_image": 1.0})
    cache.merge([a.parent])
    assert read_note(here, "parity") == {
        "torch bf16 on cpu of A": {"passed": True},
        "of both": {"passed": True},
    }
    assert read_note(here, "cost") == {"seconds_per_image": 1.0}
    assert read_note(here, "about") == {"licence": "MIT"}


def test_the_scales_of_int8_come_along_even_without_rows(cache, tmp_path):
    import hashlib

    scales = b"scales"
    space = Space({"backbone": "tiny", "calibration": hashlib.sha256(scales).hexdigest()})
    store = Cache(tmp_path / "a").space(space)
    store.prepare()
    store.publisher.put(store.path / "calibration.bin", scales)
    write_note(store.path, "calibration", {"images": 300})
    cache.merge([tmp_path / "a"])
    here = cache.space(space).path
    assert (here / "calibration.bin").read_bytes() == scales
    assert read_note(here, "calibration") == {"images": 300}
    (here / "calibration.bin").write_bytes(b"damaged")
    cache.merge([tmp_path / "a"])
    assert (here / "calibration.bin").read_bytes() == scales
    (store.path / "calibration.bin").write_bytes(b"damaged")
    cache.merge([tmp_path / "a"])
    assert (here / "calibration.bin").read_bytes() == scales


def test_entries_about_files_come_along_where_they_are_intact_and_new(cache, filled):
    a = filled("a", 0, 5)
    keys = [(f"/data/{i}.png", 10 + i, 5, 5) for i in range(4)]
    digests = [digest_bytes(b"%d" % i) for i in range(4)]
    a.stat_cache.store(zip(keys, digests, strict=True))
    newer = ("/data/0.png", 99, 7, 7)
    cache.stat_cache.store([(newer, digests[3])])
    assert cache.merge([a.root]).entries == 3
    assert cache.stat_cache.lookup([newer, *keys]) == [digests[3], None, *digests[1:]]
    a.stat_cache.path.write_bytes(b"SQLite format 3\0" + bytes(4096))
    before = a.stat_cache.path.read_bytes()
    assert cache.merge([a.root]).entries == 0
    assert a.stat_cache.path.read_bytes() == before


# What is not as it should be


def test_of_a_damaged_shard_the_intact_rows_are_taken_and_it_is_named(cache, filled, space, batch):
    a = filled("a", 0, 10)
    first, second = a.space(space).shard_paths()
    data = bytearray(first.read_bytes())
    shard = encoding.shard_name(bytes(data))
    assert shard == first.name
    from featx.cache.header import open_shard

    at = open_shard(first, space).embedding_offset
    data[at] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:100])
    before = files_of(a)
    done = cache.merge([a.root])
    assert [path for path, _ in done.damaged] == [first, second]
    assert done.damaged[0][1].endswith("do not have the SHA-256 in its name; 4 intact rows taken")
    assert done.damaged[1][1].endswith("0 intact rows taken")
    assert (done.new, len(cache.space(space))) == (4, 4)
    assert files_of(a) == before
    assert cache.verify().damaged == []
    assert cache.merge([a.root]).new == 0


def test_a_damaged_file_at_the_same_name_here_is_replaced(cache, filled, space, batch):
    a = filled("a", 0, 5)
    cache.merge([a.root])
    (here,) = cache.space(space).shard_paths()
    here.write_bytes(here.read_bytes()[:-50])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Cache(cache.root).verify()
    assert Cache(cache.root).merge([a.root]).new > 0
    rows_of(Cache(cache.root), space, batch, 0, 5)


def test_a_suspect_that_a_stopped_process_left_is_taken_if_it_is_intact(cache, filled, space, batch):
    a = filled("a", 0, 5)
    (path,) = a.space(space).shard_paths()
    (path.parent.parent / "quarantine").mkdir()
    path.rename(path.parent.parent / "quarantine" / f"{path.stem}.{'0' * 32}.suspect")
    assert cache.merge([a.root]).new == 5
    rows_of(cache, space, batch, 0, 5)


def test_shards_that_are_compacted_meanwhile_are_found_again(cache, filled, space, batch, monkeypatch):
    a = filled("a", 0, 40)
    from featx.cache import merging

    listed = merging._paths
    calls = []

    def paths(store):
        found = list(listed(store))
        if not calls:
            compact(a.space(space))
        calls.append(found)
        return found

    monkeypatch.setattr(merging, "_paths", paths)
    assert cache.merge([a.root]).new == 40
    assert len(calls) == 2
    rows_of(cache, space, batch, 0, 40)


def test_a_newer_format_is_refused_by_name(cache, filled, space, batch, monkeypatch):
    a = filled("a", 0, 5)
    monkeypatch.setattr(encoding, "FORMAT_VERSION", 2)
    image = encoding.encode_shard(*arrays(batch), space)
    (a.space(space).shards / encoding.shard_name(image)).write_bytes(image)
    with pytest.raises(CacheError, match=r"a/.*\.h5: shard format 2, this featx reads 1; update featx"):
        cache.merge([a.root])


def test_rows_of_another_length_are_not_taken(cache, filled, space, batch):
    cache.space(space).publish(*batch(0, 5, dim=7))
    done = cache.merge([filled("a", 5, 10).root])
    assert "rows of 12 values: this space has 7" in done.damaged[0][1]
    assert len(cache.space(space)) == 5


def test_roots_that_cannot_be_merged_are_named_before_anything_is_written(cache, filled, tmp_path):
    a = filled("a", 0, 5)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.png").touch()
    (tmp_path / "link").symlink_to(a.root)
    for roots, message in (
        ([a.root, tmp_path / "photos"], "photos is no cache: none of its files is of featx"),
        ([a.root, tmp_path / "none"], "none: no such folder"),
        ([a.root, tmp_path / "photos" / "x.png"], "x.png is not a folder"),
        ([a.root, tmp_path / "link"], "link is given twice"),
        ([cache.root], "cache is the cache to merge into"),
    ):
        if roots == [cache.root]:
            cache.root.mkdir()
        with pytest.raises(CacheError, match=message):
            cache.merge(roots)
        assert not list(cache.root.glob("*"))


def test_what_a_hostile_root_holds_does_no_harm(cache, filled, space, batch, tmp_path, monkeypatch):
    """Pipes, links, huge and foreign files, and names that are no names of shards."""
    monkeypatch.setattr("featx.cache.merging.MAX_FILE_BYTES", 10**6)
    a = filled("a", 0, 5)
    shards = a.space(space).shards
    os.mkfifo(shards / f"{'0' * 32}.h5")
    (shards / f"{'1' * 32}.h5").symlink_to("/etc/passwd")
    (shards / f"{'2' * 32}.h5").symlink_to("/dev/zero")
    (shards / f"{'3' * 32}.h5").mkdir()
    with open(shards / f"{'4' * 32}.h5", "wb") as huge:
        huge.truncate(10**12)
    (shards / f"{'5' * 32}.h5").symlink_to(f"{'5' * 32}.h5")
    (shards / "..h5").write_bytes(b"x")
    (shards / "__reduce__.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    image = encoding.encode_shard(*arrays(batch), Space({"backbone": "foreign"}))
    (shards / encoding.shard_name(image)).write_bytes(image)
    (a.root / ("f" * 64)).symlink_to("/etc")
    os.mkfifo(a.root / ("e" * 64))
    for name in ("parity.json", "cost.json", "calibration.bin"):
        os.mkfifo(a.space(space).path / name)
    (a.space(space).path / "about.json").write_text(json.dumps({"x": "y" * 2**21}))
    done = cache.merge([a.root])
    assert (done.new, len(done.damaged)) == (5, 3)
    assert {Path(path).name[:3] for path, _ in done.damaged} == {"111", "444", encoding.shard_name(image)[:3]}
    assert [path.name for path in cache.root.iterdir()] == [space.id]
    assert [path.name for path in (cache.root / space.id).iterdir() if path.name.endswith(".json")] == [
        "space.json"
    ]
    rows_of(cache, space, batch, 0, 5)


def arrays(batch):
    digests, rows = batch(50, 55)
    return np.array([list(digest) for digest in digests], np.uint8), rows


def test_a_cache_that_cannot_be_written_is_one_error_and_nothing_is_left(cache, filled, space, monkeypatch):
    a = filled("a", 0, 10)
    real = os.fsync
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > 8:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CacheError, match=r"cannot write to the cache .*No space left"):
        cache.merge([a.root])
    assert os.listdir(cache.space(space).path / "tmp") == []
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    cache.merge([a.root])
    assert len(cache.space(space)) == 10
