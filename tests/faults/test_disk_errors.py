"""No space left, and errors of the disk, on every write, sync, rename and folder that there is."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import QUICK, QUICK_OPTIONS, write_photos

import featx
from faults.actors import BATCH, SPACE, batch, check
from featx import extract
from featx.cache import Cache, compaction, snapshot
from featx.cache.header import open_shard
from featx.errors import CacheError

pytestmark = pytest.mark.faults


class Faults:
    """Lets the nth call that changes the disk below `root` fail; a failing write writes half."""

    def __init__(self, root: Path, monkeypatch) -> None:
        self.root, self._patch = str(root), monkeypatch
        self.left, self.code, self.hit = 0, 0, None

    def arm(self, n: int, code: int) -> None:
        self.left, self.code, self.hit = n, code, None

    def fail_now(self, what: str, path) -> bool:
        if not os.fspath(path).startswith(self.root):
            return False
        self.left -= 1
        if self.left == 0:
            self.hit = f"{what} {os.path.relpath(path, self.root)}"
        return self.left == 0

    def error(self) -> OSError:
        return OSError(self.code, os.strerror(self.code))

    @contextlib.contextmanager
    def installed(self):
        opened: dict[int, str] = {}
        real = {name: getattr(os, name) for name in ("open", "fdopen", "fsync", "replace", "mkdir", "unlink")}

        def named(name):
            def call(path, *rest, **options):
                target = rest[0] if name == "replace" else path
                if self.fail_now(name, target):
                    raise self.error()
                return real[name](path, *rest, **options)

            return call

        def open_(path, flags, *rest, **options):
            if flags & os.O_CREAT and self.fail_now("open", path):
                raise self.error()
            descriptor = real["open"](path, flags, *rest, **options)
            opened[descriptor] = os.fspath(path)
            return descriptor

        def fdopen(descriptor, *rest, **options):
            file = real["fdopen"](descriptor, *rest, **options)
            return _Failing(file, opened[descriptor], self) if descriptor in opened else file

        def fsync(descriptor):
            if self.fail_now("fsync", opened.get(descriptor, "")):
                raise self.error()
            real["fsync"](descriptor)

        with self._patch.context() as patch:
            for name in ("replace", "mkdir", "unlink"):
                patch.setattr(os, name, named(name))
            patch.setattr(os, "open", open_)
            patch.setattr(os, "fdopen", fdopen)
            patch.setattr(os, "fsync", fsync)
            patch.setattr("featx.durable._fsync_file", fsync)
            yield


class _Failing:
    def __init__(self, file, path, faults) -> None:
        self._file, self._path, self._faults = file, path, faults

    def write(self, data):
        if self._faults.fail_now("write", self._path):
            self._file.write(data[: len(data) // 2])
            raise self._faults.error()
        return self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


def published(store):
    store.publish(*batch(20))


def compacted(store):
    compaction.compact(store)


def indexed(store):
    store.refresh()


def verified(store):
    path = store.shard_paths()[0]
    torn = bytearray(path.read_bytes())
    torn[open_shard(path).embedding_offset] ^= 1
    path.write_bytes(torn)
    Cache(store.root).verify()
    numbers = [s for s in range(0, 20, BATCH) if not store.read(batch(s)[0])[1].all()]
    store.publish(*batch(numbers[0]))  # as an extraction does


@pytest.mark.filterwarnings("ignore:cache file .* is damaged:RuntimeWarning")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("work", [published, compacted, indexed, verified])
def test_an_error_at_the_nth_change_loses_nothing_and_the_work_goes_on(
    tmp_path, monkeypatch, work, code, counted
):
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 1)
    hits = []
    for n in range(1, 200):
        root = tmp_path / str(n)
        store = Cache(root).space(SPACE)
        for start in range(0, 20, BATCH):
            store.publish(*batch(start))
        store = Cache(root).space(SPACE)
        faults = Faults(root, monkeypatch)
        faults.arm(n, code)
        with faults.installed():
            try:
                work(store)
                message = None
            except CacheError as error:
                message = str(error)
            except OSError as error:
                pytest.fail(f"{faults.hit}: {error!r} is no CacheError")
        assert message is None or (os.strerror(code) in message and str(root) in message)
        if faults.hit is None:
            break
        hits.append(faults.hit)
        if work is not verified:  # there one row is lost, and stands for it
            check(root, set(range(0, 20, BATCH)))
        store.refresh()
        for start in range(0, 20, BATCH):
            if work is verified and not store.read(batch(start)[0])[1].all():
                store.publish(*batch(start))
        published(store)
        compaction.compact(Cache(root).space(SPACE))
        assert check(root, set(range(0, 25, BATCH))) == 25
        Cache(root).collect_garbage()
        assert os.listdir(store.path / "tmp") == []
    else:
        pytest.fail("never came to an end")
    counted(errors=len(hits), lost=0)
    kinds = {hit.split()[0] for hit in hits}
    assert {"open", "write", "fsync", "replace"} <= kinds


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of a Linux machine may mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_is_one_line_and_the_next_run_goes_on(tmp_path, small_disk, monkeypatch):
    """Rows of 48 images of 512 float32 are 98 kB; what is left of a megabyte holds some of them."""
    photos = write_photos(tmp_path / "photos", 16)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(970_000))
    monkeypatch.setattr("featx.extraction.commit_buffer.COMMIT_BYTES", 20_000)
    run = [sys.executable, "-m", "featx", "extract", str(photos), "-o", str(tmp_path / "f.h5")]
    run += [*QUICK_OPTIONS, "--batch-size", "4"]
    run += ["--cache", str(small_disk / "cache"), "--quiet"]
    environment = dict(os.environ, PYTHONPATH=str(Path(featx.__file__).parents[1]))
    with pytest.raises(CacheError, match="No space left on device; choose another folder"):
        extract(photos, **QUICK, batch_size=4, cache=small_disk / "cache")
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert not (tmp_path / "f.h5").exists()
    committed = len(Cache(small_disk / "cache").space(_only_space(small_disk / "cache")).keys())
    assert 0 < committed < 48
    ballast.unlink()
    features = extract(photos, **QUICK, batch_size=4, cache=small_disk / "cache")
    assert features.run["forward_passes"] == 48 - committed
    fresh = extract(photos, **QUICK, batch_size=4, cache=tmp_path / "fresh")
    assert (features.embeddings == fresh.embeddings).all()


def _only_space(root):
    (space,) = Cache(root).spaces()
    return space
