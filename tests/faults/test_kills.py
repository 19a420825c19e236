"""SIGKILL at random moments, and at every single step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import featx
from faults.actors import BATCH, Nursery, check

pytestmark = pytest.mark.faults

COMPANY = {
    "one writer": lambda at: [("writer", at, at + 200)],
    "two writers of other images": lambda at: [("writer", at, at + 100), ("writer", at + 100, at + 200)],
    "two writers of the same images": lambda at: [("writer", at, at + 100), ("writer", at + 50, at + 150)],
    "a writer and a compaction": lambda at: [("writer", at, at + 200), ("compactor",)],
    "two compactions and a writer": lambda at: [("compactor",), ("compactor",), ("writer", at, at + 200)],
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


STEPS = """
import os, sys
from faults import actors
from featx.cache import Cache, compaction, snapshot
compaction._TARGET_BYTES = 10**6
snapshot._INDEX_AFTER = 1
store = Cache(sys.argv[1]).space(actors.SPACE)
for start in range(0, 30, 5):
    store.publish(*actors.batch(start))
print("ready", flush=True)
left = int(sys.argv[3])

def step(call):
    def stepped(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        result = call(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return result
    return stepped

for name in ("open", "fdopen", "fsync", "replace", "unlink", "mkdir"):
    setattr(os, name, step(getattr(os, name)))
{"publish": lambda: store.publish(*actors.batch(30)), "compact": lambda: compaction.compact(store),
 "index": store.refresh}[sys.argv[2]]()
print("done", flush=True)
"""


@pytest.mark.parametrize("work", ["publish", "compact", "index"])
def test_a_kill_before_and_after_every_step_loses_nothing(tmp_path, work, thorough, counted):
    every = range(1, 200) if thorough else range(1, 200, 5)
    kills = 0
    for left in every:
        root = tmp_path / str(left)
        ended = _stepped(root, work, left)
        assert "ready" in ended.stdout, ended.stderr
        rows = check(root, set(range(0, 30, BATCH)))
        if "done" in ended.stdout:
            assert ended.returncode == 0
            assert rows == (35 if work == "publish" else 30)
            break
        kills += 1
        check_goes_on(root)
    else:
        pytest.fail("never came to an end")
    counted(kills=kills, lost=0)
    assert kills >= (2 if not thorough else 8)


def check_goes_on(root: Path) -> None:
    """After a kill, the next process does the same work without any help."""
    from faults.actors import SPACE, batch
    from featx.cache import Cache, compaction

    cache = Cache(root)
    store = cache.space(SPACE)
    store.publish(*batch(30))
    compaction.compact(store)
    assert check(root, set(range(0, 35, BATCH))) == 35
    cache.collect_garbage()
    assert os.listdir(store.path / "tmp") == []


def _stepped(root: Path, work: str, left: int) -> subprocess.CompletedProcess:
    paths = [str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])]
    return subprocess.run(
        [sys.executable, "-c", STEPS, str(root), work, str(left)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
    )
