"""Train the layers of the network, in all modes but ``head``: steps, epochs, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from featx.forks import uninterrupted
from featx.methods.finetune.activations import Activations, Parts, store_activations
from featx.methods.finetune.batches import View, decoding_threads
from featx.methods.finetune.best_epoch import BestEpoch, is_shown_worse, tempered_losses
from featx.methods.finetune.freezing import parameter_groups
from featx.methods.finetune.head import (
    Head,
    history_entry,
    loss_and_accuracy,
    schedule,
)
from featx.methods.finetune.memory import free_device_memory, out_of_memory_error
from featx.methods.finetune.optimisers import make_optimizer
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.regularisers import L2SPPenalty, MovingAverage, mix_images
from featx.methods.finetune.replay import Replay
from featx.methods.finetune.trainable_backbone import TrainableBackbone, forward_inputs, frozen_outputs
from featx.methods.finetune.training_data import TrainingData
from featx.methods.finetune.training_progress import TrainingProgress
from featx.methods.finetune.workload import share_of_step

#: Separates the random numbers of mixup, and of dropout, from those of the crops.
_MIXING, _DROPPING = 7, 13


def early_stop_note(epoch: int, recipe: Recipe) -> str:
    """Return the note for a training that ended before its last epoch."""
    return (
        f"stopped after epoch {epoch} of {recipe.epochs}: no better validation loss for "
        f"{recipe.patience} epochs"
    )


class _Diverged(Exception):
    """The loss or its gradient is no longer finite."""


def _stored_parts(stored: Activations, rows: np.ndarray, device: torch.device, at: slice) -> Parts:
    return stored.get(rows[at], device)


def _score(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float, np.ndarray]:
    """Return loss, accuracy, and each row's loss at the best temperature, by which epochs are compared."""
    return *loss_and_accuracy(logits, labels), tempered_losses(logits, labels)


