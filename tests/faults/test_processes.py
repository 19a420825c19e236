"""Processes that are started after this one has computed: none hangs, and each gets the same rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import featx
from faults.children import FORKED, WAYS
from featx.engines.resolver import installed

pytestmark = pytest.mark.faults


def run(way, engine, folder, times=1):
    """The exit status of `children.py`; it and its children are ended where they do not end themselves."""
    paths = [str(Path(featx.__file__).parents[1]), str(Path(__file__).parents[1])]
    # Two threads: with one, OpenMP has no pool that a fork could lose.
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("children.py"))]
    process = subprocess.Popen(
        [*command, way, engine, str(folder), str(times)],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=300 + 20 * times)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"{way} with engine {engine} hangs")
    return process.returncode, said[-2000:]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("way", WAYS)
def test_a_child_computes_after_a_forward_pass_in_its_parent(tmp_path, way, engine, thorough, counted):
    if way in FORKED and not hasattr(os, "fork"):
        pytest.skip("this platform has no fork")
    if engine == "openvino" and not installed("openvino"):
        pytest.skip("the extra openvino is not installed")
    if not thorough and (way, engine) != ("company", "torch"):
        pytest.skip("each takes some seconds; all with --thorough")
    times = 1 if not thorough else 40 if way == "company" else 2
    assert run(way, engine, tmp_path, times) == (0, "")
    counted(children=times, hung=0)
