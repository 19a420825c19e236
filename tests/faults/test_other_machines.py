"""Machines that see no lock of one another extract into one cache, and are killed at random moments."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import QUICK, write_photos

import featx
from faults.actors import BATCH, Nursery, check_extracted, picture, pixels
from featx import extract
from featx.cache import claim_files
from featx.extraction import embed, pixel_embedder

pytestmark = pytest.mark.faults


def test_killed_machines_lose_nothing_and_the_others_go_on(tmp_path, thorough, counted, monkeypatch):
    rounds = 20 if thorough else 3
    with Nursery(tmp_path / "cache", seed=5) as nursery:
        for number in range(rounds):
            at = 100 * number
            nursery.round(*[("far_extractor", machine, at, at + 100) for machine in (1, 2)])
            check_extracted(nursery.root, nursery.committed())
        counted(kills=nursery.kills, committed=len(nursery.committed()) * BATCH, lost=0)
        assert nursery.kills >= rounds
    # What the killed ones had claimed is computed by others when their lease is over.
    monkeypatch.setattr(claim_files, "LEASE_SECONDS", 0.3)
    began = time.monotonic()
    numbers = range(100 * rounds)
    rows = embed([picture(i) for i in numbers], pixel_embedder(8), cache=nursery.root, n_jobs=2).embeddings
    np.testing.assert_array_equal(rows, pixels(numbers))
    assert time.monotonic() - began < 60


MACHINE = """
import sys
sys.path[:0] = sys.argv[4:]
from types import SimpleNamespace
from featx.cache import claim_files, claims
claim_files.boot_digits = lambda: sys.argv[3]
claim_files.fcntl = claims.fcntl = SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0, LOCK_UN=0)
from pictures import QUICK
from featx import extract
features = extract(sys.argv[1], **QUICK, batch_size=2, cache=sys.argv[2])
print(len(features), features.run["forward_passes"])
"""


def test_two_machines_share_out_the_same_images(tmp_path, counted):
    photos = write_photos(tmp_path / "photos", 30)
    paths = [str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MACHINE, str(photos), str(tmp_path / "cache"), machine, *paths],
            stdout=subprocess.PIPE,
            text=True,
        )
        for machine in ("00000001", "00000002")
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [int(n) for n, _ in outputs] == [90, 90]
    passes = [int(passes) for _, passes in outputs]
    counted(images=90, computed=sum(passes))
    assert 90 <= sum(passes) <= 180
    together = extract(photos, **QUICK, cache=tmp_path / "cache")
    assert together.run["forward_passes"] == 0
    alone = extract(photos, **QUICK, cache=tmp_path / "alone")
    np.testing.assert_allclose(together.embeddings, alone.embeddings, rtol=1e-4, atol=1e-5)
