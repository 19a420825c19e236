"""Tell somebody of the inputs of a folder while it is still being listed.

Between the call that wants to know and the walk through the folder lie readers that need not know of it, so
who listens is a variable of the context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

from featx.inputs import Source

#: Called with some thousand inputs of one kind, in the order of the walk; the folder may still be refused.
Found = Callable[[Sequence[Source]], None]

_listener: ContextVar[Found | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def told_early(found: Found) -> Iterator[None]:
    """Have `found` called, by this thread, for the inputs of every folder that is listed in the block."""
    token = _listener.set(found)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Found | None:
    """Return who wants to be told, if anybody does."""
    return _listener.get()
