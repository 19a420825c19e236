"""Keep OpenVINO from leaving a thread with a signal stack that it has freed."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread back the alternate signal stack (``sigaltstack``) that it had before the block.

    OpenVINO installs one for each network that it compiles on a CPU, and frees it with the network, whichever
    was installed last. The next signal, such as that of Ctrl-C, would be handled on freed memory and end the
    process.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    is_known = libc.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if is_known:
            libc.sigaltstack(ctypes.byref(before), None)
