"""Hold the result of fine-tuning: a network that predicts, and the record of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.errors import InputError
from featx.methods.finetune.head import Head
from featx.methods.finetune.precision import Arithmetic, choose_arithmetic
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.trainable import make_trainable
from featx.methods.finetune.trainable_backbone import (
    TrainableBackbone,
    forward_all,
    kind_of_backbone,
    row_dim_of,
)


@dataclass
class FineTuned:
    """A fine-tuned classifier.

    Attributes
    ----------
    recipe : Recipe
        Settings of the training; `lr_backbone` is the rate that the search chose.
    history : list of dict
        One entry per epoch: ``epoch``, ``phase`` (``"head"``, ``"network"`` or ``"refit"``), ``train_loss``,
        ``train_accuracy``, ``val_loss``, ``val_accuracy`` (None without a validation part) and
        ``seconds``. Training values are means over the epoch's batches, taken before each step, on augmented
        or mixed images if the recipe says so. All modes but ``head`` begin with epoch 0: the frozen network
        with the head trained on its embeddings.
    best_epoch : int
        The epoch whose weights were kept; the refit has as many epochs. In mode ``head`` that of the lowest
        ``val_loss``. In the other modes the last one, at the end of the schedule, unless an epoch
        before it has a ``val_tempered_loss`` (the loss at the best temperature, see `tempered_losses` in
        `featx.methods.finetune.best_epoch`) that is lower by more than two standard errors.
    head_history : list of dict
        The epochs of the head's own training; for mode ``"head"`` the same as `history`.
    seconds : float
        Wall time of all training, including decoding and validation.
    images_forwarded : int
        Inputs sent through the backbone during training.
    precision, device : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``, and the device of the training.
    notes : list of str
        Remarks for a reader of the result, such as an early stop.
    search : list of dict
        The trial of each searched learning rate: ``lr_backbone``, ``epochs``, ``val_loss``,
        ``val_accuracy`` and ``seconds``, which `seconds` includes.
    refit_history : list of dict
        The epochs of the training on all images, of phase ``"refit"`` and without validation; empty where
        there was none. Predictions then come from its last epoch, and `history` is that of the training
        before it, which had not seen the validation images.
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
    search: list[dict[str, Any]]
    _head: Head = field(repr=False)
    _backbone: Any = field(repr=False)
    _arithmetic: Arithmetic = field(repr=False)
    _network: TrainableBackbone | None = field(default=None, repr=False)
    _changed: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    refit_history: list[dict[str, Any]] = field(default_factory=list)  # absent in records of version 0.1

    @property
    def best(self) -> dict[str, Any]:
        """Return the entry of `history` of the chosen epoch, with its accuracy on the validation images."""
        return next(entry for entry in self.history if entry["epoch"] == self.best_epoch)

    @classmethod
    def rebuild(
        cls, trained: Mapping[str, np.ndarray], backbone: Any, *, device: str = "auto", **record: Any
    ) -> FineTuned:
        """Rebuild a fine-tuned network on the same pretrained network.

        Parameters
        ----------
        trained : dict of str to ndarray
            Result of `trained_values`.
        backbone : Backbone
            The backbone that was fine-tuned.
        device : str, default="auto"
            Device to run on.
        **record
            Result of `record`.

        Returns
        -------
        FineTuned
            Predicts the same, bit for bit on the same processor.
        """
        arithmetic = choose_arithmetic(device)
        parts: dict[str, dict[str, np.ndarray]] = {"head": {}, "network": {}}
        for key, value in trained.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        return cls(
            **record,
            precision=arithmetic.precision,
            device=str(arithmetic.device),
            _head=Head.from_arrays(parts["head"]).to(arithmetic.device),
            _backbone=backbone,
            _arithmetic=arithmetic,
            _changed=parts["network"],
        )

    def trained_values(self) -> dict[str, np.ndarray]:
        """Return the trained tensors: ``head.*``, and ``network.*`` for those that training changed."""
        head = {f"head.{name}": value for name, value in self._head.arrays().items()}
        return head | {f"network.{name}": value for name, value in self.changed_values().items()}

    def record(self) -> dict[str, Any]:
        """Return the public attributes except `precision` and `device`, which depend on the machine."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if not f.name.startswith("_") and f.name not in ("precision", "device")
        }

    def changed_values(self) -> dict[str, np.ndarray]:
        """Return copies of the tensors that differ from the pretrained network, by name."""
        if self._network is None or (self.recipe.mode == "head" and not self._changed):
            return dict(self._changed)
        frozen = dict(self._backbone.module.named_parameters())
        return {
            name: parameter.detach().cpu().numpy().copy()
            for name, parameter in self._network.module.named_parameters()
            if not torch.equal(parameter.detach().cpu(), frozen[name].cpu())
        }

    def check_backbone(self, backbone: Any, argument: str) -> None:
        """Raise an `InputError` that names `argument` unless this was trained on the given backbone."""
        here, there = (getattr(one, "identity", one) for one in (backbone, self._backbone))
        if here != there:
            raise InputError(
                f"{argument}: it was trained on {self._backbone.name} with other weights or another layer "
                f"than the given {backbone.name}; give the same backbone"
            )

    @property
    def network(self) -> nn.Module:
        """Return the whole network, in eval mode: to logits (n, k).

        It takes normalised images (n, 3, h, w); tokens (n, t), int64, negative behind the end of a text; or
        windows of clips (n, positions[, bands]), with `featx.inputs.audio.PADDING` behind their ends. An
        `InputError` says that the rows of a clip's windows stand side by side, which no one window gives.
        """
        if row_dim_of(self._backbone) != self._backbone.dim:
            raise InputError(
                f"{self._backbone.name}: the head takes several windows of a clip side by side (join="
                f"{self._backbone.preprocessing.join_by!r}); use predict, or join by mean"
            )
        return nn.Sequential(self._load_network().module, self._head.as_linear()).eval()

    def head_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights (k, d) and biases (k,) of the head, in float64."""
        return self._head.affine_map()

    def network_values(self) -> dict[str, np.ndarray]:
        """Return every parameter and buffer of the network below the head, by name."""
        from featx.backbones import values_of

        return values_of(self._load_network().module)

    def predict_proba(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Return class probabilities (n, n_classes), float64; parameters as in `logits`."""
        logits = torch.from_numpy(self.logits(images, batch_size=batch_size))
        return torch.softmax(logits, dim=1).numpy()

    @torch.no_grad()
    def logits(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Return class scores before the softmax.

        Parameters
        ----------
        images : sequence of sources, or ndarray of shape (n, d)
            Images, texts or clips, or embeddings in mode ``"head"`` only: the other modes have changed the
            network that the embeddings came from.
        batch_size : int, default=32
            Inputs per forward pass; does not change the result.

        Returns
        -------
        ndarray of shape (n, n_classes), float64

        Raises
        ------
        InputError
            Embeddings have another width or values that are not finite, or the mode changed the network.
        SourceError
            An image or a clip cannot be decoded, or a text not be read.
        """
        if isinstance(images, np.ndarray) and images.dtype.kind == "f":
            return self._head.exact_logits(self._check_embeddings(images))
        n_classes = self._head.linear.out_features
        if len(images) == 0:
            return np.empty((0, n_classes))
        network = self._load_network()
        return forward_all(network, images, batch_size, self._head).cpu().double().numpy()

    def predict(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Return the most probable class of each input, (n,) int64; parameters as in `logits`."""
        return self.predict_proba(images, batch_size=batch_size).argmax(axis=1)

    def _check_embeddings(self, embeddings: np.ndarray) -> np.ndarray:
        if self.recipe.mode != "head":
            raise InputError(
                f"embeddings cannot be classified after fine-tuning mode {self.recipe.mode!r}, which changed "
                f"the network they came from; give the {self._kind}s"
            )
        dim = len(self._head.mean)
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise InputError(f"embeddings: expected shape (n, {dim}), got {embeddings.shape}")
        if not np.isfinite(embeddings).all():
            raise InputError("embeddings: expected finite values, got NaN or infinity")
        return embeddings

    @property
    def _kind(self) -> str:
        return kind_of_backbone(self._backbone)

    def _load_network(self) -> TrainableBackbone:
        if self._network is None:  # mode "head" on given embeddings has not needed it so far
            network = make_trainable(self._backbone, self._arithmetic)
            network.load_values(self._changed)
            if self.recipe.mode != "head":
                # Trained layers are not folded for good, so they round as they did in training.
                network.unfreeze(self.recipe.mode, self.recipe.unfreeze)
            self._network = network
        return self._network
