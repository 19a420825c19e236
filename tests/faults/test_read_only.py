"""A cache that may be read and not written, seen by a user who is not root."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import numpy.testing  # noqa: F401 - now: another user may not be able to read it
import pytest
from pictures import QUICK, write_photos

from faults.actors import BATCH, SPACE, batch, check
from featx import extract, load_backbone
from featx.cache import Cache, snapshot
from featx.errors import CacheError

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own that changes its user"),
]
NOBODY = 65534


def as_nobody(work) -> None:
    """Run `work` in a child that is not root; what it raises is shown, and fails the test."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def place(tmp_path):
    """A folder that anybody may look into, on the way to it too."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o555)
    yield tmp_path
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path)], check=True)


def closed(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_reading_works_and_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 1)  # it would like to write one
    store = Cache(place / "cache").space(SPACE)
    for start in range(0, 20, BATCH):
        store.publish(*batch(start))
    closed(place / "cache")
    before = sorted(place.rglob("*"))

    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert check(place / "cache", set(range(0, 20, BATCH))) == 20
            cache = Cache(place / "cache")
            assert cache.info()[0].rows == 20
            assert cache.verify().damaged == []

    as_nobody(work)
    assert sorted(place.rglob("*")) == before


def test_damage_is_named_and_not_returned_though_nothing_can_be_moved(place):
    store = Cache(place / "cache").space(SPACE)
    store.publish(*batch(0))
    path = store.shard_paths()[0]
    torn = bytearray(path.read_bytes())
    torn[-100] ^= 1
    path.write_bytes(torn)
    closed(place / "cache")

    def work():
        with pytest.warns(RuntimeWarning, match=f"{path.name} is damaged"):
            verification = Cache(place / "cache").verify()
        assert [where for where, _ in verification.damaged] == [path]

    as_nobody(work)


def test_writing_fails_at_once_with_advice(place):
    Cache(place / "cache").space(SPACE).publish(*batch(0))
    closed(place / "cache")

    def work():
        store = Cache(place / "cache").space(SPACE)
        for attempt in (store.prepare, lambda: store.publish(*batch(5)), lambda: Cache(store.root).clear()):
            with pytest.raises(CacheError, match=r"(?i)permission denied"):
                attempt()
        with pytest.raises(CacheError, match="choose another folder with --cache or FEATX_CACHE"):
            store.prepare()

    as_nobody(work)


def test_extraction_from_a_full_read_only_cache_works_and_a_new_image_fails_before_any_work(place):
    photos = write_photos(place / "photos", 4)
    backbone = load_backbone(QUICK["backbone"], weights=None, image_size=32)
    first = extract(photos, backbone=backbone, cache=place / "cache")
    more = write_photos(place / "more", 5)
    closed(place / "cache")

    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = extract(photos, backbone=backbone, cache=place / "cache")
        assert again.run["forward_passes"] == 0
        assert (again.embeddings == first.embeddings).all()
        backbone.build = None  # no network may be needed to find out
        with pytest.raises(CacheError, match=r"cannot write to the cache .*; choose another folder"):
            extract(more, backbone=backbone, cache=place / "cache")

    as_nobody(work)


def test_a_cache_without_any_permission_is_one_line(place):
    photos = write_photos(place / "photos", 1)
    backbone = load_backbone(QUICK["backbone"], weights=None, image_size=32)
    extract(photos, backbone=backbone, cache=place / "cache")
    (place / "cache").chmod(0)

    def work():
        with pytest.raises(CacheError, match=r"the cache .*: Permission denied; choose another folder"):
            extract(photos, backbone=backbone, cache=place / "cache")
        with pytest.raises(CacheError, match=r"the cache .*: Permission denied; choose another folder"):
            Cache(place / "cache").info()

    as_nobody(work)
    (place / "cache").chmod(0o755)
