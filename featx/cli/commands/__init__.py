"""The commands. Each module is one: ``HELP`` for the list of commands, ``add(parser)`` and ``run(args)``.

Nothing heavy is imported before `run` is called.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

#: The order of commands in ``featx --help``; other modules follow.
_ORDER = (
    "extract", "label", "compare", "show", "curve", "run", "train", "predict", "anomaly", "backbones", "rank",
    "similarity", "search", "inspect", "cache",
)  # fmt: skip


def command_names() -> list[str]:
    """Return the names of the commands, in the order of `_ORDER`."""
    files = [file.removesuffix(".py") for folder in __path__ for file in os.listdir(folder) if ".py" in file]
    found = [name for name in files if name.isidentifier() and name != "__init__"]
    return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def command_module(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"{__name__}.{name}")
