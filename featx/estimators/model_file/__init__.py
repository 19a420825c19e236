"""Write and read model files: plain arrays and a readable description, all checked when they are read.

Names are loaded on first use: most files are read without scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.lazy import load_on_use

_HOME = {
    "FILES": "container",
    "FORMAT": "container",
    "FORMAT_VERSION": "container",
    "NETWORK": "container",
    "UNSURE": "unsure",
    "UNSURE_ROWS": "unsure",
    "check_description": "description",
    "describe": "classifier",
    "find_plain": "plain",
    "read_model_file": "container",
    "rebuild": "classifier",
    "rebuild_unsure": "unsure",
    "unsure_arrays": "unsure",
    "write_model_file": "container",
}

__all__ = [
    "FILES",
    "FORMAT",
    "FORMAT_VERSION",
    "NETWORK",
    "UNSURE",
    "UNSURE_ROWS",
    "check_description",
    "describe",
    "find_plain",
    "read_model_file",
    "rebuild",
    "rebuild_unsure",
    "unsure_arrays",
    "write_model_file",
]

if TYPE_CHECKING:
    from featx.estimators.model_file.classifier import describe, rebuild
    from featx.estimators.model_file.container import (
        FILES,
        FORMAT,
        FORMAT_VERSION,
        NETWORK,
        read_model_file,
        write_model_file,
    )
    from featx.estimators.model_file.description import check_description
    from featx.estimators.model_file.plain import find_plain
    from featx.estimators.model_file.unsure import UNSURE, UNSURE_ROWS, rebuild_unsure, unsure_arrays


__getattr__ = load_on_use(__name__, _HOME)
