"""Train the layers of the network, in all modes but ``head``: steps, epochs, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from featx.forks import uninterrupted
from featx.methods.finetune.activations import Activations, keep_activations
from featx.methods.finetune.batches import View, batches, plain, random_crops, workers
from featx.methods.finetune.freezing import parameter_groups
from featx.methods.finetune.head import Best, Head, measure, schedule, tempered_loss
from featx.methods.finetune.memory import release, too_large
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.regularisers import MovingAverage, StartPenalty, mix_images
from featx.methods.finetune.replay import Replay
from featx.methods.finetune.training_data import TrainingData
from featx.methods.finetune.trunk import Parts, Trunk, features, frozen_parts, pixel_parts

#: Separates the random numbers of mixup from those of the crops.
_MIXING = 7


def stopped_early(epoch: int, recipe: Recipe) -> str:
    """Return the note for a training that ended before its last epoch."""
    return (
        f"stopped after epoch {epoch} of {recipe.epochs}: no better validation loss for "
        f"{recipe.patience} epochs"
    )


class _Diverged(Exception):
    """The loss or its gradient is no longer finite."""


def _kept_parts(kept: Activations, rows: np.ndarray, device: torch.device, at: slice) -> Parts:
    return kept.get(rows[at], device)


def _scored(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float, float]:
    """Return loss, accuracy, and the loss at the best temperature, which compares epochs."""
    return *measure(logits, labels), tempered_loss(logits, labels)


class NetworkTraining:
    """Train the pretrained layers; `train` runs the training.

    Parameters
    ----------
    trunk : Trunk
        Its layers are unfrozen as the recipe says, then trained.
    head : Head
        Already trained on the embeddings.
    data : TrainingData
        With images and embeddings.
    recipe : Recipe
        Of any mode but ``"head"``.
    seed : int
        Of the order of the images and of the crops.
    progress : callable or None
        Called with each entry of `history`.
    kept : dict, optional
        Activations stored by another training of the same layers on the same images, by the number of the
        view (0 for the validation images); this training adds to them.
    replay : Replay, optional
        Keeps the answers on the source task.

    Attributes
    ----------
    history : list of dict
        See `FineTuned.history`.
    best : Best
        The epoch whose weights were kept.
    forwarded : int
        Images sent through the network.
    notes : list of str
        Why it stopped early, if it did.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: Head,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        progress: Callable[[dict[str, Any]], object] | None,
        kept: dict[int, Activations | None] | None = None,
        replay: Replay | None = None,
    ):
        assert data.images is not None
        self.trunk, self.head, self.data, self.recipe = trunk, head, data, recipe
        self.images, self.seed, self.progress = data.images, seed, progress
        self.notes: list[str] = []
        self.kept: dict[int, Activations | None] = {} if kept is None else kept
        blocks = trunk.blocks(recipe.mode, recipe.unfreeze)
        pretrained = [parameter for block in blocks for parameter in block]
        trunk.unfreeze(recipe.mode, recipe.unfreeze)
        self.replay = replay
        if replay is not None:
            replay.follow()
        self.n_blocks = len(blocks)
        self.unfrozen = 0  # blocks, of mode "gradual"
        self.parameters = pretrained + list(head.linear.parameters())
        has_penalty = recipe.l2_sp > 0
        groups = parameter_groups(
            blocks,
            head.linear.parameters(),
            lr_backbone=recipe.lr_backbone,
            lr_head=recipe.lr_head,
            weight_decay=0.0 if has_penalty else recipe.weight_decay,
            layer_decay=recipe.layer_decay,
            head_decay=recipe.l2_sp_head if has_penalty else None,
        )
        self.penalty = (
            StartPenalty(pretrained, trunk.pretrained(pretrained), recipe.l2_sp) if has_penalty else None
        )
        self.average = MovingAverage(self.parameters, recipe.ema) if recipe.ema else None
        self.optimizer = torch.optim.SGD(
            groups, lr=recipe.lr_head, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = trunk.arithmetic.scaler()
        self.best = Best(self.parameters)
        self.history: list[dict[str, Any]] = []
        self.forwarded = 0
        self.step = 0
        self.n_steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
        self.part = recipe.batch_size  # images whose activations fit into memory, as far as is known
        self.labels = torch.from_numpy(data.labels).to(trunk.arithmetic.device)

    def train(self) -> None:
        """Run the epochs, then give the parameters the values of the best one."""
        data, recipe = self.data, self.recipe
        rng = np.random.default_rng(self.seed)
        self._start()
        val = self._keep(0, data.val, plain(self.trunk.preprocessing))
        with ThreadPoolExecutor(workers(), "featx-decode") as pool:
            for epoch in range(1, recipe.epochs + 1):
                began = time.perf_counter()
                if recipe.mode == "gradual":
                    self._unfreeze(epoch * recipe.unfreeze)
                number = self._view_number(epoch)
                anew = recipe.augment and recipe.views is None
                fit = None if anew else self._keep(number, data.train, self._view(number))
                order = data.train[rng.permutation(len(data.train))]
                try:
                    fitted = self._fit(order, number, fit, pool)
                except _Diverged:
                    self.notes.append(
                        f"stopped in epoch {epoch} of {recipe.epochs}: the loss was no longer finite; lower "
                        "lr_backbone or lr_head"
                    )
                    break
                better = self._averaged(epoch, fitted, val, began)
                settled = recipe.mode != "gradual" or self.unfrozen == self.n_blocks
                if not better and settled and epoch - self.best.epoch >= recipe.patience:
                    if epoch < recipe.epochs:
                        self.notes.append(stopped_early(epoch, recipe))
                    break
        self.best.put_back()
        self.optimizer.zero_grad(set_to_none=True)
        if recipe.mode == "gradual":
            self.trunk.unfreeze("gradual", self.n_blocks)  # it runs alike, however far the training came
        if self.best.epoch == 0:
            self.notes.append(
                "no epoch improved on the frozen network with its new head, which was therefore kept"
            )

    def _start(self) -> None:
        """Record epoch 0: the head on the frozen embeddings, the start of the training."""
        began = time.perf_counter()
        scores = []
        for rows in (self.data.train, self.data.val):
            logits = self.head.logits(self.data.rows()[rows])
            scores.append(_scored(logits, self.labels[rows]) if len(rows) else (None, None, None))
        self._record(0, scores[0], scores[1], began)

    def _unfreeze(self, blocks: int) -> None:
        blocks = min(blocks, self.n_blocks)
        if blocks != self.unfrozen:
            self.unfrozen = blocks
            self.trunk.unfreeze("last" if blocks < self.n_blocks else "gradual", blocks)
            if self.replay is not None:
                self.replay.follow()

    def _averaged(self, epoch: int, fitted: tuple, val: Activations | None, began: float) -> bool:
        """Validate the weights, or their moving average where there is one, and keep them if they are
        better."""
        if self.average is None:
            return self._record(epoch, fitted, self._validate(val), began)
        with self.average.in_place():
            return self._record(epoch, fitted, self._validate(val), began)

    def _record(self, epoch: int, fitted: tuple, validated: tuple, began: float) -> bool:
        better = self.best.offer(epoch, validated[2])
        entry = {
            "epoch": epoch,
            "phase": "network",
            "train_loss": fitted[0],
            "train_accuracy": fitted[1],
            "val_loss": validated[0],
            "val_accuracy": validated[1],
            "val_tempered_loss": validated[2],
            "seconds": time.perf_counter() - began,
        }
        self.history.append(entry)
        if self.progress is not None:
            self.progress(entry)
        return better

    # One epoch

    def _view_number(self, epoch: int) -> int:
        """Return which version of each image an epoch takes, from 1; the same number means the same
        pixels."""
        if not self.recipe.augment:
            return 1
        return epoch if self.recipe.views is None else (epoch - 1) % self.recipe.views + 1

    def _view(self, number: int) -> View:
        recipe, preprocessing = self.recipe, self.trunk.preprocessing
        if not recipe.augment:
            return plain(preprocessing)
        return random_crops(
            preprocessing,
            self.seed,
            number,
            crop_scale=recipe.crop_scale,
            flip=recipe.flip,
            jitter=recipe.jitter,
        )

    def _fit(
        self, order: np.ndarray, number: int, kept: Activations | None, pool: ThreadPoolExecutor
    ) -> tuple[float, float]:
        """Train on all images once; return mean loss and accuracy."""
        size = self.recipe.batch_size
        loss, right = 0.0, 0.0
        if kept is not None:
            device = self.trunk.arithmetic.device
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                step_loss, step_right = self._step(rows, partial(_kept_parts, kept, rows, device))
                loss, right = loss + step_loss, right + step_right
            return loss / len(order), right / len(order)
        with closing(batches(self.images, order, size, self._view(number), pool)) as loader:
            for rows, pixels in loader:
                self.forwarded += len(rows)
                step_loss, step_right = self._step(rows, partial(pixel_parts, self.trunk, pixels))
                loss, right = loss + step_loss, right + step_right
        return loss / len(order), right / len(order)

    def _step(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, float]:
        """Take one step of the optimiser; return the summed loss and the number of right answers."""
        share = schedule(self.step, self.n_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        loss, right = self._gradient(rows, before)
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit).item()
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise _Diverged
        if self.penalty is not None:
            self.penalty.add()
        self.scaler.step(self.optimizer)  # leaves a step out whose float16 gradient overflowed
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        self.step += 1
        return loss, right

    @uninterrupted()
    def _gradient(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, float]:
        """Compute the gradient of the batch, in as many parts as the memory requires."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                found = self._accumulate(rows, before)
                if self.replay is not None:
                    self.replay.add_gradient(self.step, self.part, self.scaler)
                return found
            except torch.OutOfMemoryError:
                if self.part == 1:
                    raise too_large() from None
            release()
            self.part = -(-min(self.part, len(rows)) // 2)

    def _accumulate(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, float]:
        total, right, smoothing = 0.0, 0.0, self.recipe.label_smoothing
        for start in range(0, len(rows), self.part):
            at = slice(start, start + self.part)
            parts, y = before(at), self.labels[rows[at]]
            targets = [(1.0, y)]
            if self.recipe.mixup:
                rng = np.random.default_rng([self.seed, self.step, start, _MIXING])
                parts, targets = mix_images(parts, y, self.recipe.mixup, rng)
            logits = self.head(self.trunk.after(parts))
            loss = torch.stack(
                [
                    share * F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")
                    for share, target in targets
                ]
            ).sum()
            self.scaler.scale(loss / len(rows)).backward()
            total += loss.item()
            answers = logits.argmax(dim=1)
            right += sum(share * int((answers == target).sum()) for share, target in targets)
        return total, right

    # Validation, and the store for images that come again unchanged

    @torch.no_grad()
    def _validate(self, kept: Activations | None) -> tuple[float | None, float | None, float | None]:
        val, size = self.data.val, self.recipe.batch_size
        if not len(val):
            return None, None, None
        if kept is not None:
            device = self.trunk.arithmetic.device
            starts = range(0, len(val), size)
            logits = [self.head(self.trunk.after(kept.get(val[i : i + size], device))) for i in starts]
        else:
            logits = [self.head(rows) for _, rows in features(self.trunk, self.images, val, size)]
            self.forwarded += len(val)
        return _scored(torch.cat(logits), self.labels[val])

    def _keep(self, number: int, positions: np.ndarray, view: View) -> Activations | None:
        """Return the stored output of the frozen part, or None where there is no such part or no room."""
        # What "gradual" unfreezes moves the cut from epoch to epoch.
        if self.recipe.mode == "gradual" or not self.trunk.cut or not len(positions):
            return None
        if number not in self.kept:
            stores = (self.recipe.views or 1) if number else 1
            found = frozen_parts(self.trunk, self.images, positions, self.recipe.batch_size, view)
            with closing(found):
                self.kept[number], images = keep_activations(positions, found, stores=stores)
            self.forwarded += images
        return self.kept[number]
