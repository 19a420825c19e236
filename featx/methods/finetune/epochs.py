"""The training of all modes but ``head``: steps, epochs, validation, and when to stop."""

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
from featx.methods.finetune.batches import View, batches, plain, random_crops, workers
from featx.methods.finetune.freezing import parameter_groups
from featx.methods.finetune.head import Best, Head, measure, schedule, tempered_loss
from featx.methods.finetune.kept import Kept, keep
from featx.methods.finetune.memory import release, too_large
from featx.methods.finetune.problem import Problem
from featx.methods.finetune.pulls import Average, Pull, mixed
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.replay import Replay
from featx.methods.finetune.trunk import Parts, Trunk, features, frozen_parts, pixel_parts

#: Sets the chances of mixup apart from those of the crops.
_MIXING = 7


def stopped_early(epoch: int, recipe: Recipe) -> str:
    """The note for a training that ended before its last epoch."""
    return (
        f"stopped after epoch {epoch} of {recipe.epochs}: no better validation loss for "
        f"{recipe.patience} epochs"
    )


class _Diverged(Exception):
    """The loss or its gradient is no longer finite."""


def _kept_parts(kept: Kept, rows: np.ndarray, device: torch.device, at: slice) -> Parts:
    return kept.get(rows[at], device)


def _scored(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float, float]:
    """Loss, accuracy, and the loss at the best temperature, by which epochs are compared."""
    return *measure(logits, labels), tempered_loss(logits, labels)


