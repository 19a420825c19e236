"""List the detectors: a module of the folder ``catalogue`` has one `Detector`, named ``DETECTOR``."""

from __future__ import annotations

import importlib
import pkgutil

from featx.errors import UnknownName
from featx.methods.detectors import catalogue
from featx.methods.detectors.detector import Detector

# The order in which results list them; others follow.
_ORDER = ("knn", "mahalanobis", "ocsvm", "isolation-forest")


def _read() -> dict[str, Detector]:
    names = [module.name for module in pkgutil.iter_modules(catalogue.__path__)]
    found = [importlib.import_module(f"{catalogue.__name__}.{name}").DETECTOR for name in names]
    found.sort(key=lambda d: _ORDER.index(d.name) if d.name in _ORDER else len(_ORDER))
    return {detector.name: detector for detector in found}


#: Every detector by name.
DETECTORS: dict[str, Detector] = _read()


def detector_names() -> tuple[str, ...]:
    """Return the names of the detectors, in the order in which they are tried."""
    return tuple(DETECTORS)


def get_detector(name: str) -> Detector:
    """Return the detector of this name.

    Raises
    ------
    UnknownName
        There is none; the message offers the nearest.
    """
    if name not in DETECTORS:
        raise UnknownName("detector", name, DETECTORS)
    return DETECTORS[name]
