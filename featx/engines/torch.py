"""The engine that runs everywhere: PyTorch, with channels last and batch norms folded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from featx.backbones.spec import Backbone
from featx.engines.folding import folded
from featx.engines.interface import check_batch
from featx.errors import InputError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Runs a backbone with PyTorch. See `featx.engines.interface.Engine`.

    Parameters
    ----------
    backbone : Backbone
        Not changed: the engine works on a folded copy.
    device : str
        As `featx.engines.resolve` gives it.
    precision : {"fp32", "bf16", "fp16"}
        In fp32, convolutions on a GPU do not use TF32, whose 10 bits of mantissa would make embeddings from
        a GPU and from a CPU differ by a thousandth.

    Notes
    -----
    A batch that does not fit into the memory of a GPU is halved until it does, and later batches are split
    to the size that fitted.
    """

    name = "torch"

    def __init__(self, backbone: Backbone, *, device: str = "cpu", precision: str = "fp32"):
        self.backbone = backbone
        self.device = device
        self.precision = precision
        self._device = torch.device(device)
        self._dtype = _DTYPES[precision]
        module: Any = folded(backbone.module)  # Module.to's stub lacks memory_format
        self._module = module.to(device=self._device, dtype=self._dtype, memory_format=torch.channels_last)
        # (x / 255 - mean) / std as x * scale + shift, computed in double.
        std = np.asarray(backbone.preprocessing.std, np.float64)
        mean = np.asarray(backbone.preprocessing.mean, np.float64)
        self._scale = self._constant(1 / (255 * std))
        self._shift = self._constant(-mean / std)
        self._largest: int | None = None  # batch that is known to fit, once one did not

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """uint8 (b, h, w, 3) to float32 (b, dim)."""
        check_batch(batch, self.backbone)
        out = np.empty((len(batch), self.backbone.dim), np.float32)
        start = 0
        while start < len(batch):
            step = min(self._largest or len(batch), len(batch) - start)
            try:
                out[start : start + step] = self._run(batch[start : start + step])
            except torch.OutOfMemoryError as error:
                if step == 1:
                    raise InputError(
                        f"{self.backbone.name}: not even one image fits into the memory of {self.device}; "
                        "use a smaller image_size or device='cpu'"
                    ) from error
                self._largest = step // 2
                # The tensors of the failed attempt live as long as its traceback.
                error.__traceback__ = None
                self._empty_cache()
                continue
            start += step
        return out

    @torch.inference_mode()
    def _run(self, batch: np.ndarray) -> np.ndarray:
        with self._numerics():
            pixels = self._upload(batch).permute(0, 3, 1, 2)  # NHWC in memory: channels last
            images = pixels.to(torch.float32).mul_(self._scale).add_(self._shift).to(self._dtype)
            return self._module(images).to(torch.float32).cpu().numpy()

    def _upload(self, batch: np.ndarray) -> torch.Tensor:
        if not batch.flags.writeable:  # torch warns of tensors on memory that must not be written
            batch = batch.copy()
        pixels = torch.from_numpy(np.ascontiguousarray(batch))
        if self._device.type != "cuda":
            return pixels.to(self._device)
        return pixels.pin_memory().to(self._device, non_blocking=True)

    def _constant(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1).to(self._device)

    def _empty_cache(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _numerics(self) -> contextlib.AbstractContextManager[None]:
        return full_fp32() if self._device.type == "cuda" else contextlib.nullcontext()


@contextlib.contextmanager
def full_fp32() -> Iterator[None]:
    """Full fp32 in convolutions and matrix products on CUDA, whatever the process is set to."""
    matmul: Any = torch.backends.cuda.matmul
    convolution: Any = getattr(torch.backends.cudnn, "conv", None)
    name, value = "fp32_precision", "ieee"
    if not hasattr(convolution, name):  # torch before 2.9
        convolution, name, value = torch.backends.cudnn, "allow_tf32", False  # type: ignore[assignment]
    backends = (convolution, matmul)
    before = [getattr(backend, name) for backend in backends]
    try:
        for backend in backends:
            setattr(backend, name, value)
        yield
    finally:
        for backend, old in zip(backends, before, strict=True):
            setattr(backend, name, old)
