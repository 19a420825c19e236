"""The signal stack of a thread is the one that it had, whatever compiles a network meanwhile."""

import os
import subprocess
import sys
from ctypes import CDLL, byref

import pytest

from featx.backbones.signal_stack import _Stack, kept_signal_stack

PROGRAM = """
import gc, os, signal, sys, threading
import numpy as np
from featx import extract
from featx.extraction import forget_reused

images = [np.full((40, 40, 3), i, np.uint8) for i in range(4)]
for precision in ("fp32", "bf16"):
    options = {"weights": None, "image_size": 32, "precision": precision, "engine": "openvino"}
    extract(images, backbone="squeezenet1_1", **options)
forget_reused()
gc.collect()
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    threading.Event().wait(20)
except KeyboardInterrupt:
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the signal stack is looked at on Linux")
def test_the_stack_is_the_one_before():
    libc, before, inside, after = CDLL(None), _Stack(), _Stack(), _Stack()
    libc.sigaltstack(None, byref(before))
    with kept_signal_stack():
        libc.sigaltstack(byref(_Stack(None, 2, 0)), None)  # SS_DISABLE
        libc.sigaltstack(None, byref(inside))
    libc.sigaltstack(None, byref(after))
    assert inside.flags == 2
    assert (after.start, after.flags, after.size) == (before.start, before.flags, before.size)


def test_ctrl_c_after_engines_were_freed_is_ctrl_c(tmp_path):
    pytest.importorskip("openvino")
    variables = os.environ | {"FEATX_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, timeout=120)
    assert done.returncode == 3, done.stderr.decode()
