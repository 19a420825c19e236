"""The local files of which ranges are read, few of them open at a time in each process."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import OrderedDict

from featx.errors import reason_of
from featx.forks import fresh_in_child
from featx.places.place import PlaceError, StatKey

#: Files that are kept open: thousands of shards must not use up the descriptors of the process.
MOST_OPEN = 128

_open: OrderedDict[StatKey, OpenFile] = OrderedDict()
_lock = fresh_in_child(threading.Lock())


class OpenFile:
    """A descriptor, closed when the last thread that reads from it is done."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def open_in_state(key: StatKey) -> OpenFile:
    """Return a file in the state `key`, from those that are open if it is; `PlaceError` if it has changed.

    Hold it while you read. A forked child may use it, too: reads state their position.
    """
    with _lock:
        file = _open.get(key)
        if file is not None:
            _open.move_to_end(key)
            return file
    path = key[0]
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        file = OpenFile(os.open(path, flags))
    except (OSError, ValueError) as error:
        raise PlaceError(f"cannot be read ({reason_of(error)})") from error
    found = os.fstat(file.descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise PlaceError("is not a regular file")
    if (found.st_size, found.st_mtime_ns, found.st_ctime_ns) != key[1:]:
        raise PlaceError("was changed since it was listed; run again")
    with _lock:
        _open[key] = file
        surplus = _open.popitem(last=False)[1] if len(_open) > MOST_OPEN else None
    del surplus  # closed outside of the lock
    return file
