"""Build text networks of transformers, and pool their tokens to one row for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.layers.pooling import Tap
from featx.backbones.layers.rules import EmbeddingRules
from featx.backbones.sources.hf.networks import _pooler_option, quiet
from featx.errors import InputError, UnknownName, as_one_error
from featx.options import POOLINGS_OF


def build_text_network(config: Any, name: str) -> nn.Module:
    """Build the text network of a configuration, with initial values and without a pooler."""
    cannot = as_one_error(lambda why: InputError(f"{name}: no network can be built of its config ({why})"))
    with quiet() as transformers, cannot:
        kind = transformers.models.auto.modeling_auto.MODEL_MAPPING[type(config)]
        network = kind(config, **_pooler_option(kind, False))
        for module in network.modules():
            if isinstance(module, transformers.PreTrainedModel):
                module.loss_function = None
    return network.float()


class TextLayerRules(EmbeddingRules):
    """What is known of text networks of transformers: a batch is int64 (n, t), negative behind each text."""

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last hidden state (n, t, c), with everything behind a text masked."""
        # transformers looks at the values of a mask, and a tensor on the meta device has none.
        mask = None if x.is_meta else (x >= 0).to(torch.int64)
        out = network(input_ids=x.clamp(min=0), attention_mask=mask)
        hidden: Tensor = out.last_hidden_state
        return hidden

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the last hidden state; `pool` makes rows of it."""
        return self.run(network, x)

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int]:
        """Return how a layer is pooled: the mean over tokens unless another pooling is asked for."""
        known = [one for one in POOLINGS_OF["text"] if one != "identity"]
        chosen = pooling or "mean"
        if chosen not in known:
            raise UnknownName(f"pooling of {name}", chosen, known)
        if len(shape) != 3:
            raise InputError(
                f"{name}: layer {layer!r} gives {tuple(shape[1:])} per text, not one row a token"
            )
        return Tap(layer, chosen, 2), shape[2]

    def pool(self, tap: Tap, output: Tensor, x: Tensor) -> Tensor:
        """Return one row (n, c) for each text, of hidden states (n, t, c)."""
        mask = x >= 0
        if tap.pooling == "identity":
            return output.clone()
        if tap.pooling == "cls":
            return output[:, 0].clone()
        if tap.pooling == "last":
            last = mask.sum(1) - 1
            return output.gather(1, last[:, None, None].expand(-1, 1, output.shape[2]))[:, 0]
        if tap.pooling == "max":
            return output.masked_fill(~mask[:, :, None], torch.finfo(output.dtype).min).amax(1)
        weights = mask[:, :, None].to(output.dtype)
        return (output * weights).sum(1) / weights.sum(1)
