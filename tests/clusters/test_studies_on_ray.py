"""Studies on a cluster of Ray: the numbers that they have alone, also where a worker is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from saved_results import saved

from featx import Features, compare, learning_curve
from featx.methods.probes import CLASSIFIERS, Probe

pytest.importorskip("ray", reason="Ray is not installed")
QUICK = {"classifiers": ["ridge", "knn", "lda"], "baseline": "none"}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(60, 8))).astype(np.float32)
    space = {"backbone": {"architecture": "made"}}
    ids, groups = [f"{i}.png" for i in range(60)], np.arange(60) // 2
    return Features(x, ids, y, ("a", "b", "c"), groups=groups, space=space)


def test_a_comparison_and_a_curve_on_ray_are_those_alone(nodes, rows, tmp_path):
    options = QUICK | {"n_boot": 20, "seeds": 2, "checks": False}
    alone, there = compare(rows, **options), compare(rows, **options, on="ray", resume=tmp_path / "kept")
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
    assert all(m.earlier_run for m in compare(rows, **options, resume=tmp_path / "kept").methods)
    options = QUICK | {"shots": [2, 4], "seeds": 2, "checks": False}
    alone, there = learning_curve(rows, **options), learning_curve(rows, **options, on="ray")
    assert saved(there, tmp_path / "curve there") == saved(alone, tmp_path / "curve alone")
    assert there.cells == {"computed": 12, "resumed": 0}


def test_a_killed_worker_changes_nothing(nodes, rows, tmp_path, monkeypatch):
    place, here = str(tmp_path / "killed"), os.getpid()

    def build(problem):
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if os.getpid() != here and not os.path.exists(place):
            Path(place).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), {}

    monkeypatch.setitem(CLASSIFIERS, "mine", Probe("mine", "Mine", build, on_request=True))
    options = QUICK | {"classifiers": ["ridge", "mine", "knn"], "n_boot": 20, "checks": False}
    alone, there = compare(rows, **options), compare(rows, **options, on="ray")
    assert Path(place).exists()
    assert saved(there, tmp_path / "there") == saved(alone, tmp_path / "alone")
