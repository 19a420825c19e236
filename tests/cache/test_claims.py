"""Runs at work on the same rows share them out, and the claims of one that died are void."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from featx.cache import Claims, claims
from featx.cache.identity import digest_bytes
from featx.durable import host_name

needs_locks = pytest.mark.skipif(claims.fcntl is None, reason="this platform has no flock")

DIGESTS = [digest_bytes(bytes([i])) for i in range(40)]


@needs_locks
def test_each_digest_is_given_to_one(tmp_path):
    a, b = Claims(tmp_path), Claims(tmp_path)
    assert a.take(DIGESTS[:3]) == [True, True, True]
    assert b.take(DIGESTS[1:5]) == [False, False, True, True]
    assert a.take(DIGESTS[:5]) == [False] * 5
    assert b.free(DIGESTS[:6]) == [False] * 5 + [True]


@needs_locks
def test_threads_share_them_out(tmp_path):
    taken: list[list[bytes]] = [[] for _ in range(4)]

    def work(mine):
        held = Claims(tmp_path)
        held_by.append(held)
        for digest in DIGESTS:
            if held.take([digest])[0]:
                mine.append(digest)

    held_by: list[Claims] = []
    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(digest for mine in taken for digest in mine) == sorted(DIGESTS)


@needs_locks
def test_what_is_given_back_is_free(tmp_path):
    a, b = Claims(tmp_path), Claims(tmp_path)
    a.take(DIGESTS[:2])
    assert b.free(DIGESTS[:2]) == [False, False]
    a.close()
    assert b.take(DIGESTS[:2]) == [True, True]
    b.close()
    assert [path.name for path in tmp_path.iterdir()] == ["claims.lock"]


@needs_locks
def test_a_run_that_dropped_one_may_take_it_again(tmp_path):
    a = Claims(tmp_path)
    assert a.take(DIGESTS[:1] * 2) == [True, False]
    a.drop(DIGESTS[:1])
    assert a.free(DIGESTS[:1]) == [True]
    assert a.take(DIGESTS[:1]) == [True]


@needs_locks
def test_the_claims_of_a_killed_process_are_void(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from featx.cache import Claims, digest_bytes\n"
        "Claims(Path(sys.argv[1])).take([digest_bytes(bytes([i])) for i in range(4)])\n"
        "print('taken', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"taken\n"
        mine = Claims(tmp_path)
        assert mine.take(DIGESTS[:5]) == [False] * 4 + [True]
        os.kill(other.pid, signal.SIGKILL)
    assert mine.take(DIGESTS[:5]) == [True] * 4 + [False]


def test_where_nothing_can_be_written_each_works_alone(tmp_path):
    a, b = Claims(tmp_path / "none"), Claims(tmp_path / "none")
    assert a.take(DIGESTS[:2] + DIGESTS[:1]) == [True, True, False]
    assert b.take(DIGESTS[:2]) == [True, True]
    assert a.free(DIGESTS[:3]) == [False, False, True]
    a.close()


def test_where_there_are_no_locks_each_works_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "fcntl", None)
    a, b = Claims(tmp_path), Claims(tmp_path)
    assert a.take(DIGESTS[:2]) == b.take(DIGESTS[:2]) == [True, True]
    assert list(tmp_path.iterdir()) == []


# Nobody is waited for without an end


@needs_locks
def test_a_lock_that_is_never_released_is_waited_for_once_and_the_claims_still_count(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_LOCK_SECONDS", 0.3)
    a, b = Claims(tmp_path), Claims(tmp_path)
    a.take(DIGESTS[:1])
    with open(tmp_path / "claims.lock") as gate:
        claims.fcntl.flock(gate, claims.fcntl.LOCK_EX)
        began = time.monotonic()
        assert b.take(DIGESTS[:2]) == [False, True]
        assert 0.3 <= time.monotonic() - began < 2
        for digest in DIGESTS[2:]:
            assert b.take([digest]) == [True]
        assert b.free(DIGESTS[:2]) == [False, False]
        assert time.monotonic() - began < 2
    assert a.take(DIGESTS[:5]) == [False] * 5  # what was claimed without the gate is seen by others


@needs_locks
def test_ctrl_c_ends_the_wait_for_the_lock(tmp_path, ctrl_c):
    Claims(tmp_path).take(DIGESTS[:1])
    with open(tmp_path / "claims.lock") as gate:
        claims.fcntl.flock(gate, claims.fcntl.LOCK_EX)
        ctrl_c(0.2)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            Claims(tmp_path).take(DIGESTS[:2])
        assert time.monotonic() - began < 2


@needs_locks
def test_the_claims_of_one_that_gives_no_sign_of_life_are_void_until_it_does(tmp_path):
    a, b = Claims(tmp_path), Claims(tmp_path)
    a.take(DIGESTS[:2])
    assert b.free(DIGESTS[:2]) == [False, False]
    assert b.void_silent(60) == []
    assert b.void_silent(0) == [f"process {os.getpid()} on {host_name()[:31]}"]
    assert b.void_silent(0) == []  # said once
    assert b.free(DIGESTS[:2]) == [True, True]
    assert b.take(DIGESTS[:1]) == [True]
    time.sleep(0.02)  # a file system's clock ticks slowly
    a.committed([])
    assert b.free(DIGESTS[:2]) == [False, False]
    assert b.void_silent(0)
    a.take(DIGESTS[2:3])
    assert b.free(DIGESTS[1:3]) == [False, False]


@needs_locks
def test_claims_on_committed_rows_are_forgotten_by_all(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_LONG_FILE", 8 * 32)
    a, b = Claims(tmp_path), Claims(tmp_path)
    for start in range(0, 32, 4):
        assert a.take(DIGESTS[start : start + 4]) == [True] * 4
        assert b.take(DIGESTS[start : start + 4]) == [False] * 4
        a.committed(DIGESTS[: start + 2])  # two stay in flight
    assert a._mine == set(DIGESTS[30:32])
    (file,) = tmp_path.glob("*.claim")
    assert file.stat().st_size <= 10 * 32
    assert b.free(DIGESTS[30:34]) == [False, False, True, True]
    assert sum(len(other.claims) for other in b._others.values()) <= 10
    a.close()
    assert b.free(DIGESTS[30:32]) == [True, True]


@needs_locks
def test_after_a_pass_nothing_is_claimed_any_longer(tmp_path):
    """What could not be decoded too: two runs would wait for one another's until the end of both."""
    a, b = Claims(tmp_path), Claims(tmp_path)
    a.take(DIGESTS[:2])
    a.drop(DIGESTS[:1])
    assert b.free(DIGESTS[:2]) == [False, False]
    a.drop_all()
    assert b.free(DIGESTS[:2]) == [True, True]
    assert a.take(DIGESTS[:1]) == [True]
    assert b.free(DIGESTS[:2]) == [False, True]


