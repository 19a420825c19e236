"""Any loader, any bytes, little memory: one line that names the file, or what it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import featx
from faults import model_files, strange_files

pytestmark = pytest.mark.faults


def ask(job: dict) -> tuple[int, list[str]]:
    """Exit status and output of one process."""
    source = os.pathsep.join([str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, strange_files.__file__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=source, OMP_NUM_THREADS="1"),
        timeout=1800,
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()[-3:]]


@pytest.mark.parametrize("loader", strange_files.LOADERS)
def test_damage_and_noise_are_one_line_or_what_is_there(loader, tmp_path, thorough, counted):
    if not thorough and loader not in ("pth", "h5"):
        pytest.skip("with --thorough: each loader takes a process of its own")
    if loader == "parquet":
        pytest.importorskip("pyarrow")
    if loader == "safetensors":
        pytest.importorskip("safetensors")
    (model,) = model_files.write_models(tmp_path, ["lda"])[:1] if loader == "featx" else [""]
    count = 3000 if thorough else 100
    status, said = ask({"loader": loader, "folder": str(tmp_path), "model": str(model), "count": count})
    assert status == 0, said[-4:]  # a crash: the last line tells at which file
    wrong = [line for line in said if line.startswith("[")]
    assert not wrong, "\n".join(wrong[:5])
    found = json.loads(said[-1])
    counted(files=count, **found, tracebacks=0, crashes=0)
    assert found["refused"] > count // 10
    assert found["grown_mb"] < 300
