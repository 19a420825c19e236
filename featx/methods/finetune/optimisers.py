"""Choose the optimiser of the pretrained layers, and the tensors that it lets weight decay alone.

CNNs are trained with SGD, as they were pretrained. Transformers, and networks built like them, such as
ConvNeXt, are trained with AdamW (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019): the
gradients of attention have heavy tails, with which SGD converges slowly (Zhang et al., *Why are Adaptive
Methods Good for Attention Models?*, 2020).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

#: Values of `Recipe.optimizer`.
OPTIMIZERS = ("sgd", "adamw")

#: Decay of AdamW's average of squared gradients: torch's default.
_BETA2 = 0.999

#: Tokens, position embeddings, and scales of layers, channels or scores, as libraries name them.
_NOT_DECAYED = re.compile(
    r"pos_?emb|position_?emb|positional_?emb|embed_positions|pos_encoding"
    r"|(cls|class|dist|distillation|reg|register|registers|mask)_tokens?\b|class_embedding"
    r"|relative_position|rel_pos|relative_attention_bias|rel_embeddings|logit_scale"
    r"|(^|\.)(wpe|seg_embed|r_[wrs]_bias)\b"  # GPT-2 and XLNet
    r"|layer_?scale|(^|\.)(gamma|gamma_[0-9]|lambda1|ls[0-9])\b"
)


def choose_optimizer(backbone: Any) -> str:
    """Return ``"adamw"`` for a transformer or a network built like one, and ``"sgd"`` for others."""
    return "adamw" if getattr(backbone, "is_transformer", False) else "sgd"


def make_optimizer(
    name: str, groups: Sequence[dict[str, Any]], *, lr: float, momentum: float, fused: bool = False
) -> torch.optim.Optimizer:
    """Return the optimiser of that name for parameter groups; `momentum` is beta1 of AdamW.

    `fused` computes AdamW in one pass over the values, which rounds otherwise. In text networks, with their
    many token embeddings, the passes of the plain one take a quarter of a step.
    """
    if name == "adamw":
        return torch.optim.AdamW(list(groups), lr=lr, betas=(momentum, _BETA2), fused=fused or None)
    return torch.optim.SGD(list(groups), lr=lr, momentum=momentum, nesterov=momentum > 0)


def not_decayed(module: nn.Module, network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of `module` with several axes that weight decay must spare.

    They are those that `network`, the whole one from which `module` was cut, states (``no_weight_decay()`` of
    timm and others), and those whose names tell that they are tokens, position embeddings or scales. Tensors
    with one axis (biases, norms) are spared by `featx.methods.finetune.parameter_groups` already.
    """
    stated = set(_stated(network))
    return [
        parameter
        for name, parameter in module.named_parameters()
        if name.removeprefix("network.") in stated or _NOT_DECAYED.search(name)
    ]


def _stated(network: nn.Module) -> Iterable[str]:
    for path, part in network.named_modules():
        tell = getattr(part, "no_weight_decay", None)
        if callable(tell):
            yield from (f"{path}.{name}" if path else name for name in tell())
