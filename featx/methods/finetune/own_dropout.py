"""Draw the masks of dropout from a generator of one's own, so that the global random state has no part in it.

torch's dropout knows the global generator only, which all threads of a process share. `OwnDropout` intercepts
the functions that draw, in the calling thread alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

#: Functions that draw random numbers and take a generator.
_DRAWING = (
    *(torch.bernoulli, torch.rand, torch.randn, torch.randint, torch.normal),
    *(Tensor.bernoulli, Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_),
)


class OwnDropout(TorchFunctionMode):
    """In this context dropout of the calling thread draws from a generator seeded with `key`.

    Parameters
    ----------
    key : sequence of int
        Whole numbers of at least 0; the same ones give the same masks on the same kind of device.
    device : torch.device
    """

    def __init__(self, key: Sequence[int], device: torch.device):
        super().__init__()
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._generator = torch.Generator(device).manual_seed(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(func, *args, **kwargs)
        if func in _DRAWING and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self._generator}
        return func(*args, **kwargs)

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """Set each value to 0 with probability p, and divide the others by 1 - p."""
        if not training or p == 0:
            return x
        mask = torch.empty_like(x).bernoulli_(1 - p, generator=self._generator)
        scaled = mask.div_(1 - p) if p < 1 else mask
        return x.mul_(scaled) if inplace else x * scaled

    def _attention(
        self,
        func: Callable[..., Any],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Compute dropout(softmax(q k' scale + mask)) v; torch's own code where nothing is dropped."""
        if dropout_p == 0:
            settings = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
            found: Tensor = func(query, key, value, attn_mask, 0.0, **settings)
            return found
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            # Not -inf: a row without a token to look at, behind the end of a text, would become NaN.
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropout(torch.softmax(scores, -1), dropout_p) @ value
