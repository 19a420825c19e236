"""Make one row of the hidden states of a text: poolings of tokens, and the pipeline of a folder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featx.backbones.sources.hf.pipeline import PipelineSettings
from featx.errors import InputError


def pool_tokens(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one row (n, c) for each text, of hidden states (n, t, c) and where its tokens are (n, t).

    Padding stands on the right. Poolings are called as in sentence-transformers.
    """
    if pooling in ("cls", "lasttoken"):
        numbers = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        last = (mask * numbers).amax(1) - 1
        at = last - mask.sum(1) + 1 if pooling == "cls" else last
        at = at.clamp(min=0)  # a text that consists of the prefix
        return hidden.gather(1, at[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
    if pooling == "max":
        return hidden.masked_fill(~mask[:, :, None], torch.finfo(hidden.dtype).min).amax(1)
    weights = mask[:, :, None].to(hidden.dtype)
    if pooling == "weightedmean":
        numbers = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=hidden.dtype)
        weights = weights * numbers[None, :, None]
    total = weights.sum(1)
    return (hidden * weights).sum(1) / (total.sqrt() if pooling == "mean_sqrt_len_tokens" else total)


class Pipeline(nn.Module):
    """The pooling of a pipeline and the steps behind it: one row for each text, a part of the network.

    Parameters
    ----------
    settings : PipelineSettings
    dim : int
        Length of a hidden state.
    prompt_length : int
        Tokens of the prefix, which are not pooled unless the settings include them.
    """

    def __init__(self, settings: PipelineSettings, dim: int, prompt_length: int, name: str) -> None:
        super().__init__()
        self.poolings = settings.poolings
        self.prompt_length = 0 if settings.include_prompt else prompt_length
        dim *= len(self.poolings)
        for step in settings.steps:
            wanted = step.settings.get("in_features", step.settings.get("dimension", dim))
            if wanted != dim:
                raise InputError(f"{name}: its {step.folder} takes {wanted} features, and gets {dim}")
            dim = step.settings.get("out_features", dim)
            module: nn.Module = _Normalize()
            if step.kind == "Dense":
                module = _Dense(**step.settings)
            elif step.kind == "LayerNorm":
                module = _Norm(dim)
            self.add_module(step.folder or f"{len(self._modules)}_{step.kind}", module)
        self.dim = dim

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return rows (n, dim), of hidden states (n, t, c) and where their tokens are (n, t)."""
        if self.prompt_length:
            mask = mask & (torch.arange(mask.shape[1], device=mask.device) >= self.prompt_length)
        rows = torch.cat([pool_tokens(hidden, mask, pooling) for pooling in self.poolings], 1)
        for step in self.children():
            rows = step(rows)
        return rows


class _Dense(nn.Module):
    def __init__(
        self, in_features: int, out_features: int, *, activation: str, bias: bool, residual: bool
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = getattr(nn, activation)()
        self.has_residual = residual
        if residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.linear(x))
        if self.has_residual:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        return out


class _Norm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class _Normalize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=1)
