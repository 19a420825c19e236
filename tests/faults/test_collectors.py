"""Extractions beside ``featx cache gc``, ``clear`` and ``verify`` in a tight loop: none of them fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import traceback
import warnings

import numpy as np
import pytest
from pictures import QUICK, write_photos

from faults.actors import BATCH, Nursery, check_extracted
from featx import extract, load_backbone
from featx.cache import Cache

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that works beside this one"),
]

ACTIONS = {
    "gc": lambda cache: cache.collect_garbage(),
    "gc of all that is empty": lambda cache: cache.collect_garbage(older_than=0),
    "gc --max-size": lambda cache: cache.collect_garbage(max_bytes=1),
    "clear": lambda cache: cache.clear(),
    "verify": lambda cache: cache.verify(),
}


@contextlib.contextmanager
def looping(action, root, log):
    """A process that does nothing else; what it raises is in the log."""
    pid = os.fork()
    if pid == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                while True:
                    action(Cache(root))
        except BaseException:
            log.write_text(traceback.format_exc())
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not log.exists(), log.read_text()


@pytest.mark.parametrize("action", ACTIONS)
def test_no_extraction_fails_beside_it_and_its_rows_are_right(tmp_path, action, thorough, counted):
    photos = write_photos(tmp_path / "photos", 2)
    backbone = load_backbone(QUICK["backbone"], weights=None, image_size=32)
    options = {"backbone": backbone, "engine": "eager", "precision": "fp32"}
    expected = extract(photos, **options, cache=tmp_path / "alone").embeddings
    runs = (300 if action == "gc" else 60) if thorough else 3
    root, computed = tmp_path / "cache", 0
    with looping(ACTIONS[action], root, tmp_path / "log"):
        for _ in range(runs):
            shutil.rmtree(root, ignore_errors=True)  # each of them begins with nothing
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the cached rows of .* were damaged or removed")
                rows = extract(photos, **options, cache=root)
            np.testing.assert_array_equal(rows.embeddings, expected)
            computed += rows.run["forward_passes"]
    counted(extractions=runs, failed=0, computed_again=computed - 6 * runs)


COMPANY = {
    "gc": lambda at: [("extractor", at, at + 50), ("extractor", at + 25, at + 75), ("collector",)],
    "clear": lambda at: [("extractor", at, at + 50), ("collector",), ("clearer",)],
}


@pytest.mark.parametrize("company", COMPANY)
def test_kills_beside_them_lose_nothing_and_no_extraction_fails(tmp_path, company, thorough, counted):
    with Nursery(tmp_path / "cache", seed=7) as nursery:
        for number in range(180 if thorough else 2):
            nursery.round(*COMPANY[company](75 * (number % 40)))
            committed = nursery.committed()  # fails where an extraction did
            if company == "gc":
                check_extracted(nursery.root, committed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the dead left behind is no damage
            assert Cache(nursery.root).verify().damaged == []
        counted(kills=nursery.kills, committed=len(committed) * BATCH, failed=0, lost=0)
        assert committed