class NetworkTraining:
    """The training of the pretrained layers; `train` runs it.

    Parameters
    ----------
    trunk : Trunk
        Its layers are unfrozen as the recipe says, and trained.
    head : Head
        Trained on the embeddings already.
    problem : Problem
        With images and embeddings.
    recipe : Recipe
        Of another mode than ``"head"``.
    seed : int
        Of order and crops.
    progress : callable or None
        Called with each entry of `history`.
    kept : dict, optional
        Activations that another training of the same layers on the same images has kept, and that this one
        adds to: by the number of the view, which is 0 for the validation images.
    replay : Replay, optional
        What keeps the trunk's source task.

    Attributes
    ----------
    history : list of dict
        See `FineTuned.history`.
    best : Best
        The epoch whose weights were kept.
    forwarded : int
        Images sent through the network.
    notes : list of str
        Why it stopped, where that is worth knowing.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: Head,
        problem: Problem,
        recipe: Recipe,
        seed: int,
        progress: Callable[[dict[str, Any]], object] | None,
        kept: dict[int, Kept | None] | None = None,
        replay: Replay | None = None,
    ):
        assert problem.images is not None
        self.trunk, self.head, self.problem, self.recipe = trunk, head, problem, recipe
        self.images, self.seed, self.progress = problem.images, seed, progress
        self.notes: list[str] = []
        self.kept: dict[int, Kept | None] = {} if kept is None else kept
        blocks = trunk.blocks(recipe.mode, recipe.unfreeze)
        pretrained = [parameter for block in blocks for parameter in block]
        trunk.unfreeze(recipe.mode, recipe.unfreeze)
        self.replay = replay
        if replay is not None:
            replay.follow()
        self.n_blocks = len(blocks)
        self.unfrozen = 0  # blocks, of mode "gradual"
        self.parameters = pretrained + list(head.linear.parameters())
        pulled = recipe.l2_sp > 0
        groups = parameter_groups(
            blocks,
            head.linear.parameters(),
            lr_backbone=recipe.lr_backbone,
            lr_head=recipe.lr_head,
            weight_decay=0.0 if pulled else recipe.weight_decay,
            layer_decay=recipe.layer_decay,
            head_decay=recipe.l2_sp_head if pulled else None,
        )
        self.pull = Pull(pretrained, trunk.pretrained(pretrained), recipe.l2_sp) if pulled else None
        self.average = Average(self.parameters, recipe.ema) if recipe.ema else None
        self.optimizer = torch.optim.SGD(
            groups, lr=recipe.lr_head, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = trunk.arithmetic.scaler()
        self.best = Best(self.parameters)
        self.history: list[dict[str, Any]] = []
        self.forwarded = 0
        self.step = 0
        self.n_steps = recipe.epochs * math.ceil(len(problem.train) / recipe.batch_size)
        self.part = recipe.batch_size  # images whose activations fit into memory, as far as is known
        self.labels = torch.from_numpy(problem.labels).to(trunk.arithmetic.device)

    def train(self) -> None:
        """Run the epochs; in the end the parameters are those of the best one."""
        problem, recipe = self.problem, self.recipe
        rng = np.random.default_rng(self.seed)
        self._start()
        val = self._keep(0, problem.val, plain(self.trunk.preprocessing))
        with ThreadPoolExecutor(workers(), "featx-decode") as pool:
            for epoch in range(1, recipe.epochs + 1):
                began = time.perf_counter()
                if recipe.mode == "gradual":
                    self._unfreeze(epoch * recipe.unfreeze)
                number = self._view_number(epoch)
                anew = recipe.augment and recipe.views is None
                fit = None if anew else self._keep(number, problem.train, self._view(number))
                order = problem.train[rng.permutation(len(problem.train))]
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
        """Epoch 0: the head on the frozen embeddings, which is where the training sets out."""
        began = time.perf_counter()
        scores = []
        for rows in (self.problem.train, self.problem.val):
            logits = self.head.logits(self.problem.rows()[rows])
            scores.append(_scored(logits, self.labels[rows]) if len(rows) else (None, None, None))
        self._record(0, scores[0], scores[1], began)

    def _unfreeze(self, blocks: int) -> None:
        blocks = min(blocks, self.n_blocks)
        if blocks != self.unfrozen:
            self.unfrozen = blocks
            self.trunk.unfreeze("last" if blocks < self.n_blocks else "gradual", blocks)
            if self.replay is not None:
                self.replay.follow()

    def _averaged(self, epoch: int, fitted: tuple, val: Kept | None, began: float) -> bool:
        """Validate and offer the weights, or their moving average where there is one."""
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
        """Which of the versions of each image an epoch takes: 1 and up, the same number the same pixels."""
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
        self, order: np.ndarray, number: int, kept: Kept | None, pool: ThreadPoolExecutor
    ) -> tuple[float, float]:
        """Train on all images once; returns mean loss and accuracy."""
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
        """One step of the optimiser; returns the batch's summed loss and its number of right answers."""
        share = schedule(self.step, self.n_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        loss, right = self._gradient(rows, before)
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit).item()
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise _Diverged
        if self.pull is not None:
            self.pull.add()
        self.scaler.step(self.optimizer)  # leaves a step out whose float16 gradient overflowed
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.step)
        self.step += 1
        return loss, right

    @uninterrupted()
    def _gradient(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, float]:
        """Leave the batch's gradient in the parameters, in as many parts as memory needs."""
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
                parts, targets = mixed(parts, y, self.recipe.mixup, rng)
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

    # Validation, and what is kept for images that come again unchanged

    @torch.no_grad()
    def _validate(self, kept: Kept | None) -> tuple[float | None, float | None, float | None]:
        val, size = self.problem.val, self.recipe.batch_size
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

    def _keep(self, number: int, positions: np.ndarray, view: View) -> Kept | None:
        """The frozen part's output for these images, or None if there is none or no room for it."""
        # What "gradual" unfreezes moves the cut from epoch to epoch.
        if self.recipe.mode == "gradual" or not self.trunk.cut or not len(positions):
            return None
        if number not in self.kept:
            stores = (self.recipe.views or 1) if number else 1
            found = frozen_parts(self.trunk, self.images, positions, self.recipe.batch_size, view)
            with closing(found):
                self.kept[number], images = keep(positions, found, stores=stores)
            self.forwarded += images
        return self.kept[number]
