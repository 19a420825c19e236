"""Work that tests give to clusters."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from featx.errors import ImageError
from featx.inputs.image import FileImage


def add(shared, argument):
    return shared + argument


def process_of(shared, argument):
    time.sleep(argument)
    return os.getpid(), threading.get_ident()


class Counted:
    """An object that notes in a folder that it was unpacked."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__ |= state
        Path(self.folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()


def use(shared, argument):
    return os.getpid()


def fail(shared, argument):
    if argument == 3:
        raise ImageError("3.jpg", "truncated JPEG")
    return argument


class Strange(Exception):
    """An error that cannot be made from its args."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fail_strangely(shared, argument):
    raise Strange(1, 2)


def warn(shared, argument):
    warnings.warn("be careful", RuntimeWarning, stacklevel=1)
    return argument


def die_once(shared, argument):
    """End the process of the first call with 3; note each call in the folder `shared`."""
    Path(shared, f"{argument}-{time.monotonic_ns()}").touch()
    if argument == 3 and len(list(Path(shared).glob("3-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return argument


def die(shared, argument):
    if argument == 3 or (isinstance(argument, list) and 3 in argument):
        os.kill(os.getpid(), signal.SIGKILL)
    return argument


def linger(shared, argument):
    Path(shared, str(argument)).touch()
    time.sleep(argument)
    return argument


@dataclass(frozen=True)
class WatchedImage:
    """An image file that notes each time a worker reads it; a `deadly` one ends the first worker."""

    id: str
    path: str
    notes: str
    driver: int
    deadly: bool = False
    kind = "image"
    is_file = True

    def read(self):
        if os.getpid() != self.driver:
            first = not list(Path(self.notes).glob(f"{Path(self.path).stem}-*"))
            Path(self.notes, f"{Path(self.path).stem}-{time.monotonic_ns()}").touch()
            if self.deadly and first:
                os.kill(os.getpid(), signal.SIGKILL)
        return FileImage(self.id, self.path).read()

    def stat_key(self):
        return FileImage(self.id, self.path).stat_key()


def make_lock(shared, argument):
    return threading.Lock()


def leave(shared, argument):
    sys.exit(shared)
