"""SIGKILL at random moments, and at every single step."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from faults.actors import BATCH, SPACE, Nursery, batch, check
from featx.cache import Cache, SpaceStore, compaction, snapshot

pytestmark = pytest.mark.faults

COMPANY = {
    "one writer": lambda at: [("writer", at, at + 200)],
    "two writers of other images": lambda at: [("writer", at, at + 100), ("writer", at + 100, at + 200)],
    "two writers of the same images": lambda at: [("writer", at, at + 100), ("writer", at + 50, at + 150)],
    "a writer and a compaction": lambda at: [("writer", at, at + 200), ("compactor",)],
    "two compactions and a writer": lambda at: [("compactor",), ("compactor",), ("writer", at, at + 200)],
    "a merge and a writer": lambda at: [("merger", at, at + 100), ("writer", at + 50, at + 150)],
    "two merges": lambda at: [("merger", at, at + 100), ("merger", at + 50, at + 150)],
    "a merge, a writer and a compaction": lambda at: [
        ("merger", at, at + 100),
        ("writer", at + 100, at + 200),
        ("compactor",),
    ],
    "a writer and an index": lambda at: [("indexer",), ("writer", at, at + 200)],
}


@pytest.mark.parametrize("company", COMPANY)
def test_kills_at_random_moments_lose_nothing_that_was_committed(tmp_path, company, thorough, counted):
    rounds = 20 if thorough else 3
    with Nursery(tmp_path / "cache", seed=len(company)) as nursery:
        for number in range(rounds):
            nursery.round(*COMPANY[company](200 * (number % 20)))
            check(nursery.root, nursery.committed())
        counted(kills=nursery.kills, committed=len(nursery.committed()) * BATCH, lost=0)
        assert nursery.kills >= rounds
        assert len(nursery.committed()) >= rounds


def take_steps(root: Path, work: str, left: int, say) -> None:
    """Do some work on a cache, and be killed before or after the step at which `left` is zero."""
    compaction._TARGET_BYTES = 10**6
    snapshot._INDEX_AFTER = 1
    store = Cache(root).space(SPACE)
    for start in range(0, 30, BATCH):
        store.publish(*batch(start))
    other = Cache(root.with_name(root.name + "-other")).space(SPACE)
    for start in (20, 30):
        other.publish(*batch(start))
    say(b"ready ")

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(call):
        def stepped(*args, **kwargs):
            count()
            result = call(*args, **kwargs)
            count()
            return result

        return stepped

    for name in ("open", "fdopen", "fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, step(getattr(os, name)))
    do(work, store)
    say(b"done")


def do(work: str, store: SpaceStore) -> None:
    {
        "publish": lambda: store.publish(*batch(30)),
        "compact": lambda: compaction.compact(store),
        "index": store.refresh,
        "merge": lambda: Cache(store.root).merge([store.root.with_name(store.root.name + "-other")]),
    }[work]()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize("work", ["publish", "compact", "index", "merge"])
def test_a_kill_before_and_after_every_step_loses_nothing(tmp_path, work, thorough, counted):
    every = range(1, 200) if thorough else range(1, 200, 5)
    kills = 0
    for left in every:
        root = tmp_path / str(left)
        status, said = _stepped(root, work, left)
        assert b"ready" in said
        rows = check(root, set(range(0, 30, BATCH)))
        if b"done" in said:
            assert status == 0
            assert rows == (35 if work in ("publish", "merge") else 30)
            break
        assert status == -signal.SIGKILL
        kills += 1
        check_goes_on(root, work)
    else:
        pytest.fail("never came to an end")
    counted(kills=kills, lost=0)
    assert kills >= (2 if not thorough else 8)


def check_goes_on(root: Path, work: str) -> None:
    """After a kill, the next process does the same work without any help."""
    cache = Cache(root)
    store = cache.space(SPACE)
    do(work, store)
    assert check(root, set()) == (35 if work in ("publish", "merge") else 30)
    store.publish(*batch(30))
    compaction.compact(store)
    assert check(root, set(range(0, 35, BATCH))) == 35
    cache.collect_garbage()
    assert os.listdir(store.path / "tmp") == []


def _stepped(root: Path, work: str, left: int) -> tuple[int, bytes]:
    """Return the status of a forked process that took the steps, and what it said."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            take_steps(root, work, left, partial(os.write, writer))
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said
