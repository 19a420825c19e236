"""Choose the epoch whose weights are kept, by the losses of the validation images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from featx.methods.finetune.freezing import restore, snapshot


def tempered_losses(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Return the cross-entropy of each row (n,) at the best temperature of at least 1, one for all logits.

    With more training a network gets more confident, also in its mistakes: the loss rises while the accuracy
    improves, and the plain loss would choose the frozen network of the start. A fitted temperature removes
    this effect (Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2). Temperatures
    below 1 would make all epochs equal that classify every image correctly.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    z, y = logits.double().cpu().numpy(), labels.cpu().numpy()
    if not np.isfinite(z).all():
        return np.full(len(y), math.nan)
    rows = np.arange(len(y))

    def losses(log_temperature: float) -> np.ndarray:
        return -log_softmax(z * math.exp(-log_temperature), axis=1)[rows, y]

    found = minimize_scalar(
        lambda t: losses(t).mean(), bounds=(0, 5), method="bounded", options={"xatol": 1e-3}
    )
    return min(losses(found.x), losses(0.0), key=np.mean)


def is_shown_worse(losses: np.ndarray, best: np.ndarray) -> bool:
    """Tell whether losses (n,) lie above the best ones by more than two standard errors of the difference."""
    gap = losses - best
    if len(gap) < 2:
        return False
    return not gap.mean() <= 2 * gap.std(ddof=1) / math.sqrt(len(gap))  # NaN is worse


@dataclass
class BestEpoch:
    """Keep the weights of the epoch with the lowest validation loss.

    Accuracy on a hundred validation images has steps of a per cent and many ties; the loss separates epochs
    better and makes for calibrated probabilities. Of equal epochs the earlier is kept. Without a validation
    part the latest epoch is the best.
    """

    parameters: list[nn.Parameter]
    epoch: int = -1
    loss: float = math.inf
    values: list[torch.Tensor] | None = None

    def update(self, epoch: int, loss: float | None) -> bool:
        """Keep the current weights if the epoch is better; return whether it was."""
        if self.values is not None and loss is not None and not loss < self.loss:
            return False
        self.loss = math.inf if loss is None else loss
        self.keep(epoch)
        return True

    def keep(self, epoch: int) -> None:
        """Keep the current weights, whatever their loss."""
        self.epoch, self.values = epoch, snapshot(self.parameters)

    def restore(self) -> None:
        """Give the parameters the values of the epoch that was kept."""
        if self.values is not None:
            restore(self.parameters, self.values)
