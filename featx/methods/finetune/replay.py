"""Replay proxy images, so that the network keeps its answers on the source task while it learns new classes.

Each step also shows a few proxy images, for example images like those of the pretraining. The source
classifier stays unchanged on top of the layers that are being trained, and the loss has the term

    weight * T^2 * mean over the proxy images of  KL(softmax(z0 / T) || softmax(z / T)),

where z are its scores now and z0 those of the pretrained network. This is the distillation loss of Li and
Hoiem, *Learning without Forgetting*, 2016, eq. 2, without the constant entropy of the targets; with the
factor T^2 the gradient hardly depends on T (Hinton, Vinyals and Dean 2015, section 2.1). No source labels
are needed. Li and Hoiem use the images of the new task; give these as proxies to do the same.

Proxy images are not augmented, so z0 and the output of the frozen layers are computed once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from featx.errors import InputError
from featx.methods.finetune.activations import Activations, keep_activations
from featx.methods.finetune.batches import batches, plain, workers
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.source_task import source_trunk
from featx.methods.finetune.trunk import Parts, Trunk, features, frozen_parts

#: Separates the random choice of proxy images from the other random numbers of a step.
_REPLAYING = 11


class Replay:
    """Add the gradient of the proxy images to the training of a trunk.

    Parameters
    ----------
    backbone : Backbone
        Whose layers are trained, with its source classifier.
    trunk : Trunk
        Its trained layers.
    images : sequence of image sources
        The proxy images.
    recipe : Recipe
        With `replay` above 0, and of another mode than ``"head"``.
    seed : int
        Of the choice of images in each step.

    Attributes
    ----------
    forwarded : int
        Images sent through the network.
    """

    def __init__(self, backbone: Any, trunk: Trunk, images: Sequence[Any], recipe: Recipe, seed: int):
        self.trunk, self.images, self.seed = trunk, images, seed
        self.weight, self.temperature = recipe.replay, recipe.replay_temperature
        self.size = min(recipe.replay_batch, len(images))
        self._batch_size = recipe.batch_size
        # What "gradual" unfreezes moves the cut from epoch to epoch; pixels are as good under any.
        self._cut_moves = recipe.mode == "gradual"
        self._kept: Activations | None = None
        self._of_pixels = False
        self.source = source_trunk(backbone, trunk.arithmetic)
        before = torch.cat([rows for _, rows in features(self.source, images, self._all, self._batch_size)])
        self.targets = F.log_softmax(before / self.temperature, dim=1)
        self.forwarded = len(images)

    @property
    def _all(self) -> np.ndarray:
        return np.arange(len(self.images))

    def follow(self) -> None:
        """Adopt the layers of the trunk that are trained now."""
        self.source.follow(self.trunk)
        if self._kept is None:
            self._kept = self._keep()

    def add_gradient(self, step: int, part: int, scaler: torch.amp.GradScaler) -> None:
        """Add the gradient of the distillation loss to the gradients.

        Parameters
        ----------
        step : int
            Number of the step; with the seed it decides which images are shown.
        part : int
            Images whose activations fit into memory.
        scaler : torch.amp.GradScaler
            Of the loss.
        """
        rng = np.random.default_rng([self.seed, step, _REPLAYING])
        rows = rng.choice(len(self.images), self.size, replace=False)
        for start in range(0, self.size, part):
            at = rows[start : start + part]
            scores = self.source.after(self._parts(at))
            loss = distillation(scores, self.targets[at], self.temperature).sum()
            scaler.scale(self.weight / self.size * loss).backward()
            if self._of_pixels:
                self.forwarded += len(at)

    def _parts(self, rows: np.ndarray) -> Parts:
        assert self._kept is not None
        if not self._of_pixels:
            return self._kept.get(rows, self.source.arithmetic.device)
        (pixels,) = self._kept.get(rows, torch.device("cpu"))
        return self.source.before(pixels.numpy())

    def _keep(self) -> Activations:
        """Store what is the same in every step: the frozen output, or the pixels where all layers are
        trained."""
        self._of_pixels = self._cut_moves or not self.source.cut
        found = (
            self._pixels()
            if self._of_pixels
            else frozen_parts(self.source, self.images, self._all, self._batch_size)
        )
        with closing(found):
            kept, images = keep_activations(self._all, found)
        if kept is None:
            raise InputError(
                f"replay: neither memory nor disk has room for {len(self.images)} proxy images; give fewer"
            )
        if not self._of_pixels:
            self.forwarded += images
        return kept

    def _pixels(self) -> Generator[tuple[np.ndarray, Parts]]:
        view = plain(self.source.preprocessing)
        with (
            ThreadPoolExecutor(workers(), "featx-decode") as pool,
            closing(batches(self.images, self._all, self._batch_size, view, pool)) as loader,
        ):
            for rows, pixels in loader:
                yield rows, (torch.from_numpy(pixels),)


def distillation(scores: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(softmax(z0 / T) || softmax(z / T)) of each image.

    Parameters
    ----------
    scores : torch.Tensor of shape (b, k)
        z.
    targets : torch.Tensor of shape (b, k)
        The logarithm of softmax(z0 / T).
    temperature : float
        T.

    Returns
    -------
    torch.Tensor of shape (b,)
        0 where z gives the same probabilities as z0.
    """
    now = F.log_softmax(scores / temperature, dim=1)
    return temperature**2 * F.kl_div(now, targets, reduction="none", log_target=True).sum(dim=1)