@needs_locks
def test_what_has_the_name_of_a_claim_and_is_no_file_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / f"{'0' * 32}.host.1.claim")
    (tmp_path / f"{'1' * 32}.host.1.claim").mkdir()
    (tmp_path / "mine.claim").write_bytes(DIGESTS[0])
    assert Claims(tmp_path).take(DIGESTS[:1]) == [True]
    assert (tmp_path / "mine.claim").exists()


@needs_locks
def test_a_folder_that_is_cleared_and_made_again_has_claims_again(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    a, b = Claims(folder), Claims(folder)
    a.take(DIGESTS[:1])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert b.take(DIGESTS[:1]) == [True]
    folder.mkdir()
    assert b.take(DIGESTS[1:2]) == [True]
    assert a.take(DIGESTS[1:3]) == [False, True]


@needs_locks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_keeps_no_claim_of_a_parent_that_dies(tmp_path):
    parent = Claims(tmp_path)
    assert parent.take(DIGESTS[:2]) == [True, True]
    ended, end = os.pipe()
    begun, begin = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os.close(end)
        os.write(begin, b"x")
        os.read(ended, 1)  # it lives on
        os._exit(0)
    try:
        os.read(begun, 1)
        os.close(parent._file)  # what a kill does
        assert Claims(tmp_path).free(DIGESTS[:2]) == [True, True]
    finally:
        for pipe in (end, ended, begun, begin):
            os.close(pipe)
        os.waitpid(child, 0)
        parent._file = None
