"""Kills at every step of a publication, kills at random, and several writers at once."""

import inspect
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import featx
from featx.cache import Cache, Space, digest_bytes

SPACE = {"backbone": "killed"}


def batch(start, stop):
    digests = [digest_bytes(b"%d" % i) for i in range(start, stop)]
    return digests, np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 64, axis=1)


PRELUDE = f"""
import os, sys
import numpy as np
from featx import durable
from featx.cache import Cache, digest_bytes

{inspect.getsource(batch)}
store = Cache(sys.argv[1]).space({SPACE})
"""
WRITER = """
first, stop = int(sys.argv[2]), int(sys.argv[3])
for start in range(first, stop, 5):
    store.publish(*batch(start, start + 5))
    print(start, flush=True)
"""
KILL = """
store.publish(*batch(0, 5))
print(0, flush=True)
def die(*_):
    os.kill(os.getpid(), 9)
"""
DIE_AFTER_REPLACE = """
real = os.replace
def replace(a, b):
    real(a, b)
    die()
os.replace = replace
"""


def started(root, code, *arguments):
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(featx.__file__)))
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(root), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def check(root, committed):
    """Every committed batch is there, and whatever is there is right."""
    store = Cache(root).space(Space(SPACE))
    for start in committed:
        digests, rows = batch(start, start + 5)
        out, found = store.read(digests)
        assert found.all(), f"the committed batch {start} is lost"
        np.testing.assert_array_equal(out, rows)
    digests, rows = batch(0, 2000)
    out, found = store.read(digests)
    np.testing.assert_array_equal(out[found], rows[found])
    return int(found.sum())


@pytest.mark.parametrize(
    ("step", "survives"),
    [
        pytest.param("os.fdopen = die", False, id="before the rows are written"),
        pytest.param("durable._fsync_file = die", False, id="before the file's sync"),
        pytest.param("os.replace = die", False, id="before the name"),
        pytest.param(DIE_AFTER_REPLACE, True, id="after the name"),
        pytest.param("durable.fsync_folder = die", True, id="before the folder's sync"),
    ],
)
def test_a_kill_at_any_step_loses_at_most_the_batch_in_flight(tmp_path, step, survives):
    code = f"{KILL}\n{step}\nstore.publish(*batch(5, 10))\nprint(5)\n"
    writer = started(tmp_path, code)
    printed = writer.communicate(timeout=60)[0].split()
    assert writer.returncode == -signal.SIGKILL
    assert printed == ["0"]
    assert check(tmp_path, [0]) == (10 if survives else 5)
    Cache(tmp_path).space(Space(SPACE)).publish(*batch(5, 10))
    assert check(tmp_path, [0, 5]) == 10


def test_kills_at_random_moments_lose_no_committed_row(tmp_path):
    random.seed(0)
    committed = []
    for run in range(4):
        writer = started(tmp_path, WRITER, 400 * run, 400 * run + 400)
        lines = [writer.stdout.readline()]  # it is writing from here on
        time.sleep(random.uniform(0, 0.08))
        writer.kill()
        lines += writer.communicate(timeout=60)[0].splitlines()
        committed += [int(line) for line in lines if line.strip().isdigit()]
        check(tmp_path, committed)
    assert len(committed) >= 4


def test_writers_of_the_same_and_of_other_images_do_not_disturb_one_another(tmp_path):
    writers = [started(tmp_path, WRITER, *span) for span in [(0, 60), (0, 60), (30, 90)]]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert check(tmp_path, range(0, 90, 5)) == 90
    assert len(os.listdir(tmp_path / Space(SPACE).id / "shards")) == 18  # equal batches, equal names
    assert os.listdir(tmp_path / Space(SPACE).id / "tmp") == []
