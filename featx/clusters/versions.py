"""The versions of packages that rows depend on in their last bits, here and on workers."""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import PackageNotFoundError, version

from featx.durable import host_name

_PACKAGES = (
    *("torch", "torchvision", "numpy", "pillow", "openvino", "timm", "transformers", "tokenizers"),
    *("soundfile", "soxr", "simplejpeg", "scikit-learn"),
)

_told: set[str] = set()


def versions_here() -> dict[str, str]:
    """Return the versions in this process, and its ``host``."""
    found = {"host": host_name(), "Python": platform.python_version(), "featx": _version("featx")}
    return found | {name: _version(name) for name in _PACKAGES}


def compare_versions(others: dict[str, str], who: str) -> None:
    """Warn, once for the same differences, where another process has other versions."""
    mine = versions_here()
    different = [
        f"{name} {theirs or 'missing'} (here {mine.get(name) or 'missing'})"
        for name, theirs in others.items()
        if name != "host" and mine.get(name) != theirs
    ]
    message = f"{who} has {', '.join(different)}: its rows may differ in the last digits"
    if different and message not in _told:
        _told.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
