"""How torchvision is imported, also where its compiled operators do not load.

On a machine without an accelerator the torchvision of the package index, which is a CUDA build, often
stands beside a CPU build of torch. Its compiled operators then do not load, and ``import torchvision`` dies
with ``operator torchvision::nms does not exist`` while it attaches shape rules to two detection operators.
Nothing here needs those operators: with their schemas declared, models, transforms and feature extraction
work. (``torchvision.io``'s compiled decoder stays unavailable; images are decoded by Pillow.)
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
    """Import torchvision, declaring the operators that a mismatched build fails to bring.

    A plain import comes first, so that an installation that works is never touched.

    Returns
    -------
    module
        The package ``torchvision``.

    Raises
    ------
    MissingExtra
        When torchvision is not installed.
    RuntimeError
        When torchvision cannot be imported for any other reason than its missing operators.
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
        # What the failed import left behind would be taken for the finished package by the second one.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_schemas()
        return importlib.import_module("torchvision")


def _declare_schemas() -> None:
    """Declare the schemas of the missing operators, without any implementation."""
    global _library
    import torch

    if _library is None:
        _library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(schema)
