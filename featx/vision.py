"""Import torchvision, also where its compiled operators do not load.

The torchvision of the package index is a CUDA build. Beside a CPU build of torch its compiled operators do
not load, and ``import torchvision`` fails with ``operator torchvision::nms does not exist`` when it registers
shape rules for two detection operators. featx does not need those operators: once their schemas are declared,
models, transforms and feature extraction work. (The compiled decoder of ``torchvision.io`` stays
unavailable.)
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

from featx.errors import MissingExtra
from featx.forks import fresh_in_child

# As torchvision's own C++ declares them (csrc/ops/nms.cpp, csrc/ops/quantized/cpu/qnms_kernel.cpp).
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_lock = fresh_in_child(threading.Lock())
_library: Any = None  # torch forgets the schemas when the Library object is collected, so it is kept


def import_torchvision() -> ModuleType:
    """Import torchvision, and declare the operators that a mismatched build lacks.

    A plain import is tried first, so that a working installation is never changed. `MissingExtra` if
    torchvision is not installed, `RuntimeError` if its import fails for another reason than the operators.
    """
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise MissingExtra("torchvision", "torchvision", "loading backbones") from error
        except RuntimeError as error:
            if "torchvision::" not in str(error) or "does not exist" not in str(error):
                raise
        # Or the second import would return what the first one left behind half-finished.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_schemas()
        return importlib.import_module("torchvision")


def import_after_torchvision(package: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package that imports torchvision itself; `MissingExtra` if it is not installed."""
    import_torchvision()
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtra(package, extra, purpose) from error


def _declare_schemas() -> None:
    """Declare the schemas of the missing operators, without any implementation."""
    global _library
    import torch

    if _library is None:
        _library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(schema)
