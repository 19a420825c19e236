"""Run the forward pass of a backbone on this machine.

>>> import numpy
>>> from featx.backbones import load_backbone
>>> from featx.engines import make_engine
>>> backbone = load_backbone("resnet18", weights=None, image_size=64)
>>> engine = make_engine(backbone, device="cpu", precision="fp32")
>>> engine(numpy.zeros((4, 64, 64, 3), numpy.uint8)).shape
(4, 512)
"""

from __future__ import annotations

from featx.engines.build import build_engine, make_engine
from featx.engines.interface import Engine
from featx.engines.parity import Parity, measure_parity
from featx.engines.resolver import Plan, fallbacks, plans_for, resolve
from featx.engines.torch import EagerEngine, TorchEngine

__all__ = [
    "EagerEngine",
    "Engine",
    "Parity",
    "Plan",
    "TorchEngine",
    "build_engine",
    "fallbacks",
    "make_engine",
    "measure_parity",
    "plans_for",
    "resolve",
]
