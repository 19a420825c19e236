"""The attention of WavLM, with its gated relative positions, in torch's fast attention and with a mask.

S. Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", IEEE
JSTSP 2022, equations 4 to 8. The parameters are those of transformers, under the same names.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Attention with a bias for the distance of two states, which the first makes stronger or weaker.

    Parameters
    ----------
    own : nn.Module
        transformers' attention, whose parameters it takes.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear
    gru_rel_pos_linear: nn.Linear
    rel_attn_embed: nn.Embedding

    def __init__(self, own: Any):
        super().__init__()
        self.num_heads, self.head_dim = own.num_heads, own.head_dim
        self.num_buckets, self.max_distance, self.dropout = own.num_buckets, own.max_distance, own.dropout
        for name, part in own.named_children():
            self.add_module(name, part)
        self.gru_rel_pos_const = own.gru_rel_pos_const

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        **others: Any,
    ) -> tuple[Tensor, None, Tensor]:
        """Return the attended states (n, t, c) and the bias (heads, t, t) for the layers behind.

        `attention_mask` is bool (n, t); states where it is False are not attended to.
        """
        n, t, _ = hidden_states.shape
        if position_bias is None:
            position_bias = self.distance_bias(t)
        heads = hidden_states.view(n, t, self.num_heads, self.head_dim).transpose(1, 2)
        # (n, heads, t, 8), the two gates as sums of four numbers each
        gates = self.gru_rel_pos_linear(heads).view(n, self.num_heads, t, 2, 4).sum(-1).sigmoid()
        update, reset = gates[..., :1], gates[..., 1:]
        strength = update * (reset * self.gru_rel_pos_const - 1.0) + 2.0
        bias = strength * position_bias
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask[:, None, None, :], -math.inf)
        query, key, value = (
            part(hidden_states).view(n, t, self.num_heads, self.head_dim).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out_proj(attended.transpose(1, 2).reshape(n, t, -1)), None, position_bias

    def distance_bias(self, t: int) -> Tensor:
        """Return the learned bias of each pair of t states, (heads, t, t).

        Half of the buckets is for states behind, half for those before. A half of these is for each distance
        by itself, and the rest for distances that grow by a factor, up to `max_distance`.
        """
        places = torch.arange(t, device=self.rel_attn_embed.weight.device)
        distance = places[None, :] - places[:, None]
        half = self.num_buckets // 2
        single = half // 2
        far = distance.abs()
        scale = (half - single) / math.log(self.max_distance / single)
        grown = single + (torch.log(far.clamp(min=1).float() / single) * scale).long()
        bucket = torch.where(far < single, far, grown.clamp(max=half - 1)) + (distance > 0).long() * half
        values: Tensor = self.rel_attn_embed(bucket)
        return values.permute(2, 0, 1)


def gate_positions(network: Any) -> None:
    """Put `GatedAttention` in place of the attention of WavLM, in all layers of a network."""
    for layer in getattr(getattr(network, "encoder", None), "layers", ()):
        if hasattr(getattr(layer, "attention", None), "gru_rel_pos_const"):
            layer.attention = GatedAttention(layer.attention)
