"""A process that is stopped (SIGSTOP) and holds what others want: nobody waits for it without an end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from faults.actors import picture, pixels
from featx.cache import Cache, Claims, claims
from featx.extraction import embed, other_runs, pixel_embedder

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(claims.fcntl is None, reason="this platform has neither flock nor SIGSTOP"),
]

NUMBERS = range(40)


@contextlib.contextmanager
def stopped(root, held, monkeypatch):
    """A process that holds something and is stopped; once it goes on it claims one more, and waits."""
    ready, held_now = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            monkeypatch.setattr(claims, "_LOCK_SECONDS", 0.1)
            store = Cache(root).space(pixel_embedder(8).space)
            store.prepare()
            mine = Claims(store.path / "tmp")
            if "claims" in held:
                mine.take([picture(i).read().digest for i in range(0, 40, 2)])
            if "gate" in held:
                gate = os.open(store.path / "tmp" / "claims.lock", os.O_RDWR | os.O_CREAT)
                claims.fcntl.flock(gate, claims.fcntl.LOCK_EX)
            if "stat.sqlite" in held:
                database = sqlite3.connect(root / "stat.sqlite")
                database.execute("BEGIN EXCLUSIVE")
            os.write(held_now, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)
            mine.take([b"0" * 32])
            os.write(held_now, b"x")
            time.sleep(60)
        os._exit(1)
    try:
        os.close(held_now)
        assert os.read(ready, 1) == b"x"
        os.waitpid(pid, os.WUNTRACED)
        yield pid
        os.kill(pid, signal.SIGCONT)
        assert os.read(ready, 1) == b"x"
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def rows_beside(root):
    return embed([picture(i) for i in NUMBERS], pixel_embedder(8), cache=root, n_jobs=2)


def again_and_again(root):
    """For 10 s at most: the wait for the database is short, and none for a second time."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        rows_beside(root)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(other_runs, "_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(claims, "_LOCK_SECONDS", 0.5)
    monkeypatch.setattr("featx.cache.stat_cache._BUSY_SECONDS", 0.2)


@pytest.mark.parametrize("held", ["claims", "gate", "claims+gate", "claims+gate+stat.sqlite"])
def test_a_run_beside_it_comes_to_its_end(tmp_path, impatient, monkeypatch, held):
    with stopped(tmp_path / "cache", held, monkeypatch) as pid:
        began = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = rows_beside(tmp_path / "cache")
        assert time.monotonic() - began < 20
        said = f"process {pid} on .* has claimed rows and shown no sign of life for [12] s"
        assert [bool(re.match(said, str(w.message))) for w in caught] == [True] * ("claims" in held)
        np.testing.assert_array_equal(rows.embeddings, pixels(NUMBERS))
        assert rows.computed == len(NUMBERS)
    assert rows_beside(tmp_path / "cache").computed == 0


def test_one_that_gives_signs_of_life_is_waited_for(tmp_path, impatient):
    """Twice as long as one is waited for that gives none."""
    root, embedder = tmp_path / "cache", pixel_embedder(8)
    store = Cache(root).space(embedder.space)
    store.prepare()
    digests = [picture(i).read().digest for i in NUMBERS]
    begun, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            other = Claims(store.path / "tmp")
            other.take(digests[:20])
            os.write(begin, b"x")
            for start in range(0, 20, 5):
                time.sleep(0.5)
                store.publish(digests[start : start + 5], pixels(range(start, start + 5)))
                other.committed([])
            other.close()
            status = 0
        finally:
            os._exit(status)
    os.read(begun, 1)
    os.close(begun)
    os.close(begin)
    rows = rows_beside(root)
    assert os.waitpid(pid, 0)[1] == 0
    np.testing.assert_array_equal(rows.embeddings, pixels(NUMBERS))
    assert rows.computed == 20


def test_a_run_that_gives_up_does_not_end_the_wait_for_another(tmp_path):
    root, embedder = tmp_path / "cache", pixel_embedder(8)
    store = Cache(root).space(embedder.space)
    store.prepare()
    digests = [picture(i).read().digest for i in NUMBERS]
    gives_up, goes_on = Claims(store.path / "tmp"), Claims(store.path / "tmp")
    assert all(gives_up.take(digests[:10]) + goes_on.take(digests[10:20]))

    def others():
        time.sleep(0.5)
        gives_up.close()
        while store.missing(digests[:10]):  # until the rows that were given up are computed beside it
            time.sleep(0.01)
        store.publish(digests[10:20], pixels(range(10, 20)))
        goes_on.close()

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(others)
        rows = rows_beside(root)  # a warning that rows were lost would be an error
        done.result()
    np.testing.assert_array_equal(rows.embeddings, pixels(NUMBERS))
    assert rows.computed == len(NUMBERS) - 10


@pytest.fixture(params=["claims", "gate", "stat.sqlite"])
def held(request, thorough):
    """What a stopped process holds."""
    if request.param != "claims" and not thorough:
        pytest.skip("each takes some seconds: --thorough")
    return request.param


def test_ctrl_c_ends_the_wait(tmp_path, monkeypatch, ctrl_c, held):
    """With the deadlines as they are."""
    with stopped(tmp_path / "cache", held, monkeypatch):
        ctrl_c(0.5)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            again_and_again(tmp_path / "cache")
        assert time.monotonic() - began < 4
