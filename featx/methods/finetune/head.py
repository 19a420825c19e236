"""Train the classification head: a linear layer on standardised embeddings, with SGD.

Each feature is standardised by its mean and variance in the training part, like the BatchNorm without
affine parameters that He et al. (*Masked Autoencoders Are Scalable Vision Learners*, 2022) put before a
linear probe, and divided by sqrt(d):

    z = (x - mean) / sqrt(d (var + 0.01 mean(var)))        so that E |z|^2 is about 1.

A learning rate then means the same for 64 and for 4,096 features, and at any scale of the layer. The term
0.01 mean(var) keeps features that are almost always zero from being blown up. Mean and scale stay constant,
so the head is one affine map (`Head.as_linear`).
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from featx.forks import fresh_in_child
from featx.methods.finetune.best_epoch import BestEpoch
from featx.methods.finetune.freezing import restore
from featx.methods.finetune.recipe import Recipe

#: Rows standardised and scored at a time; bounds the memory for large sets.
_CHUNK = 8_192

#: Names of the tensors of a head in `Head.arrays`.
HEAD_TENSORS = ("mean", "scale", "weight", "bias")


class Head(nn.Module):
    """Compute logits from embeddings.

    Parameters
    ----------
    mean, scale : torch.Tensor of shape (d,)
        The standardisation, ``(x - mean) * scale``.
    n_classes : int
        Number of logits. The weights start at zero: every class is equally likely at first, without chance.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, n_classes: int):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.linear = nn.Linear(len(mean), n_classes, device="meta").to_empty(device=mean.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def for_embeddings(cls, embeddings: np.ndarray, n_classes: int) -> Head:
        """Make an untrained head for embeddings (n, d), standardised by the statistics of these rows."""
        mean = embeddings.mean(axis=0, dtype=np.float64)
        var = embeddings.var(axis=0, dtype=np.float64)
        floor = 0.01 * var.mean() or 1.0  # all rows equal: nothing to scale
        scale = 1 / np.sqrt(len(mean) * (var + floor))
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(scale).float(), n_classes)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Head:
        """Rebuild a head from its `arrays`, on the CPU."""
        mean, scale, weight, bias = (torch.tensor(arrays[name]) for name in HEAD_TENSORS)
        head = cls(mean, scale, len(bias))
        restore(head.linear.parameters(), (weight, bias))
        return head

    @torch.no_grad()
    def set_weights(self, coef: np.ndarray, intercept: np.ndarray) -> Head:
        """Set the weights so that the head computes ``x @ coef.T + intercept``, and return it.

        With z = (x - m) s, x @ w.T + b is z @ (w / s).T + (b + w m).
        """
        mean, scale = (t.cpu().double().numpy() for t in (self.mean, self.scale))
        self.linear.weight.copy_(torch.from_numpy(coef / scale))
        self.linear.bias.copy_(torch.from_numpy(intercept + coef @ mean))
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of the tensors of the head, by the names in `HEAD_TENSORS`."""
        tensors = (self.mean, self.scale, self.linear.weight, self.linear.bias)
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in zip(HEAD_TENSORS, tensors, strict=True)
        }

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) in float32 for embeddings (n, d) of any float type."""
        return self.linear((embeddings.float() - self.mean) * self.scale)

    def as_linear(self) -> nn.Linear:
        """Return one `torch.nn.Linear` that computes the same."""
        weight = (self.linear.weight * self.scale).detach()
        bias = (self.linear.bias - weight @ self.mean).detach()
        layer = nn.Linear(len(self.mean), len(bias), device="meta").to_empty(device=weight.device)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        return layer

    @torch.no_grad()
    def logits(self, embeddings: np.ndarray) -> torch.Tensor:
        """Return logits (n, k) for an array (n, d), in chunks."""
        device = self.mean.device
        rows = np.asarray(embeddings, dtype=np.float32)
        parts = [self(torch.tensor(rows[i : i + _CHUNK], device=device)) for i in range(0, len(rows), _CHUNK)]
        return torch.cat(parts) if parts else torch.empty((0, self.linear.out_features), device=device)

    def affine_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k, d) and biases (k,) in float64 that compute the logits of plain embeddings."""
        mean, scale, weight, bias = (array.astype(np.float64) for array in self.arrays().values())
        weight *= scale
        return weight, bias - weight @ mean

    def exact_logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return logits (n, k) in float64; in float32 the last digits would depend on the other rows."""
        weight, bias = self.affine_map()
        logits = np.empty((len(embeddings), len(bias)))
        for i in range(0, len(embeddings), _CHUNK):
            logits[i : i + _CHUNK] = embeddings[i : i + _CHUNK].astype(np.float64) @ weight.T + bias
        return logits


