"""Regularise the training: the L2-SP penalty, a moving average of the weights, mixup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from featx.methods.finetune.activations import Parts
from featx.methods.finetune.freezing import restore, snapshot


class L2SPPenalty:
    """Add the gradient of alpha/2 ||w - w0||^2 (Li, Grandvalet and Davoine 2018, eq. 2).

    `parameters` are w, `start` their pretrained values w0. Like weight decay, the gradient is added after the
    loss's gradient has been clipped.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], start: Sequence[torch.Tensor], alpha: float):
        self.parameters, self.start, self.alpha = parameters, start, alpha

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add alpha (w - w0) to the gradients."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self.alpha)


class MovingAverage:
    """Average the weights exponentially, with a warm-up that forgets the start.

    a <- d_t a + (1 - d_t) w  with  d_t = min(decay, (1 + t) / (10 + t)),  t counted from 0, as in
    TensorFlow's ``ExponentialMovingAverage`` with `num_updates`. torch's `AveragedModel` holds the
    average.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float):
        self._latest = nn.ParameterList(parameters)

        def combine(averages: Any, latest: Any, updates: torch.Tensor | int) -> None:
            step = int(updates) - 1  # the first update copies the start
            torch._foreach_lerp_(averages, latest, 1 - min(decay, (1 + step) / (10 + step)))

        self._average = AveragedModel(self._latest, multi_avg_fn=combine)
        self.update()

    def update(self) -> None:
        """Include the weights after one more step."""
        self._average.update_parameters(self._latest)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the parameters the averaged values; restore the latest ones afterwards."""
        latest = snapshot(self._latest)
        restore(self._latest, self._average.module.parameters())
        try:
            yield
        finally:
            restore(self._latest, latest)


def mix_images(
    parts: Parts, labels: torch.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Parts, list[tuple[float, torch.Tensor]]]:
    """Mix each image with another one of its batch: mixup (Zhang et al., *mixup*, 2018, section 2).

    Returns the inputs ``share * x + (1 - share) * x[other]``, with one share drawn from Beta(alpha, alpha)
    for the batch, and pairs (share of the loss, labels).
    """
    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    mix = tuple(torch.lerp(part[other], part, share) for part in parts)
    return mix, [(share, labels), (1 - share, labels[other])]
