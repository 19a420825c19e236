"""See whether many objects have changed, with one listing or many requests at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from featx.places.place import PlaceError
from featx.places.remote.opening import open_store
from featx.places.remote.remote_file import RemoteFile
from featx.places.remote.state import State

#: Seconds for which a state counts as present: no object is asked for twice in one run.
FRESH = 300.0


def refresh_states(files: Iterable[RemoteFile], knows: Callable[[str], bool]) -> None:
    """Ask for the states of objects that were last seen more than `FRESH` seconds ago, or never.

    `knows` says whether anything is remembered of objects whose names begin so. Where nothing is, objects
    without a state are not asked for: their states come when they are read.
    """
    groups: dict[str, list[RemoteFile]] = {}
    for file in files:
        if file.is_remote and file.age() > FRESH:
            protocol, _, rest = file.url.partition("://")
            groups.setdefault(f"{protocol}://{rest.partition('/')[0]}", []).append(file)
    for group in groups.values():
        names = [file.name for file in group]
        begin = os.path.commonprefix([min(names), max(names)])  # noqa: RUF071
        if all(file.age() == float("inf") for file in group) and not knows(begin):
            continue
        began = time.monotonic()
        try:
            found = open_store(group[0].url).look_at_all([file.url for file in group])
        except PlaceError:  # each is named when it is read
            continue
        for file, state in zip(group, found, strict=True):
            # One that does not answer is read, and named where it is gone.
            file.refresh(State() if state is None else state, began)
