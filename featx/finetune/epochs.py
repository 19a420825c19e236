"""The training of modes ``last`` and ``full``: steps, epochs, validation, and when to stop."""

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

from featx.finetune.batches import batches, plain, random_crops, workers
from featx.finetune.freezing import parameter_groups
from featx.finetune.head import Best, Head, measure, schedule
from featx.finetune.memory import release, too_large
from featx.finetune.problem import Problem
from featx.finetune.recipe import Recipe
from featx.finetune.trunk import Parts, Trunk, features, frozen_parts, pixel_parts

#: Bytes of frozen activations kept, at most, for images that come again unchanged.
KEPT_BYTES = 1 << 30


def stopped_early(epoch: int, recipe: Recipe) -> str:
    """The note for a training that ended before its last epoch."""
    return (
        f"stopped after epoch {epoch} of {recipe.epochs}: no better validation loss for "
        f"{recipe.patience} epochs"
    )


class _Diverged(Exception):
    """The loss or its gradient is no longer finite."""


class _Kept:
    """Frozen activations of images that come again unchanged, found by the image's position."""

    def __init__(self, positions: np.ndarray, parts: Parts):
        self._row = {position: row for row, position in enumerate(positions.tolist())}
        self._parts = parts

    def __getitem__(self, positions: np.ndarray) -> Parts:
        rows = torch.tensor([self._row[p] for p in positions.tolist()], device=self._parts[0].device)
        return tuple(part.index_select(0, rows) for part in self._parts)


def _kept_parts(kept: _Kept, rows: np.ndarray, at: slice) -> Parts:
    return kept[rows[at]]


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
        Of mode ``"last"`` or ``"full"``.
    seed : int
        Of order and crops.
    progress : callable or None
        Called with each entry of `history`.

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
    ):
        assert problem.images is not None
        self.trunk, self.head, self.problem, self.recipe = trunk, head, problem, recipe
        self.images, self.seed, self.progress = problem.images, seed, progress
        self.notes: list[str] = []
        trunk.unfreeze(recipe.mode, recipe.unfreeze)
        self.parameters = trunk.tuned + list(head.linear.parameters())
        groups = parameter_groups(
            trunk.tuned,
            head.linear.parameters(),
            lr_backbone=recipe.lr_backbone,
            lr_head=recipe.lr_head,
            weight_decay=recipe.weight_decay,
        )
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
        val = self._keep(problem.val)
        fit = None if recipe.augment else self._keep(problem.train)
        with ThreadPoolExecutor(workers(), "featx-decode") as pool:
            for epoch in range(1, recipe.epochs + 1):
                began = time.perf_counter()
                order = problem.train[rng.permutation(len(problem.train))]
                try:
                    fitted = self._fit(order, epoch, fit, pool)
                except _Diverged:
                    self.notes.append(
                        f"stopped in epoch {epoch} of {recipe.epochs}: the loss was no longer finite; lower "
                        "lr_backbone or lr_head"
                    )
                    break
                better = self._record(epoch, fitted, self._validate(val), began)
                if not better and epoch - self.best.epoch >= recipe.patience:
                    if epoch < recipe.epochs:
                        self.notes.append(stopped_early(epoch, recipe))
                    break
        self.best.put_back()
        self.optimizer.zero_grad(set_to_none=True)
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
            scores.append(measure(logits, self.labels[rows]) if len(rows) else (None, None))
        self._record(0, scores[0], scores[1], began)

    def _record(self, epoch: int, fitted: tuple, validated: tuple, began: float) -> bool:
        better = self.best.offer(epoch, validated[0])
        entry = {
            "epoch": epoch,
            "phase": "network",
            "train_loss": fitted[0],
            "train_accuracy": fitted[1],
            "val_loss": validated[0],
            "val_accuracy": validated[1],
            "seconds": time.perf_counter() - began,
        }
        self.history.append(entry)
        if self.progress is not None:
            self.progress(entry)
        return better

    # One epoch

    def _fit(
        self, order: np.ndarray, epoch: int, kept: _Kept | None, pool: ThreadPoolExecutor
    ) -> tuple[float, float]:
        """Train on all images once; returns mean loss and accuracy."""
        size = self.recipe.batch_size
        loss, right = 0.0, 0
        if kept is not None:
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                step_loss, step_right = self._step(rows, partial(_kept_parts, kept, rows))
                loss, right = loss + step_loss, right + step_right
            return loss / len(order), right / len(order)
        preprocessing = self.trunk.preprocessing
        view = random_crops(preprocessing, self.seed, epoch) if self.recipe.augment else plain(preprocessing)
        with closing(batches(self.images, order, size, view, pool)) as loader:
            for rows, pixels in loader:
                self.forwarded += len(rows)
                step_loss, step_right = self._step(rows, partial(pixel_parts, self.trunk, pixels))
                loss, right = loss + step_loss, right + step_right
        return loss / len(order), right / len(order)

    def _step(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, int]:
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
        self.scaler.step(self.optimizer)  # leaves a step out whose float16 gradient overflowed
        self.scaler.update()
        self.step += 1
        return loss, right

    def _gradient(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, int]:
        """Leave the batch's gradient in the parameters, in as many parts as memory needs."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self._accumulate(rows, before)
            except torch.OutOfMemoryError:
                if self.part == 1:
                    raise too_large() from None
            release()
            self.part = -(-min(self.part, len(rows)) // 2)

    def _accumulate(self, rows: np.ndarray, before: Callable[[slice], Parts]) -> tuple[float, int]:
        total, right = 0.0, 0
        for start in range(0, len(rows), self.part):
            at = slice(start, start + self.part)
            y = self.labels[rows[at]]
            logits = self.head(self.trunk.after(before(at)))
            loss = F.cross_entropy(logits, y, label_smoothing=self.recipe.label_smoothing, reduction="sum")
            self.scaler.scale(loss / len(rows)).backward()
            total += loss.item()
            right += int((logits.argmax(dim=1) == y).sum())
        return total, right

    # Validation, and what is kept for images that come again unchanged

    @torch.no_grad()
    def _validate(self, kept: _Kept | None) -> tuple[float | None, float | None]:
        val, size = self.problem.val, self.recipe.batch_size
        if not len(val):
            return None, None
        if kept is not None:
            starts = range(0, len(val), size)
            logits = [self.head(self.trunk.after(kept[val[i : i + size]])) for i in starts]
        else:
            logits = [self.head(rows) for _, rows in features(self.trunk, self.images, val, size)]
            self.forwarded += len(val)
        return measure(torch.cat(logits), self.labels[val])

    def _keep(self, positions: np.ndarray) -> _Kept | None:
        """The frozen part's output for these images, or None if there is none or it is too large."""
        if not self.trunk.cut or not len(positions):
            return None
        found: list[Parts] = []
        for rows, parts in frozen_parts(self.trunk, self.images, positions, self.recipe.batch_size):
            each = sum(part[0].numel() * part.element_size() for part in parts)
            self.forwarded += len(rows)
            if each * len(positions) > KEPT_BYTES:
                return None
            found.append(parts)
        return _Kept(positions, tuple(torch.cat(column) for column in zip(*found, strict=True)))
