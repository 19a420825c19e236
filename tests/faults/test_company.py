"""Readers and writers while others compact, index, clear and extract; forks and spawns."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import QUICK, write_photos

import featx
from faults.actors import BATCH, SPACE, Nursery, batch, check, expected
from featx import extract
from featx.cache import Cache, compaction

pytestmark = pytest.mark.faults


def test_a_reader_during_compaction_misses_no_row_and_sees_none_twice(
    tmp_path, monkeypatch, thorough, counted
):
    monkeypatch.setattr(compaction, "_TARGET_BYTES", 8000)
    digests = [d for start in range(0, 200, BATCH) for d in batch(start)[0]]
    rows = expected(np.arange(200))
    for start in range(0, 200, BATCH):
        Cache(tmp_path).space(SPACE).publish(*batch(start))
    stop, problems, compactions = threading.Event(), [], []

    def compacting():
        while not stop.is_set():
            monkeypatch.setattr(compaction, "_TARGET_BYTES", compaction._TARGET_BYTES + 2000)
            compactions.append(compaction.compact(Cache(tmp_path).space(SPACE)))

    def merged():
        return sum(before for before, _ in compactions)

    thread = threading.Thread(target=compacting)
    thread.start()
    reader, reads = Cache(tmp_path).space(SPACE), 0
    try:
        begin = time.monotonic()
        # Only the fifth compaction merges merged shards again, which a busy machine does not reach in 2 s.
        while time.monotonic() < begin + (20 if thorough else 2) or (
            merged() <= 200 // BATCH and thread.is_alive() and time.monotonic() < begin + 120
        ):
            out, found = reader.read(digests)
            reads += 1
            if not found.all() or not (out == rows).all() or len(reader) != 200:
                problems.append(np.flatnonzero(~found))
    finally:
        stop.set()
        thread.join()
    counted(reads=reads, merged_shards=merged(), lost=len(problems))
    assert problems == []
    assert merged() > 200 // BATCH  # merged shards were merged again


def test_readers_in_another_process_follow_compactions_and_kills(tmp_path, thorough, counted):
    with Nursery(tmp_path / "cache", seed=3) as nursery:
        reader = Cache(nursery.root).space(SPACE)
        for number in range(20 if thorough else 3):
            nursery.round(("writer", 100 * number, 100 * number + 100), ("compactor",))
            for start in nursery.committed():
                out, found = reader.read(batch(start)[0])
                assert found.all()
                np.testing.assert_array_equal(out, batch(start)[1])
        counted(kills=nursery.kills, lost=0)


EXTRACT = """
import sys
sys.path[:0] = sys.argv[3:]
from pictures import QUICK
from featx import extract
features = extract(sys.argv[1], **QUICK, batch_size=2, cache=sys.argv[2])
print(len(features), features.run["forward_passes"])
"""


def extractor(photos, cache):
    paths = [str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", EXTRACT, str(photos), str(cache), *paths]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_extractors_on_overlapping_images_lose_nothing_and_compute_each_once(tmp_path):
    both = write_photos(tmp_path / "all", 60)
    parts = [tmp_path / "a", tmp_path / "b"]
    for k, part in enumerate(parts):
        for image in both.rglob("*.png"):
            number = int(image.stem)
            if (number < 45, number >= 15)[k]:
                target = part / image.relative_to(both)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(image.read_bytes())
    processes = [extractor(part, tmp_path / "cache") for part in parts]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [int(n) for n, _ in outputs] == [135, 135]
    assert sum(int(passes) for _, passes in outputs) == 180
    together = extract(both, **QUICK, cache=tmp_path / "cache")
    assert together.run["forward_passes"] == 0
    (space,) = Cache(tmp_path / "cache").spaces()
    assert len(Cache(tmp_path / "cache").space(space)) == 180
    alone = extract(both, **QUICK, cache=tmp_path / "alone")
    np.testing.assert_allclose(together.embeddings, alone.embeddings, rtol=1e-4, atol=1e-5)


def test_a_killed_extraction_goes_on_without_reading_unchanged_images_again(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 20)
    past = time.time() - 100
    for image in photos.rglob("*.png"):
        os.utime(image, (past, past))
    monkeypatch.setattr("featx.cache.stat_cache._RACY_NS", 0)  # ctimes cannot be put back
    monkeypatch.setattr("featx.extraction.commit_buffer.COMMIT_BYTES", 4096 * 4)
    monkeypatch.setattr("featx.extraction.run._LOOK", 1)
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    process = context.Process(target=_extract_slowly, args=(photos, tmp_path / "cache"))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list((tmp_path / "cache").rglob("shards/*.h5"))) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    read = []
    monkeypatch.setattr("featx.inputs.image.source.digest_bytes", _noting(read))
    features = extract(photos, **QUICK, batch_size=4, cache=tmp_path / "cache")
    assert 0 < features.run["forward_passes"] <= 60 - 12
    assert len(read) < 60  # those of the killed run that were committed were recognised by their stat


def _noting(read):
    from featx.cache import digest_bytes

    def noted(data):
        read.append(len(data))
        return digest_bytes(data)

    return noted


def _extract_slowly(photos, cache):
    from featx.engines import TorchEngine

    real = TorchEngine.__call__

    def slow(self, *args):
        time.sleep(0.05)
        return real(self, *args)

    TorchEngine.__call__ = slow
    extract(photos, **QUICK, batch_size=4, cache=cache)


# Forks, spawns and pickles


def _read_in_child(store, starts):
    return [bool((store.read(batch(start)[0])[0] == batch(start)[1]).all()) for start in starts]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_store_works_in_forked_and_spawned_workers(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform has no {method}")
    store = Cache(tmp_path).space(SPACE)
    for start in range(0, 20, BATCH):
        store.publish(*batch(start))
    store.refresh()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for answers in pool.map(_read_in_child, [store, store], [range(0, 10, BATCH), range(10, 20, BATCH)]):
            assert all(answers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_while_a_thread_holds_the_lock_does_not_hang(tmp_path):
    store = Cache(tmp_path).space(SPACE)
    store.publish(*batch(0))
    held, release = threading.Event(), threading.Event()

    def hold():
        with store._lock:
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a hang ends as a failure
        try:
            os._exit(0 if store.read(batch(0)[0])[1].all() else 1)
        finally:
            os._exit(2)
    release.set()
    thread.join()
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to list open files")
def test_no_file_of_the_cache_stays_open_and_none_is_pickled(tmp_path):
    store = Cache(tmp_path).space(SPACE)
    for start in range(0, 20, BATCH):
        store.publish(*batch(start))
    store.read(batch(5)[0])
    store.refresh()
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert not [path for path in opened if path.startswith(str(tmp_path))]
    assert pickle.loads(pickle.dumps(store)).read(batch(5)[0])[1].all()
    check(tmp_path, {0, 5, 10, 15})


def _is_open(descriptor):
    return os.path.lexists(f"/proc/self/fd/{descriptor}")
