"""Make a trainable copy of a network, for the kind of its inputs."""

from __future__ import annotations

from typing import Any

from featx.methods.finetune.precision import Arithmetic
from featx.methods.finetune.trainable_backbone import TrainableBackbone, kind_of_backbone
from featx.methods.finetune.trainable_clips import TrainableClips
from featx.methods.finetune.trainable_texts import TrainableTexts

#: The network of each kind of input.
_NETWORKS: dict[str, type[TrainableBackbone]] = {
    "image": TrainableBackbone,
    "text": TrainableTexts,
    "clip": TrainableClips,
}


def make_trainable(backbone: Any, arithmetic: Arithmetic) -> TrainableBackbone:
    """Return a trainable copy of a backbone's network."""
    return _NETWORKS[kind_of_backbone(backbone)](backbone, arithmetic)