class NetworkTraining:
    """Train the pretrained layers and the head; `train` runs the training.

    Parameters
    ----------
    network : TrainableBackbone
        Network to train; its layers are unfrozen as the recipe says.
    head : Head
        Head that is already trained on the embeddings.
    data : TrainingData
        Images, labels and embeddings.
    recipe, seed, progress
        As in `fine_tune`, in any mode but ``"head"``.
    stored : dict
        Outputs of the frozen part by the number of the view (0: validation images), shared by trainings of
        the same layers on the same images; this training adds to them.
    replay : Replay, optional
        Adds the gradient of the proxy images.
    phase : {"network", "refit"}
        What the entries of the history are said to be of.
    watch : TrainingProgress, optional
        Is told of every epoch, and of the images that went through the network.

    Attributes
    ----------
    history, notes
        As in `FineTuned`.
    is_finite : bool
        False if the training ended because its loss was no longer finite.
    best : BestEpoch
        The epoch whose weights were kept: the last, or the best if that is shown to be better.
    forwarded : int
        Images sent through the network.
    """

    def __init__(
        self,
        network: TrainableBackbone,
        head: Head,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        progress: Callable[[dict[str, Any]], object] | None,
        stored: dict[int, Activations | None],
        replay: Replay | None = None,
        phase: str = "network",
        watch: TrainingProgress | None = None,
    ):
        assert data.images is not None
        self.network, self.head, self.data, self.recipe = network, head, data, recipe
        self.inputs, self.seed, self.progress = network.inputs(data.images), seed, progress
        self.phase, self.watch = phase, watch or TrainingProgress()
        self.notes: list[str] = []
        self.stored = stored
        blocks = network.blocks(recipe.mode, recipe.unfreeze)
        pretrained = [parameter for block in blocks for parameter in block]
        network.unfreeze(recipe.mode, recipe.unfreeze)
        self.replay = replay
        if replay is not None:
            replay.update_layers()
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
            not_decayed=network.not_decayed(),
        )
        self.penalty = (
            L2SPPenalty(pretrained, network.pretrained_values(pretrained), recipe.l2_sp)
            if has_penalty
            else None
        )
        self.average = MovingAverage(self.parameters, recipe.ema) if recipe.ema else None
        self.optimizer = make_optimizer(
            recipe.optimizer,
            groups,
            lr=recipe.lr_head,
            momentum=recipe.momentum,
            fused=self.inputs.kind == "text" and network.arithmetic.device.type in ("cpu", "cuda"),
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = network.arithmetic.scaler()
        self.best = BestEpoch(self.parameters)
        self._best_losses: np.ndarray | None = None  # of the validation images
        self.history: list[dict[str, Any]] = []
        self.forwarded = 0
        self.is_finite = True
        self.step = 0
        self.n_steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
        self.part = recipe.batch_size  # images per part of a batch; halved when memory runs out
        self.labels = torch.from_numpy(data.labels).to(network.arithmetic.device)
        self.val = data.val  # in the order in which they are validated

    def train(self) -> None:
        """Run the epochs, then restore the weights of the best one."""
        data, recipe = self.data, self.recipe
        rng = np.random.default_rng(self.seed)
        self._start()
        self.val = self.inputs.sort(data.val)
        val = self._store(0, self.val, None)
        with ThreadPoolExecutor(decoding_threads(), "featx-decode") as pool:
            for epoch in range(1, recipe.epochs + 1):
                began = time.perf_counter()
                self.watch.begin_epoch(epoch, recipe.epochs)
                if recipe.mode == "gradual":
                    self._unfreeze(epoch * recipe.unfreeze)
                number = self._view_number(epoch)
                changes = recipe.augment and recipe.views is None  # new pixels in every epoch
                fit = None if changes else self._store(number, data.train, self._view(number))
                order = data.train[rng.permutation(len(data.train))]
                order = self.inputs.arrange(order, recipe.batch_size, rng)
                try:
                    fitted = self._fit(order, number, fit, pool)
                except _Diverged:
                    self.is_finite = False
                    self.notes.append(
                        f"stopped in epoch {epoch} of {recipe.epochs}: the loss was no longer finite; lower "
                        "lr_backbone or lr_head"
                    )
                    break
                with nullcontext() if self.average is None else self.average.applied():
                    validated = self._validate(val)
                    better = self._record(epoch, fitted, validated, began)
                    if epoch == recipe.epochs and validated[2] is not None and not better:
                        self._prefer_last(epoch, validated[2])
                settled = recipe.mode != "gradual" or self.unfrozen == self.n_blocks
                if not better and settled and epoch - self.best.epoch >= recipe.patience:
                    if epoch < recipe.epochs:
                        self.notes.append(early_stop_note(epoch, recipe))
                    break
        self.best.restore()
        self.optimizer.zero_grad(set_to_none=True)
        if recipe.mode == "gradual":
            # Predictions must not depend on how many blocks were unfrozen when the training stopped.
            self.network.unfreeze("gradual", self.n_blocks)
        if self.best.epoch == 0:
            self.notes.append(
                "no epoch improved on the frozen network with its new head, which was therefore kept"
            )

    @property
    def kept(self) -> dict[str, Any]:
        """Return the entry of the history of the epoch whose weights were kept."""
        return next(entry for entry in self.history if entry["epoch"] == self.best.epoch)

    def _start(self) -> None:
        """Record epoch 0, the start of the training: the head on the frozen embeddings."""
        began = time.perf_counter()
        scores = []
        for rows in (self.data.train, self.val):
            logits = self.head.logits(self.data.known_embeddings()[rows])
            scores.append(_score(logits, self.labels[rows]) if len(rows) else (None, None, None))
        self._record(0, scores[0], scores[1], began)

    def _unfreeze(self, blocks: int) -> None:
        blocks = min(blocks, self.n_blocks)
        if blocks != self.unfrozen:
            self.unfrozen = blocks
            self.network.unfreeze("last" if blocks < self.n_blocks else "gradual", blocks)
            if self.replay is not None:
                self.replay.update_layers()

    def _prefer_last(self, epoch: int, losses: np.ndarray) -> None:
        """Keep the end of the schedule unless an earlier epoch is shown to be better.

        The lowest of many noisy losses is low by chance, too, and most so with few validation images; the
        end of the schedule, where the rate has come to zero, is the epoch that needs no such choice. Breiman
        et al. (*Classification and Regression Trees*, 1984, section 3.4.3) allow one standard error; two, as
        the best of all epochs is compared, of the paired difference.
        """
        assert self._best_losses is not None
        if not is_shown_worse(losses, self._best_losses):
            self.best.keep(epoch)

    def _record(self, epoch: int, fitted: tuple, validated: tuple, began: float) -> bool:
        """Add an epoch to the history, and keep its weights if they are the best so far."""
        entry = history_entry(epoch, self.phase, fitted, validated, began)
        losses = validated[2]
        entry["val_tempered_loss"] = None if losses is None else float(losses.mean())
        better = self.best.update(epoch, entry["val_tempered_loss"])
        if better:
            self._best_losses = losses
        self.history.append(entry)
        if self.progress is not None:
            self.progress(entry)
        return better

    # One epoch

    def _view_number(self, epoch: int) -> int:
        """Return the number of the view, from 1, that an epoch uses; equal numbers mean equal pixels."""
        if not self.recipe.augment:
            return 1
        return epoch if self.recipe.views is None else (epoch - 1) % self.recipe.views + 1

    def _view(self, number: int) -> View | None:
        return self.inputs.view(self.recipe, self.seed, number)

    def _fit(
        self, order: np.ndarray, number: int, stored: Activations | None, pool: ThreadPoolExecutor
    ) -> tuple[float, float]:
        """Train on all images once; return mean loss and accuracy."""
        loss, right = 0.0, 0.0
        share = share_of_step(self.unfrozen, self.n_blocks) if self.recipe.mode == "gradual" else 1.0
        with closing(self._batches(order, number, stored, pool)) as batches:
            for rows, lower in batches:
                step_loss, step_right = self.take_step(rows, lower)
                self.watch.count("train", share * len(rows))
                loss, right = loss + step_loss, right + step_right
        return loss / len(order), right / len(order)

    def _batches(
        self, order: np.ndarray, number: int, stored: Activations | None, pool: ThreadPoolExecutor
    ) -> Generator[tuple[np.ndarray, Callable[[slice], Parts]]]:
        """Yield the positions of each batch, and a function that returns the frozen output of its rows."""
        size = self.recipe.batch_size
        if stored is not None:
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                yield rows, partial(_stored_parts, stored, rows, self.network.arithmetic.device)
            return
        with closing(self.inputs.batches(order, size, self._view(number), pool)) as loader:
            for rows, batch in loader:
                self.forwarded += len(rows)
                yield rows, partial(self.network.run_lower, batch)

    def take_step(self, rows: np.ndarray, lower: Callable[[slice], Parts]) -> tuple[float, float]:
        """Take one step of the optimiser; return the summed loss and the number of right answers."""
        share = schedule(self.step, self.n_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        loss, right = self._gradient(rows, lower)
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit).item()
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise _Diverged
        if self.penalty is not None:
            self.penalty.add_gradient()
        self.scaler.step(self.optimizer)  # skips a step if its float16 gradient overflowed
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        self.step += 1
        return loss, right

    @uninterrupted()
    def _gradient(self, rows: np.ndarray, lower: Callable[[slice], Parts]) -> tuple[float, float]:
        """Compute the gradient of the batch, in parts that fit into memory."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                found = self._accumulate(rows, lower)
                if self.replay is not None:
                    self.replay.add_gradient(self.step, self.part, self.scaler)
                return found
            except torch.OutOfMemoryError:
                if self.part == 1:
                    raise out_of_memory_error(self.inputs.kind) from None
            free_device_memory()
            self.part = -(-min(self.part, len(rows)) // 2)

    def _accumulate(self, rows: np.ndarray, lower: Callable[[slice], Parts]) -> tuple[float, float]:
        total, right, smoothing = 0.0, 0.0, self.recipe.label_smoothing
        part = min(self.part, self.inputs.rows_at_once(rows, self.recipe))
        for start in range(0, len(rows), part):
            at = slice(start, start + part)
            parts, y = lower(at), self.labels[rows[at]]
            targets = [(1.0, y)]
            if self.recipe.mixup:
                rng = np.random.default_rng([self.seed, self.step, start, _MIXING])
                parts, targets = mix_images(parts, y, self.recipe.mixup, rng)
            key = [self.seed, self.step, start, _DROPPING]
            logits = self.head(self.network.train_upper(parts, key))
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

    # Validation, and the outputs of the frozen part

    @torch.no_grad()
    def _validate(self, stored: Activations | None) -> tuple[float | None, float | None, np.ndarray | None]:
        """Score the weights, or their moving average where it is applied, on the validation images."""
        val, size = self.val, self.recipe.batch_size
        if not len(val):
            return None, None, None
        if stored is not None:
            chunks = [val[i : i + size] for i in range(0, len(val), size)]
            device = self.network.arithmetic.device
            found = (self.network.run_upper(stored.get(rows, device)) for rows in chunks)
        else:
            found = (rows for _, rows in forward_inputs(self.network, self.inputs, val, size))
            self.forwarded += len(val)
        logits = []
        for features in found:
            logits.append(self.head(features))
            self.watch.count("check", len(features))
        return _score(torch.cat(logits), self.labels[val])

    def _store(self, number: int, positions: np.ndarray, view: View | None) -> Activations | None:
        """Return the stored output of the frozen part; None without a frozen part or without room."""
        # In mode "gradual" the frozen part shrinks from epoch to epoch.
        if self.recipe.mode == "gradual" or not self.network.is_cut or not len(positions):
            return None
        if number not in self.stored:
            stores = (self.recipe.views or 1) if number else 1
            found = frozen_outputs(self.network, self.inputs, positions, self.recipe.batch_size, view)
            with closing(found):
                watched, shapes = self._watched(found), self.inputs.shapes(positions)
                self.stored[number], count = store_activations(
                    positions, watched, stores=stores, shapes=shapes, kind=self.inputs.kind
                )
            self.forwarded += count
        return self.stored[number]

    def _watched(self, found: Iterable[tuple[np.ndarray, Parts]]) -> Iterator[tuple[np.ndarray, Parts]]:
        for rows, parts in found:
            yield rows, parts
            self.watch.count("store", len(rows))
