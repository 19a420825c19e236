"""Start fine-tuning from a head fitted by logistic regression: the "LP" of LP-FT, at its optimum.

Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*, 2022:
fine-tuning that starts from a fitted linear probe changes the pretrained features less.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import torch

from featx.methods.finetune.head import Head, history_entry, loss_and_accuracy
from featx.threads import limit_threads

#: Values of C, the inverse strength of the penalty, on features of about unit norm.
CANDIDATES = tuple(10.0**power for power in range(-1, 5))
#: Logit of a class without a training image, below the lowest intercept.
_ABSENT = 10.0


def logistic_head(
    embeddings: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    train_idx: np.ndarray,
    val_idx: np.ndarray,
    *,
    c: float | None = None,
) -> tuple[Head, list[dict[str, Any]], int]:
    """Fit a head by scikit-learn's logistic regression.

    Parameters as in `fine_tune`; the validation rows choose C from `CANDIDATES`. Without validation rows C is
    `c`, by default d: on features of unit norm that equals scikit-learn's default of 1 on features of unit
    variance.

    Returns
    -------
    head : Head
        The fitted head, on the CPU.
    history : list of dict
        One entry for each C, as in `FineTuned.history`, with the field ``C``.
    best : int
        ``epoch`` of the entry that was chosen.
    """
    head = Head.for_embeddings(embeddings[train_idx], n_classes)
    y_train, y_val = (torch.from_numpy(labels[rows]) for rows in (train_idx, val_idx))
    rows = embeddings[train_idx]
    candidates = CANDIDATES if len(val_idx) else (float(rows.shape[1]) if c is None else c,)
    history: list[dict[str, Any]] = []
    best: tuple[float, int, np.ndarray, np.ndarray] | None = None
    for number, candidate in enumerate(candidates, start=1):
        began = time.perf_counter()
        coef, intercept = _fit_logistic(head, rows, labels[train_idx], n_classes, candidate)
        head.set_weights(coef, intercept)
        fit = loss_and_accuracy(head.logits(rows), y_train)
        val = loss_and_accuracy(head.logits(embeddings[val_idx]), y_val) if len(val_idx) else (None, None)
        history.append(history_entry(number, "head", fit, val, began) | {"C": candidate})
        loss = -math.inf if val[0] is None else val[0]
        if best is None or loss < best[0]:
            best = (loss, number, coef, intercept)
    assert best is not None
    return head.set_weights(best[2], best[3]), history, best[1]


def _fit_logistic(
    head: Head, rows: np.ndarray, labels: np.ndarray, n_classes: int, c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on standardised embeddings; return coefficients (k, d) and intercepts (k,) for the raw ones."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = head.mean.numpy().astype(np.float64), head.scale.numpy().astype(np.float64)
    present = np.unique(labels)
    coef = np.zeros((n_classes, rows.shape[1]))
    intercept = np.zeros(n_classes)
    if len(present) > 1:
        with limit_threads(1), warnings.catch_warnings():
            # A weak penalty on separable classes converges slowly, and training goes on from here anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=c, max_iter=1000).fit((rows - mean) * scale, labels)
        w, b = model.coef_, model.intercept_
        if len(present) == 2:  # one row of log-odds; half for each class is the same softmax
            w, b = np.vstack([-w, w]) / 2, np.concatenate([-b, b]) / 2
        coef[present], intercept[present] = w, b
    intercept[np.setdiff1d(np.arange(n_classes), present)] = intercept[present].min() - _ABSENT
    unscaled = coef * scale
    return unscaled, intercept - unscaled @ mean
