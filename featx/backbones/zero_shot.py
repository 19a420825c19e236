"""Classify images by the names of their classes, with the text tower of a network like CLIP.

The name of each class is put into a prompt, and the text tower turns prompts into vectors t_k of the space
into which image embeddings are projected. The logit of an image with the projected embedding v is

    l_k = s cos(v, t_k) + b,

with the scale s and the bias b that were learnt with the towers (Radford et al. 2021, figure 3; b = 0 for
CLIP), and the probability of class k is softmax(l)_k. This holds for SigLIP, too, whose loss takes sigma(l_k)
as the probability that image and text belong together (Zhai et al. 2023): given that exactly one of the texts
does, that it is text k has odds sigma(l_k) / (1 - sigma(l_k)) = exp(l_k) against the others.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from featx.backbones.layers.hooks import EMBEDDING, HookedFeatures
from featx.backbones.loading import one_at_a_time
from featx.errors import InputError, as_one_error

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone

#: The prompt of a class, as in Radford et al. 2021, section 3.1.4; underscores in names become spaces.
TEMPLATE = "a photo of a {class}."
#: Prompts, or images, that are computed at once.
_BATCH = 64
_ROWS = 4096


class EncodedTexts(NamedTuple):
    """Texts in the common space of images and texts, and how similarities become logits."""

    vectors: Tensor  # (k, d)
    scale: float
    bias: float


def encode_in_batches(encode: Any, texts: Sequence[str]) -> Tensor:
    """Return what `encode` makes of texts, (n, d), a batch at a time."""
    parts = [encode(list(texts[at : at + _BATCH])) for at in range(0, len(texts), _BATCH)]
    return torch.cat([part.float() for part in parts])


@dataclass(frozen=True, eq=False)
class ZeroShotClassifier:
    """A classifier of image embeddings that no image trained.

    Attributes
    ----------
    texts : EncodedTexts
        The prompts of the classes, in their order.
    projection : torch.nn.Module
        From embeddings to the common space; the identity where they are in it already.
    seconds : float
        What it took to load the text tower and to encode the prompts.
    """

    texts: EncodedTexts
    projection: nn.Module
    seconds: float = 0.0

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the logits of image embeddings (n, dim): float64 (n, k)."""
        texts = nn.functional.normalize(self.texts.vectors, dim=1)
        parts = []
        with torch.inference_mode():
            for at in range(0, len(embeddings), _ROWS):
                rows = torch.from_numpy(np.array(embeddings[at : at + _ROWS], np.float32))
                images = nn.functional.normalize(self.projection(rows), dim=1)
                parts.append((images @ texts.T).double() * self.texts.scale + self.texts.bias)
        return torch.cat(parts).numpy() if parts else np.zeros((0, len(texts)))

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, float64 (n, k)."""
        return torch.softmax(torch.from_numpy(self.logits(embeddings)), 1).numpy()

    @property
    def definition(self) -> dict[str, Any]:
        """Everything that decides a probability besides the embedding, as plain data."""
        digest = hashlib.sha256(self.texts.vectors.numpy().tobytes())
        for value in self.projection.state_dict().values():
            digest.update(value.numpy().tobytes())
        return {"sha256": digest.hexdigest(), "scale": self.texts.scale, "bias": self.texts.bias}


def has_text_tower(backbone: Backbone) -> bool:
    """Return whether texts can be encoded into the space of the backbone's embeddings, or of projected ones.

    Nothing is loaded: the weights are not random, and the library says that a text tower and a tokenizer are
    with them.
    """
    return backbone.checkpoint is not None and backbone.architecture.has_texts()


@one_at_a_time
def make_zero_shot_classifier(backbone: Backbone, classes: Sequence[str]) -> ZeroShotClassifier | None:
    """Load the text tower of a backbone, and make a classifier of the names of classes.

    Returns None where `backbone` is cut at a layer from which nothing leads into the common space. An
    `InputError` says that the text tower or its tokenizer cannot be used.
    """
    began = time.perf_counter()
    projection = _find_projection(backbone)
    if projection is None:
        return None
    prompts = [TEMPLATE.replace("{class}", name.replace("_", " ")) for name in classes]
    with (
        as_one_error(lambda why: InputError(f"{backbone.name}: its text tower cannot be used ({why})")),
        torch.inference_mode(),
    ):
        texts = backbone.architecture.encode_texts(prompts, backbone.checkpoint, backbone.pretrained)
    return ZeroShotClassifier(texts, projection, time.perf_counter() - began)


def _find_projection(backbone: Backbone) -> nn.Module | None:
    """Return what leads from the backbone's embeddings into the common space; None where nothing does."""
    module = backbone.module
    if not isinstance(module, HookedFeatures) or backbone.pooling != "identity":
        return None
    name = backbone.architecture.rules.own_name(module.network, "projection")
    if backbone.layer == name:
        return nn.Identity()
    if backbone.layer != EMBEDDING:
        return None
    projection = getattr(module.network, name, None)
    return nn.Identity() if projection is None else copy.deepcopy(projection).float().cpu()
