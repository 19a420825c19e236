"""Import OpenVINO, which reads graph files and is an engine, without its telemetry."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from featx.errors import EngineError, MissingExtra, reason_of
from featx.forks import fresh_in_child

_TELEMETRY = "openvino_telemetry"
_importing = fresh_in_child(threading.Lock())


def import_openvino(purpose: str = "engine 'openvino'") -> Any:
    """Import OpenVINO, and keep it from sending usage data, as it does on import.

    An `EngineError` says that it is installed but does not load on this machine.
    """
    with without_telemetry():
        try:
            import openvino
        except ImportError as error:
            spec = importlib.util.find_spec("openvino")
            if spec is not None and spec.origin is not None:  # None for a mere folder of that name
                raise EngineError(f"OpenVINO fails here ({reason_of(error)})") from error
            raise MissingExtra("openvino", "openvino", purpose) from error
    return openvino


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Hide the telemetry package of OpenVINO and NNCF, which work without it, unless it is loaded already."""
    with _importing:
        if _TELEMETRY in sys.modules:
            yield
            return
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            del sys.modules[_TELEMETRY]
