"""Calls of the work in a worker: it keeps what all tasks share, and sends an error back as a value.

Work and argument travel as bytes of cloudpickle, so that functions of a notebook or of ``__main__`` run there
too. These bytes come from the process that opened the cluster, never from a file.
"""

from __future__ import annotations

import threading
import traceback
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from featx.durable import host_name
from featx.errors import ClusterError, FeatxError, reason_of
from featx.forks import fresh_in_child

#: Objects that a worker keeps: that of the run, and that of the one before.
_MOST_HELD = 2


@dataclass
class Outcome:
    """What a call gave: a value, or an error; or the wish to be sent what the tasks share.

    Attributes
    ----------
    value : object
    error : bytes or None
        The pickled error that the work raised.
    trace : str
        Where it was raised, for errors that are not featx's own.
    wanted : bool
        Nothing was done, because the worker has no shared object of that name.
    warned : list of (type, str)
        Warnings that were given.
    """

    value: Any = None
    error: bytes | None = None
    trace: str = ""
    wanted: bool = False
    warned: list[tuple[type[Warning], str]] = field(default_factory=list)

    def result(self) -> Any:
        """Return the value, or raise the error; give the warnings of the worker here."""
        for category, text in self.warned:
            warnings.warn(text, category, stacklevel=2)
        if self.error is None:
            return self.value
        error = unpack(self.error)
        if self.trace:
            error.add_note(f"It was raised in a worker:\n{self.trace}")
        raise error


def pack(value: Any) -> bytes:
    """Pickle a value, also functions and classes of ``__main__``; `ClusterError` where it cannot be."""
    try:
        import cloudpickle
    except ImportError:  # earlier versions of joblib bring their own
        from joblib.externals import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(value)
    except Exception as error:  # what an object raises when it is pickled
        raise ClusterError(
            f"on: what a worker needs cannot be sent to it ({reason_of(error)}); an open file, a lock, a "
            "connection or a generator stays in its process: give data and models without one"
        ) from error
    return packed


def unpack(data: bytes) -> Any:
    """Return the value that `pack` was given."""
    import pickle

    return pickle.loads(data)


def new_name() -> str:
    """Return a name for the shared object of a run."""
    return uuid.uuid4().hex


_held: OrderedDict[str, Any] = OrderedDict()
_lock = fresh_in_child(threading.Lock())
_catching = fresh_in_child(threading.Lock())


def call(work: bytes, name: str, get_shared: Callable[[], bytes] | bytes | None) -> Outcome:
    """Call a packed (work, argument) with the shared object `name`.

    It is unpacked from `get_shared`, or from what that returns, where the worker does not hold it yet; with
    None, the outcome then is `wanted`.
    """
    with _lock:
        if name not in _held:
            if get_shared is None:
                return Outcome(wanted=True)
            try:
                _held[name] = unpack(get_shared() if callable(get_shared) else get_shared)
            except Exception as error:  # such as a module that is not installed
                return _failed(_not_loaded(error))
            while len(_held) > _MOST_HELD:
                _held.popitem(last=False)
        shared = _held[name]
    try:
        function, argument = unpack(work)
    except Exception as error:  # as above
        return _failed(_not_loaded(error))
    if not _catching.acquire(blocking=False):  # another thread does, and warnings belong to the process
        return attempt(function, shared, argument)
    try:
        with warnings.catch_warnings(record=True) as given:  # nobody would see them in a worker
            outcome = attempt(function, shared, argument)
    finally:
        _catching.release()
    outcome.warned = list(dict.fromkeys((warning.category, str(warning.message)) for warning in given))
    return outcome


def attempt(function: Callable[[Any, Any], Any], shared: Any, argument: Any) -> Outcome:
    """Call the work; its error is part of the outcome."""
    try:
        return Outcome(function(shared, argument))
    except (Exception, SystemExit) as error:  # code of the caller's, which may want to end the process
        return _failed(error)


def not_sent_back(error: Exception) -> ClusterError:
    """Return the failure that the result of a task could not be pickled in its worker."""
    return ClusterError(f"on: what a worker made cannot be sent back ({reason_of(error)})")


def _not_loaded(error: Exception) -> ClusterError:
    return ClusterError(
        f"on: a worker on {host_name()} cannot load what it was sent ({reason_of(error)}); workers need the "
        "same packages, modules and files as this process"
    )


def _failed(error: BaseException) -> Outcome:
    trace = "" if isinstance(error, FeatxError) else "".join(traceback.format_exception(error)).rstrip()
    try:
        if not isinstance(error, Exception):
            raise TypeError
        packed = pack(error)
        unpack(packed)
    except Exception:  # some errors cannot be made again from their arguments
        packed = pack(RuntimeError(f"{type(error).__name__}: {error}".rstrip(": ")))
    return Outcome(error=packed, trace=trace)