def schedule(step: int, n_steps: int) -> float:
    """Return the share of the peak rate at a step: linear warm-up (a tenth of the steps), cosine to 0."""
    warm_up = max(1, n_steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up)))


def loss_and_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return cross-entropy and accuracy, as Python floats."""
    loss = F.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(dim=1) == labels).float().mean().item()


def history_entry(
    epoch: int, phase: str, fitted: Sequence[float | None], validated: Sequence[float | None], began: float
) -> dict[str, Any]:
    """Return an entry of `FineTuned.history`; `fitted` and `validated` begin with loss and accuracy."""
    return {
        "epoch": epoch,
        "phase": phase,
        "train_loss": fitted[0],
        "train_accuracy": fitted[1],
        "val_loss": validated[0],
        "val_accuracy": validated[1],
        "seconds": time.perf_counter() - began,
    }


_training = fresh_in_child(threading.Lock())
_trainings = 0
_threads_before = 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: with small matrices, several threads mostly wait for each other.

    On a busy machine this is ten times as fast and more. The number of threads belongs to the process: when
    several trainings run at once, the last one to end restores it.
    """
    global _trainings, _threads_before
    with _training:
        if _trainings == 0:
            _threads_before = torch.get_num_threads()
        _trainings += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _training:
            _trainings -= 1
            if _trainings == 0:
                torch.set_num_threads(_threads_before)


@_one_thread()
def train_head(
    embeddings: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    recipe: Recipe,
    train_idx: np.ndarray,
    val_idx: np.ndarray,
    device: torch.device,
    seed: int,
    start: Head | None = None,
    phase: str = "head",
) -> tuple[Head, list[dict[str, Any]], int]:
    """Train a head with SGD on frozen embeddings; return it, its history and its best epoch.

    Parameters as in `fine_tune`; `recipe` is of mode ``"head"``. With `start`, which is not changed, the
    training continues from that head, and the history begins with epoch 0, which is `start` itself.
    `phase` stands in its entries.
    """
    if start is None:
        head = Head.for_embeddings(embeddings[train_idx], n_classes).to(device)
    else:
        head = copy.deepcopy(start).to(device)
    y_train = torch.from_numpy(labels[train_idx]).to(device)
    y_val = torch.from_numpy(labels[val_idx]).to(device)
    rng = np.random.default_rng(seed)
    # The bias sees a 1 in every row, where a weight sees its share of a unit norm: a tenth of the rate.
    groups: list[dict[str, Any]] = [
        {"params": [head.linear.weight], "weight_decay": recipe.weight_decay},
        {"params": [head.linear.bias]},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=recipe.lr_head,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
    peaks = (recipe.lr_head, recipe.lr_head / 10)
    best = BestEpoch(list(head.linear.parameters()))
    history: list[dict[str, Any]] = []
    size = recipe.batch_size
    n_steps = recipe.epochs * math.ceil(len(train_idx) / size)
    step = 0
    began = time.perf_counter()

    def record(epoch: int, fitted: tuple[float, float]) -> bool:
        val = loss_and_accuracy(head.logits(embeddings[val_idx]), y_val) if len(val_idx) else (None, None)
        history.append(history_entry(epoch, phase, fitted, val, began))
        return best.update(epoch, val[0])

    if start is not None:
        record(0, loss_and_accuracy(head.logits(embeddings[train_idx]), y_train))
    for epoch in range(1, recipe.epochs + 1):
        began = time.perf_counter()
        order = rng.permutation(len(train_idx))
        total_loss, right = 0.0, 0
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            x = torch.from_numpy(embeddings[train_idx[rows]]).to(device)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule(step, n_steps)
            logits, y = head(x), y_train[rows]
            loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            total_loss += loss.item() * len(rows)
            right += int((logits.argmax(dim=1) == y).sum())
        better = record(epoch, (total_loss / len(order), right / len(order)))
        if not better and epoch - best.epoch >= recipe.patience:
            break
    best.restore()
    return head, history, best.epoch
