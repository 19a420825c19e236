"""The commands, a module each: ``HELP`` for the list of commands, ``add(parser)`` and ``run(args)``.

A module in this package is a command of its name. Nothing heavy is imported before `run` is called.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

#: Commands in the order of the list that ``featx --help`` shows; those not named here follow.
_ORDER = (
    "extract", "compare", "curve", "run", "train", "predict", "anomaly", "backbones", "rank", "similarity",
    "search", "label", "inspect", "cache",
)  # fmt: skip


def command_names() -> list[str]:
    """Return the names of the commands, in the order of their list."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def command_module(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"{__name__}.{name}")
