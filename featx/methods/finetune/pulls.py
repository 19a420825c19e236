"""What a step does beside following the loss: the pull to the start, the moving average, mixed images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from featx.methods.finetune.freezing import restore, snapshot

Parts = tuple[torch.Tensor, ...]


class Pull:
    """The gradient of the L2-SP penalty, alpha/2 ||w - w0||^2 (Li, Grandvalet and Davoine 2018, eq. 2).

    Like weight decay it is added after the loss's gradient has been clipped.

    Parameters
    ----------
    parameters : sequence of torch.nn.Parameter
        w.
    start : sequence of torch.Tensor
        w0, the pretrained values.
    alpha : float
    """

    def __init__(self, parameters: Sequence[nn.Parameter], start: Sequence[torch.Tensor], alpha: float):
        self.parameters, self.start, self.alpha = parameters, start, alpha

    @torch.no_grad()
    def add(self) -> None:
        """Add alpha (w - w0) to the gradients that are there."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self.alpha)


class Average:
    """An exponential moving average of weights, with the warm-up that forgets where it began.

    a <- d_t a + (1 - d_t) w  with  d_t = min(d, (1 + t) / (10 + t)),  t counted from 0, as in TensorFlow's
    ``ExponentialMovingAverage`` with `num_updates`.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float):
        self.parameters, self.decay = parameters, decay
        self.values = snapshot(parameters)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights as they are after step number `step` in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the parameters be the average; afterwards they go on from where they were."""
        latest = snapshot(self.parameters)
        restore(self.parameters, self.values)
        try:
            yield
        finally:
            restore(self.parameters, latest)


def mixed(
    parts: Parts, labels: torch.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Parts, list[tuple[float, torch.Tensor]]]:
    """Mixup: each image with another of its batch (Zhang et al., *mixup*, 2018, section 2).

    Parameters
    ----------
    parts : tuple of torch.Tensor
        Inputs, the batch first.
    labels : torch.Tensor of shape (b,)
    alpha : float
        The share is drawn from Beta(alpha, alpha), once.
    rng : numpy.random.Generator

    Returns
    -------
    parts : tuple of torch.Tensor
        ``share * x + (1 - share) * x[other]``.
    targets : list of (float, torch.Tensor)
        Shares of the loss, with the labels that they are of.
    """
    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    mix = tuple(torch.lerp(part[other], part, share) for part in parts)
    return mix, [(share, labels), (1 - share, labels[other])]
