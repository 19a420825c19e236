"""Replay proxy images, so that the network keeps its answers on the source task while it learns new classes.

Each step also shows a few proxy images, for example images like those of the pretraining. The unchanged
source classifier scores them on top of the layers that are trained, and the loss has the term

    weight * T^2 * mean over the proxy images of  KL(softmax(z0 / T) || softmax(z / T)),

where z are its scores now and z0 those of the pretrained network. This is the distillation loss of Li and
Hoiem, *Learning without Forgetting*, 2016, eq. 2, without the constant entropy of the targets; with the
factor T^2 the gradient hardly depends on T (Hinton, Vinyals and Dean 2015, section 2.1). No source labels
are needed. Li and Hoiem use the images of the new task; give these as proxies to do the same.

Proxy images are not augmented, so z0 and the output of the frozen layers are computed once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from featx.errors import InputError
from featx.methods.finetune.activations import Activations, Parts, store_activations
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.source_task import source_network
from featx.methods.finetune.trainable_backbone import TrainableBackbone, forward_all, frozen_outputs

#: Separates the random choice of proxy images from the other random numbers of a step.
_REPLAYING = 11


class Replay:
    """Add the gradient of the proxy images to the training of `network`, a copy of `backbone`.

    `seed` decides which images each step shows; `forwarded` counts the images sent through the network.
    """

    def __init__(
        self, backbone: Any, network: TrainableBackbone, images: Sequence[Any], recipe: Recipe, seed: int
    ):
        self.network, self.images, self.seed = network, images, seed
        self.weight, self.temperature = recipe.replay, recipe.replay_temperature
        self.size = min(recipe.replay_batch, len(images))
        self._batch_size = recipe.batch_size
        # In mode "gradual" the frozen part shrinks from epoch to epoch, so pixels are stored in its place.
        self._cut_moves = recipe.mode == "gradual"
        self._stored: Activations | None = None
        self._stores_pixels = False
        self.source = source_network(backbone, network.arithmetic)
        scores = forward_all(self.source, images, self._batch_size)
        self.targets = F.log_softmax(scores / self.temperature, dim=1)
        self.forwarded = len(images)

    @property
    def _all(self) -> np.ndarray:
        return np.arange(len(self.images))

    def update_layers(self) -> None:
        """Use the layers of the network that are trained now."""
        self.source.share_parameters(self.network)
        if self._stored is None:
            self._stored = self._store()

    def add_gradient(self, step: int, part: int, scaler: torch.amp.GradScaler) -> None:
        """Add the gradient of the distillation loss, for `part` images at a time."""
        rng = np.random.default_rng([self.seed, step, _REPLAYING])
        rows = rng.choice(len(self.images), self.size, replace=False)
        for start in range(0, self.size, part):
            at = rows[start : start + part]
            scores = self.source.run_upper(self._parts(at))
            loss = distillation_loss(scores, self.targets[at], self.temperature).sum()
            scaler.scale(self.weight / self.size * loss).backward()
            if self._stores_pixels:
                self.forwarded += len(at)

    def _parts(self, rows: np.ndarray) -> Parts:
        assert self._stored is not None
        if not self._stores_pixels:
            return self._stored.get(rows, self.source.arithmetic.device)
        (pixels,) = self._stored.get(rows, torch.device("cpu"))
        return self.source.run_lower(pixels.numpy())

    def _store(self) -> Activations:
        """Store what every step reads: the frozen part's output, or the pixels if all layers are trained."""
        self._stores_pixels = self._cut_moves or not self.source.is_cut
        found = (
            self._pixels()
            if self._stores_pixels
            else frozen_outputs(self.source, self.images, self._all, self._batch_size)
        )
        with closing(found):
            stored, images = store_activations(self._all, found)
        if stored is None:
            raise InputError(
                f"replay: neither memory nor disk has room for {len(self.images)} proxy images; give fewer"
            )
        if not self._stores_pixels:
            self.forwarded += images
        return stored

    def _pixels(self) -> Generator[tuple[np.ndarray, Parts]]:
        with closing(self.source.inputs(self.images).batches(self._all, self._batch_size)) as loader:
            for rows, pixels in loader:
                yield rows, (torch.from_numpy(pixels),)


def distillation_loss(scores: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(softmax(z0 / T) || softmax(z / T)) of each image, shape (b,).

    `scores` are z, (b, k); `targets` are log softmax(z0 / T), (b, k).
    """
    now = F.log_softmax(scores / temperature, dim=1)
    return temperature**2 * F.kl_div(now, targets, reduction="none", log_target=True).sum(dim=1)
