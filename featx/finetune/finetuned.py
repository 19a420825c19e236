"""What fine-tuning leaves: a network that predicts, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.errors import InputError
from featx.finetune.head import Head
from featx.finetune.precision import Arithmetic
from featx.finetune.recipe import Recipe
from featx.finetune.trunk import Trunk, features


@dataclass
class FineTuned:
    """A fine-tuned classifier.

    Attributes
    ----------
    recipe : Recipe
        How it was trained.
    history : list of dict
        One entry an epoch: ``epoch``, ``phase`` (``"head"`` or ``"network"``), ``train_loss``,
        ``train_accuracy``, ``val_loss``, ``val_accuracy`` (None without a validation part) and
        ``seconds``. Training values are means over the epoch's batches, taken before each step, and on
        augmented images where the recipe augments. ``last`` and ``full`` begin with epoch 0: the frozen
        network with the head trained on its embeddings, from which they set out.
    best_epoch : int
        The epoch whose weights were kept: the one of lowest validation loss.
    head_history : list of dict
        The epochs of the head's own training; for mode ``"head"`` the same as `history`.
    seconds : float
        Wall time of all training, with decoding and validation.
    images_forwarded : int
        Images sent through the backbone during training.
    precision, device : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``, and where.
    notes : list of str
        What a reader of the result should know, such as an early stop.
    """

    recipe: Recipe
    history: list[dict[str, Any]]
    best_epoch: int
    head_history: list[dict[str, Any]]
    seconds: float
    images_forwarded: int
    precision: str
    device: str
    notes: list[str]
    _head: Head = field(repr=False)
    _backbone: Any = field(repr=False)
    _arithmetic: Arithmetic = field(repr=False)
    _trunk: Trunk | None = field(default=None, repr=False)

    @property
    def network(self) -> nn.Module:
        """The whole network: normalised images (n, 3, h, w) to logits (n, k), in eval mode."""
        return nn.Sequential(self._network_below().module, self._head.as_linear()).eval()

    @torch.no_grad()
    def predict_proba(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Class probabilities.

        Parameters
        ----------
        images : sequence of image sources, or ndarray of shape (n, d)
            Embeddings are taken by mode ``"head"`` only: the other modes have changed the network that
            the embeddings came from.
        batch_size : int, default=32
            Images per forward pass; does not change the result.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Rows add up to 1.

        Raises
        ------
        InputError
            Embeddings of another width, with values that are not finite, or for a changed network.
        ImageError
            An image cannot be decoded.
        """
        if isinstance(images, np.ndarray) and images.dtype.kind == "f":
            return _softmax(self._head.logits(self._checked(images)))
        n_classes = self._head.linear.out_features
        if len(images) == 0:
            return np.empty((0, n_classes))
        trunk = self._network_below()
        rows = [self._head(part) for _, part in features(trunk, images, np.arange(len(images)), batch_size)]
        return _softmax(torch.cat(rows))

    def predict(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """The most probable class of each image, (n,) int64; see `predict_proba`."""
        return self.predict_proba(images, batch_size=batch_size).argmax(axis=1)

    def _checked(self, embeddings: np.ndarray) -> np.ndarray:
        if self.recipe.mode != "head":
            raise InputError(
                f"embeddings cannot be classified after fine-tuning mode {self.recipe.mode!r}, which changed "
                "the network they came from; give the images"
            )
        dim = len(self._head.mean)
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise InputError(f"embeddings: expected shape (n, {dim}), got {embeddings.shape}")
        if not np.isfinite(embeddings).all():
            raise InputError("embeddings: expected finite values, got NaN or infinity")
        return embeddings

    def _network_below(self) -> Trunk:
        if self._trunk is None:  # mode "head" on given embeddings never needed the network so far
            self._trunk = Trunk(self._backbone, self._arithmetic)
        return self._trunk


def _softmax(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.cpu().double(), dim=1).numpy()
