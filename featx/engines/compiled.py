"""The engine that compiles the network to C++ with ``torch.compile``, with frozen weights."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import torch

from featx.backbones.backbone import Backbone
from featx.engines.allocation import Allocation
from featx.engines.interface import example, pad_batch
from featx.engines.torch import TorchEngine
from featx.errors import EngineError


class CompileEngine(TorchEngine):
    """Runs a backbone through ``torch.compile`` on a CPU. See `featx.engines.interface.Engine`.

    Needs a C++ compiler, and half a minute before the first batch. The batch is fixed; smaller ones are
    padded.

    Raises
    ------
    EngineError
        The network cannot be compiled; the message says why.
    """

    name = "compile"
    fixed_batch = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        allocation: Allocation | None = None,
    ):
        allocation = allocation or Allocation(1, torch.get_num_threads(), 8)
        super().__init__(backbone, device=device, precision=precision, allocation=allocation)
        failed: list[Exception] = []

        def compile_now() -> None:
            # In a thread of its own, made a worker: the code is compiled for that thread's number of threads.
            try:
                self.enter()
                self._run(example(backbone, self.batch_size))
            except Exception as error:
                failed.append(error)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about parts of itself
            thread = threading.Thread(target=compile_now, name="featx-compile")
            thread.start()
            thread.join()
        self.leave()
        if failed:
            reason = (str(failed[0]).strip() or type(failed[0]).__name__).splitlines()[0]
            raise EngineError(f"{backbone.name}: torch.compile failed here ({reason}); use engine='torch'")

    def _made(self, backbone: Backbone) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about parts of itself
            return torch.compile(super()._made(backbone), dynamic=False, options={"freezing": True})

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> np.ndarray:
        rows = []
        for start in range(0, len(batch), self.batch_size):
            part = pad_batch(batch[start : start + self.batch_size], self.batch_size)
            out = self._module(self._network_input(self._upload(part)))
            rows.append(out.to(torch.float32).numpy())
        return np.concatenate(rows)[: len(batch)] if rows else np.empty((0, self.backbone.dim), np.float32)
