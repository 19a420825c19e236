"""How a forward pass is executed on this machine.

>>> import numpy
>>> from featx.backbones import load_backbone
>>> from featx.engines import make_engine
>>> engine = make_engine(load_backbone("resnet18", weights=None, image_size=64), device="cpu")
>>> engine(numpy.zeros((4, 64, 64, 3), numpy.uint8)).shape
(4, 512)
"""

from __future__ import annotations

from featx.backbones.spec import Backbone
from featx.engines.interface import Engine
from featx.engines.plan import DEVICES, ENGINES, PRECISIONS, Plan, resolve
from featx.engines.torch import TorchEngine

__all__ = ["DEVICES", "ENGINES", "PRECISIONS", "Engine", "Plan", "TorchEngine", "make_engine", "resolve"]


def make_engine(
    backbone: Backbone, *, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Engine:
    """An engine that runs `backbone` here.

    Parameters
    ----------
    backbone : Backbone
        Built now, if it was not; it is not changed.
    engine, device, precision : str
        As for `resolve`.

    Raises
    ------
    UnknownName, InputError
        As for `resolve`.
    WeightsError
        The weights do not fit the architecture.
    """
    plan = resolve(engine=engine, device=device, precision=precision)
    return TorchEngine(backbone, device=plan.device, precision=plan.precision)
