"""Texts as inputs of a network; no other module of backbones and engines knows how they are laid out.

A batch of prepared texts is int32 (n, length), with `PADDING` behind the end of each. Networks take int64,
and make the mask themselves: what is not `PADDING` is a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from featx.inputs.text import TextPreparation

#: Tokens of the example, and of the texts for which engines state their preferred batch.
_USUAL_TOKENS = 64


class TextInput:
    """Tokens of texts; see `featx.backbones.network_input.NetworkInput`."""

    kind = "text"
    square = False
    position = "token"
    shortest = 1

    def __init__(self, preparation: TextPreparation, length: int | None = None):
        self.preparation = preparation
        self.length = length or min(_USUAL_TOKENS, preparation.max_length)

    def __str__(self) -> str:
        return f"texts of {self.length} tokens"

    @property
    def longest(self) -> TextInput:
        """The longest texts that the network takes."""
        return TextInput(self.preparation, self.preparation.max_length)

    def example(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return tokens of number 0, int64 (count, length)."""
        return torch.zeros((count, self.length), dtype=torch.int64, device=device)

    def enlarged(self) -> TextInput:
        """Return shorter texts: a network takes no longer ones than its own."""
        return TextInput(self.preparation, max(2, self.length // 2))

    def doubled(self) -> TextInput:
        """Return the same texts: networks are built for any length."""
        return self

    def scale_batch(self, preferred: int) -> float:
        """Return how many texts cost as much as `preferred` usual images."""
        return 4.0 * preferred

    def to_network(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return a function from int32 (n, length) to int64."""
        return lambda tokens: tokens.to(torch.int64)

    def add_to_openvino(self, model: Any) -> Any:
        """Let an OpenVINO model take int32 (n, length)."""
        import openvino as ov

        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.i32)
        return steps.build()
