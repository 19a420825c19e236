"""Model files of strangers: whatever their bytes, one line or an answer; no traceback, no crash, no bomb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import featx
from faults import model_files
from featx.methods.probes import probe_names

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return model_files.write_models(tmp_path_factory.mktemp("models"), probe_names(on_request=True))


def ask(job: dict) -> tuple[int, list[str]]:
    """Exit status and output of one process."""
    source = os.pathsep.join([str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, model_files.__file__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=source, OMP_NUM_THREADS="1"),
        timeout=1800,
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()[-3:]]


def test_mutated_models_are_refused_or_answer_and_nothing_else_happens(models, tmp_path, thorough, counted):
    count = 10_000 if thorough else 10 * len(models)
    job = {"models": [str(path) for path in models], "folder": str(tmp_path), "seed": 0}
    status, said = ask({**job, "first": 0, "count": count})
    assert status == 0, said[-3:]  # a crash: the last line tells at which file
    wrong = [line for line in said if line.startswith("[")]
    assert not wrong, "\n".join(wrong[:5])
    found = json.loads(said[-1])
    counted(files=count, **found, tracebacks=0, crashes=0)
    assert found["refused"] > count // 3
    assert found["answered"] > count // 50
    assert found["grown_mb"] < 300
